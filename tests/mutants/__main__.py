"""Put one-line faults into copies of the tree and print those that no test notices: `make mutants`.

First, once for each state of the sources, the whole suite is run to see which test runs which line. Then each fault is
put in by itself, and the tests that run its line until one fails; one that takes far too long counts as failed.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from queue import SimpleQueue

from tests.mutants.chosen import Chooser
from tests.mutants.faults import Fault, faults

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
HOW = ("", "survived", "timeout")
PACKAGES = "configs,models,ensemble,submit"


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="what is drawn")
    parser.add_argument("--count", type=int, default=200, help="how many faults, as many of each kind; 200")
    parser.add_argument("--changed", metavar="BASE", help="in files that differ from this commit; default: in all")
    parser.add_argument("--only", metavar="TEXT", default="", help="all faults whose line of the report has this text")
    parser.add_argument("--minutes", type=float, default=1e9, help="to stop after, with what was drawn by then")
    parser.add_argument("--budget", type=float, default=120, help="seconds of tests a fault at most; 120")
    parser.add_argument("--grace", type=int, default=30, help="seconds of a test beyond eight times its own; 30")
    parser.add_argument("--jobs", type=int, default=2, help="faults at a time, each in a copy of its own; 2")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    parser.add_argument("--packages", default=PACKAGES, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


class Workplace:
    """Copies of one state of the tree, under `.mutants` there, and what is known of it."""

    def __init__(self, root: Path, packages: str, jobs: int) -> None:
        self.root, self.packages = root, packages.split(",")
        tops = [p for p in sorted(root.iterdir()) if not self._left_out(p)]
        files = [p for top in tops for p in ([top] if top.is_file() else sorted(top.rglob("*")))]
        files = [p.relative_to(root).as_posix() for p in files if p.is_file() and "__pycache__" not in p.parts]
        self.digests = {name: hashlib.sha256((root / name).read_bytes()).hexdigest() for name in files}
        self.tests = [name for name in files if re.fullmatch(r"tests/test_\w+\.py", name)]
        shared = [name for name in files if name.split("/")[0] in (*self.packages, "tests") and name not in self.tests]
        key = "".join(self.digests[name] for name in shared if not name.startswith("tests/mutants/"))
        self.folder = root / ".mutants" / hashlib.sha256(key.encode()).hexdigest()[:12]
        self.folder.mkdir(parents=True, exist_ok=True)
        for old in self.folder.parent.iterdir():
            if old != self.folder:
                shutil.rmtree(old)
        self.copies = [self._copy(self.folder / f"copy-{n}") for n in range(jobs)]

    def _left_out(self, path: Path) -> bool:
        ignore = self.root / ".gitignore"
        names = ignore.read_text().split() if ignore.exists() else []
        return path.name in {".git", ".mutants", *(name.strip("/") for name in names)}

    def _copy(self, copy: Path) -> Path:
        for name in self.digests:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.root / name, copy / name)
        for name, to in (("lines", "sitecustomize"), ("cover", "mutants_cover"), ("worker", "mutants_worker")):
            shutil.copy2(HERE / f"{name}.py", copy / f"{to}.py")
        return copy

    def sources(self) -> list[str]:
        return [name for name in self.digests if name.split("/")[0] in self.packages and name.endswith(".py")]

    def start(self, copy: Path, *argv: str, **env: str) -> subprocess.Popen:
        """A Python in a copy, on one thread."""
        threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
        env = os.environ | threads | {"PYTHONPATH": str(copy), "OMP_WAIT_POLICY": "PASSIVE"} | env
        return subprocess.Popen([sys.executable, *argv], cwd=copy, env=env, stdin=-1, stdout=-1, text=True)

    def seen(self) -> dict:
        """Which tests there are, and which line which of them run: kept, but for files of tests that have changed."""
        kept = self.folder / "seen.json"
        none = {"files": {}, "tests": {}, "fixtures": {}, "lines": {}}
        seen = json.loads(kept.read_text()) if kept.exists() else none
        digests = {name: self.digests[name] for name in self.tests}
        if stale := [name for name in self.tests if seen["files"].get(name) != digests[name]]:
            seen["tests"] = {name: told for name, told in seen["tests"].items() if name.split("::")[0] in digests}
            seen["tests"] = {name: told for name, told in seen["tests"].items() if name.split("::")[0] not in stale}
            self.cover(stale, seen)
            kept.write_text(json.dumps(seen | {"files": digests}))
        return seen

    def cover(self, files: list[str], seen: dict) -> None:
        """Run these files of tests, a part in each copy."""
        runs, plugins = [], ["--tb=short", "-p", "mutants_cover", "-p", "no:cacheprovider"]
        for at, copy in enumerate(self.copies):
            if some := files[at :: len(self.copies)]:
                told = Path(tempfile.mkdtemp(prefix="mutants-"))
                (told / "now").write_bytes(bytes(8))
                env = {"MUTANTS_LINES": str(told), "MUTANTS_PACKAGES": ",".join(self.packages)}
                runs.append((told, self.start(copy, "-m", "pytest", "-q", *plugins, *some, **env)))
        for told, process in runs:
            said = process.communicate()[0]
            if process.returncode not in (0, 1):
                sys.exit(f"the tests could not be run:\n{said[-3000:]}")
            gather(told, seen)
            shutil.rmtree(told)


def gather(told: Path, seen: dict) -> None:
    """Add what one run of a part of the suite told."""
    tests = json.loads((told / "tests.json").read_text())
    for name in tests["failed"]:
        print(f"fails without any fault, and is left out: {name}", flush=True)
    good = {name: needs for name, needs in tests["needs"].items() if name not in tests["failed"]}
    seen["tests"] |= {name: (tests["seconds"][name], needs) for name, needs in good.items()}
    seen["fixtures"] |= {name: took for name, took in tests["seconds"].items() if name.startswith("fixture ")}
    for path in told.glob("*.lines"):
        for row in path.read_text().splitlines():
            number, rest = row.split(" ", 1)
            file, line = rest.rsplit(" ", 1)
            if int(number):
                who = seen["lines"].setdefault(file, {}).setdefault(line, {})
                who[tests["names"][int(number)]] = 1


def drawn(root: Path, files: list[str], asked: argparse.Namespace) -> list[Fault]:
    """As many of each kind, in an order by chance, so that any beginning of it is a fair sample."""
    kinds = defaultdict(list)
    for file in files:
        for fault in faults(file, (root / file).read_bytes()):
            kinds[fault.kind].append(fault)
    if asked.only:
        return [fault for some in kinds.values() for fault in some if asked.only in str(fault)]
    rng = random.Random(asked.seed)
    lists = [rng.sample(some, len(some)) for _, some in sorted(kinds.items())]
    turns = (some[n] for n in range(max(map(len, lists), default=0)) for some in lists if n < len(some))
    return list(islice(turns, asked.count))


def changed(root: Path, base: str) -> set[str]:
    done = subprocess.run(["git", "diff", "--name-only", base], cwd=root, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines())


def others(texts: list[str], own: list[str]) -> list[str]:
    """The modules that sources import at their heads, their own aside."""
    found = {name for text in texts for name in re.findall(r"^(?:import|from) ([\w.]+)", text, re.MULTILINE)}
    return sorted(name for name in found if name.split(".")[0] not in own)


def show(count: Counter) -> None:
    """How many faults of each kind there were, and what became of them."""
    print(f"\n{'kind':20}{'faults':>8}{'survived':>10}{'timeout':>9}")
    for kind in (*sorted({kind for kind, _ in count}), ""):
        some = [sum(n for (k, h), n in count.items() if kind in ("", k) and how in ("", h)) for how in HOW]
        print(f"{kind or 'all':20}{some[0]:8}{some[1]:10}{some[2]:9}")


def main(argv: list[str] | None = None) -> list[Fault]:
    asked, begun = parse(argv), time.monotonic()
    place = Workplace(asked.root, asked.packages, asked.jobs)
    files = place.sources()
    of = [f for f in files if not asked.changed or f in changed(asked.root, asked.changed)]
    chooser = Chooser(asked.root, files, place.seen())
    print(f"{len(chooser.tests):,} tests; lines known after {time.monotonic() - begun:,.0f} s", flush=True)
    begun, free = time.monotonic(), SimpleQueue()
    known = others([*chooser.text.values()], place.packages)
    workers = [place.start(copy, "-m", "mutants_worker", *known) for copy in place.copies]
    for worker in workers:
        free.put(worker)
    count, survivors = Counter(), []

    def attempt(fault: Fault) -> None:
        if time.monotonic() - begun > 60 * asked.minutes:
            return
        tests, left = chooser.in_order(fault, asked.budget)
        source = fault.put_into((asked.root / fault.file).read_bytes()).decode()
        job = {"file": fault.file, "source": source, "tests": tests, "grace": asked.grace}
        job["compiled"] = bool(re.search(r"\bn?jit\b", source))
        how, last, ran = ["survived", "", 0]
        if tests:
            worker = free.get()
            try:
                worker.stdin.write(json.dumps(job) + "\n")
                worker.stdin.flush()
                how, last, ran = json.loads(worker.stdout.readline())
            finally:
                free.put(worker)
        count[fault.kind, how] += 1
        by = f"{ran} tests, {left} more left out" if tests else "no test runs it"
        told = f"{fault}  [{f'{how} by {last}' if how != 'survived' else by}]\n"
        with open(place.folder / "told.txt", "a", encoding="utf-8") as log:
            log.write(told)
        if how == "survived":
            survivors.append(fault)
        if how == "survived" or asked.only:
            print(told, end="", flush=True)

    with ThreadPoolExecutor(asked.jobs) as pool:
        list(pool.map(attempt, drawn(asked.root, of, asked)))
    for worker in workers:
        worker.communicate()
    show(count)
    print(f"{time.monotonic() - begun:,.0f} s")
    return survivors


if __name__ == "__main__":
    main()
