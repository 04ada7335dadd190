"""How one member is trained: the loop, its step, checkpoints, checks of its numbers."""
