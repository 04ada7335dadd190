"""Members sized to the time there is: the epochs that fit into `--budget`, chosen once and kept.

Before any training every member's speed is known from the store, or from a few steps on random images. All else that a
build does is forecast as `--dry-run` does it. The choice is kept under an address of its own, so that an interrupted
build is gone on with by the same epochs. No code is counted there: a choice stands until its folder is removed.
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

SHARE = 0.9  # of the budget may be forecast to be used: checkpoints, processes and a busy machine take the rest
MOST_EPOCHS = 120  # where the recipe has no more: the run that its schedule is given for. Nothing longer was measured
TIMED, TIMED_SHARE = 2.0, 0.005  # seconds that a member's steps are timed for, and of the budget at most
EPOCHS_KEY = "recipe.epochs"
CHOICE = "choice.json"
# A member and its counterpart, of a sixth of its work, stand at the same place.
FAMILIES = (
    ("r50", "rx50", "ibn_a", "ibn_b", "se_ibn_a"),
    ("s26", "sx26", "s26_ibn_a", "s26_ibn_b", "s26_se_ibn_a"),
)

Foresee = Callable[[BuildContext, BuildPlan], BuildCost]


@dataclass(frozen=True)
class Pace:
    """What members can do in a budget. seconds: of the whole build."""

    speed: Speed
    epochs: int
    seconds: float

    def __str__(self) -> str:
        fast = ", ".join(f"{name} {rate:.3g}" for name, rate in self.speed.members.items())
        return f"{self.epochs} epochs, some {duration(self.seconds)} ({fast} images a second)"


@dataclass(frozen=True)
class Choice:
    """What was chosen for a build, and what the other family could do; None where there is none to compare with."""

    own: Pace
    other: Pace | None


@dataclass(frozen=True)
class Chosen:
    """A choice that stands: its key in the store, and the speed that it rests on."""

    key: str
    speed: Speed


@dataclass(frozen=True)
class Side:
    """Members that may be taken. ahead: the cost of a build of one epoch, where no member of the recipe's epochs is
    kept."""

    job: BuildContext
    work: BuildPlan
    speed: Speed
    ahead: BuildCost

    def seconds(self, epochs: int) -> float:
        """Of a build of so many epochs."""
        return seconds_left(scaled(self.ahead, epochs, free(self.job)))


@dataclass(frozen=True)
class Budget:
    """What `--budget` gives.

    text: as it was typed. begun: when, by the clock. other: members of the other family, for comparison.
    foresee: the needs of a job's work to its end.
    """

    text: str
    begun: float
    other: Sequence[Member]
    foresee: Foresee
    folds: int | None = None
    clock: Callable[[], float] = time.monotonic


def check_alone(sets: Sequence[str]) -> None:
    """The epochs are either given or chosen.

    Raises:
        ConfigError: both.
    """
    if any(change.partition("=")[0].strip() == EPOCHS_KEY for change in sets):
        raise ConfigError(f"--budget chooses {EPOCHS_KEY}, and --set gives it; leave one of the two out")


def counterparts(names: Sequence[str]) -> tuple[str, ...]:
    """The same members of the other family; none where these are not all of one."""
    for own, other in (FAMILIES, FAMILIES[::-1]):
        if names and {*names} <= {*own}:
            return tuple(other[own.index(name)] for name in names)
    return ()


def within_budget(job: BuildContext, work: BuildPlan, budget: Budget) -> tuple[BuildContext, BuildPlan, Chosen]:
    """The job and the work with the epochs that fit, and what was chosen.

    Raises:
        ConfigError: no epochs are to choose, or not even one fits.
    """
    if not work.members:
        raise ConfigError("--budget, and nothing is trained: every member is from outside; leave --budget out")
    if not free(job):
        raise ConfigError(f"--budget chooses {EPOCHS_KEY}, and every member has epochs of its own; leave --budget out")
    address = choice_address(job, work, budget.text, budget.folds)

    def make(folder: Path) -> None:
        (folder / CHOICE).write_text(json.dumps(asdict(choose(job, work, budget)), indent=1) + "\n", encoding="ascii")

    kept = job.store.get(address, make)
    raw = json.loads((kept.path / CHOICE).read_text(encoding="ascii"))
    own, other = (pace and Pace(**pace | {"speed": Speed(**pace["speed"])}) for pace in (raw["own"], raw["other"]))
    job.progress.say(_told(job, budget, Choice(own, other)))
    if not kept.made:
        job.progress.say(f"  chosen before, for this request: {kept.path}; without that folder it is chosen anew")
    return *at_epochs(job, work, own.epochs), Chosen(address.key, own.speed)


def choice_address(job: BuildContext, work: BuildPlan, text: str, folds: int | None = None) -> Address:
    """Where the choice lies: by members, recipe but for its epochs, data, budget, rounds, folds, device and threads."""
    requests = _but_epochs(job, work)
    asked = {
        "budget": seconds_of(text),
        "most": _most(job),
        "members": {name: {k: v for k, v in of.items() if k != "code"} for name, of in requests.items()},
        "tests": {
            test: {name: [a.digest for a in sides] for name, sides in of.items()}
            for test, of in work.test_images.items()
        },
        "rounds": job.plan.ensemble.rounds,
        "threads": job.store.made_with.get("threads", ""),
        "devices": _apart(job),
    } | ({"folds": folds} if folds else {})
    return Address("budgets", job.plan.competition.name, asked)


def choose(job: BuildContext, work: BuildPlan, budget: Budget) -> Choice:
    """The most epochs that fit. Members that are kept count as made: their epochs are tried as well.

    Raises:
        ConfigError: not even one epoch fits.
    """
    reading, other = reading_rate(job, work), None
    own = measured(job, work, budget, reading)
    if own is None:
        raise ConfigError("--budget: the device has too little memory for a step; take a smaller size, or batches")
    if budget.other:
        other = measured(*in_place(job, work, budget.other), budget, reading)
    spent = budget.clock() - budget.begun  # with what the steps have taken
    allowed = SHARE * seconds_of(budget.text) - spent
    chosen, compared = pace(own, budget, allowed), pace(other, budget, allowed) if other else None
    if not chosen.epochs:
        raise ConfigError(_refused(own, budget, compared, allowed, spent))
    return Choice(chosen, compared)


def measured(job: BuildContext, work: BuildPlan, budget: Budget, reading: float) -> Side | None:
    """What one epoch of these members needs; None where a step wants more memory than there is."""
    rates, kept = rates_of(job, work, min(TIMED, TIMED_SHARE * seconds_of(budget.text))), kept_epochs(job, work)
    if rates is None:
        return None
    speed, epochs = Speed(rates, reading), next(e for e in range(1, len(kept) + 2) if e not in kept)
    needs = at_speed(job, budget.foresee(*at_epochs(job, work, epochs)), speed)
    return Side(job, work, speed, scaled(needs, 1 / epochs, free(job)))


def pace(side: Side, budget: Budget, allowed: float) -> Pace:
    """The most epochs that fit into so many seconds; 0, and the seconds of one, where none does."""
    job, work, most = side.job, side.work, _most(side.job)
    fits = next((e for e in range(most, 0, -1) if side.seconds(e) <= allowed), 0)
    for epochs in sorted((e for e in kept_epochs(job, work) if fits < e <= most), reverse=True):
        left = at_speed(job, budget.foresee(*at_epochs(job, work, epochs)), side.speed)
        if seconds_left(left) <= allowed:
            return Pace(side.speed, epochs, seconds_left(left))
    return Pace(side.speed, fits, side.seconds(max(1, fits)))


def free(job: BuildContext) -> list[str]:
    """Members that have no epochs of their own."""
    return [m.name for m in job.plan.members if "epochs" not in m.own]


def in_place(job: BuildContext, work: BuildPlan, members: Sequence[Member]) -> tuple[BuildContext, BuildPlan]:
    """The job and the work with these members in the place of others; none has a size or seed of its own."""
    names, same = [m.name for m in members], next(iter(work.members))
    job = replace(job, plan=job.plan.model_copy(update={"members": tuple(members)}))
    train = dict.fromkeys(names, work.train_images[same])
    tests = {test: dict.fromkeys(names, of[same]) for test, of in work.test_images.items()}
    return at_epochs(job, replace(work, train_images=train, test_images=tests), job.plan.recipe.epochs)


def kept_epochs(job: BuildContext, work: BuildPlan) -> set[int]:
    """Epochs for which a member of this build, trained on this in the same way, is kept."""
    asked = [request for name, request in _but_epochs(job, work).items() if name in free(job)]
    old = [
        m.request for m in ResultHistory(job.store).manifests if m.key.startswith("members/") and "recipe" in m.request
    ]
    return {made["recipe"]["epochs"] for made in old if _cut(made) in asked}


def at_epochs(job: BuildContext, work: BuildPlan, epochs: int) -> tuple[BuildContext, BuildPlan]:
    """The job and the work with members of so many epochs."""
    recipe = job.plan.recipe.model_copy(update={"epochs": epochs})
    job = replace(job, plan=job.plan.model_copy(update={"recipe": recipe}))
    return job, replace(work, members=member_addresses(job, work.training, work.train_images))


def _but_epochs(job: BuildContext, work: BuildPlan) -> dict[str, Any]:
    """The request of each member, without the epochs that are to choose."""
    return {name: _cut(a.request) if name in free(job) else dict(a.request) for name, a in work.members.items()}


def _cut(request: Mapping[str, Any]) -> dict[str, Any]:
    return {**request, "recipe": {k: v for k, v in request["recipe"].items() if k != "epochs"}}


def _most(job: BuildContext) -> int:
    """Epochs at most: a longer run than the schedule's is nobody's wish, however much time there is."""
    return max(MOST_EPOCHS, job.plan.recipe.epochs)


def _apart(job: BuildContext) -> int:
    """Devices that make members at a time."""
    return min(job.parallel, max(1, len(job.cards)))


def _told(job: BuildContext, budget: Budget, choice: Choice) -> str:
    """What was chosen, and what the other family could do."""
    at_most = ", the most that is chosen" if choice.own.epochs == _most(job) else ""
    lines = [f"--budget {budget.text}: {choice.own}{at_most}"]
    if choice.other is not None:
        lines.append(f"  --members {','.join(choice.other.speed.members)} could do {choice.other}")
    return "\n".join(lines)


def _refused(own: Side, budget: Budget, other: Pace | None, allowed: float, spent: float) -> str:
    """The sentence, with what would fit."""
    members = own.job.plan.members
    names, sized = [m.name for m in members], any("size" in m.own for m in members)
    height, width = own.job.plan.recipe.size

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
    """A budget for so much."""
    wanted = seconds / SHARE
    return f"{math.ceil(wanted)}s" if wanted < 2 * UNITS["m"] else f"{math.ceil(wanted / UNITS['m'])}m"
