"""Files: written whole or not at all, locked, cached, downloaded, and read without trust in their content."""
