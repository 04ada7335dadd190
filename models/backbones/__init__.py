"""Backbones: images (B, 3, H, W) in, a feature map (B, C, h, w) out. One family a file, named in models/registry.py."""
