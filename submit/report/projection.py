"""A map of all images: the ensemble's features in two dimensions by PCA, followed by t-SNE for few images."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.store.code_version import code_version
from configs.store.store import Address
from submit.report.report_input import ReportedEvaluation, ReportInput

FEW = 3000  # t-SNE is used up to this number of images
SAMPLE = 2000
COMPONENTS = 50
BLOCK = 1024
ITERATIONS = 500


def embed(subject: ReportInput, trial: ReportedEvaluation) -> NDArray[np.float32] | None:
    """(N, 2) positions of the images, queries first, each axis from 0 to 1; cached.

    Members with distances instead of features are left out. None if there is no other member.
    """
    pairs = zip(trial.banks, subject.weights(trial), strict=True)
    kept = [(bank.feats, w) for bank, w in pairs if isinstance(bank.feats, np.ndarray) and w > 0]
    feats, weights = [a for a, _ in kept], [w for _, w in kept]
    if not feats:
        return None
    request = {
        "banks": asdict(trial.evaluation)["banks"],
        "weights": weights,
        "code": code_version(Path(__file__)),
    }

    def make(folder: Path) -> None:
        np.save(folder / "places.npy", _places(feats, weights), allow_pickle=False)

    places: NDArray[np.float32] = np.load(
        subject.store.get(Address("maps", trial.name, request), make).path / "places.npy"
    )
    return places


def method(trial: ReportedEvaluation) -> str:
    """The method of the map, for its caption."""
    n = len(trial.query) + len(trial.gallery)
    return "t-SNE of the first 50 principal components" if n <= FEW else "the first two principal components"


def _places(feats: list[NDArray[np.float32]], weights: list[float]) -> NDArray[np.float32]:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    n = len(feats[0])
    few = n <= FEW

    def rows(of: NDArray[np.intp] | slice) -> NDArray[np.float32]:
        return np.concatenate(
            [np.sqrt(np.float32(w)) * a[of] for a, w in zip(feats, weights, strict=True) if w], axis=1
        )

    sample = np.sort(np.random.default_rng(0).permutation(n)[:SAMPLE])
    seen = rows(sample)
    wanted = min(COMPONENTS if few else 2, len(seen), seen.shape[1])
    pca = PCA(wanted, svd_solver="randomized", random_state=0).fit(seen)
    flat = np.concatenate([pca.transform(rows(slice(s, s + BLOCK))) for s in range(0, n, BLOCK)])
    if few and n > 4:
        perplexity = min(30, (n - 1) / 3)
        flat = TSNE(init="pca", perplexity=perplexity, max_iter=ITERATIONS, random_state=0).fit_transform(flat)
    flat = flat[:, :2] - flat[:, :2].min(axis=0)
    result: NDArray[np.float32] = (flat / np.maximum(flat.max(axis=0), 1e-12)).astype(np.float32)
    return result
