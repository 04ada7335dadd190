"""Search by photograph: rank the gallery for an uploaded picture with all members."""

from __future__ import annotations

import base64
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from configs.console.progress import Progress
from configs.errors import DataError, ResultError
from configs.store.store import Store
from ensemble.features.feature_bank import FeatureBank, load_bank
from ensemble.results.manifests import extracted
from models.data.images import decode
from models.data.sheets.thumbnails import preview
from submit.report.member_training import Trained
from submit.report.report_input import ReportedEvaluation, ReportInput

if TYPE_CHECKING:
    from models.extraction.views import View

ANSWERS = 20


@dataclass(frozen=True)
class Found:
    """The result of a search. picture: the uploaded picture as a data URL. rows, dist: gallery images, distances."""

    picture: str
    rows: tuple[int, ...]
    dist: tuple[float, ...]


def extracted_bank(store: Store, bank: FeatureBank) -> FeatureBank:
    """The bank before whitening and averaging, to compare with a photograph's feature."""
    key = extracted(store, bank.fingerprint)
    return load_bank(bank.member, store.open(key), key)


class Finder:
    """The members, loaded once. One search at a time, since a search uses all cores."""

    def __init__(self, subject: ReportInput, trial: ReportedEvaluation, trained: Sequence[Trained]) -> None:
        """Raises ResultError if a member's weights or its extracted features are not in the store."""
        from models.device import choose_device
        from models.extraction.extract import load_member
        from models.extraction.views import make_views
        from models.registry import resampling

        self.subject = subject
        self.trial = trial
        self.lock = threading.Lock()
        self.views = make_views(subject.plan.ensemble.views, subject.plan.ensemble.flip)
        self.device, _ = choose_device("cpu")
        self.banks = [extracted_bank(subject.store, bank) for bank in trial.banks]
        self.nets = []
        members = {m.name: m for m in subject.plan.members}
        for t in trained:
            if t.folder is None:  # external features or distances
                raise ResultError(f"the weights of {t.member} are not in {subject.store.root}, so it cannot search")
            precision = t.precision if t.device == "cpu" and t.precision else "float32"
            member = members[t.member]
            size = subject.plan.recipe_of(member).size
            net = load_member(member, subject.store.open(t.folder), size)
            self.nets.append((net, precision, partial(_decoded, self.views, size, resampling(member))))

    def find(self, content: bytes) -> Found:
        """The nearest gallery images of a picture, by the members' summed distance of extracted features.

        Raises:
            DataError: it is not a readable picture.
        """
        from models.extraction.extract import extract

        with tempfile.TemporaryDirectory() as folder, self.lock:
            path = Path(folder) / "photograph"
            path.write_bytes(content)
            try:
                images = [read(path) for _, _, read in self.nets]
                shown = preview(path)
            except DataError as e:
                raise DataError(
                    "That file cannot be read as a picture. JPEG, PNG and WebP can, up to 50 million pixels."
                ) from e
            total = np.zeros(len(self.trial.gallery), np.float64)
            for (net, precision, _), (image, *others), bank, weight in zip(
                self.nets, images, self.banks, self.subject.weights(self.trial), strict=True
            ):
                feature = extract(
                    net,
                    image,
                    ("the photograph",),
                    views=self.views,
                    others=others,
                    channels_last=False,
                    device=self.device,
                    precision=precision,
                    progress=Progress(quiet=True),
                )[0]
                gallery = np.asarray(bank.feats)[bank.n_query :]
                total += weight * (1 - gallery @ feature)
        order = np.argsort(total, kind="stable")[:ANSWERS]
        picture = "data:image/webp;base64," + base64.b64encode(shown).decode("ascii")
        return Found(picture, tuple(int(i) for i in order), tuple(float(total[i]) for i in order))


def _decoded(views: Sequence[View], size: tuple[int, int], resampled: str, path: Path) -> list[NDArray[np.uint8]]:
    """A picture (1, H, W, 3) in a member's size, and in the other sizes of the views."""
    from models.extraction.views import other_sizes

    return [decode(path, each, resampled)[None] for each in (size, *other_sizes(views, size))]
