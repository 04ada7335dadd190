"""`--budget`: the epochs that a time allows, against sums by hand; kept, found again, and refused."""

import argparse
import json
import math
import shutil
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest

import ensemble
from configs.console.command import seconds_of, time_text
from configs.errors import ConfigError
from configs.load import load_build_config
from configs.store.store import Store
from ensemble import build, carry_out
from ensemble.pipeline.stages import member_features_address
from ensemble.planning import budget as module
from ensemble.planning import build_cost
from ensemble.planning.budget import Budget, choice_address, choose, counterparts, within_budget
from ensemble.planning.build_cost import estimate_build_cost
from ensemble.planning.summary import unweighted
from ensemble.runs import results_of
from models import step_time
from models.distributed.process_group import ProcessGroup
from tests.conftest import TINY, not_begun

RATES = {"a": 20.0, "b": 5.0}
READING, SPENT, SEARCH = 40.0, 12.0, 7.5  # images a second; seconds
FREE = [word for i, word in enumerate(TINY) if "recipe.epochs=1" not in TINY[i : i + 2]]


@pytest.fixture(scope="module")
def begun(people, tmp_path_factory):
    """The context and the plan of a build of a and b that was not begun."""
    runs = tmp_path_factory.mktemp("begun") / "runs"
    return not_begun("--members", "a,b", "--data", people, "--out", runs, *FREE)


@pytest.fixture
def timed(begun, tmp_path, monkeypatch):
    """The same with a store of its own; nothing is timed, and the clock stands at SPENT."""
    context, plan = begun
    monkeypatch.setattr(
        module, "rates_of", lambda context, *_: {m.name: RATES.get(m.name, 1e3) for m in context.config.members}
    )
    monkeypatch.setattr(module, "reading_rate", lambda *_: READING)
    monkeypatch.setattr(build_cost, "estimate_search_cost", lambda *_, **__: SimpleNamespace(seconds=SEARCH - 0.5))
    said = []
    store = Store(tmp_path / "runs", said.append, made_with=context.store.made_with)
    monkeypatch.setattr(context.progress, "say", said.append)
    return replace(context, store=store), plan, said


def given(text, other=()):
    return Budget(text, 100.0, other, estimate_build_cost, clock=lambda: 100.0 + SPENT)


def sums(plan, rates=RATES):
    """Seconds of an epoch, and of all else: reading, two mirrored views at a third of the cost, search, ranking."""
    n, tests = len(plan.training.split), sum(len(split) for split in plan.tests["test"])
    rest = (n + tests) / READING + SEARCH + 0.5 + 1e-4 * tests
    return sum(n / r for r in rates.values()), rest + sum(2 * tests / (3 * r) for r in rates.values())


@pytest.mark.parametrize("text", ["120s", "5m", "7.5m", "20m"])
def test_the_epochs_are_those_that_fill_nine_tenths(timed, text):
    context, plan, _ = timed
    epoch, rest = sums(plan)
    seconds = float(text[:-1]) * (60 if text[-1] == "m" else 1)
    want = math.floor((0.9 * seconds - SPENT - rest) / epoch)
    assert 0 < want < 120
    own = choose(context, plan, given(text)).own
    assert own.epochs == want and own.seconds == pytest.approx(rest + want * epoch)


def test_no_longer_run_than_the_schedules_or_the_recipes(timed):
    context, plan, _ = timed
    assert context.config.recipe.epochs == 120 and choose(context, plan, given("9h")).own.epochs == 120
    longer = context.config.model_copy(update={"recipe": context.config.recipe.model_copy(update={"epochs": 150})})
    assert choose(replace(context, config=longer), plan, given("9h")).own.epochs == 150


