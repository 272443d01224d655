"""Alarms: what a run measures in addition to its losses, and when that is a bad sign."""
