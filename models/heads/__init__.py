"""Heads: a feature map (B, C, h, w) in, an Output out. One a file; models/registry.py names them."""
