"""What is wrong or odd about a data set, and what each thing would do to a build or a score."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from configs.console.quoting import set_option
from configs.errors import ReidError
from configs.recipe import Recipe
from configs.schema import Competition
from models.data.doctor.finding import HURTS, NOTE, STOPS, Finding, count, shown
from models.data.doctor.inspect_files import InspectedFile
from models.data.doctor.near_doubles import find_near_doubles
from models.data.pairs import check_handing_in
from models.data.split import UNKNOWN, Benchmark, Split, scorable

Place = tuple[str, str, int | str]  # of an image: list, name, identity
MOST_SKIPPED = 1000  # names that a command line takes


def find_in_lists(
    benchmark: Benchmark, recipe: Recipe, lists: Sequence[str] = ("train", "query", "gallery")
) -> list[Finding]:
    """What the lists alone tell: names, identities, cameras.

    Args:
        recipe: what a build would train by.
        lists: those that a build needs.
    """
    found: list[Finding] = []
    train, query, gallery = benchmark.train, benchmark.query, benchmark.gallery
    for part in lists:
        if not len(getattr(benchmark, part)):
            found.append(Finding(STOPS, f"the {part} list is empty", "a build stops at once"))
    found += _tail(train, recipe.min_images, recipe.identities_per_batch)
    for part in ("train", "query", "gallery", "unlabelled"):
        found += _look_alike(part, getattr(benchmark, part))
    found += _same_names(benchmark)
    shared = people_of(train) & (people_of(query) | people_of(gallery, query))
    if shared:
        does = "the score is partly of people seen in training, and tells little about strangers"
        found.append(
            Finding(
                HURTS,
                f"{count(len(shared), 'identity is', 'identities are')} in train and in the test",
                does,
                shown(benchmark.labels.get(pid, pid) for pid in sorted(shared)),
            )
        )
    found += _unanswerable(query, gallery)
    return found


def people_of(split: Split, asked: Split | None = None) -> set[int]:
    """The known identities; 0 names strangers, and nobody, where the queries that are `asked` do not have it."""
    people = set(split.pids.tolist()) - {UNKNOWN}
    return people - {0} if asked is not None and len(asked) and not (asked.pids == 0).any() else people


def distractors(query: Split, gallery: Split) -> int:
    """Gallery images of known identities that no query asks for."""
    unasked = ~np.isin(gallery.pids, query.pids) & (gallery.pids != UNKNOWN)
    return int(unasked.sum()) if (query.pids != UNKNOWN).any() else 0


def find_in_files(
    parts: dict[str, tuple[Split, Sequence[InspectedFile]]], labels: Mapping[int, str] | None = None
) -> list[Finding]:
    """What a look into the files tells: broken ones, doubled ones, near-duplicates.

    Args:
        parts: name of a list -> the list, and its files in the same order.
        labels: what the data set calls an identity, where that is not its number.
    """
    found = []
    for missing, what in ((True, "of the lists {} not there"), (False, "cannot be decoded")):
        bad: dict[str, list[str]] = defaultdict(list)
        faulty: list[InspectedFile] = []
        for part, (split, of_part) in parts.items():
            for name, seen in zip(split.names, of_part, strict=True):
                if seen.trouble and seen.missing == missing:
                    bad[part].append(name)
                    faulty.append(seen)
        if not faulty:
            continue
        text = f"{count(len(faulty), 'file')} {what.format('is' if len(faulty) == 1 else 'are')}"
        examples = _folders_gone(faulty) if missing else [f"{seen.path}: {seen.trouble}" for seen in faulty]
        found.append(Finding(STOPS, text, _mending(bad, len(faulty), missing), shown(examples)))
    odd = [f"{seen.path}: {seen.remark}" for _, files in parts.values() for seen in files if seen.remark]
    if odd:
        text = count(len(odd), "damaged file")
        found.append(Finding(NOTE, text, "they are read all the same", shown(odd)))
    places: dict[str, list[Place]] = defaultdict(list)
    for part, (split, files) in parts.items():
        for name, pid, seen in zip(split.names, split.pids.tolist(), files, strict=True):
            if not seen.trouble:
                places[seen.digest].append((part, name, pid if pid == UNKNOWN else (labels or {}).get(pid, pid)))
    equal = _doubles([group for group in places.values() if len(group) > 1])
    return [*found, *equal, *find_near_doubles(parts, labels or {})]


def find_in_rules(competition: Competition, benchmark: Benchmark) -> list[Finding]:
    """What the competition's format wants and the lists do not give."""
    try:
        check_handing_in(competition, benchmark)
    except ReidError as e:
        return [Finding(STOPS, str(e), "a build stops before it trains")]
    return []


