"""The engine on a CUDA device: `card` moves data and starts kernels, the rest is what `ensemble` asks of it."""
