"""What somebody gets wrong in a recipe ends, on the command line, in one sentence that says what to change."""

import sys

import pytest
import torch

from configs.console.command import run
from ensemble import build, carry_out, worth
from ensemble.kernels import device
from ensemble.pseudo.__main__ import main as group
from ensemble.tune.__main__ import main as tune
from submit import make
from submit.report.__main__ import main as report
from tests.conftest import TINY


def sentence(capsys, command, argv):
    """The last line on stderr, of a command that leaves with status 2 and no traceback."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        run(lambda: command([str(a) for a in argv]))
    err = capsys.readouterr().err
    assert left.value.code == 2 and "Traceback" not in err, err
    return err.splitlines()[-1]


PATCH = "recipe.augment=[{name: random_patch, area: [0.9, 1], aspect: [8, 10]}]"
ERASE = "recipe.augment=[{name: erase, area: [0.9, 1], aspect: [3, 3.3]}]"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("members.a.head=mgm", "unknown head 'mgm'; models/registry.py has: global, mgn, mgn_grid, rmgl, token"),
        (
            "recipe.losses={hinge: {}}",
            "unknown loss 'hinge'; models/registry.py has: "
            "id, focal, arcface, cosface, triplet, circle, supcon, center",
        ),
        (
            ["recipe.size=[32,32]", "members.a.head=mgn"],
            "member 'a' cannot take images of [32, 32]: 3 stripes of a feature map of 2 rows: each needs at least one "
            "row. Raise the height in recipe.size (a resnet's map has one row per 16 pixels), or use fewer stripes",
        ),
        (
            ["recipe.size=[64,48]", "members.a.head=mgn_grid"],
            "member 'a' cannot take images of [64, 48]: a 2x2 grid does not divide a feature map of 4x3; change "
            "recipe.size (a resnet's map has one row or column for 16 pixels)",
        ),
        (
            "members.a.head={name: rmgl, stripes: [3]}",
            "member 'a' cannot take images of [64, 32]: 3 stripes do not divide a feature map of 4 rows, which is cut "
            "before the branch's blocks; change recipe.size (a resnet's last map has one row for 16 pixels), or the "
            "number of stripes",
        ),
        (
            PATCH,
            "augmentation 'random_patch': no patch of area [0.9, 1] and aspect [8, 10] fits into 64x32 pixels; lower "
            "the area, or move the aspect towards 2",
        ),
        (
            ERASE,
            "augmentation 'erase': no rectangle of area [0.9, 1] and aspect [3, 3.3] fits into 64x32 pixels; lower the "
            "area, or move the aspect towards 2",
        ),
        (
            "recipe.augment=[{name: cutout, size: [1.5, 0.5]}]",
            "augmentation 'cutout': size [1.5, 0.5]: must be two shares, of the image's height and width, above 0 and "
            "at most 1",
        ),
        (
            "recipe.identities_per_batch=7",
            "identities_per_batch 7 is more than the 6 training identities; --set recipe.identities_per_batch=6 or "
            "less",
        ),
    ],
    ids=str,
)
def test_a_recipe_that_cannot_be(people, tmp_path, capsys, change, said):
    changes = [part for one in ([change] if isinstance(change, str) else change) for part in ("--set", one)]
    argv = ["--members", "a", "--data", people, "--out", tmp_path, *TINY, *changes, "--dry-run"]
    assert sentence(capsys, build.main, argv) == f"error: {said}"


@pytest.mark.parametrize(
    ("how", "begins", "ends"),
    [
        (
            ["--threshold", "1e-9"],
            "loop_search with threshold 1e-09 labels none of ",
            "use a larger --threshold (in a build --set ensemble.pseudo.threshold=...)",
        ),
        (
            ["--method", "dbscan", "--eps", "1e-3"],
            "dbscan with eps 0.001 labels none of ",
            "use a larger --eps or a smaller --least (in a build --set ensemble.pseudo.eps=...)",
        ),
    ],
)
def test_pseudo_labels_of_nobody(tiny_build, capsys, how, begins, ends):
    said = sentence(capsys, group, ["--runs", tiny_build.runs, *how])
    assert said.startswith(f"error: {begins}") and said.endswith(ends)


@pytest.mark.parametrize("command", [tune, worth.main, group, make.main, report])
def test_a_device_that_is_not_there(command, tmp_path, capsys, monkeypatch):
    """Before anything is opened: no build is there to be opened."""
    monkeypatch.setattr(device, "cuda_problem", lambda: "no card at all")
    want = "error: device 'cuda' cannot be used: no card at all; use 'cpu' or 'auto'"
    assert sentence(capsys, command, ["--runs", tmp_path / "none", "--device", "cuda"]) == want


@pytest.mark.parametrize(
    ("command", "argv", "module"),
    [
        (report, ["--runs", "none"], "matplotlib"),
        (build.main, ["--log", "tensorboard", "--layout", "drawn"], "tensorboard"),
    ],
)
def test_an_extra_that_is_not_there(command, argv, module, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    want = f'error: {module} is not installed; run pip install ".[report]"'
    assert sentence(capsys, command, argv) == want


def test_a_card_without_cupy_is_said_before_training(people, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr(carry_out, "choose_device", lambda asked: (torch.device("cuda"), "H100"))
    monkeypatch.setattr(carry_out, "cuda_problem", device.cuda_problem.__wrapped__)
    want = 'error: the retrieval cannot use H100: CuPy is not installed (pip install ".[cuda13]", or cuda12 '
    argv = ["--members", "a", "--data", people, "--runs", tmp_path / "runs", *TINY]
    assert sentence(capsys, build.main, argv).startswith(want) and not (tmp_path / "runs").exists()