def _folders_gone(files: Sequence[InspectedFile]) -> list[str]:
    """Folders that are not there as a whole, with how many files each should hold; then single files."""
    there = {folder: folder.is_dir() for folder in {seen.path.parent for seen in files}}
    gone = Counter(str(seen.path.parent) for seen in files if not there[seen.path.parent])
    folders = [f"no folder {folder}, which should hold {n:,}" for folder, n in sorted(gone.items())]
    return folders + [str(seen.path) for seen in files if there[seen.path.parent]]


def _mending(bad: dict[str, list[str]], total: int, missing: bool) -> str:
    """What to do about so many files, by their lists."""
    if total > MOST_SKIPPED:
        return f"a build stops at them; copy the {'images to their lists' if missing else 'data set anew'}"
    return f"a build stops at it; replace it, or leave it out with {set_option('competition.skip', bad)}"


def _tail(train: Split, min_images: int, identities: int) -> list[Finding]:
    counts = Counter(pid for pid in train.pids.tolist() if pid != UNKNOWN)
    few = [pid for pid, n in counts.items() if n < min_images]
    found = []
    if len(train) and len(counts) - len(few) < 2:
        text = (
            f"{count(len(counts) - len(few), 'identity has', 'identities have')} {min_images} training images or more"
        )
        found.append(Finding(STOPS, text, "a build wants at least 2; lower recipe.min_images, or add images"))
    elif len(train) and len(counts) - len(few) < identities:
        text = f"a batch takes {identities} identities, and {len(counts) - len(few)} can be trained on"
        does = f"a build stops; {set_option('recipe.identities_per_batch', len(counts) - len(few))}"
        found.append(Finding(STOPS, text, does))
    if few:
        does = "they are left out of training (recipe.min_images)"
        found.append(Finding(NOTE, f"{len(few):,} of {len(counts):,} identities have a single training image", does))
    return found


