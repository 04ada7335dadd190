"""The wheel: it holds the project under one name and nothing else, and runs where the clone is not."""

import ast
import re
import shlex
import subprocess
import sys
import tomllib
import zipfile

import pytest
from setuptools import Distribution

from setup import RenamedModules, renamed
from submit import make
from tests.test_layers import LAYERS, ROOT, imports

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAME = "reid_ensemble"
INFO = f"{NAME}-{PROJECT['version']}.dist-info"
TOP = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
EXTRAS = {
    "cupy",
    "dask",
    "distributed",
    "jinja2",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "tensorboard",
}  # what only extras bring
BLOCKED = f"import sys\nsys.modules |= dict.fromkeys({sorted(EXTRAS)}, None)\n"


def files():
    """Every file of the layers: place -> contents."""
    found = (path for layer in LAYERS for path in (ROOT / layer).rglob("*") if path.is_file())
    return {p.relative_to(ROOT).as_posix(): p.read_bytes() for p in found if "__pycache__" not in p.parts}


def pip(*argv):
    argv = [sys.executable, "-m", "pip", argv[0], "-q", "--no-deps", "--no-index", *map(str, argv[1:])]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A source distribution of a copy, and the wheel that is built of that: needs no network."""
    folder = tmp_path_factory.mktemp("package")
    for place, content in files().items() | {(name, (ROOT / name).read_bytes()) for name in TOP}:
        (folder / "clone" / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / "clone" / place).write_bytes(content)
    code = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", code, folder], cwd=folder / "clone", capture_output=True, timeout=300, check=True
    )
    (source,) = folder.glob("*.tar.gz")
    pip("wheel", "--no-build-isolation", "--wheel-dir", folder / "dist", source)
    (made,) = (folder / "dist").iterdir()
    return made


@pytest.fixture(scope="module")
def packed(wheel):
    """Place in the wheel -> contents."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder, and what types in a command there: the wheel is installed, no extra is there, nor is the clone.

    Kernels run as the Python that they are: the wheel's are the clone's, and compiling them takes 20 seconds.
    """
    site, elsewhere, blocked = (tmp_path_factory.mktemp(name) for name in ("site", "elsewhere", "blocked"))
    pip("install", "--no-compile", "--target", site, wheel)
    (blocked / "sitecustomize.py").write_text(BLOCKED)
    env = {"PYTHONPATH": f"{blocked}:{site}", "OMP_NUM_THREADS": "1", "NUMBA_DISABLE_JIT": "1", "PATH": "/usr/bin:/bin"}

    def typed(*words):
        argv = [sys.executable, *([] if words[0] == "python" else [site / "bin" / words[0]]), *words[1:]]
        return subprocess.run(argv, cwd=elsewhere, env=env, capture_output=True, text=True, timeout=300, check=False)

    return elsewhere, typed


# ---------------------------------------------------------------------------------------------------- what is packed


def test_everything_lies_under_one_name(wheel, packed):
    """Modules and what they read; no tests."""
    assert wheel.name == f"{NAME}-{PROJECT['version']}-py3-none-any.whl"
    want = {f"{NAME}/{place}" for place in files()} | {f"{NAME}/__init__.py", f"{NAME}/py.typed"}
    assert {name for name in packed if not name.startswith(f"{INFO}/")} == want
    assert packed[f"{INFO}/top_level.txt"].split() == [NAME.encode()]


def test_the_licence_and_the_commands(packed):
    said = packed[f"{INFO}/METADATA"].decode()
    assert "\nLicense-Expression: Apache-2.0\n" in said and "\nRequires-Dist: cupy-cuda13x; extra" in said
    assert b"Apache License\n                           Version 2.0" in packed[f"{INFO}/licenses/LICENSE"]
    commands = dict(re.findall(r"^(\S+) = (\S+)$", packed[f"{INFO}/entry_points.txt"].decode(), re.M))
    assert commands == {"reid-build": f"{NAME}.ensemble.build:script", "reid-submit": f"{NAME}.submit.make:script"}


def test_nothing_of_a_file_is_changed_but_the_name(packed):
    for place, content in files().items():
        assert packed[f"{NAME}/{place}"].replace(f"{NAME}.".encode(), b"") == content, place


def test_every_import_and_every_command_has_the_name(packed):
    trees = {name: ast.parse(content) for name, content in packed.items() if name.endswith(".py")}
    assert {module.split(".")[0] for tree in trees.values() for _, module in imports(tree)} >= {NAME, "torch"}
    for name, tree in trees.items():
        assert not [module for _, module in imports(tree) if module.split(".")[0] in LAYERS], name
        texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        assert not [t for t in texts if re.search(rf"-m\s+({'|'.join(LAYERS)})\b", t)], name


# ---------------------------------------------------------------------------------------------------------- renaming


@pytest.mark.parametrize(
    ("source", "want"),
    [
        ("from configs import load", "from reid_ensemble.configs import load"),
        ("import models.net as net", "import reid_ensemble.models.net as net"),
        ("import os, models.net as net, submit as s", None),
        ("é = 1; from submit.make import main; from ensemble import rerank", None),
        ("if x:\n    from ensemble.tune import (\n        table,\n    )\n", None),
        ("'type python -m submit.make'", "'type python -m reid_ensemble.submit.make'"),
    ],
)
def test_a_module_is_renamed(source, want):
    got = renamed(source.encode()).decode()
    assert want in (None, got)
    assert got.replace(f"{NAME}.", "") == source and not {m.split(".")[0] for _, m in imports(ast.parse(got))} & {
        *LAYERS
    }


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    yield from ensemble.banks",
        "raise ValueError('--set ensemble.lam=0.5') from models.error",
        "from __future__ import annotations",
        "import modelscope, configs_of_mine",
        "from .models import net",
        "f'{ensemble.rerank} of {a -m}'",
    ],
)
def test_what_is_no_module_of_the_project_stands(source):
    assert renamed(source.encode()).decode() == source


@pytest.mark.parametrize("source", ["x = 1\nimport models.net", "x = 1\nfrom \\\n  models import net"])
def test_what_cannot_be_renamed_is_refused(source):
    with pytest.raises(ValueError, match=r"^line 2: .*(needs `as`|right after `from`)"):
        renamed(source.encode())


def test_an_editable_one_is_refused():
    command = RenamedModules(Distribution())
    command.finalize_options()
    command.editable_mode = True
    with pytest.raises(SystemExit, match="a clone runs as it is"):
        command.run()


# ------------------------------------------------------------------------------------------------------------- it runs


def test_a_build_elsewhere_is_the_clones_build(installed, tiny_build, tmp_path):
    """The same addresses, the same submission, and the command that is printed works as printed."""
    folder, typed = installed
    built = typed("reid-build", *(w if w != str(tiny_build.runs) else "my runs" for w in tiny_build.argv))
    assert built.returncode == 0, built.stderr
    made = {p.parent.relative_to(folder / "my runs").as_posix() for p in folder.glob("my runs/*/*/manifest.json")}
    assert {key for key in made ^ tiny_build.made if not key.startswith("builds/")} == set()
    line = built.stderr.splitlines()[-1].partition("next: ")[2]
    assert line == f"python -m {NAME}.submit.make --runs 'my runs'"
    handed = typed(*shlex.split(line))
    assert handed.returncode == 0, handed.stderr
    make.main(["--runs", str(tiny_build.runs), "--out", str(tmp_path)])
    out = folder / handed.stdout.splitlines()[-1]
    assert (out / "submission.json").read_bytes() == (tmp_path / "submission.json").read_bytes()


def test_mistakes_are_one_sentence_of_the_installed(installed):
    """By the command `reid-submit`, and where an extra is missing."""
    _, typed = installed
    for words, want in (
        (
            ["reid-submit", "--runs", "none"],
            f"none: no such folder. Run python -m {NAME}.ensemble.build first, or name ",
        ),
        (
            ["python", "-m", f"{NAME}.submit.report"],
            'jinja2 and matplotlib are not installed; run pip install "reid-ensemble[report]"',
        ),
    ):
        done = typed(*words)
        assert done.returncode == 2 and done.stderr.startswith(f"error: {want}"), done.stderr


# -------------------------------------------------------------------------------------------------------- dependencies


def plain(requirement):
    """The name of what is required, as it is compared."""
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")


def test_the_pinned_set_is_of_these_dependencies():
    """All extras but cuda12, which cannot lie beside cuda13; the command at its head says so."""
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+) \\$", text, re.M))
    extras = PROJECT["optional-dependencies"]
    assert set(re.findall(r"--extra (\w+)", text)) == set(extras) - {"cuda12"}
    wanted = [*PROJECT["dependencies"], *(r for name, rs in extras.items() if name != "cuda12" for r in rs)]
    assert {plain(r) for r in wanted} <= set(pinned)
    assert not {plain(r) for r in PROJECT["dependencies"]} & EXTRAS
    assert int(pinned["setuptools"].split(".")[0]) >= 77  # which pyproject.toml asks for, to build
