"""A training run in a folder: recipe, checkpoints, logs, alarms, validation and resuming.

`run.train` runs all of it. The training step and the loop are in `kennel.engine`, which has no files.
"""
