"""Weights for a backbone: found, read safely, matched by name, and loaded."""