def test_members_side_by_side_share_the_time(timed):
    """b takes four times as long as a: on two devices the build is as long as b, and what is done alone."""
    context, plan, _ = timed
    both, rest = sums(plan)
    (slow, alone), (fast, _) = sums(plan, {"b": 5.0}), sums(plan, {"a": 20.0})
    assert both == pytest.approx(slow + fast) and alone < rest
    apart = replace(context, parallel=2, cards=("0", "1"))
    assert choose(apart, plan, given("5m")).own.epochs == math.floor((270 - SPENT - alone) / slow)


def test_a_members_own_epochs_stay(timed):
    """b has 2 of its own, whatever is chosen for a; where all have, nothing is to choose."""
    context, plan, _ = timed
    a, b = context.config.members
    own = b.model_copy(update={"recipe": {"epochs": 2}})
    some = module.at_epochs(replace(context, config=context.config.model_copy(update={"members": (a, own)})), plan, 120)
    _, rest = sums(plan)
    n = len(plan.training.split)
    want = math.floor((0.9 * 120 - SPENT - rest - 2 * n / RATES["b"]) / (n / RATES["a"]))
    assert 2 < want < 120 and choose(*some, given("120s")).own.epochs == want
    _, chosen, _ = within_budget(*some, given("120s"))
    assert {name: at.request["recipe"]["epochs"] for name, at in chosen.members.items()} == {"a": want, "b": 2}
    three = replace(
        context,
        config=context.config.model_copy(update={"members": (a, own.model_copy(update={"recipe": {"epochs": 3}}))}),
    )
    assert choice_address(*some, "120s") != choice_address(*module.at_epochs(three, plan, 120), "120s")
    context = replace(context, config=context.config.model_copy(update={"members": (own,)}))
    with pytest.raises(ConfigError, match="every member has epochs of its own"):
        within_budget(context, plan, given("120s"))


def test_the_choice_is_kept(timed, monkeypatch):
    """Another time, other threads or another recipe are other choices; other epochs of the recipe are not."""
    context, plan, said = timed
    now, made, first = within_budget(context, plan, given("5m"))
    written = json.loads((context.store.root / first.key / "choice.json").read_text())
    assert now.config.recipe.epochs == written["own"]["epochs"]
    assert {a.request["recipe"]["epochs"] for a in made.members.values()} == {now.config.recipe.epochs}
    monkeypatch.setattr(module, "choose", lambda *_: pytest.fail("chosen again"))
    said.clear()
    again, found, second = within_budget(context, plan, given("300s"))
    assert (again.config, found.members, second) == (now.config, made.members, first) and "chosen before" in said[1]
    few = module.at_epochs(context, plan, 3)
    assert choice_address(*few, "5m") == choice_address(context, plan, "5m")
    threads = replace(context, store=Store(context.store.root, made_with=context.store.made_with | {"threads": "77"}))
    seed = context.config.model_copy(update={"recipe": context.config.recipe.model_copy(update={"seed": 7})})
    seeded = module.at_epochs(replace(context, config=seed), plan, 120)
    others = [choice_address(context, plan, "6m"), choice_address(threads, plan, "5m"), choice_address(*seeded, "5m")]
    assert len({first.key, *(a.key for a in others)}) == 4


def test_kept_members_count_as_made(timed):
    """Both trained and extracted for 50 epochs: that is taken where a fresh build of 50 would not fit, and no more.

    Those of an epoch and of two change nothing.
    """
    context, plan, _ = timed
    text = "4m"

    def keep(epochs):
        at, kept = module.at_epochs(context, plan, epochs)
        for name in kept.members:
            context.store.get(kept.members[name], lambda folder: None)
            context.store.get(member_features_address(at, kept, name, "test"), lambda folder: None)

    fresh = choose(context, plan, given(text)).own
    assert 2 < fresh.epochs < 50
    keep(1)
    keep(2)
    assert choose(context, plan, given(text)).own == fresh
    keep(50)
    own = choose(context, plan, given(text)).own
    assert own.epochs == 50 and own.seconds < SEARCH + 1.1
    assert choose(context, plan, given("9h")).own.epochs == 120


