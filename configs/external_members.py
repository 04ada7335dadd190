"""Parse `--members`: names of configs/members.yaml, timm models, and feature files made by other code."""

from __future__ import annotations

import csv
import io
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from configs.errors import ConfigError
from configs.installed import PREFIX
from configs.schema import AT, NAME, ExternalMember

SUFFIXES = (".npz", ".safetensors", ".mat", ".npy")
PICKLED = (".pt", ".pth", ".pkl", ".pickle", ".joblib", ".bin")
TIMM = "timm:"


def timm_members(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Replace `timm:MODEL` by member names.

    `NAME=timm:MODEL` is called NAME. `timm:MODEL` is called MODEL, with `_` for each dot, since `--set
    members.NAME.KEY` splits at dots. A seed moves to the name: `timm:MODEL@1` is called `MODEL@1`.

    Returns:
        The words, and member name -> timm model.

    Raises:
        ConfigError: no model is given, a name is not valid, or two models have one name.
    """
    names: list[str] = []
    models: dict[str, str] = {}
    for word in words:
        named, equals, model = word.rpartition("=") if f"={TIMM}" in word else ("", "", word)
        if not model.startswith(TIMM):
            names.append(word)
            continue
        model, at, seed = model.removeprefix(TIMM).partition(AT)
        name = named if equals else model.replace(".", "_")
        if not re.fullmatch(r"\w[\w-]*", name):
            raise ConfigError(
                f"--members {word}: {name!r} cannot be a member's name; wanted {TIMM}MODEL or NAME={TIMM}MODEL, with "
                f"letters, digits, '_' and '-' in NAME, such as {TIMM}convnext_atto"
            )
        if name + at + seed in names or models.get(name, model) != model:
            raise ConfigError(f"member {name!r} is named twice; call one otherwise: --members OTHER={TIMM}{model}")
        names.append(name + at + seed)
        models[name] = model
    return names, models


def split_members(words: Sequence[str]) -> tuple[list[str], tuple[ExternalMember, ...]]:
    """Split the words into members of configs/members.yaml and files.

    A word is a file if it is `NAME=PATH`, contains a slash, or ends with one of `SUFFIXES`. Without NAME, the member is
    called by the file's stem.

    Raises:
        ConfigError: a file does not exist, a name is not valid, or a name is given twice.
    """
    inside: list[str] = []
    outside: list[ExternalMember] = []
    for word in words:
        name, equals, path = word.partition("=")
        named = bool(equals) and "/" not in name and not os.path.exists(word)
        if not equals and not _is_file(word):
            inside.append(word)
            continue
        outside.append(_outside(name, path) if named else _outside(Path(word).stem, word))
    names = [*inside, *(o.name for o in outside)]
    twice = next((o for o in outside if names.count(o.name) > 1), None)
    if twice is not None:
        raise ConfigError(f"member {twice.name!r} is named twice; call one otherwise: {_named('OTHER', twice.file)}")
    return inside, tuple(outside)


def words_of(text: str) -> list[str]:
    """The words of `--members`, separated by commas. A word with commas is in double quotes, as in CSV."""
    try:
        words = next(csv.reader([text], skipinitialspace=True), [])
    except csv.Error as e:
        raise ConfigError(f"--members {text[:100]!r}: wanted names and files set off by commas ({e})") from e
    return [word.strip() for word in words if word.strip()]


def text_of(members: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> str:
    """Join words to a text that `words_of` can split. A text is returned unchanged.

    Raises:
        ConfigError: an item is neither a text nor a path.
    """
    if isinstance(members, str):
        return members
    words = list(members) if isinstance(members, Sequence) else [members]
    for word in words:
        if not isinstance(word, str | os.PathLike):
            raise ConfigError(f"members: {word!r} is of type {type(word).__name__}; wanted names and files")
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(words)
    return text.getvalue()


def _named(name: str, file: str) -> str:
    word = f"{name}={file}"
    return "--members " + shlex.quote(f'"{word}"' if "," in word else word)


def _is_file(word: str) -> bool:
    return "/" in word or "\\" in word or word.lower().endswith(SUFFIXES + PICKLED)


def _outside(name: str, file: str) -> ExternalMember:
    path = Path(file)
    if path.suffix.lower() in PICKLED:
        raise ConfigError(
            f"{file}: pickles are not read (they can run code). Write its features with "
            f"{PREFIX}ensemble.features.external.save, or as np.savez('member.npz', names=names, feats=feats)"
        )
    if not os.path.exists(path):
        raise ConfigError(f"{file}: no such file; --members takes names of configs/members.yaml and files of features")
    if not os.path.isfile(path) and not os.path.isdir(path):
        raise ConfigError(f"{file}: no plain file, and no folder; a pipe or a device may never come to an end")
    if not NAME.fullmatch(name):
        raise ConfigError(f"{file}: {name!r} cannot be a member's name; give it one: {_named('NAME', file)}")
    return ExternalMember(name=name, file=file)
