"""Rot: every flipped bit, cut, swap and new name is found and named, and then rebuilt or refused."""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.soak.kills import BATCHES_A_SHARD, start
from tests.soak.row import Row
from tests.soak.traps import die
from tests.soak.workshop import Workshop, damage_in, digest_of, leftovers_in

WHOLE_RUN_EVERY = 8  # tries: the others ask only whether the damage is found and named
KINDS = {
    "weights": "runs/members/*/*.safetensors",
    "features": "runs/features/*/*.npy",
    "manifests": "runs/*/*/manifest.json",
    "neighbours": "runs/neighbours/*/*.npy",
    "rankings": "runs/rankings/*/*.*",
    "pictures": "runs/images/*/*.npy",
    "records": "runs/builds/*/*.json",
    "last.json": "runs/last.json",
}
Spoil = Callable[[Path, random.Random], None]


def flip(path: Path, rng: random.Random) -> None:
    """One bit."""
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def cut(path: Path, rng: random.Random) -> None:
    """Keep the beginning, perhaps nothing."""
    os.truncate(path, rng.randrange(path.stat().st_size))


def flip_bits(shop: Workshop, tries: int, rng: random.Random) -> Row:
    """A bit of a finished build's files."""
    return _spoil(shop, tries, rng, flip, "flipped bits")


def cut_files(shop: Workshop, tries: int, rng: random.Random) -> Row:
    """Files that have lost their end."""
    return _spoil(shop, tries, rng, cut, "truncated files")


def _spoil(shop: Workshop, tries: int, rng: random.Random, spoil: Spoil, what: str) -> Row:
    row, met, ends = Row(f"{what}: found and named"), Counter[str](), Counter[str]()
    folder = finished(shop)
    while shop.more(row.tried, tries):
        kind = list(KINDS)[row.tried % len(KINDS)]
        path = rng.choice(sorted(folder.glob(KINDS[kind])))
        good = path.read_bytes()
        spoil(path, rng)
        faults = unseen(folder, path)
        if row.tried % WHOLE_RUN_EVERY == row.tried // WHOLE_RUN_EVERY % WHOLE_RUN_EVERY:  # each kind in its turn
            faults += mended(shop, folder, path, ends)
            folder = finished(shop)
        else:
            path.write_bytes(good)
        row.check(f"{path.relative_to(folder)}", faults)
        met[kind] += 1
    counts = ", ".join(f"{name} {count}" for name, count in met.items())
    row.happened = f"{counts}; whole runs: " + ", ".join(f"{name} {count}" for name, count in ends.most_common())
    return row


def finished(shop: Workshop) -> Path:
    """A finished build to spoil."""
    folder, _ = start(shop)
    ended = shop.run(folder)
    if ended.status:
        raise RuntimeError(ended.said)
    return folder


def unseen(folder: Path, path: Path) -> list[str]:
    """What keeps this damage from being found and named; nothing where it is."""
    from configs.errors import ResultError
    from configs.store.store import Store
    from ensemble.results.build_record import last_build

    store = Store(folder / "runs", lambda text: None)
    try:
        if path.parent == folder / "runs":
            last_build(store)
        else:
            store.open(path.parent.relative_to(store.root).as_posix())
    except ResultError as e:
        named = path.name in str(e) or (path.name == "manifest.json" and "manifest" in str(e))
        return [] if named else [f"said without its name: {e}"]
    except Exception as e:
        return [f"{type(e).__name__}: {e}"]
    return ["not found"]


def mended(shop: Workshop, folder: Path, path: Path, ends: Counter[str]) -> list[str]:
    """Hand in: refused with its name, or what it reads is whole, scores made again if need be. Verify: named, unless
    made again. Build again: the old bytes."""
    from configs.store.manifest import find_damage

    faults = []
    handed = shop.run(folder, act=shop.hand_in)
    name = "manifest" if path.name == "manifest.json" else path.name
    if handed.status == 2 and name in handed.said and "Traceback" not in handed.said:
        ends["submission refused"] += 1
    elif handed.status == 0:
        ends["submission made of whole files"] += 1
    else:
        faults.append(f"submit.make ended with {handed.status}: {handed.said[-500:]}")
    healed = path.parent.parent.name == "scores" and find_damage(path.parent) is None
    verified = shop.run(folder, act=remove_damaged)
    if not healed and (verified.status != 1 or name not in verified.said):
        faults.append(f"ensemble.verify ended with {verified.status}: {verified.said[-500:]}")
    built = shop.run(folder)
    result = (path.parent.name,)  # a build makes anew what it needs: weights whose features stand are not needed
    same = digest_of(folder, result) == digest_of(shop.root / "undisturbed", result)
    if built.status or not same or leftovers_in(folder) or damage_in(folder):
        faults.append(f"the build ended with {built.status}, digest {digest_of(folder)}: {built.said[-500:]}")
    ends["rebuilt" if digest_of(folder) == shop.digest else "removed, not needed by the build"] += 1
    return faults


