"""Weights of the members and settings of the re-ranking, chosen on labelled data."""
