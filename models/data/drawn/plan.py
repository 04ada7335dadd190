"""Which pictures a drawn data set holds, and under which names: Market-1501's folders and rules."""

from dataclasses import dataclass

import numpy as np

from models.data.drawn.camera import CAMERAS
from models.data.drawn.person import GROUP
from models.data.drawn.picture import Shot

SINGLES, DISTRACTORS, UNLABELLED = 100_000, 200_000, 300_000
"""First identities of people with one training picture, of strangers in the gallery, and of nameless people."""
TRAIN, QUERY, GALLERY, NAMELESS = "bounding_box_train", "query", "bounding_box_test", "unlabelled"
MIN_IDS, MAX_IDS = 12, 8000


@dataclass(frozen=True)
class Entry:
    """A file to write: `folder/name`, the pid that the truth gives it, and what is in the picture."""

    folder: str
    name: str
    pid: int
    shot: Shot


def plan_entries(ids: int, seed: int) -> list[Entry]:
    """All files of a data set, in the order of folders, people and pictures.

    Args:
        ids: people with several pictures, about half to train on and half to test; one more kind of people each are
            singles (ids // 16), distractors (ids // 4) and nameless (ids // 4), at least two of each.
        seed: of the whole world.
    """
    extra = max(2, ids // 4)
    entries = []
    for identity in range(ids):
        entries += _train(identity, seed) if (identity // GROUP) % 2 == 0 else _test(identity, seed)
    for number in range(max(2, ids // 16)):
        entries += _single(SINGLES + number, ids + 1 + number, seed)
    for number in range(extra):
        entries += _distractor(DISTRACTORS + number, seed)
    for number in range(extra):
        entries += _junk(_test_identity(number, ids), seed, number)
        entries += _nameless(UNLABELLED + number, ids + 1 + max(2, ids // 16) + number, seed)
    return sorted(entries, key=lambda entry: (entry.folder, entry.name))


def _test_identity(number: int, ids: int) -> int:
    tested = [identity for identity in range(ids) if (identity // GROUP) % 2 == 1]
    return tested[number % len(tested)]


def _rng(seed: int, identity: int) -> np.random.Generator:
    return np.random.default_rng([seed, 5, identity])


def _name(pid: int, camera: int, identity: int, index: int) -> str:
    """Market's form: pid, camera and sequence, frame, box; the frame grows with the picture's number."""
    label = "-1" if pid == -1 else f"{pid:04d}"
    frame = (identity * 7919 + camera * 104_729) % 90_000 + 25 * index
    return f"{label}_c{camera}s{1 + identity % 3}_{frame:06d}_{1 + index % 4:02d}.jpg"


def _spread(rng: np.random.Generator, count: int) -> list[int]:
    """Cameras of `count` pictures: all of them in turn, in a shuffled order."""
    order = [1 + int(camera) for camera in rng.permutation(CAMERAS)]
    return [order[index % CAMERAS] for index in range(count)]


def _entry(folder: str, pid: int, shot: Shot) -> Entry:
    return Entry(folder, _name(pid, shot.camera, shot.identity, shot.index), pid, shot)


def _train(identity: int, seed: int) -> list[Entry]:
    """5 to 24 pictures, 14 on average."""
    rng = _rng(seed, identity)
    count = int(np.clip(rng.gamma(7.0, 2.0), 5, 24))
    return [
        _entry(TRAIN, identity + 1, Shot(identity, index, camera)) for index, camera in enumerate(_spread(rng, count))
    ]


def _test(identity: int, seed: int) -> list[Entry]:
    """2 to 4 queries, each under its own camera, then 8 to 10 gallery pictures over all cameras."""
    rng = _rng(seed, identity)
    queries, gallery = int(rng.integers(2, 5)), int(rng.integers(8, 11))
    asked, found = _spread(rng, queries), _spread(rng, gallery)
    return [
        _entry(QUERY if index < queries else GALLERY, identity + 1, Shot(identity, index, camera))
        for index, camera in enumerate(asked + found)
    ]


def _single(identity: int, pid: int, seed: int) -> list[Entry]:
    return [_entry(TRAIN, pid, Shot(identity, 0, 1 + int(_rng(seed, identity).integers(CAMERAS))))]


def _distractor(identity: int, seed: int) -> list[Entry]:
    """Two pictures of a stranger and one of nobody."""
    cameras = _spread(_rng(seed, identity), 3)
    framings = ("person", "person", "empty")
    return [
        _entry(GALLERY, 0, Shot(identity, index, camera, framing))
        for index, (camera, framing) in enumerate(zip(cameras, framings, strict=True))
    ]


def _junk(identity: int, seed: int, number: int) -> list[Entry]:
    """A badly framed part of somebody who is in the test."""
    camera = 1 + int(np.random.default_rng([seed, 6, number]).integers(CAMERAS))
    return [_entry(GALLERY, -1, Shot(identity, 100 + number, camera, "part"))]


def _nameless(identity: int, pid: int, seed: int) -> list[Entry]:
    """4 to 12 pictures whose names give the camera only."""
    rng = _rng(seed, identity)
    order = np.random.default_rng([seed, 7, identity])
    return [
        Entry(
            NAMELESS, f"u{int(order.integers(10**7)):07d}_{index:02d}_c{camera}.jpg", pid, Shot(identity, index, camera)
        )
        for index, camera in enumerate(_spread(rng, int(rng.integers(4, 13))))
    ]
