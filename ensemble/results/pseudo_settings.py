"""The settings that pseudo labels depend on, for cache keys and signatures. Imports no clustering."""

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
    """The settings that the labels depend on: the method, its parameters, and the re-ranking if used."""
    how, e = ensemble.pseudo, ensemble
    asked = {"method": how.method} | {name: getattr(how, name) for name in READS[how.method]}
    if how.distance == RERANKED:
        asked |= {"distance": how.distance} | e.k_reciprocal
    return asked | ({"power": e.power} if how.method == "dbscan" else {})


def say_settings(how: Pseudo) -> str:
    """The method as text, such as `loop_search(threshold=0.5)`."""
    given = {name: getattr(how, name) for name in READS[how.method]}
    numbers = ",".join(f"{name}=none" if value is None else f"{name}={value:g}" for name, value in given.items())
    return f"{how.method}({numbers}{',reranked' if how.distance == RERANKED else ''})"


def guessed_labels(ensemble: Ensemble) -> dict[str, str]:
    """Signature entries for members trained on pseudo labels; empty for others."""
    if ensemble.rounds == 1:
        return {}
    images = "unlabelled+test" if ensemble.pseudo.test else "unlabelled"
    return {"pseudo": f"{say_settings(ensemble.pseudo)},rounds={ensemble.rounds},{images}"}
