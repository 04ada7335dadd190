"""Results kept on disk: addresses, manifests, atomic writes, versions of the code."""
