"""Feature extractors, their weights, and features of image sets."""
