"""How long a member was trained, found from its kept features: they name the weights, whose epochs were timed."""

from __future__ import annotations

import json

from configs.store.store import MANIFEST, Store

EPOCHS = "epochs.jsonl"


def training_seconds(store: Store, bank: str) -> float | None:
    """Seconds of all epochs of the member that a bank's features come from; None where nobody timed it here.

    Args:
        bank: the key of the features, such as `features/r50-test-0123456789ab`.
    """
    try:
        request = json.loads((store.root / bank / MANIFEST).read_text(encoding="utf-8"))["request"]
        digest = str(request["weights"])
        found = [p for p in store.root.glob("members/*/") if p.name.endswith(f"-{digest}")]
        lines = (found[0] / EPOCHS).read_text(encoding="utf-8").splitlines()
        return float(sum(json.loads(line)["seconds"] for line in lines))
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None
