"""Comparison of checkpoints."""
