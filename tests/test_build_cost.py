"""What a build will need, in words and sums, and the refusal where the disk cannot hold it."""

import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from configs.errors import ResultError
from configs.store.store import Address, Store
from ensemble.planning import build_cost as module
from ensemble.planning.build_cost import (
    BuildCost,
    ResultCost,
    check_room,
    estimate_build_cost,
    format_bytes,
    with_timed_steps,
)
from ensemble.planning.planned_results import PlannedResult
from models import step_time
from models.model_cost import footprint
from tests import tiny
from tests.conftest import TINY, not_begun


def need(kind, disk, seconds=60.0, measured=True, kept=False):
    return ResultCost(PlannedResult(Address(kind, "x", {"disk": disk}), "r50", 10, kept), disk, seconds, measured, 10)


def test_what_is_kept_needs_nothing():
    needs = BuildCost(
        (need("members", 5_000_000), need("members", 7_000_000, kept=True), need("features", 2000)), 100, 0
    )
    assert needs.disk == 5_002_100 and needs.seconds == 120
    assert str(needs) == "disk: 5 MB (members 5 MB, features 2 KB, while it runs 100 B)\ntime: some 2 min 00 s"
    assert str(BuildCost((need("members", 1, kept=True),), 100, 5)) == "nothing to make"


def test_time_is_not_guessed():
    needs = BuildCost((need("members", 5, measured=False), need("features", 5)), 0, 2_000_000_000)
    assert needs.seconds is None and "time: not known yet" in str(needs)
    assert "memory: some 2 GB; this machine has " in str(needs)


def test_a_build_that_the_disk_cannot_hold_is_refused(tmp_path, monkeypatch):
    store, needs = Store(tmp_path, lambda text: None), BuildCost((need("members", 5_000_000),), 1_000_000, 0)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage._replace(free=6_000_000))
    check_room(store, needs)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage._replace(free=5_999_999))
    with pytest.raises(ResultError, match="needs 6 MB on the disk and 6 MB are free"):
        check_room(store, needs)


@pytest.mark.parametrize(
    ("parallel", "apart", "seconds", "words"),
    [
        (1, 1, 100 + 20 + 60 + 10 + 30 + 7, "time: some 3 min 47 s"),
        (2, 2, 120 + 7, "time: some 2 min 07 s"),  # r50 on one, the other two on the other
        (3, 2, 120 + 7, "time: some 2 min 07 s, if members on one device took turns; what sharing it gains is not"),
        (2, 1, 227, "time: some 3 min 47 s, if members on one device took turns"),
    ],
)
def test_time_of_members_side_by_side(parallel, apart, seconds, words):
    """Each member's training and features follow each other; the ranking waits for all of them."""
    loads = {"r50": (100, 20), "ibn_a": (60, 10), "ibn_b": (30, 0)}
    needs = [
        ResultCost(PlannedResult(Address(kind, row, {}), row, 10, False), 1, took, True, 10)
        for row, both in loads.items()
        for kind, took in zip(("members", "features"), both, strict=True)
    ]
    needs.append(ResultCost(PlannedResult(Address("rankings", "test", {}), "test", 10, False), 1, 7, True, 10))
    total = BuildCost(tuple(needs), 0, 0, "cuda", parallel, apart)
    assert total.seconds == seconds and str(total).splitlines()[-1].startswith(words)
    assert ("not forecast" in str(total)) == (parallel > apart)


@pytest.fixture(scope="module")
def planned(people, tmp_path_factory):
    """The context and the plan of a build of two members of other sizes, that was not begun; and what each costs."""
    runs = tmp_path_factory.mktemp("planned") / "runs"
    context, plan = not_begun("--members", "a,b", "--data", people, "--out", runs, *TINY, "--set", WIDE)
    return (
        context,
        plan,
        {m.name: footprint(m, context.config.recipe, len(plan.training.pids)) for m in context.config.members},
    )


WIDE = "members.b={backbone: {name: resnet, width_per_group: 64}}"


@pytest.mark.parametrize(
    ("device", "parallel", "cards", "at_once", "processes"),
    [
        ("cpu", 1, (), "b", 1),
        ("cpu", 2, (), "ab", 3),  # and the main process
        ("cpu", 5, (), "ab", 3),
        ("cuda", 1, ("0",), "b", 1),
        ("cuda", 2, ("0",), "ab", 3),
        ("cuda", 2, ("0", "1"), "b", 2),
        ("cuda", 3, ("0", "1"), "ab", 3),
    ],
)
def test_memory_and_passing_disk_side_by_side(planned, monkeypatch, device, parallel, cards, at_once, processes):
    context, plan, prints = planned
    monkeypatch.setattr(module, "footprint", lambda member, *_: prints[member.name])
    needs = estimate_build_cost(replace(context, device=device, parallel=parallel, cards=cards), plan)
    kept = {name: 2 * one.checkpoint() for name, one in prints.items()}  # the old one and the new
    held = {
        name: one.memory(8, context.precision) + (kept[name] if device == "cpu" else 0) for name, one in prints.items()
    }
    each = module.PROCESS if device == "cpu" else module.CONTEXT
    assert needs.memory == sum(held[name] for name in at_once) + processes * each
    shards = {n.item.row: n.disk for n in needs.needs if n.item.kind == "features"}
    running = "ab"[2 - min(parallel, 2) :]
    assert needs.passing == sum(kept[name] + shards[name] for name in running)
    assert (needs.parallel, needs.apart) == (parallel, min(parallel, max(1, len(cards))))


