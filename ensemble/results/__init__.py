"""What is kept and how it is found again: cache keys, build records, rankings. Neither torch nor numba is needed."""
