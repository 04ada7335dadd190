"""Training of one member: the loop, one step, checkpoints, numeric checks."""
