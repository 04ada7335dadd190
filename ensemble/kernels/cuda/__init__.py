"""Retrieval on a CUDA device. `card` moves data and starts kernels; the other files use it."""
