"""What a signature says of whitened features."""

from __future__ import annotations

from configs.schema import Ensemble

LEARNED_ON = {"train": "training", "test": "query+gallery"}


def whitened_features(ensemble: Ensemble) -> dict[str, str]:
    """`test(shrinkage=0.1,center=none),query+gallery` by its key; nothing where no features are whitened."""
    how = ensemble.whiten
    if how is None:
        return {}
    return {"whiten": f"{how.name}(shrinkage={how.shrinkage:g},center={how.center}),{LEARNED_ON[how.name]}"}