def _look_alike(part: str, split: Split) -> list[Finding]:
    """Names that only a careful reader tells apart."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in split.names:
        groups[unicodedata.normalize("NFC", name).casefold()].append(name)
    alike = [names for names in groups.values() if len(names) > 1]
    if not alike:
        return []
    does = "on file systems that do not tell them apart one image replaces the other; rename them"
    text = f"in {part}, {count(len(alike), 'group')} of names that differ in capitals or Unicode form alone"
    return [Finding(HURTS, text, does, shown(" and ".join(map(ascii, names)) for names in alike))]


def _same_names(benchmark: Benchmark) -> list[Finding]:
    found = []
    for one, other in (("train", "gallery"), ("train", "query"), ("query", "gallery")):
        a, b = getattr(benchmark, one), getattr(benchmark, other)
        at = dict(zip(a.names, a.paths, strict=True))
        twice = [n for n, path in zip(b.names, b.paths, strict=True) if n in at and at[n] != path]
        if twice:
            does = "nothing here: lists are kept apart; merged into one folder they would replace each other"
            text = f"{count(len(twice), 'name is', 'names are')} in {one} and in {other}, of different files"
            found.append(Finding(NOTE, text, does, shown(twice)))
    return found


def _unanswerable(query: Split, gallery: Split) -> list[Finding]:
    """Queries without a right image, with junk as Market-1501 has it and without junk."""
    if not scorable(query, gallery) and not (query.labelled and gallery.labelled):
        sides = (("query", query), ("gallery", gallery))
        missing = [name for name, split in sides if len(split) and not split.labelled]
        does = (
            "a submission is written, and nothing can be scored; --holdout 0.2 keeps training identities aside for it"
        )
        return [Finding(NOTE, f"{' and '.join(missing)} have no identities", does)] if missing else []
    cameras: dict[int, set[int]] = defaultdict(set)
    for pid, cam in zip(gallery.pids.tolist(), gallery.camids.tolist(), strict=True):
        cameras[pid].add(cam)
    nobody, own_only = [], []
    for name, pid, cam in zip(query.names, query.pids.tolist(), query.camids.tolist(), strict=True):
        if pid == UNKNOWN:
            continue
        if pid not in cameras:
            nobody.append(name)
        elif cam != UNKNOWN and cameras[pid] == {cam}:
            own_only.append(name)
    found = []
    if nobody and len(nobody) == int((query.pids != UNKNOWN).sum()):
        found.append(
            Finding(STOPS, "query and gallery share no identity", "a build stops: is it another test's gallery?")
        )
    elif nobody:
        does = "AP 'hits' counts them as 0; the other rules skip them"
        found.append(
            Finding(
                HURTS,
                f"{count(len(nobody), 'query has', 'queries have')} no right image in the gallery",
                does,
                shown(nobody),
            )
        )
    if own_only:
        does = (
            "with Market-1501's junk rule (same person, same camera) they are skipped or score 0; without it they count"
        )
        text = f"{count(len(own_only), 'query has', 'queries have')} right images under their own camera alone"
        found.append(Finding(HURTS, text, does, shown(own_only)))
    return found


def _doubles(groups: list[list[Place]]) -> list[Finding]:
    """Equal files, by what they would do: the gravest first; each group is told once."""
    kinds: dict[str, list[list[Place]]] = defaultdict(list)
    for group in groups:
        parts = {part for part, _, _ in group}
        labels = {
            side: {p for part, _, p in group if (part == "train") == side and p != UNKNOWN} for side in (True, False)
        }
        if max(map(len, labels.values())) > 1:
            kinds["labels"].append(group)
        elif "train" in parts and parts & {"query", "gallery"}:
            kinds["leak"].append(group)
        elif {"query", "gallery"} <= parts:
            kinds["asked"].append(group)
        else:
            kinds["plain"].append(group)
    told = {
        "labels": (HURTS, "equal files under different identities", "one of the labels is wrong; delete one"),
        "leak": (HURTS, "equal files in train and in the test", "the score is too good: these were trained on"),
        "asked": (NOTE, "equal files in query and gallery", "the answer is the question: rank 1 comes for free"),
        "plain": (NOTE, "equal files in one list", "they count twice; a gallery's doubles share their rank by name"),
    }
    return [
        Finding(weight, f"{count(len(kinds[kind]), 'group')} of {text}", does, shown(map(_group, kinds[kind])))
        for kind, (weight, text, does) in told.items()
        if kinds[kind]
    ]


def _group(group: list[Place]) -> str:
    return " = ".join(f"{part}/{name}" + (f" (id {pid})" if pid != UNKNOWN else "") for part, name, pid in group[:4])


def long_tail(split: Split) -> list[tuple[int, int, int, int]]:
    """Identities by how many images they have: rows of (from, to, identities, images), doubling; none left out."""
    counts = np.array(list(Counter(pid for pid in split.pids.tolist() if pid != UNKNOWN).values()), dtype=np.int64)
    rows, low = [], 1
    while len(counts) and low <= counts.max():
        high = 2 * low - 1
        here = counts[(counts >= low) & (counts <= high)]
        rows.append((low, high, len(here), int(here.sum())))
        low = high + 1
    return rows
