"""The version of a stage's code, for the addresses of its results."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Self

from configs.installed import PREFIX

PROJECT = Path(__file__).parents[2]
KINDS = "*.py", "*.cu"
BODIES = "body", "orelse", "finalbody", "handlers", "cases"  # fields of a statement that hold statements


class Digest(str):
    """Hex digits that an address counts.

    Attributes:
        parts: name -> digest of each part that they were made from. Addresses do not count it.
    """

    parts: Mapping[str, str]

    def __new__(cls, digest: str, parts: Mapping[str, str]) -> Self:
        made = super().__new__(cls, digest)
        made.parts = dict(parts)
        return made

    def __reduce__(self) -> tuple[type[Self], tuple[str, Mapping[str, str]]]:  # addresses are sent to worker processes
        return type(self), (str(self), self.parts)


class CodeVersion(Digest):
    """The version of some files, with one digest per file. Manifests store them, so a changed file can be named."""


@cache
def code_version(*folders_or_files: Path) -> CodeVersion:
    """12 hex digits of the parsed source of these files and packages. Comments and docstrings do not count.

    The source is read once per process: later edits do not change the running code.
    """
    digest, files = hashlib.sha256(), {}
    for root in folders_or_files:
        for path in sorted(p for kind in KINDS for p in root.rglob(kind)) if root.is_dir() else [root]:
            source = _source(path).encode()
            digest.update(path.relative_to(root.parent).as_posix().encode())
            digest.update(source)
            files[_place(path, root)] = hashlib.sha256(source).hexdigest()[:12]
    return CodeVersion(digest.hexdigest()[:12], files)


def code_files(request: object) -> dict[str, str]:
    """The files behind every code version in a request, with their digests."""
    if isinstance(request, CodeVersion):
        return dict(request.parts)
    if isinstance(request, Mapping):
        return {file: digest for value in request.values() for file, digest in code_files(value).items()}
    return {}


def _place(path: Path, root: Path) -> str:
    """Path in the project, such as models/training/train.py; outside the project, path below the given folder."""
    return path.relative_to(PROJECT if path.is_relative_to(PROJECT) else root.parent).as_posix()


@cache
def _source(path: Path) -> str:
    """A file's code without comments and docstrings; the same in a clone and as installed.

    Cached: several versions count the same file.
    """
    text = path.read_text(encoding="utf-8").replace(PREFIX, "")
    if path.suffix == ".py":
        return ast.dump(_without_docstrings(ast.parse(text)))
    lines = (line.partition("//")[0].rstrip() for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    left: list[ast.AST] = [tree]
    while left:  # statements only: expressions have no docstrings
        node = left.pop()
        body: list[ast.stmt] = getattr(node, "body", [])
        if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            node.body = body[1:]  # type: ignore[attr-defined]
        for field in BODIES:
            left += getattr(node, field, ())
    return tree
