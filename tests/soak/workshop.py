"""A whole build small enough to be killed every second: tiny pictures, tiny nets, and a process forked for each try.

The parent imports everything once and carries out one undisturbed build; each try is a fork of it, so it costs the
build alone. Everything is on one thread: sums of another number of threads round otherwise.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import os
import shutil
import struct
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 32
LOSSES = "{id: {weight: 0.1}, triplet: {weight: 0.9, start: 0.1}, center: {weight: 0.0005}}"
SETTINGS = (
    "members.a={backbone: tiny}",
    "members.b={backbone: tiny}",
    f"recipe.losses={LOSSES}",
    "recipe.resample={p: 0.5, fewer_than: 9}",
    f"recipe.size=[{SIZE},{SIZE}]",
    "recipe.pretrained=false",
    "recipe.identities_per_batch=4",
    "recipe.images_per_identity=2",
    "recipe.precision=float32",
    "ensemble.k1=6",
)
Act = Callable[[Path], None]
VARIES = ("epochs.jsonl", "/logs/", "/.locks/", "members/")  # seconds stand in them; of members the weights count


def draw_pictures(root: Path) -> Path:
    """A Market-1501 folder: 4 people of 6 pictures to train on, 4 others with 2 queries and 6 pictures each."""
    rng = np.random.default_rng(0)
    colours = rng.integers(40, 216, (8, 1, 1, 3))
    for folder, pids, each in (("bounding_box_train", range(4), 6), ("query", range(4, 8), 2),
                               ("bounding_box_test", range(4, 8), 6)):  # fmt: skip
        (root / folder).mkdir(parents=True)
        for pid in pids:
            for i in range(each):
                pixels = np.clip(colours[pid] + rng.integers(-60, 60, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
                name = f"{pid + 1:04d}_c{i % 3 + 1}_{folder[0]}{i}.png"
                Image.fromarray(pixels).save(root / folder / name)
    return root


@dataclass(frozen=True)
class Ended:
    """How a try ended. status: of `os.waitpid`, below 0 for a signal. said: its standard output and error."""

    status: int
    said: str


@dataclass
class Workshop:
    """Where the tries take place, and what an undisturbed build ends with."""

    root: Path
    epochs: int = 3
    every: int = 1
    digest: str = ""
    seconds: float = 0.0
    work: dict[str, int] = field(default_factory=dict)
    until: float = math.inf

    def __post_init__(self) -> None:
        self.counters = mmap.mmap(-1, 16)
        self.pictures = draw_pictures(self.root / "pictures")
        register()
        count_batches(self.counters)
        first = self.fresh("undisturbed")
        here = Path.cwd()
        self.carry_out(first)  # in this process, once: whatever is compiled or loaded late is there for the forks
        os.chdir(here)
        ended = self.wait(self.fork(self.fresh("undisturbed")))
        if ended.status:
            raise RuntimeError(f"the undisturbed build ended with {ended.status}: {ended.said}")
        self.reset()
        begun = time.monotonic()
        folder = self.fresh("undisturbed")
        self.wait(self.fork(folder))
        self.seconds, self.digest, self.work = time.monotonic() - begun, digest_of(folder), self.counted()

    @property
    def argv(self) -> list[str]:
        """The build's command line; results go to `runs` in the current folder."""
        sets = [*SETTINGS, f"recipe.epochs={self.epochs}", f"recipe.checkpoint_every={self.every}"]
        argv = ["--members", "a,b", "--data", str(self.pictures), "--layout", "market1501", "--out", "runs"]
        return argv + [part for value in sets for part in ("--set", value)]

    def fresh(self, name: str) -> Path:
        """An empty folder for one try."""
        shutil.rmtree(self.root / name, ignore_errors=True)
        (self.root / name).mkdir()
        return self.root / name

    def carry_out(self, folder: Path, more: Sequence[str] = ()) -> None:
        """Build, then make the submission, in this process."""
        from ensemble import build

        os.chdir(folder)
        build.main([*self.argv, *more])
        self.hand_in(folder)

    def hand_in(self, folder: Path) -> None:
        """Make the submission alone."""
        from submit import make

        os.chdir(folder)
        make.main(["--runs", "runs", "--out", "submission"])

    def fork(self, folder: Path, first: Callable[[], None] = lambda: None, act: Act | None = None) -> tuple[int, int]:
        """A process that carries out the build in `folder`, or another act, after `first()`.

        Returns:
            its number, and a pipe with what it says.
        """
        from configs.console.command import run

        read, write = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            os.close(write)
            return pid, read
        status = 70
        try:
            os.dup2(write, 1)
            os.dup2(write, 2)
            first()
            run(lambda: (act or self.carry_out)(folder))
        except SystemExit as e:
            status = int(e.code or 0)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    def wait(self, child: tuple[int, int]) -> Ended:
        """Hear it out, and how it ended."""
        pid, read = child
        with os.fdopen(read, "rb") as pipe:
            said = pipe.read().decode(errors="replace")
        return Ended(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said)

    def run(self, folder: Path, first: Callable[[], None] = lambda: None, act: Act | None = None) -> Ended:
        """Fork and wait."""
        return self.wait(self.fork(folder, first, act))

    def at_batch(self, n: int, act: Callable[[], None], of: str = "train") -> Callable[[], None]:
        """A build to which something happens in its n-th batch since `reset`, from 1, of training or of extraction."""

        def arm() -> None:
            from models.extraction import extract
            from models.training import step

            module = {"train": step, "extract": extract}[of]
            real = module.normalise

            def normalise(*args, **kwargs):  # type: ignore[no-untyped-def]
                result = real(*args, **kwargs)
                if self.counted()[of] == n:
                    act()
                return result

            module.normalise = normalise  # type: ignore[attr-defined]

        return arm

    def more(self, tried: int, wanted: int) -> bool:
        """Whether to try on: what was wanted is not reached yet, nor the time that there is."""
        return tried < wanted and time.monotonic() < self.until

    def reset(self) -> None:
        """Count batches from 0."""
        self.counters[:] = bytes(16)

    def counted(self) -> dict[str, int]:
        """Batches that were begun in training and in extraction, over all forks since `reset`."""
        train, extract = struct.unpack("qq", self.counters[:])
        return {"train": train, "extract": extract}


