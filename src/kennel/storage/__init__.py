"""Files: atomic writes, locks, cache, downloads, and reading of untrusted content."""
