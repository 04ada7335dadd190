"""Losses: an Output and labels in, a scalar out. One a file; models/registry.py names them."""
