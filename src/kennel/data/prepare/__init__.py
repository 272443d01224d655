"""Preparation of packed sets from any source."""
