"""The house's one direction, and what may be named where: read off the source, nothing imported. One test a rule."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ("configs", "models", "ensemble", "submit")  # each may import those before it
FILES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for layer in LAYERS
    for path in sorted((ROOT / layer).rglob("*.py"))
}
TREES = {name: ast.parse(source, name) for name, source in FILES.items()}
PARTS = ("models/data/", "models/losses/", "models/heads/", "models/backbones/")
ROOMS = {  # of ensemble/: room -> those that it may import, beside itself
    "kernels": (),
    "results": ("kernels",),
    "neighbours": ("kernels",),
    "metrics": ("neighbours", "kernels", "results"),
    "features": ("metrics", "neighbours", "results"),
    "rerank": ("neighbours", "kernels"),
    "fusion": ("rerank", "neighbours", "kernels", "results"),
    "pipeline": ("fusion", "rerank", "features", "neighbours", "results"),
    "planning": ("pipeline", "fusion", "neighbours", "results"),
    "tune": ("fusion", "rerank", "metrics", "features", "neighbours", "kernels", "results"),
    "clusters": ("tune", "fusion", "features", "metrics", "neighbours", "kernels", "results"),
    "pseudo": ("clusters", "planning", "pipeline", "features", "rerank", "neighbours", "kernels", "results"),
}
MOST_LINES, MOST_OF_A_FUNCTION = 400, 60


def imports(tree):
    """(line, module) that a file imports, wherever in it; a relative one begins with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield node.lineno, module
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def opens(name, tree, packages):
    """Where a file imports one of these packages."""
    for line, module in imports(tree):
        if module.split(".")[0] in packages:
            yield line, f"imports {module}"


def one_direction(name, tree):
    yield from opens(name, tree, {*LAYERS[LAYERS.index(name.split("/")[0]) + 1 :], "tests", ""})


def rooms_have_an_order(name, tree):
    """Of ensemble/, as ROOMS has it; commands, the files at its top, may open every room."""
    room = name.split("/")[1]
    if name.startswith("ensemble/") and room in ROOMS:
        for line, module in imports(tree):
            opened = module.split(".")[1:2]
            if module.startswith("ensemble.") and not {*opened} & {room, *ROOMS[room]}:
                yield line, f"imports {module}"


def only_models_opens_torch(name, tree):
    """The ensemble's own files do not import it, and a configuration needs none of it."""
    if not name.startswith("models/"):
        yield from opens(name, tree, {"torch", "torchvision", "timm"})


def the_ensemble_opens_no_image(name, tree):
    if name.startswith(("ensemble/", "submit/")):
        yield from opens(name, tree, {"PIL"})


def accelerators_are_named_in_one_folder(name, tree):
    if not name.startswith("ensemble/kernels/"):
        yield from opens(name, tree, {"cupy", "numba"})


def a_part_knows_nothing_of_the_registry_that_names_it_nor_of_training(name, tree):
    if name.startswith(PARTS) and not name.endswith("__main__.py"):
        for line, module in imports(tree):
            if module in {"models.training.train", "models.extraction.extract", "models.registry"}:
                yield line, f"imports {module}"


def there_is_no_drawer_for_everything(name, tree):
    if name.split("/")[-1] in {"utils.py", "util.py", "helpers.py", "common.py", "misc.py"}:
        yield 1, "is named after nothing that is in it"


def no_star_no_mutable_default_no_bare_except(name, tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            yield node.lineno, "imports *"
        if isinstance(node, ast.ExceptHandler):
            if node.type is None:
                yield node.lineno, "a bare except"
            elif ast.unparse(node.type) == "Exception" and all(isinstance(x, ast.Pass) for x in node.body):
                yield node.lineno, "every error passed over"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
                if isinstance(default, ast.List | ast.Dict | ast.Set):
                    yield default.lineno, "a default that can be changed"


def files_are_of_a_size_to_read(name, tree):
    length = max((node.end_lineno for node in tree.body), default=0)
    if length > MOST_LINES:
        yield length, f"more than {MOST_LINES} lines: look for the second idea"


def a_file_says_in_its_first_line_what_it_is(name, tree):
    if not name.endswith("__init__.py") and not ast.get_docstring(tree):
        yield 1, "says nothing of itself"


def functions_are_of_a_size_to_read(name, tree):
    """Without its docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            said = node.body[0].end_lineno - node.body[0].lineno + 1 if ast.get_docstring(node) else 0
            length = node.end_lineno - node.lineno + 1 - said
            if length > MOST_OF_A_FUNCTION:
                yield node.lineno, f"{node.name} has {length} lines, more than {MOST_OF_A_FUNCTION}"


RULES = {  # each with a file that breaks it, and where
    one_direction: ("models/x.py", "import numpy\nfrom ensemble import rank", 2),
    rooms_have_an_order: ("ensemble/rerank/x.py", "from ensemble import kernels\nfrom ensemble.fusion import a", 2),
    only_models_opens_torch: ("ensemble/x.py", "def f():\n    from torch.nn import functional", 2),
    the_ensemble_opens_no_image: ("submit/x.py", "import PIL.Image", 1),
    accelerators_are_named_in_one_folder: ("ensemble/x.py", "from numba import njit", 1),
    a_part_knows_nothing_of_the_registry_that_names_it_nor_of_training: (
        "models/heads/x.py",
        "from models import registry",
        1,
    ),
    there_is_no_drawer_for_everything: ("models/data/utils.py", "", 1),
    no_star_no_mutable_default_no_bare_except: ("configs/x.py", "def f(a, *, b={}): ...", 1),
    files_are_of_a_size_to_read: ("configs/x.py", "\n" * MOST_LINES + "X = 1", MOST_LINES + 1),
    a_file_says_in_its_first_line_what_it_is: ("configs/x.py", "X = 1", 1),
    functions_are_of_a_size_to_read: ("configs/x.py", "\ndef f():\n" + "    x = 1\n" * MOST_OF_A_FUNCTION, 2),
}


def test_there_is_something_to_read():
    assert {name.split("/")[0] for name in FILES} == set(LAYERS) and len(FILES) > 60
    assert {package for tree in TREES.values() for _, package in imports(tree)} >= {"torch", "cupy", "numba"}


def test_no_rooms_open_each_other():
    folders = {path.parent.name for path in (ROOT / "ensemble").glob("*/*.py")}
    assert folders == set(ROOMS)
    done = set()
    for room, opens_these in ROOMS.items():  # each after all that it opens
        assert done >= set(opens_these), room
        done.add(room)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_file_keeps(rule):
    assert [f"{name}:{line}: {what}" for name, tree in TREES.items() for line, what in rule(name, tree)] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_file_that_does_not_is_found(rule):
    name, source, line = RULES[rule]
    assert {found for found, _ in rule(name, ast.parse(source))} == {line}


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("from os import *", 1),
        ("try:\n    f()\nexcept:\n    g()", 3),
        ("try:\n    f()\nexcept Exception:\n    pass", 3),
        ("f = lambda a=[]: a", 1),
        ("from . import load", 1),
        ("import tests.features", 1),
    ],
)
def test_the_other_halves_of_a_rule_are_found_too(source, line):
    rules = (one_direction, no_star_no_mutable_default_no_bare_except)
    assert {found for rule in rules for found, _ in rule("configs/x.py", ast.parse(source))} == {line}
