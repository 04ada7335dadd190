"""The ablation: every part is a plan that differs from the baseline, and a killed one goes on."""

import json

import pytest

from models.data.drawn import draw_people
from models.registry import check
from tests.benchmarks import ablation
from tests.benchmarks.parts import LONGER, PARTS

SAME = {"baseline", LONGER, "untrained"}


@pytest.mark.parametrize("part", PARTS)
def test_every_part_can_be_built_and_is_no_baseline(part):
    plan = ablation.plan_of("drawn", part, 0, [])
    check(plan.members[0], plan.recipe)
    base = ablation.plan_of("drawn", "baseline", 0, [])
    assert (plan == base) == (part == "baseline")
    if part not in SAME:
        assert plan.recipe.epochs == base.recipe.epochs and plan.recipe.optimizer == base.recipe.optimizer


def test_a_run_is_kept_and_not_made_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ablation, "DRAWN_IDS", 20)
    draw_people(tmp_path / "drawn-people", ids=20, level="hard", size=(64, 32), n_jobs=1)
    small = ["--set", "recipe.epochs=1", "--set", "recipe.images_per_identity=2"]
    argv = ["--seeds", "1", "--parts", "baseline", "--out", str(tmp_path), *small, "--device", "cpu"]
    ablation.main(argv)
    first = capsys.readouterr().out
    line = json.loads((tmp_path / "runs.jsonl").read_text())
    assert line["part"] == "baseline" and 0 <= line["map"] <= 1 and line["images"] % 16 == 0
    with open(tmp_path / "runs.jsonl", "a", encoding="utf-8") as f:
        f.write('{"key": "torn')
    monkeypatch.setattr(ablation, "measure", lambda *_: pytest.fail("it was there"))
    ablation.main(argv)
    assert capsys.readouterr().out == first
