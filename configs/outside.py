"""Members from outside: which words of `--members` name files of features or distances, and what they are called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from configs.errors import ConfigError
from configs.schema import NAME, Outside

SUFFIXES = (".npz", ".safetensors", ".mat", ".npy")
PICKLED = (".pt", ".pth", ".pkl", ".pickle", ".joblib", ".bin")


def part_members(words: Sequence[str]) -> tuple[list[str], tuple[Outside, ...]]:
    """The words that name members of configs/members.yaml, and the files among them.

    A word is a file where it is written `NAME=PATH`, has a folder in it, or ends as one of `SUFFIXES`; without a name
    of its own it is called by its stem.

    Raises:
        ConfigError: a file that is not there, a name that cannot be one, or a name given twice.
    """
    inside: list[str] = []
    outside: list[Outside] = []
    for word in words:
        name, equals, path = word.partition("=")
        if not equals and not _is_file(word):
            inside.append(word)
            continue
        outside.append(_outside(name if equals else Path(word).name.removesuffix(Path(word).suffix), path or word))
    names = [*inside, *(o.name for o in outside)]
    twice = next((o for o in outside if names.count(o.name) > 1), None)
    if twice is not None:
        raise ConfigError(f"member {twice.name!r} is named twice; call one otherwise: --members OTHER={twice.file}")
    return inside, tuple(outside)


def _is_file(word: str) -> bool:
    return "/" in word or "\\" in word or word.lower().endswith(SUFFIXES + PICKLED)


def _outside(name: str, file: str) -> Outside:
    path = Path(file)
    if path.suffix.lower() in PICKLED:
        raise ConfigError(
            f"{file}: pickles are not read (they can run code). Write its features with ensemble.outside.save, or as "
            "np.savez('member.npz', names=names, feats=feats)"
        )
    if not path.exists():
        raise ConfigError(f"{file}: no such file; --members takes names of configs/members.yaml and files of features")
    if not NAME.fullmatch(name):
        raise ConfigError(f"{file}: {name!r} cannot be a member's name; give it one: --members NAME={file}")
    return Outside(name=name, file=file)
