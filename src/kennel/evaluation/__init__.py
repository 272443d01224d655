"""Evaluation: scores of one set of images against another, with their protocols."""