def remove_damaged(folder: Path) -> None:
    """`python -m ensemble.verify --remove`, with its exit status."""
    from ensemble import verify

    sys.exit(verify.main(["--runs", str(folder / "runs"), "--remove"]))


def swap_files(shop: Workshop, tries: int, rng: random.Random) -> Row:
    """Two files that trade places, a file under another name, a file too many, a result under another's address."""
    row, met = Row("swapped, renamed, added files and results: found and named"), Counter[str]()
    folder = finished(shop)
    sound = folder.parent / "sound"
    while shop.more(row.tried, tries):
        shutil.rmtree(sound, ignore_errors=True)
        shutil.copytree(folder, sound)
        change = rng.choice((_swap_files, _swap_results, _rename, _add))
        path = change(sound, rng)
        if path is None:
            continue
        met[change.__name__.strip("_").replace("_", " ")] += 1
        row.check(f"{change.__name__} {path.relative_to(sound)}", unseen(sound, path))
    shutil.rmtree(sound, ignore_errors=True)
    row.happened = ", ".join(f"{name} {count}" for name, count in met.items())
    return row


def _results(folder: Path, rng: random.Random) -> list[Path]:
    """Two results of one kind."""
    kind = rng.choice(("members", "features", "images"))
    return rng.sample(sorted((folder / "runs" / kind).iterdir()), 2)


def _swap_files(folder: Path, rng: random.Random) -> Path | None:
    one, other = _results(folder, rng)
    name = rng.choice(sorted(p.name for p in one.iterdir()))
    mine, yours = (one / name).read_bytes(), (other / name).read_bytes()
    if mine == yours:
        return None
    (one / name).write_bytes(yours)
    (other / name).write_bytes(mine)
    return one / name


def _swap_results(folder: Path, rng: random.Random) -> Path:
    one, other = _results(folder, rng)
    one.rename(folder / "aside")
    other.rename(one)
    (folder / "aside").rename(other)
    return one / "manifest.json"


def _rename(folder: Path, rng: random.Random) -> Path:
    path = rng.choice([p for p in sorted((folder / "runs").glob("[!.l]*/*/*")) if p.name != "manifest.json"])
    path.rename(path.with_name(f"0{path.name}"))
    return path.with_name(f"0{path.name}")


def _add(folder: Path, rng: random.Random) -> Path:
    path = rng.choice(sorted((folder / "runs").glob("[!.l]*/*/*")))
    path.with_name(f"0{path.name}").write_bytes(path.read_bytes())
    return path.with_name(f"0{path.name}")


def spoil_checkpoints(shop: Workshop, tries: int, rng: random.Random) -> Row:
    """A bit of what a killed build left to go on from: said, and the end is the same."""
    row, met, noticed = Row("flipped bits in checkpoints and shards: the same bytes at the end"), Counter[str](), 0
    while shop.more(row.tried, tries):
        folder, _ = start(shop)
        of = rng.choice(("train", "extract"))
        shop.run(folder, shop.at_batch(rng.randint(BATCHES_A_SHARD + 1, shop.work[of]), die, of))
        files = sorted(p for p in folder.glob("runs/*/.*.part/resume/**/*") if p.is_file())
        if not files:
            continue
        path = rng.choice(files)
        flip(path, rng)
        ended = shop.run(folder)
        noticed += "damaged" in ended.said
        faults = [f"ended with {ended.status}: {ended.said[-500:]}"] if ended.status else []
        if not ended.status and digest_of(folder) != shop.digest:
            faults.append(f"digest {digest_of(folder)}")
        row.check(str(path.relative_to(folder)), faults)
        met["shards" if path.suffix == ".npy" else path.suffix.strip(".")] += 1
    row.happened = ", ".join(f"{name} {count}" for name, count in met.items()) + f"; {noticed} said"
    return row