def test_the_search_is_forecast_by_what_measures_it(planned, monkeypatch):
    context, plan, prints = planned
    asked = []

    def forecast(*args, **kwargs):
        asked.append((args, kwargs))
        return SimpleNamespace(seconds=7.0)

    monkeypatch.setattr(module, "estimate_search_cost", forecast)
    (near,) = (n for n in estimate_build_cost(context, plan).needs if n.item.kind == "neighbours")
    query, gallery = plan.tests["test"]
    (args, kwargs), dims = asked[0], [one.dim for one in prints.values()]
    assert near.seconds == 7.5 and len(asked) == 1 and args == (len(query), len(gallery), dims)
    assert kwargs["k"] == 64 and kwargs["device"] == "cpu"


def test_time_of_what_was_never_trained_is_that_of_one_step(planned, monkeypatch):
    """Each image costs what a step said, a third of it where it is extracted, which is done twice: it is mirrored."""
    context, plan, _ = planned
    before = estimate_build_cost(context, plan)
    assert before.seconds is None
    monkeypatch.setattr(step_time, "seconds_per_image", lambda member, *_, **__: {"a": 0.01, "b": 0.5}[member.name])
    needs = with_timed_steps(context, plan, before)
    for name, each in (("a", 0.01), ("b", 0.5)):
        took = {n.item.kind: n.seconds for n in needs.needs if n.item.row == name}
        images = {n.item.kind: n.images for n in needs.needs if n.item.row == name}
        assert took["members"] == pytest.approx(images["members"] * each)
        assert took["features"] == pytest.approx(images["features"] * 2 * each / 3)
    assert needs.seconds is not None and "an estimate from one step of each member" in str(needs)


def test_a_step_that_does_not_fit_leaves_the_time_unknown(planned, monkeypatch):
    context, plan, _ = planned
    monkeypatch.setattr(step_time, "seconds_per_image", lambda member, *_, **__: None if member.name == "a" else 1.0)
    needs = with_timed_steps(context, plan, estimate_build_cost(context, plan))
    assert needs.seconds is None and "not known yet" in str(needs)


def test_what_was_timed_is_not_timed_again(planned, monkeypatch):
    context, plan, _ = planned
    before = estimate_build_cost(context, plan)
    measured = replace(before, needs=tuple(replace(n, measured=True) for n in before.needs))
    monkeypatch.setattr(step_time, "seconds_per_image", lambda *_, **__: pytest.fail("timed"))
    assert with_timed_steps(context, plan, measured) == measured


def test_one_step_is_timed_and_leaves_no_trace(planned):
    context, _, _ = planned
    member, state = context.config.members[0], torch.random.get_rng_state()
    few, many = (
        step_time.seconds_per_image(member, context.config.recipe, 6, device="cpu", precision="float32", most=most)
        for most in (1, 64)
    )
    assert few > 0 and many > 0 and torch.equal(state, torch.random.get_rng_state())


SIZE = re.compile(r"(\w+) ([\d.]+) (B|KB|MB|GB)")
UNITS = {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}


def test_bytes_on_the_disk_are_as_forecast(tiny_build):
    """What the finished build's files take, a kind after another; `while it runs` has gone again."""
    (line,) = [x for x in tiny_build.err.splitlines() if x.startswith("disk: ")]
    told = {kind: float(n) * UNITS[unit] for kind, n, unit in SIZE.findall(line.partition("(")[2])}
    assert set(told) == {"images", "members", "features", "neighbours", "rankings", "runs"}
    del told["runs"]
    for kind, forecast in told.items():
        taken = sum(p.stat().st_size for p in (tiny_build.runs / kind).glob("*/*"))
        spare = 6000 * len(list((tiny_build.runs / kind).glob("*")))  # manifests are reckoned as the longest are
        assert 0.99 * taken <= forecast <= 1.02 * taken + spare, kind


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 KB"), (999_600, "1 MB"), (2.5e9, "2.5 GB"), (3e12, "3 TB")],
)
def test_amount(size, text):
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    ("changes", "writes"),
    [
        ({"checkpoint_minutes": 3}, True),
        ({"checkpoint_minutes": None, "checkpoint_every": 2}, True),
        ({"checkpoint_minutes": None, "checkpoint_every": 3}, False),
        ({"checkpoint_minutes": 3, "checkpoint_every": 3}, True),
    ],
)
def test_checkpoints_are_counted_where_a_training_of_two_epochs_writes_one(changes, writes):
    assert module._writes(tiny.recipe(epochs=2, **changes)) == writes
