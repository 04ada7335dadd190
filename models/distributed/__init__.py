"""Several processes that train one member together."""
