"""What is watched during a run besides its losses, and when an alarm is raised."""