def register() -> None:
    """Put the tiny backbone in the registry, small shards and batches into extraction, and all of it on one thread."""
    import torch

    from models import registry
    from models.extraction import extract
    from tests.tiny import TinyBackbone

    torch.set_num_threads(1)
    registry.BACKBONES["tiny"] = TinyBackbone
    extract.BATCH, extract.SHARD = 2, 4


def count_batches(counters: mmap.mmap) -> None:
    """Count batches where forks share the count, and where it outlives a kill."""
    from models.extraction import extract
    from models.training import step

    for place, module in enumerate((step, extract)):

        def counted(*args, _at=8 * place, _real=module.normalise, **kwargs):  # type: ignore[no-untyped-def]
            count = struct.unpack_from("q", counters, _at)[0] + 1
            struct.pack_into("q", counters, _at, count)
            return _real(*args, **kwargs)

        module.normalise = counted  # type: ignore[attr-defined]


def files_of(folder: Path) -> list[Path]:
    """Every file below a try's folder whose bytes are the same each time."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    return [p for p in files if p.name == "weights.safetensors" or not any(v in p.as_posix() for v in VARIES)]


def digest_of(folder: Path, but: tuple[str, ...] = ()) -> str:
    """Of all that a build and its submission leave, names and bytes, but for paths with these words."""
    total = hashlib.sha256()
    for path in (p for p in files_of(folder) if not any(word in str(p.relative_to(folder)) for word in but)):
        total.update(f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()[:16]


def damage_in(folder: Path) -> list[str]:
    """What is wrong with the results that have their final names, and what is left of unfinished ones."""
    from configs.store.manifest import find_damage

    found = []
    for path in sorted((folder / "runs").glob("[!.l]*/[!.]*")):
        damage = find_damage(path) if path.is_dir() else None
        if damage:
            found.append(f"{path.relative_to(folder)}: {damage}")
    return found


def leftovers_in(folder: Path) -> list[str]:
    """Files and folders of unfinished work."""
    return [str(p.relative_to(folder)) for p in sorted(folder.rglob(".*.part")) if ".locks" not in p.parts]
