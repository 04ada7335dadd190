"""Many members: features in, ranking out."""
