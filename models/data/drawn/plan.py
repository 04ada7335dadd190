"""The images of a drawn data set and their names, by Market-1501's rules."""

from dataclasses import dataclass

import numpy as np

from models.data.drawn.camera import CAMERAS
from models.data.drawn.person import GROUP
from models.data.drawn.picture import Shot

SINGLES, DISTRACTORS, UNLABELLED, JUNK = 100_000, 200_000, 300_000, 400_000
"""First identities of people with one training image, of distractors, of unlabelled people, and of junk."""
TRAIN, QUERY, GALLERY, NAMELESS = "bounding_box_train", "query", "bounding_box_test", "unlabelled"
MIN_IDS, MAX_IDS = 12, 8000
NAMES_APART = 90_000
"""Frame numbers in names go from 0 to a little above this."""


@dataclass(frozen=True)
class Entry:
    """A file to write: `folder/name`, its true pid, and what the image shows."""

    folder: str
    name: str
    pid: int
    shot: Shot


def plan_entries(ids: int, seed: int) -> list[Entry]:
    """All files of a data set, in the order of their names.

    - `ids` people with several images, half for training and half for test.
    - ids // 16 people with one training image, at least 2.
    - ids // 4 distractors in the gallery and ids // 4 unlabelled people, at least 2 each.
    - ids // 4 junk images.

    The images of a person do not depend on `ids`.
    """
    singles, extra = max(2, ids // 16), max(2, ids // 4)
    tested = [identity for identity in range(ids) if _is_tested(identity)]
    entries = []
    for identity in range(ids):
        entries += _test(identity, seed) if _is_tested(identity) else _train(identity, seed)
    for number in range(singles):
        entries.append(_single(number, ids + 1 + number, seed))
    for number in range(extra):
        entries += _distractor(number, seed)
        entries.append(_junk(number, tested[number % len(tested)], seed))
    first = ids + 1 + singles
    entries += _nameless(range(first, first + extra), seed)
    return sorted(entries, key=lambda entry: (entry.folder, entry.name))


def _is_tested(identity: int) -> bool:
    """Every second group: people with the same outfit are all in training or all in the test."""
    return (identity // GROUP) % 2 == 1


def _rng(seed: int, identity: int) -> np.random.Generator:
    return np.random.default_rng([seed, 5, identity])


def _spread(rng: np.random.Generator, count: int) -> list[int]:
    """Cameras of `count` pictures: all of them in turn, in a shuffled order."""
    order = [1 + int(camera) for camera in rng.permutation(CAMERAS)]
    return [order[index % CAMERAS] for index in range(count)]


def _entry(folder: str, pid: int, shot: Shot, frame: int) -> Entry:
    """A file named as in Market-1501: pid, camera and sequence, frame, box."""
    label = "-1" if pid == -1 else f"{pid:04d}"
    name = f"{label}_c{shot.camera}s{1 + shot.identity % 3}_{frame:06d}_{1 + shot.index % 4:02d}.jpg"
    return Entry(folder, name, pid, shot)


def _named(folder: str, shot: Shot) -> Entry:
    """A file of a person whose pid is the identity's number, from 1."""
    frame = (shot.identity * 7919 + shot.camera * 10_007) % NAMES_APART + 25 * shot.index
    return _entry(folder, shot.identity + 1, shot, frame)


def _train(identity: int, seed: int) -> list[Entry]:
    """5 to 24 images, 14 on average."""
    rng = _rng(seed, identity)
    cameras = _spread(rng, int(np.clip(rng.gamma(7.0, 2.0), 5, 24)))
    return [_named(TRAIN, Shot(identity, index, camera)) for index, camera in enumerate(cameras)]


def _test(identity: int, seed: int) -> list[Entry]:
    """2 to 4 queries from different cameras, then 8 to 10 gallery images over all cameras."""
    rng = _rng(seed, identity)
    queries, gallery = int(rng.integers(2, 5)), int(rng.integers(8, 11))
    cameras = _spread(rng, queries) + _spread(rng, gallery)
    return [
        _named(QUERY if index < queries else GALLERY, Shot(identity, index, camera))
        for index, camera in enumerate(cameras)
    ]


def _single(number: int, pid: int, seed: int) -> Entry:
    identity = SINGLES + number
    return _entry(TRAIN, pid, Shot(identity, 0, 1 + int(_rng(seed, identity).integers(CAMERAS))), 10 * number)


def _distractor(number: int, seed: int) -> list[Entry]:
    """Two images of a distractor and one without a person."""
    identity = DISTRACTORS + number
    framings = ("person", "person", "empty")
    return [
        _entry(GALLERY, 0, Shot(identity, index, camera, framings[index]), 30 * number + 10 * index)
        for index, camera in enumerate(_spread(_rng(seed, identity), len(framings)))
    ]


def _junk(number: int, identity: int, seed: int) -> Entry:
    """A badly framed part of a test person."""
    camera = 1 + int(_rng(seed, JUNK + number).integers(CAMERAS))
    return _entry(GALLERY, -1, Shot(identity, JUNK + number, camera, "part"), 10 * number)


def _nameless(pids: range, seed: int) -> list[Entry]:
    """4 to 12 images each, in shuffled order. A name gives the camera only."""
    shots = []
    for number, pid in enumerate(pids):
        identity = UNLABELLED + number
        rng = _rng(seed, identity)
        cameras = _spread(rng, int(rng.integers(4, 13)))
        shots += [(pid, Shot(identity, index, camera)) for index, camera in enumerate(cameras)]
    places = np.random.default_rng([seed, 6]).permutation(len(shots))
    return [
        Entry(NAMELESS, f"u{place:06d}_c{shot.camera}.jpg", pid, shot)
        for place, (pid, shot) in zip(places.tolist(), shots, strict=True)
    ]
