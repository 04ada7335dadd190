"""What a build would make again and why, in lines to read: `r50, rx50: trained again: recipe.epochs 12 -> 14`."""

from __future__ import annotations

import json
from collections.abc import Sequence

from configs.store.store import RESUME, Store
from ensemble.planning.planned_results import Item
from ensemble.planning.rebuild_reasons import Asked, Past

AGAIN = {
    "images": "read again",
    "members": "trained again",
    "features": "extracted again",
    "expanded": "averaged again",
    "neighbours": "searched again",
    "rankings": "ranked again",
}


def reasons(store: Store, items: Sequence[Item]) -> list[str]:
    """One line for all rows that share a reason; none for what follows from a line above, or from an empty store."""
    past = Past(store)
    making = frozenset(i.address.digest for i in items if not i.kept)
    asked = Asked({i.address.digest: i.address for i in items}, making)
    told: dict[str, list[str]] = {}
    for item in items:
        if item.kept or item.kind == "images":
            continue
        if (epoch := interrupted_after(store, item)) is not None:
            told.setdefault(f"training goes on after epoch {epoch}", []).append(item.row)
            continue
        changes = past.changes(item.address, asked)
        if changes:
            told.setdefault(f"{AGAIN[item.kind]}: {'; '.join(changes)}", []).append(item.row)
        elif changes is None and item.kind == "members" and past.manifests:
            told.setdefault("trained for the first time", []).append(item.row)
    return [f"{', '.join(dict.fromkeys(rows))}: {why}" for why, rows in told.items()]


def interrupted_after(store: Store, item: Item) -> int | None:
    """The epoch of the checkpoint that an interrupted training left; None where there is none."""
    path = store.path(item.address)
    try:
        state = json.loads((path.with_name(f".{path.name}.part") / RESUME / "state.json").read_text(encoding="utf-8"))
        return int(state["point"]["epoch"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
