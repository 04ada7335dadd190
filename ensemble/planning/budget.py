"""Choose the number of epochs that fit into `--budget`.

The speed of each member comes from the store, or from a few timed steps on random images. The rest of the build is
estimated as in `--dry-run`. The choice is cached, so an interrupted build resumes with the same epochs. Its address
counts no code: a choice is valid until its folder is removed.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from configs.console.command import UNITS, seconds_of
from configs.console.progress import duration
from configs.console.quoting import set_option
from configs.errors import ConfigError
from configs.schema import Member
from configs.store.store import Address
from ensemble.pipeline.context import BuildContext
from ensemble.pipeline.stages import BuildPlan, member_addresses
from ensemble.planning.build_cost import BuildCost, ResultCost
from ensemble.planning.speed import Speed, at_speed, rates_of, reading_rate, scaled, seconds_left
from ensemble.results.manifests import ResultHistory

SHARE = 0.9  # share of the budget for the estimate; the rest is for checkpoints, processes and a busy machine
MOST_EPOCHS = 120  # or the recipe's epochs if more: the run that its schedule is for. Nothing longer was measured
TIMED, TIMED_SHARE = 2.0, 0.005  # time to measure a member's steps: seconds, and maximum share of the budget
EPOCHS_KEY = "recipe.epochs"
CHOICE = "choice.json"
# A member and its counterpart have the same index. The counterpart needs a sixth of the operations.
FAMILIES = (
    ("r50", "rx50", "ibn_a", "ibn_b", "se_ibn_a"),
    ("s26", "sx26", "s26_ibn_a", "s26_ibn_b", "s26_se_ibn_a"),
)

Foresee = Callable[[BuildContext, BuildPlan], BuildCost]


@dataclass(frozen=True)
class Pace:
    """The epochs that members reach within a budget. seconds: of the whole build."""

    speed: Speed
    epochs: int
    seconds: float

    def __str__(self) -> str:
        fast = ", ".join(f"{name} {rate:.3g}" for name, rate in self.speed.members.items())
        return f"{self.epochs} epochs, some {duration(self.seconds)} ({fast} images a second)"


@dataclass(frozen=True)
class Choice:
    """The choice for a build, and what the other family could reach; None if there is no other family."""

    own: Pace
    other: Pace | None


@dataclass(frozen=True)
class Chosen:
    """A cached choice: its key in the store, and the speeds that it used."""

    key: str
    speed: Speed


@dataclass(frozen=True)
class Side:
    """A possible set of members. ahead: the cost of a build of one epoch, without cached members."""

    context: BuildContext
    plan: BuildPlan
    speed: Speed
    ahead: BuildCost

    def seconds(self, epochs: int) -> float:
        """Time of a build with this number of epochs."""
        return seconds_left(scaled(self.ahead, epochs, free(self.context)))


@dataclass(frozen=True)
class Budget:
    """The budget of a build.

    text: the option as typed. begun: start time, by `clock`. other: members of the other family, for comparison.
    foresee: gives the cost of a plan.
    """

    text: str
    begun: float
    other: Sequence[Member]
    foresee: Foresee
    folds: int | None = None
    clock: Callable[[], float] = time.monotonic


def check_alone(sets: Sequence[str]) -> None:
    """Check that `--set` does not give the epochs that `--budget` chooses.

    Raises:
        ConfigError: it does.
    """
    if any(change.partition("=")[0].strip() == EPOCHS_KEY for change in sets):
        raise ConfigError(f"--budget chooses {EPOCHS_KEY}, and --set gives it; leave one of the two out")


def counterparts(names: Sequence[str]) -> tuple[str, ...]:
    """The counterparts in the other family; empty if the members are not all of one family."""
    for own, other in (FAMILIES, FAMILIES[::-1]):
        if names and {*names} <= {*own}:
            return tuple(other[own.index(name)] for name in names)
    return ()


def within_budget(context: BuildContext, plan: BuildPlan, budget: Budget) -> tuple[BuildContext, BuildPlan, Chosen]:
    """The context and the plan with the largest number of epochs that fits, and the choice.

    Raises:
        ConfigError: there are no epochs to choose, or not even one epoch fits.
    """
    if not plan.members:
        raise ConfigError("--budget, and nothing is trained: every member is from outside; leave --budget out")
    if not free(context):
        raise ConfigError(f"--budget chooses {EPOCHS_KEY}, and every member has epochs of its own; leave --budget out")
    address = choice_address(context, plan, budget.text, budget.folds)

    def make(folder: Path) -> None:
        (folder / CHOICE).write_text(
            json.dumps(asdict(choose(context, plan, budget)), indent=1) + "\n", encoding="ascii"
        )

    kept = context.store.get(address, make)
    raw = json.loads((kept.path / CHOICE).read_text(encoding="ascii"))
    own, other = (pace and Pace(**pace | {"speed": Speed(**pace["speed"])}) for pace in (raw["own"], raw["other"]))
    context.progress.say(_told(context, budget, Choice(own, other)))
    if not kept.made:
        context.progress.say(f"  chosen before, for this request: {kept.path}; without that folder it is chosen anew")
    return *at_epochs(context, plan, own.epochs), Chosen(address.key, own.speed)


def choice_address(context: BuildContext, plan: BuildPlan, text: str, folds: int | None = None) -> Address:
    """The address of the choice: members, recipe without epochs, data, budget, rounds, folds, devices and threads."""
    requests = _but_epochs(context, plan)
    request = {
        "budget": seconds_of(text),
        "most": _most(context),
        "members": {name: {k: v for k, v in of.items() if k != "code"} for name, of in requests.items()},
        "tests": {
            test: {name: [a.digest for a in sides] for name, sides in of.items()}
            for test, of in plan.test_images.items()
        },
        "rounds": context.config.ensemble.rounds,
        "threads": context.store.made_with.get("threads", ""),
        "devices": _apart(context),
    } | ({"folds": folds} if folds else {})
    return Address("budgets", context.config.competition.name, request)


def choose(context: BuildContext, plan: BuildPlan, budget: Budget) -> Choice:
    """Choose the largest number of epochs that fits. Epochs of cached members are also tried: they need no training.

    Raises:
        ConfigError: not even one epoch fits.
    """
    reading, other = reading_rate(context, plan), None
    own = measured(context, plan, budget, reading)
    if own is None:
        raise ConfigError("--budget: the device has too little memory for a step; take a smaller size, or batches")
    if budget.other:
        other = measured(*in_place(context, plan, budget.other), budget, reading)
    spent = budget.clock() - budget.begun  # includes the timed steps
    allowed = SHARE * seconds_of(budget.text) - spent
    chosen, compared = pace(own, budget, allowed), pace(other, budget, allowed) if other else None
    if not chosen.epochs:
        raise ConfigError(_refused(own, budget, compared, allowed, spent))
    return Choice(chosen, compared)


def measured(context: BuildContext, plan: BuildPlan, budget: Budget, reading: float) -> Side | None:
    """Measure the cost of one epoch of these members; None if a step needs too much memory."""
    rates, kept = rates_of(context, plan, min(TIMED, TIMED_SHARE * seconds_of(budget.text))), kept_epochs(context, plan)
    if rates is None:
        return None
    speed, epochs = Speed(rates, reading), next(e for e in range(1, len(kept) + 2) if e not in kept)
    needs = at_speed(context, budget.foresee(*at_epochs(context, plan, epochs)), speed)
    return Side(context, plan, speed, scaled(needs, 1 / epochs, free(context)))


def pace(side: Side, budget: Budget, allowed: float) -> Pace:
    """The largest number of epochs that fits into `allowed` seconds; 0, with the seconds of one epoch, if none fits."""
    context, plan, most = side.context, side.plan, _most(side.context)
    fits = next((e for e in range(most, 0, -1) if side.seconds(e) <= allowed), 0)
    for epochs in sorted((e for e in kept_epochs(context, plan) if fits < e <= most), reverse=True):
        left = at_speed(context, budget.foresee(*at_epochs(context, plan, epochs)), side.speed)
        if seconds_left(left) <= allowed:
            return Pace(side.speed, epochs, seconds_left(left))
    return Pace(side.speed, fits, side.seconds(max(1, fits)))


def free(context: BuildContext) -> list[str]:
    """The members without their own number of epochs."""
    return [m.name for m in context.config.members if "epochs" not in m.own]


def in_place(context: BuildContext, plan: BuildPlan, members: Sequence[Member]) -> tuple[BuildContext, BuildPlan]:
    """The context and the plan with these members instead. None of them has its own size or seed."""
    names, same = [m.name for m in members], next(iter(plan.members))
    context = replace(context, config=context.config.model_copy(update={"members": tuple(members)}))
    train = dict.fromkeys(names, plan.train_images[same])
    tests = {test: dict.fromkeys(names, of[same]) for test, of in plan.test_images.items()}
    return at_epochs(context, replace(plan, train_images=train, test_images=tests), context.config.recipe.epochs)


def kept_epochs(context: BuildContext, plan: BuildPlan) -> set[int]:
    """The numbers of epochs for which a member with otherwise the same request is cached."""
    requests = [request for name, request in _but_epochs(context, plan).items() if name in free(context)]
    old = [
        m.request
        for m in ResultHistory(context.store).manifests
        if m.key.startswith("members/") and "recipe" in m.request
    ]
    return {made["recipe"]["epochs"] for made in old if _cut(made) in requests}


def at_epochs(context: BuildContext, plan: BuildPlan, epochs: int) -> tuple[BuildContext, BuildPlan]:
    """The context and the plan with this number of epochs."""
    recipe = context.config.recipe.model_copy(update={"epochs": epochs})
    context = replace(context, config=context.config.model_copy(update={"recipe": recipe}))
    return context, replace(plan, members=member_addresses(context, plan.training, plan.train_images))


def _but_epochs(context: BuildContext, plan: BuildPlan) -> dict[str, Any]:
    """The request of each member, without the epochs if they are to be chosen."""
    return {name: _cut(a.request) if name in free(context) else dict(a.request) for name, a in plan.members.items()}


def _cut(request: Mapping[str, Any]) -> dict[str, Any]:
    return {**request, "recipe": {k: v for k, v in request["recipe"].items() if k != "epochs"}}


def _most(context: BuildContext) -> int:
    """The maximum number of epochs, also if the budget has time for more."""
    return max(MOST_EPOCHS, context.config.recipe.epochs)


def _apart(context: BuildContext) -> int:
    """The number of devices that make members at the same time."""
    return min(context.parallel, max(1, len(context.cards)))


def _told(context: BuildContext, budget: Budget, choice: Choice) -> str:
    """The message: the choice, and what the other family could reach."""
    at_most = ", the most that is chosen" if choice.own.epochs == _most(context) else ""
    lines = [f"--budget {budget.text}: {choice.own}{at_most}"]
    if choice.other is not None:
        lines.append(f"  --members {','.join(choice.other.speed.members)} could do {choice.other}")
    return "\n".join(lines)


def _refused(own: Side, budget: Budget, other: Pace | None, allowed: float, spent: float) -> str:
    """The error message, with alternatives that would fit."""
    members = own.context.config.members
    names, sized = [m.name for m in members], any("size" in m.own for m in members)
    height, width = own.context.config.recipe.size

    def fits(needs: Iterable[ResultCost]) -> bool:
        return seconds_left(replace(own.ahead, needs=tuple(needs))) <= allowed

    def without(rows: Sequence[str]) -> list[ResultCost]:
        return [n for n in own.ahead.needs if n.item.row not in rows]

    quarter = [replace(n, seconds=n.seconds / 4) if n.item.row in names else n for n in own.ahead.needs]
    fewer = next((k for k in range(len(names) - 1, 0, -1) if fits(without(names[k:]))), 0)
    ways = [f"fewer members (--members {','.join(names[:fewer])})"] if fewer else []
    ways += [f"--members {','.join(other.speed.members)} ({other.epochs} epochs)"] if other and other.epochs else []
    if not sized and min(height, width) >= 64 and fits(quarter):
        ways.append(f"a smaller size ({set_option('recipe.size', [height // 2, width // 2])})")
    takes = own.seconds(1)
    ways.append(f"--budget {_enough(takes + spent)}")
    return (
        f"--budget {budget.text}: one epoch of {', '.join(names)} and all else of this build take some "
        f"{duration(takes)}, and {duration(max(0.0, allowed))} of it are left for that; what fits: {', '.join(ways)}"
    )


def _enough(seconds: float) -> str:
    """A budget for this many seconds, as `--budget` takes it."""
    budget = seconds / SHARE
    return f"{math.ceil(budget)}s" if budget < 2 * UNITS["m"] else f"{math.ceil(budget / UNITS['m'])}m"
