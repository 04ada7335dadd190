"""What is shown of an epoch of a training: the total loss, each loss by itself, the spread of distances, the rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def epoch_cells(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Column -> text, of a line of `epochs.jsonl`: `{"loss": "1.234", "id": "5.310", "spread": "0.420", "lr": "1e-3"}`.

    The spread is the largest less the smallest cosine distance of a batch: near 0 the features tell nobody apart, and
    a triplet loss stands at its margin.
    """
    terms = {name: f"{value:.3f}" for name, value in metrics["terms"].items()}
    rate = f"{metrics['lr']:.1e}".replace(".0e", "e").replace("e-0", "e-")
    return {"loss": f"{metrics['loss']:.3f}", **terms, "spread": f"{metrics['apart']:.3f}", "lr": rate}


def epoch_text(cells: Mapping[str, str]) -> str:
    """`loss 1.234 (id 5.310, triplet 0.298), spread 0.420, lr 1e-3`."""
    terms = [f"{name} {text}" for name, text in cells.items() if name not in ("loss", "spread", "lr")]
    return f"loss {cells['loss']} ({', '.join(terms)}), spread {cells['spread']}, lr {cells['lr']}"
