"""The ablation's parts: each a list of `--set` changes to the baseline, one at a time; `strong` is all of them."""

import json
from typing import Any

STEPS = "name: steps, warmup: 10, warmup_factor: 1.0, milestones: [70, 100], gamma: 0.1, of: 120"
BASELINE = [
    "members.small={backbone: {name: resnet, depth: 26, base: 16}}",
    "recipe.pretrained=false",
    "recipe.zero_init_residual=true",
    "recipe.identities_per_batch=8",
    "recipe.checkpoint_every=1000",
    "recipe.optimizer.lr=1e-3",
    f"recipe.schedule={{{STEPS}}}",
]
SIZES, EPOCHS = {"drawn": (64, 32), "own": (64, 64)}, {"drawn": 16, "own": 4}
MOVES: list[dict[str, Any]] = [{"name": "flip", "p": 0.5}, {"name": "pad_crop", "pad": 4}]
BASELINE.append(f"recipe.augment={json.dumps(MOVES)}")
ID, TRIPLET = {"weight": 0.1, "eps": 0.1}, {"weight": 0.9, "margin": 0.3}
COVERS = {
    "colour_jitter": {"p": 0.5},
    "affine": {"p": 0.3},
    "random_shift": {"p": 0.3},
    "random_patch": {"p": 0.3},
    "erase": {"p": 0.5, "fill": "random"},
    "erase with mean": {"name": "erase", "p": 0.5, "fill": "mean"},
    "erase with the data's mean": {"name": "erase", "p": 0.5, "fill": "data"},
    "cutout": {"p": 0.5},
}


def _augment(rows: list[dict[str, Any]]) -> list[str]:
    return [f"recipe.augment={json.dumps(rows)}"]


def _losses(**losses: dict[str, Any]) -> list[str]:
    return [f"recipe.losses={json.dumps(losses)}"]


def _cosine(scale: float, centers: int = 1, **losses: dict[str, Any]) -> list[str]:
    """Losses on the logits of a cosine classifier."""
    return [f"recipe.classifier={{name: cosine, scale: {scale}, centers: {centers}}}", *_losses(**losses)]


def _head(**head: Any) -> list[str]:
    return [f"members.small.head={json.dumps(head)}"]


def _then_steps(name: str, **options: Any) -> list[str]:
    """A warm-up, and after it the baseline's steps at the same times."""
    then = {"name": "steps", "warmup": 0, "milestones": [60, 90], "gamma": 0.1, "of": 110}
    return [f"recipe.schedule={json.dumps({'name': name, 'warmup': 10, 'then': then, **options})}"]


LONGER = "half again as long"  # as many images as resampling sees
CENTER, GROWS = {"weight": 5e-4, "rate": 0.5}, {"margin": 0.3, "start": 0.1, "rise": [10, 40]}
RESAMPLE = "recipe.resample={p: 0.5, fewer_than: 100}"
EVERYTHING = [
    MOVES[0],
    {"name": "colour_jitter", "p": 0.5},
    {"name": "affine", "p": 0.3},
    MOVES[1],
    {"name": "random_shift", "p": 0.3},
    {"name": "random_patch", "p": 0.3},
    {"name": "erase", "p": 0.5, "fill": "random"},
    {"name": "cutout", "p": 0.2},
]
SOURCE_AUGMENT = [
    MOVES[0],
    *({"name": name} | COVERS[name] for name in ("colour_jitter", "affine", "random_patch", "random_shift")),
]
SOURCE = {
    "head": _head(name="mgn_grid"),
    "augment": _augment(SOURCE_AUGMENT),
    "losses": _losses(id=ID, triplet={"weight": 0.9, **GROWS}),
    "resample": [RESAMPLE],
}


def _source(**other: list[str]) -> list[str]:
    """The source design's system with a part of it replaced; the batches stay the baseline's."""
    return [change for part in (SOURCE | other).values() for change in part]


def _source_without(augmentation: str) -> list[str]:
    return _source(augment=_augment([row for row in SOURCE_AUGMENT if row["name"] != augmentation]))