def test_the_other_family_is_told(timed):
    """Its members are a thousand images a second fast here, and take what they take."""
    context, plan, said = timed
    others = load_build_config(["s26", "sx26"], sets=["recipe.pretrained=false"]).members
    within_budget(context, plan, given("5m", others))
    _, rest = sums(plan, {"s26": 1e3, "sx26": 1e3})
    n = len(plan.training.split)
    assert min(120, math.floor((270 - SPENT - rest) / (2 * n / 1e3))) == 120
    assert "--members s26,sx26 could do 120 epochs" in said[-1] and "s26 1e+03" in said[-1]


def test_counterparts():
    assert counterparts(["rx50", "se_ibn_a"]) == ("sx26", "s26_se_ibn_a")
    assert counterparts(["s26_ibn_b"]) == ("ibn_b",)
    assert counterparts(["r50", "s26"]) == counterparts(["r50", "hrnet"]) == counterparts([]) == ()
    every = load_build_config([name for family in module.FAMILIES for name in family]).members
    kinds = [m.backbone.options for m in every]
    for large, small in zip(kinds[:5], kinds[5:], strict=True):
        assert {*small} - {*large} == {"depth", "base"} and {*large} <= {*small}


def test_what_does_not_fit_is_refused_with_what_would(timed):
    context, plan, _ = timed
    epoch, rest = sums(plan)
    alone = sum(sums(plan, {"a": 20.0}))
    others = load_build_config(["s26", "sx26"], sets=["recipe.pretrained=false"]).members
    seconds = math.ceil((alone + SPENT) / 0.9) + 1
    with pytest.raises(ConfigError) as refused:
        choose(context, plan, given(f"{seconds}s", others))
    said = str(refused.value)
    assert said.startswith(f"--budget {seconds}s: one epoch of a, b and all else of this build take some ")
    assert "what fits: fewer members (--members a), --members s26,sx26 (" in said and "smaller size" not in said
    assert said.endswith(f", --budget {math.ceil((epoch + rest + SPENT) / 0.9)}s") and said.count(". ") == 0
    choose(context, plan, given(said.split()[-1]))  # what it names is enough
    large = context.config.model_copy(update={"recipe": context.config.recipe.model_copy(update={"size": (128, 64)})})
    with pytest.raises(ConfigError, match=r"a smaller size \(--set 'recipe\.size=\[64, 32\]'\)"):
        choose(replace(context, config=large), plan, given(f"{seconds}s"))
    with pytest.raises(ConfigError) as refused:
        choose(context, plan, given("10s", others))
    assert "what fits: --budget " in str(refused.value)


@pytest.mark.parametrize("text", ["20", "m", "0m", "-5m", "20 m", "1d", "1e3s", "", "٣m"])
def test_a_time_that_is_none(text):
    with pytest.raises(argparse.ArgumentTypeError, match=r"wanted a time above 0, such as 90s, 20m or 1\.5h"):
        time_text(text)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("20m", 1200), ("2h", 7200), ("1.5h", 5400)])
def test_times(text, seconds):
    assert seconds_of(time_text(text)) == seconds


def test_epochs_are_given_or_chosen(people, tmp_path):
    with pytest.raises(ConfigError, match=r"--budget chooses recipe\.epochs, and --set gives it"):
        ensemble.build("a", data=people, runs=tmp_path / "runs", set=[*FREE[1::2][:1], "recipe.epochs=3"], budget="1h")


def test_not_under_torchrun(monkeypatch):
    monkeypatch.setattr(carry_out, "join_process_group", lambda device: nullcontext(ProcessGroup(0, 2)))
    with pytest.raises(ConfigError, match="--budget under torchrun: a step of one process says nothing of what 2 tog"):
        build.main(["--budget", "1h"])


