"""The formulas of all metrics, in NumPy and PyTorch."""
