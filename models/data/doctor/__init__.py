"""Content and faults of a data set."""
