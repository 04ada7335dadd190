"""Results cached on disk: addresses, manifests, atomic writes, code versions."""
