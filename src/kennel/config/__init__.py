"""Recipes as plain frozen values: every option that a run has, checked when it is read."""
