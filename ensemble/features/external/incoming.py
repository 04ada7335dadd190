"""A member from outside in a build: matched before anything is trained, taken into the store once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from configs.schema import Outside
from configs.store.store import Address, Store
from ensemble.features.external.import_member import match, outside_address, save_outside
from ensemble.features.feature_bank import FEATS
from models.data.split import Benchmark, Split

Say = Callable[[str], None]
Tests = Mapping[str, tuple[Split, Split]]


@dataclass(frozen=True)
class Incoming:
    """One file, where its bank of each test lies, and the other lists of the data set that it may cover."""

    outside: Outside
    banks: dict[str, Address]
    others: tuple[Split, ...]

    @property
    def size(self) -> int:
        """Bytes of the file, or of a folder's: about those of a bank."""
        path = Path(self.outside.file)
        return sum(p.stat().st_size for p in (path.iterdir() if path.is_dir() else [path]))

    @property
    def distances(self) -> bool:
        """Whether it gives distances, and no features."""
        path = Path(self.outside.file)
        return path.is_dir() and not (path / FEATS).exists()

    def take_in(self, store: Store, tests: Tests, say: Say) -> None:
        """Keep its rows of each test, if they are not kept."""
        if all(store.has(address) for address in self.banks.values()):
            return
        matched = match(self.outside, tests, self.others)
        for test, address in self.banks.items():
            done: list[str] = []
            store.get(address, lambda folder, t=test, d=done: d.append(save_outside(folder, matched, t, *tests[t])))  # type: ignore[misc]
            say(f"{self.outside.name}, {test}: {done[0] if done else 'kept'}")


def receive(outside: Outside, tests: Tests, benchmark: Benchmark, store: Store, say: Say) -> Incoming:
    """Name where its banks lie; a file that is not taken in yet is matched now, so that a mistake costs no training.

    Raises:
        DataError: it cannot be read. MismatchedBanks: it is not of these images.
    """
    others = (*benchmark.lists().values(), *benchmark.whole.values())
    incoming = Incoming(
        outside, {test: outside_address(outside, test, *lists) for test, lists in tests.items()}, others
    )
    if not all(store.has(address) for address in incoming.banks.values()):
        say(match(outside, tests, others).said)
    return incoming
