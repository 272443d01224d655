"""`kennel data prepare`: from a source to a prepared set."""
