"""Held-out parts of the training data, to score on."""
