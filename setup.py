"""The wheel: all of the project under one name, `reid_ensemble`. What else there is to say of it is in pyproject.toml.

A module is `ensemble.build` in a clone and `reid_ensemble.ensemble.build` as installed: while modules are copied, the
one name is put before the project's own in their imports, and in the commands that they print.
"""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

NAME = "reid_ensemble"
LAYERS = ("configs", "models", "ensemble", "submit")
DATA = ("yaml", "cu", "html", "css", "js")
COMMAND = re.compile(rf"(?<=-m )(?=(?:{'|'.join(LAYERS)})\.)".encode())


def renamed(source: bytes) -> bytes:
    """A module of the clone as it is installed: nothing of it is changed, the name is put in.

    Raises:
        ValueError: an import that cannot be renamed so.
    """
    lines, places = source.splitlines(keepends=True), []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and not node.level and ours(str(node.module)):
            begin = re.compile(rb"from +(?=\w)").match(lines[node.lineno - 1], node.col_offset)
            if begin is None:
                raise ValueError(f"line {node.lineno}: wanted the module's name right after `from`")
            places.append((node.lineno - 1, begin.end()))
        for alias in node.names if isinstance(node, ast.Import) else ():
            if ours(alias.name) and not alias.asname:
                raise ValueError(
                    f"line {alias.lineno}: `import {alias.name}` needs `as`: another name will be installed"
                )
            if ours(alias.name):
                places.append((alias.lineno - 1, alias.col_offset))
    for line, at in sorted(places, reverse=True):
        lines[line] = lines[line][:at] + f"{NAME}.".encode() + lines[line][at:]
    return COMMAND.sub(f"{NAME}.".encode(), b"".join(lines))


def ours(module: str) -> bool:
    """Whether a module is of this project."""
    return module.split(".")[0] in LAYERS


class RenamedModules(build_py):
    """Copies every module as `renamed` gives it, into an empty folder: nothing of an earlier build is packed."""

    def run(self) -> None:
        """Everything that the wheel holds."""
        if self.editable_mode:
            raise SystemExit(
                "pip install -e: not here, since modules are renamed as they are packed; a clone runs as it is"
            )
        folder = Path(self.build_lib, NAME)
        shutil.rmtree(folder, ignore_errors=True)
        super().run()
        (folder / "__init__.py").write_text('"""Re-identification ensembles."""\n', encoding="utf-8")
        (folder / "py.typed").touch()

    def build_module(self, module: str, module_file: str, package: str) -> tuple[str, bool]:
        """One module."""
        made: tuple[str, bool] = super().build_module(module, module_file, package)
        try:
            Path(made[0]).write_bytes(renamed(Path(module_file).read_bytes()))
        except ValueError as e:
            raise SystemExit(f"{module_file}, {e}") from e
        return made


if __name__ == "__main__":
    setup(
        packages=[
            f"{NAME}.{package}"
            for layer in LAYERS
            for package in (layer, *(f"{layer}.{p}" for p in find_packages(layer)))
        ],
        package_dir={f"{NAME}.{layer}": layer for layer in LAYERS},
        package_data={"": [f"**/*.{kind}" for kind in DATA]},
        cmdclass={"build_py": RenamedModules},
    )
