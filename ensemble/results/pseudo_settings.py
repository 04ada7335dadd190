"""What pseudo labels depend on, for cache keys and signatures: no clustering is loaded."""

from __future__ import annotations

from typing import Any

from configs.schema import Ensemble, Pseudo

READS = {"loop_search": ("threshold",), "clusters": ("groups",), "dbscan": ("eps", "least", "k1")}


def settings_of(how: Pseudo) -> dict[str, Any]:
    """The method and the numbers it reads: what its labels depend on."""
    return {"method": how.method} | {name: getattr(how, name) for name in READS[how.method]}


def say_settings(how: Pseudo) -> str:
    """`loop_search(threshold=0.5)`, for people and signatures."""
    numbers = ",".join(f"{name}={getattr(how, name):g}" for name in READS[how.method])
    return f"{how.method}({numbers})"


def guessed_labels(ensemble: Ensemble) -> dict[str, str]:
    """What a signature says of members that were trained on guessed labels; nothing of others."""
    if ensemble.rounds == 1:
        return {}
    images = "unlabelled+test" if ensemble.pseudo.test else "unlabelled"
    return {"pseudo": f"{say_settings(ensemble.pseudo)},rounds={ensemble.rounds},{images}"}
