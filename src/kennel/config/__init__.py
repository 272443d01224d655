"""Recipes as frozen, validated values: every option of a run."""
