"""What pseudo labels depend on, for cache keys and signatures: no clustering is loaded."""

from __future__ import annotations

from typing import Any

from configs.schema import RERANKED, Ensemble, Pseudo

READS = {
    "loop_search": ("threshold",),
    "first_neighbours": ("threshold",),
    "clusters": ("groups",),
    "dbscan": ("eps", "least", "k1"),
}


def settings_of(ensemble: Ensemble) -> dict[str, Any]:
    """The method and the numbers it reads, the re-ranking's too where it is used: what its labels depend on."""
    how, e = ensemble.pseudo, ensemble
    asked = {"method": how.method} | {name: getattr(how, name) for name in READS[how.method]}
    if how.distance == RERANKED:
        asked |= {"distance": how.distance} | e.k_reciprocal
    return asked | ({"power": e.power} if how.method == "dbscan" else {})


def say_settings(how: Pseudo) -> str:
    """`loop_search(threshold=0.5)`, for people and signatures."""
    given = {name: getattr(how, name) for name in READS[how.method]}
    numbers = ",".join(f"{name}=none" if value is None else f"{name}={value:g}" for name, value in given.items())
    return f"{how.method}({numbers}{',reranked' if how.distance == RERANKED else ''})"


def guessed_labels(ensemble: Ensemble) -> dict[str, str]:
    """What a signature says of members that were trained on guessed labels; nothing of others."""
    if ensemble.rounds == 1:
        return {}
    images = "unlabelled+test" if ensemble.pseudo.test else "unlabelled"
    return {"pseudo": f"{say_settings(ensemble.pseudo)},rounds={ensemble.rounds},{images}"}
