"""Features of people by members of known quality, the evaluation they make, and a finished build of them."""

import numpy as np

from configs.load import load_build_config
from configs.schema import FUSIONS
from configs.store.store import Address, Store
from ensemble.features.feature_bank import save_bank
from ensemble.rerank.registry import KReciprocal
from ensemble.results.build_record import Evaluation, Record, point_at, save_record
from ensemble.tune.ensemble_selection import SearchSpace
from tests.features import unit_rows


def people(rng, *, n_people=12, each=4, queries=1, d=32, spreads=(0.3,), cameras=False):
    """(feats list, Evaluation): a member a spread, None for one of noise; each person asks `queries` times."""
    pids = np.repeat(np.arange(n_people), each)
    nth = np.tile(np.arange(each), n_people)
    order = np.argsort(nth >= queries, kind="stable")
    q, pids, nth = n_people * queries, pids[order], nth[order]
    feats = []
    for spread in spreads:
        noise = unit_rows(rng, len(pids), d)
        raw = noise if spread is None else unit_rows(rng, n_people, d)[pids] + spread * noise
        feats.append((raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32))
    cams = nth % 3 if cameras else np.full(len(pids), -1)
    lists = pids[:q].tolist(), cams[:q].tolist(), pids[q:].tolist(), cams[q:].tolist()
    return feats, Evaluation({}, "", None, *lists)


def finished_build(root, feats, evaluation, members, *, name="test", sets=()):
    """A store with these features as a build's, and nothing else of it."""
    store, banks, q = Store(root, lambda text: None), {}, len(evaluation.query_pids)
    names = [f"{i:05d}.png" for i in range(len(feats[0]))]
    for member, values in zip(members, feats, strict=True):
        address = Address("features", f"{member}-{name}", {"weights": "0" * 12, "of": float(values.sum())})
        banks[member] = (
            store.get(address, lambda folder, values=values: save_bank(folder, values, names[:q], names[q:]))
            .path.relative_to(store.root)
            .as_posix()
        )
    plan = load_build_config(members, sets=sets)
    told = Evaluation(**vars(evaluation) | {"banks": banks})
    record = Record(plan.model_dump(mode="json"), "nowhere", "python -m ensemble.build", {name: told})
    address = Address("builds", "drawn", {"banks": banks})
    store.get(address, lambda folder: save_record(folder, record))
    point_at(store, address.key)
    return store


def grid(known=(), fusion=FUSIONS, rounds=4, steps=10, **values):
    """A `SearchSpace` of few values: option -> values; those of an option that is not named are the usual."""
    searched = {"k_reciprocal": dict(KReciprocal.searched) | values, "none": {}}
    return SearchSpace(searched, {"k_reciprocal": known}, fusion, rounds, steps)


def k1(mix):
    """Of a mix; the usual where nothing is re-ranked."""
    return mix.options.get("k1", 20)


def k2(mix):
    """As `k1`."""
    return mix.options.get("k2", 6)


def lam(mix):
    """As `k1`."""
    return mix.options.get("lam", 0.3)


def power(mix):
    """As `k1`."""
    return mix.options.get("power", 2)
