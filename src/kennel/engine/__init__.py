"""Training without files: networks, losses and techniques become objects, a training step and a loop.

Nothing here reads or writes a run's folder; `kennel.training` adds the folder, checkpoints, alarms and logs.
"""
