"""How each member was trained, read from the store: epochs, time and requests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.store.store import MANIFEST
from submit.report.report_input import ReportInput

EPOCHS = "epochs.jsonl"


@dataclass(frozen=True)
class Epoch:
    """One line of a member's `epochs.jsonl`.

    Attributes:
        lr: learning rate at the end of the epoch.
        loss, accuracy: means over the epoch.
        terms: mean of each loss over the epoch.
        spread: largest minus smallest cosine distance in a batch, mean over batches.
    """

    epoch: float
    lr: float
    loss: float
    accuracy: float
    seconds: float
    spread: float
    terms: dict[str, float]


@dataclass(frozen=True)
class Trained:
    """A member in the store. folder: key of its weights; None if the store does not have them."""

    member: str
    folder: str | None
    epochs: tuple[Epoch, ...]
    device: str
    precision: str
    features: str
    fingerprints: dict[str, str]

    @property
    def seconds(self) -> float | None:
        """Training time; None if unknown."""
        return sum(e.seconds for e in self.epochs) if self.epochs else None


def trained_members(subject: ReportInput) -> list[Trained]:
    """The members of a build, in its order."""
    found = []
    for bank in subject.trials[0].banks:
        features = _manifest(subject.store.root / bank.fingerprint)
        digest = str(features.get("request", {}).get("weights", ""))
        folder = subject.store.root / "members" / f"{bank.member}-{digest}"
        manifest = _manifest(folder) if digest else {}
        asked = manifest.get("request", {})
        found.append(
            Trained(
                member=bank.member,
                folder=f"members/{folder.name}" if manifest else None,
                epochs=tuple(_epochs(folder / EPOCHS)) if manifest else (),
                device=str(asked.get("device", "")),
                precision=str(asked.get("recipe", {}).get("precision", "")),
                features=bank.fingerprint,
                fingerprints=dict(manifest.get("sha256", {})),
            )
        )
    return found


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return found
    except (OSError, ValueError):
        return {}


def _epochs(path: Path) -> list[Epoch]:
    """The log of the epochs; lines that cannot be read are left out."""
    lines = []
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return []
    for line in text.splitlines():
        try:
            raw = json.loads(line)
            lines.append(
                Epoch(
                    epoch=float(raw["epoch"]),
                    lr=float(raw["lr"]),
                    loss=float(raw["loss"]),
                    accuracy=float(raw["accuracy"]),
                    seconds=float(raw["seconds"]),
                    spread=float(raw["apart"]),
                    terms={str(name): float(value) for name, value in raw["terms"].items()},
                )
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return lines
