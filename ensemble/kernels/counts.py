"""Ranks of chosen columns by counting: no row of distances is sorted."""

import numpy as np

from ensemble.kernels.cpu import jit


@jit
def ranks_of(dist, targets):
    """Rank from 1 of each target column in a row of distances (G,), ties by lower index."""
    out = np.empty(targets.size, np.int64)
    for p in range(targets.size):
        t = targets[p]
        d = dist[t]
        nearer = 0
        for g in range(dist.size):
            nearer += dist[g] < d
        for g in range(t):
            nearer += dist[g] == d
        out[p] = nearer + 1
    return out
