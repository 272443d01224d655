"""What is watched over in a run, besides its losses: spectra, diversity, and the alarms."""
