"""Heads: a feature map (B, C, h, w) in, an Output out. One per file; models/registry.py lists them."""
