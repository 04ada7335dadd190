"""A build without training: made-up features of made-up pictures, recorded as `ensemble.build` records its own."""

import csv
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from configs.load import load_build_config
from configs.store.store import Address, Store
from ensemble.features.feature_bank import save_bank
from ensemble.neighbours.knn import nearest, save_neighbours
from ensemble.results.build_record import Evaluation, Record, point_at, save_record
from ensemble.results.ranking import Ranking, save_ranking
from tests.features import unit_rows

HOSTILE = [
    "<img src=x onerror=alert(1)>.png",
    "say \"hi\" & 'bye'.png",
    "<svg onload=alert(1)><script>{{ 7 * 7 }}.png",
    "прохожий 行人 é.png",
]


def picture_folder(root, query, gallery, distinct=40):
    """A folder of layout `table`: names may be anything; pixels repeat after `distinct` pictures, as links."""
    (root / "pictures").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(distinct):
        bands = (rng.random((3, 1, 3)) * 200).astype(np.uint8)
        Image.fromarray(bands.repeat(16, 0).repeat(24, 1)).save(root / f"kept-{i}.png")
    rows = []
    for side, images in (("query", query), ("gallery", gallery)):
        for i, (name, pid, cam) in enumerate(images):
            (root / "pictures" / name).hardlink_to(root / f"kept-{i % distinct}.png")
            flags = ("1", "") if side == "query" else ("", "1")
            rows.append(
                (f"p{pid:05d}" if pid >= 0 else "", f"pictures/{name}", "test", *flags, cam if cam >= 0 else "")
            )
    with open(root / "df.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("label", "path", "split", "is_query", "is_gallery", "camid"))
        writer.writerows(rows)
    return root


def made_up(n, people, cameras, seed, prefix):
    """(name, pid, camid) of n images, persons side by side as in Market-1501."""
    rng = np.random.default_rng(seed)
    pids = np.sort(rng.integers(0, people, n))
    return [(f"{p:04d}_c{c}_{prefix}{i:05d}.png", int(p), int(c)) for i, (p, c) in
            enumerate(zip(pids, rng.integers(1, cameras + 1, n), strict=True))]  # fmt: skip


def record_build(
    root, data, query, gallery, *, members=("r50", "ibn_a"), dim=16, spread=1.0, rerank=True, labelled=True, sets=()
):
    """A store with one recorded build of `members` whose features lie around their persons' centres.

    Args:
        query, gallery: (name, pid, camid) each. spread: how far a feature lies from its person's centre. sets: what the
            plan changes.

    Returns:
        The store's folder.
    """
    store = Store(Path(root), say=lambda text: None)
    sets = ["recipe.pretrained=false", *sets, *([] if rerank else ["ensemble.rerank=none"])]
    plan = load_build_config(list(members), competition="own", layout="table", sets=sets)
    images = [*query, *gallery]
    pids = np.array([p for _, p, _ in images])
    feats, keys = {}, {}
    for seed, member in enumerate(members):
        rng = np.random.default_rng(seed + 1)
        centres = unit_rows(rng, int(pids.max()) + 2, dim)
        made = centres[pids] + spread * unit_rows(rng, len(pids), dim)
        feats[member] = made / np.linalg.norm(made, axis=1, keepdims=True)
        address = Address("features", f"{member}-test", {"seed": seed})
        names = [[n for n, _, _ in side] for side in (query, gallery)]
        store.get(address, lambda folder, made=feats[member], names=names: save_bank(folder, made, *names))
        keys[member] = address.key
    near = Address("neighbours", "test", {"of": keys})
    if rerank:
        found = nearest(list(feats.values()), min(64, len(pids)), n_query=len(query), top_k=min(50, len(gallery)))
        store.get(near, lambda folder: save_neighbours(folder, found))
    ranking = Address("rankings", "test", {"of": keys})
    lists = np.zeros((len(query), 1), np.int32)
    names = tuple(tuple(n for n, _, _ in side) for side in (query, gallery))
    store.get(ranking, lambda folder: save_ranking(folder, Ranking(*names, lists, lists.astype(np.float32), "")))
    evaluation = Evaluation(
        keys,
        ranking.key,
        near.key if rerank else None,
        [p for _, p, _ in query] if labelled else [],
        [c for _, _, c in query],
        [p for _, p, _ in gallery] if labelled else [],
        [c for _, _, c in gallery],
    )
    record = Record(plan.model_dump(mode="json"), str(data), "python -m ensemble.build", {"test": evaluation})
    address = Address("builds", "own", asdict(record))
    store.get(address, lambda folder: save_record(folder, record))
    point_at(store, address.key)
    return Path(root)


def small_build(root, **changes):
    """24 queries x 90 gallery images of 12 persons by 3 cameras; the first names are hostile."""
    query, gallery = made_up(24, 12, 3, 0, "q"), made_up(90, 12, 3, 1, "g")
    query[: len(HOSTILE)] = [(h, p, c) for h, (_, p, c) in zip(HOSTILE, query, strict=False)]
    gallery[: len(HOSTILE)] = [(f"g {h}", p, c) for h, (_, p, c) in zip(HOSTILE, gallery, strict=False)]
    data = picture_folder(Path(root) / "data", query, gallery)
    return record_build(Path(root) / "runs", data, query, gallery, **changes)
