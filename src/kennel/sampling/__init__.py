"""Loading, sampling and exporting trained generators."""