PARTS: dict[str, list[str]] = {
    "untrained": ["recipe.optimizer.lr=1e-12", "recipe.epochs=1"],
    "baseline": [],
    **{name: _augment([*MOVES, {"name": name} | row]) for name, row in COVERS.items()},
    "soft margin": _losses(id=ID, triplet={"weight": 0.9, "margin": "soft"}),
    "margin that grows": _losses(id=ID, triplet={"weight": 0.9, **GROWS}),
    "margin by the gap": _losses(id=ID, triplet={"weight": 0.9, "margin": 0.3, "start": 0.1, "by": "gap"}),
    "euclidean triplet": _losses(id=ID, triplet=TRIPLET | {"distance": "euclidean"}),
    "smoothing over all": _losses(id=ID | {"over": "all"}, triplet=TRIPLET),
    "no smoothing": _losses(id=ID | {"eps": 0}, triplet=TRIPLET),
    "centre": _losses(id=ID, triplet=TRIPLET, center=CENTER),
    "ID alone": _losses(id=ID | {"weight": 1}),
    "triplet alone": _losses(triplet=TRIPLET | {"weight": 1}),
    "ID and triplet 1:1": _losses(id=ID | {"weight": 1}, triplet=TRIPLET | {"weight": 1}),
    "focal": _losses(focal={"weight": 0.1}, triplet=TRIPLET),
    "circle": _losses(id=ID, circle={"weight": 0.9, "gamma": 64}),
    "circle of gamma 256": _losses(id=ID, circle={"weight": 0.9}),
    "supervised contrastive": _losses(id=ID, supcon={"weight": 0.9}),
    "cosine classifier": _cosine(16, id=ID, triplet=TRIPLET),
    "cosface": _cosine(16, cosface={"weight": 0.1}, triplet=TRIPLET),
    "arcface": _cosine(16, arcface={"weight": 0.1}, triplet=TRIPLET),
    "arcface by class size": _cosine(16, arcface={"weight": 0.1, "least": 0.05}, triplet=TRIPLET),
    "sub-center arcface": _cosine(16, 3, arcface={"weight": 0.1}, triplet=TRIPLET),
    "arcface alone": _cosine(64, arcface={}),
    "max pooling": _head(name="global", pool="max"),
    "GeM pooling": _head(name="global", pool="gem"),
    "mgn": _head(name="mgn"),
    "mgn_grid": _head(name="mgn_grid"),
    "abp": _head(name="mgn", adaptive=True),
    "rmgl": _head(name="rmgl"),
    "rmgl, cut after layer 2": _head(name="rmgl", fork="layer3.0"),
    "cosine": ["recipe.schedule={name: gradual_warmup, warmup: 10, then: {name: cosine}}"],
    "gradual warm-up": _then_steps("gradual_warmup", multiplier=2),
    "constant warm-up": _then_steps("constant_warmup", factor=0.1),
    "warm-up by the error": [
        'recipe.schedule={"name": "error_warmup", "then": {"name": "steps", "warmup": 0, "milestones": [70, 100]}}'
    ],
    "resample": [RESAMPLE],
    LONGER: [],
    "long tail kept": ["recipe.min_images=1"],
    "strong": [*_augment(EVERYTHING), *_losses(id=ID, triplet={"weight": 0.9, **GROWS}, center=CENTER), RESAMPLE],
    "source": _source(),
    "source, mgn": _source(head=_head(name="mgn")),
    "source, global head": _source(head=_head(name="global")),
    **{f"source without {row['name']}": _source_without(row["name"]) for row in SOURCE_AUGMENT},
    "source without smoothing": _source(losses=_losses(id=ID | {"eps": 0}, triplet={"weight": 0.9, **GROWS})),
    "source without a margin that grows": _source(losses=_losses(id=ID, triplet=TRIPLET)),
    "source, margin by the gap": _source(losses=_losses(id=ID, triplet={"weight": 0.9, **GROWS, "by": "gap"})),
    "source, euclidean triplet": _source(
        losses=_losses(id=ID, triplet={"weight": 0.9, **GROWS, "distance": "euclidean"})
    ),
    "source without ID": _source(losses=_losses(triplet={"weight": 1, **GROWS})),
    "source without triplet": _source(losses=_losses(id=ID | {"weight": 1})),
    "source without resampling": _source(resample=[]),
}


def changes(data: str, part: str, seed: int) -> list[str]:
    """The `--set` changes of one run; data is drawn, or anything else for one's own."""
    kind = "drawn" if data == "drawn" else "own"
    epochs = EPOCHS[kind] * 3 // 2 if part == LONGER else EPOCHS[kind]
    own = [f"recipe.size={list(SIZES[kind])}", f"recipe.epochs={epochs}", f"recipe.seed={seed}"]
    return [*BASELINE, *own, *PARTS[part]]
