"""Scores: from two collections of images to numbers with their protocol."""
