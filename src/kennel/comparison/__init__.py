"""Checkpoints and runs side by side."""
