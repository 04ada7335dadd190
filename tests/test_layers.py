"""The house's one direction, and what may be named where: read off the source, nothing imported."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ("configs", "models", "ensemble", "submit")  # each may import those before it
FILES = [p for layer in LAYERS for p in sorted((ROOT / layer).rglob("*.py"))]
NAMES = [p.relative_to(ROOT).as_posix() for p in FILES]
TREES = {name: ast.parse(path.read_text(encoding="utf-8"), name) for name, path in zip(NAMES, FILES, strict=True)}


def imports(tree):
    """Every module that a file imports, wherever in it; relative ones would not be seen, and are not allowed."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(tree):
    """(dotted name of what is called, the call)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def roots(name):
    return {module.split(".")[0] for module in imports(TREES[name])}


def keyword(call, name):
    return next((k.value for k in call.keywords if k.arg == name), None)


def test_there_is_something_to_read():
    assert {name.split("/")[0] for name in NAMES} == set(LAYERS) and len(NAMES) > 60


@pytest.mark.parametrize("name", NAMES)
def test_one_direction(name):
    layer = LAYERS.index(name.split("/")[0])
    assert roots(name) & set(LAYERS[layer + 1 :]) == set()
    assert "tests" not in roots(name)


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("models/")])
def test_only_models_opens_torch(name):
    """The ensemble's own files do not import it, and a configuration needs none of it."""
    assert roots(name) & {"torch", "torchvision", "timm"} == set()


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith(("ensemble/", "submit/"))])
def test_the_ensemble_opens_no_image(name):
    assert "PIL" not in roots(name)


PARTS = ("models/data/", "models/losses/", "models/heads/", "models/backbones/")


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith(PARTS) and not n.endswith("__main__.py")])
def test_a_part_knows_nothing_of_the_registry_that_names_it_nor_of_training(name):
    assert {"models.train", "models.extract", "models.registry"} & set(imports(TREES[name])) == set()


@pytest.mark.parametrize("package", ["cupy", "numba"])
def test_accelerators_are_named_in_one_place(package):
    """One file, or one folder of kernels that are its halves; everything else asks that."""
    naming = [name for name in NAMES if package in roots(name)]
    assert naming and all(name.startswith("ensemble/kernels/") for name in naming)


def test_there_is_no_drawer_for_everything():
    drawers = {"utils.py", "util.py", "helpers.py", "common.py", "misc.py"}
    assert [name for name in NAMES if name.split("/")[-1] in drawers] == []


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_unpickled_evaluated_or_handed_to_a_shell(name):
    assert roots(name) & {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal"} == set()
    for called, call in calls(TREES[name]):
        where = f"{name}, line {call.lineno}: {called}"
        last = called.split(".")[-1]
        assert called not in {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}, where
        assert not (isinstance(shell := keyword(call, "shell"), ast.Constant) and shell.value), where
        assert keyword(call, "allow_pickle") is None or keyword(call, "allow_pickle").value is False, where
        if called == "torch.load":
            only = keyword(call, "weights_only")
            assert isinstance(only, ast.Constant) and only.value is True, where
        assert called != "torch.save", where
        if called.startswith("yaml.") and last in {"load", "load_all", "full_load", "unsafe_load"}:
            assert last == "load" and name == "configs/load.py", where
            assert ast.unparse(keyword(call, "Loader")) == "_Yaml", where


def test_the_one_yaml_loader_is_a_safe_one():
    loader = next(n for n in ast.walk(TREES["configs/load.py"]) if isinstance(n, ast.ClassDef) and n.name == "_Yaml")
    assert [ast.unparse(base) for base in loader.bases] == ["yaml.SafeLoader"]


@pytest.mark.parametrize("name", NAMES)
def test_no_star_no_mutable_default_no_bare_except(name):
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.ImportFrom):
            assert all(alias.name != "*" for alias in node.names), f"{name}, line {node.lineno}"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{name}, line {node.lineno}: a bare except"
            silent = all(isinstance(x, ast.Pass) for x in node.body) and ast.unparse(node.type) == "Exception"
            assert not silent, f"{name}, line {node.lineno}: every error passed over"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
                assert not isinstance(default, ast.List | ast.Dict | ast.Set), f"{name}, line {default.lineno}"


@pytest.mark.parametrize("name", [n for n in NAMES if not n.endswith("__init__.py")])
def test_files_are_of_a_size_to_read(name):
    """Past 400 lines, look for the second idea. And every file says in its first line what it is."""
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= 400
    assert ast.get_docstring(TREES[name])


@pytest.mark.parametrize("name", NAMES)
def test_functions_are_of_a_size_to_read(name):
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.FunctionDef):
            said = node.body[0].end_lineno - node.body[0].lineno + 1 if ast.get_docstring(node) else 0
            assert node.end_lineno - node.lineno + 1 - said <= 60, f"{name}: {node.name}"
