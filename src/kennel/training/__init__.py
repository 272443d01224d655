"""A training run: what happens at its start, at each tick and at its end."""
