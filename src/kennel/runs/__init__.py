"""A run on disk: its directory, its checkpoints, and what identifies it."""