def test_nothing_to_train(timed):
    context, plan, _ = timed
    with pytest.raises(ConfigError, match="nothing is trained: every member is from outside; leave --budget out"):
        within_budget(context, replace(plan, members={}), given("5m"))


def test_a_build_within_a_time(people, tmp_path, monkeypatch, capsys):
    """Steps are timed, an hour is enough for one epoch, the most here, and the choice goes with the build."""
    (tmp_path / "one.yaml").write_text("recipe: {epochs: 1}\n")
    monkeypatch.setattr(module, "MOST_EPOCHS", 1)
    monkeypatch.chdir(tmp_path)
    argv = ["--members", "a,b", "--data", str(people), "--recipe", "one.yaml", *FREE, "--budget", "1h"]
    build.main([*argv, "--dry-run"])
    said = capsys.readouterr().err
    assert "timing steps of a" in said and "--budget 1h: 1 epochs, some " in said and "time: some " in said
    build.main(argv)
    said = capsys.readouterr().err
    assert "timing" not in said and "chosen before, for this request: runs/budgets/own-" in said
    built = ensemble.open_build("runs")
    assert "--budget 1h" in built.command and built.plan.recipe.epochs == 1
    used = {r.path.parent.name: r.used for r in results_of(Store(tmp_path / "runs"))}
    assert used["budgets"] == used["members"] == "last build"
    shutil.rmtree(tmp_path / "runs/budgets")
    build.main([*argv, "--dry-run"])
    said = capsys.readouterr().err
    assert "timing" not in said and "kept: a, b; to make: none" in said  # the store knows their speed


def test_random_weights_under_a_recipe_for_others_are_told():
    (told,) = unweighted(load_build_config(["s26", "sx26"], competition="market1501"))
    assert "no weights for s26, sx26: they start from random ones" in told and "there is --recipe scratch;" in told
    assert "--set 'members.s26.weights={file: FILE}'" in told
    (told,) = unweighted(load_build_config(["r50", "s26"], competition="market1501"))
    assert "no weights for s26: they" in told and "--set 'members.s26.recipe={pretrained: false}', and more" in told
    heeded = load_build_config(
        ["r50", "s26"], competition="market1501", sets=["members.s26.recipe={pretrained: false}"]
    )
    assert unweighted(heeded) == []
    fitting = [
        load_build_config(["r50"], competition="market1501"),
        load_build_config(["s26"], competition="own", recipe="scratch"),
    ]
    assert [unweighted(plan) for plan in fitting] == [[], []]


@pytest.mark.parametrize(("seconds", "steps"), [(0.0, 1), (0.1, 1), (0.5, 3)])
def test_steps_are_timed_for_so_long(begun, monkeypatch, seconds, steps):
    """A step takes 0.2 s by the clock; the one before those that count takes 9."""
    context, _ = begun
    ticks = iter(x for start in range(100) for x in (start, start + (9.0 if start == 0 else 0.2)))
    monkeypatch.setattr(step_time.time, "perf_counter", lambda: next(ticks))
    how = {"device": "cpu", "precision": "float32", "most": 64, "seconds": seconds}
    assert step_time.seconds_per_image(context.config.members[0], context.config.recipe, 6, **how) == pytest.approx(
        0.2 / 8
    )
    assert next(ticks) == 1 + steps


@pytest.mark.parametrize(("feed", "augments"), [("loader", 3), ("device", 0)])
def test_a_timed_step_augments_where_the_host_does(begun, monkeypatch, feed, augments):
    """Those of the default recipe: flip, pad and crop, erase."""
    context, seen, made = begun[0], [], step_time.TrainingBatches
    monkeypatch.setattr(step_time, "TrainingBatches", lambda *args: (seen.append(len(args[2])), made(*args))[1])
    recipe = context.config.recipe.model_copy(update={"feed": feed})
    step_time.seconds_per_image(context.config.members[0], recipe, 6, device="cpu", precision="float32", most=8)
    assert seen == [augments]
