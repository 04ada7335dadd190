"""The version of a stage's code, for the address of what it makes."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path


@cache
def code_version(*folders_or_files: Path) -> str:
    """12 hex digits of the parsed source of these files and packages; comments and docstrings do not count.

    Read once a process: what runs was loaded then, whatever is edited since.
    """
    digest = hashlib.sha256()
    for root in folders_or_files:
        for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            digest.update(path.relative_to(root.parent).as_posix().encode())
            digest.update(ast.dump(_without_docstrings(ast.parse(path.read_text(encoding="utf-8")))).encode())
    return digest.hexdigest()[:12]


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body: Iterable[ast.stmt] = getattr(node, "body", ()) if not isinstance(node, ast.Lambda | ast.IfExp) else ()
        statements = list(body)
        if statements and isinstance(statements[0], ast.Expr) and isinstance(statements[0].value, ast.Constant):
            node.body = statements[1:]  # type: ignore[attr-defined]
    return tree
