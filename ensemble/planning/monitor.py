"""Show and log a build: the table on the screen, JSON lines in `runs/logs`, and TensorBoard on request."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from configs.console.build_progress import ProgressStage
from configs.console.build_table import BuildTable
from configs.console.event_log import EVENTS, LOGS, EventLog, EventStream
from configs.console.progress import Progress
from ensemble.pipeline.context import BuildContext
from ensemble.planning.build_cost import BuildCost, ResultCost
from ensemble.planning.planned_results import MADE
from ensemble.planning.rebuild_reasons import interrupted_after
from ensemble.results.manifests import EPOCHS, epochs_of

if TYPE_CHECKING:
    from models.tensorboard_curves import Curves


def make_progress(logs: Sequence[str], quiet: bool = False) -> Progress:
    """A Progress that prints messages. With `json` in the logs, it prints events instead. If quiet, it only warns."""
    progress = Progress(quiet=quiet or "json" in logs)
    if "json" in logs:
        progress.listeners.append(EventStream(sys.stderr))
    elif quiet:
        progress.listeners.append(_warn)
    return progress


def _warn(event: str, fields: Mapping[str, Any]) -> None:
    if event == "warning":
        print(f"warning: {fields['text']}", file=sys.stderr)


@contextmanager
def monitor_build(context: BuildContext, needs: BuildCost, command: str, logs: Sequence[str] = ()) -> Iterator[None]:
    """Show and log everything that a build does inside this context.

    Args:
        needs: the results of the build, cached or not.
        command: the command as typed, for the log.
        logs: `tensorboard` for curves.
    """
    progress, begun, before = context.progress, time.monotonic(), list(context.progress.listeners)
    stages = [progress_stage(context, need) for need in needs.needs]
    progress.listeners.append(EventLog(context.store.root / LOGS / EVENTS))
    kept = [s.key for s in stages if s.kept]
    progress.event("build", command=command, device=context.device, precision=context.precision, kept=kept)
    try:
        with ExitStack() as stack:
            if "tensorboard" in logs:
                progress.listeners.append(stack.enter_context(curves_of(context, kept)))
            if not progress.quiet:
                progress.display = screen = stack.enter_context(
                    BuildTable(progress.console, stages, parallel=context.parallel)
                )
                progress.listeners.append(screen)
                show_kept(context, screen, stages)
            yield
        progress.event("built", seconds=round(time.monotonic() - begun, 3))
    except BaseException as e:
        progress.event("failed", error=f"{type(e).__name__}: {e}", seconds=round(time.monotonic() - begun, 3))
        raise
    finally:
        progress.display = None
        progress.listeners[:] = before


def show_kept(context: BuildContext, screen: BuildTable, stages: Sequence[ProgressStage]) -> None:
    """Show the last epoch of cached members."""
    for stage in stages:
        if stage.kind == "members" and stage.kept and (lines := epochs_of(context.store, stage.key)):
            screen("epoch", {"member": stage.row, "epochs": lines[-1]["epoch"]} | lines[-1])


@contextmanager
def curves_of(context: BuildContext, kept: Sequence[str]) -> Iterator[Curves]:
    """TensorBoard curves: first of the cached members, then of those in training."""
    from models.tensorboard_curves import Curves  # TensorBoard takes a second to import

    curves = Curves(context.store.root / LOGS)
    for key in kept:
        if key.startswith("members/"):
            curves.write_kept(key.split("/")[1], context.store.root / key / EPOCHS)
    context.progress.say("curves: " + shlex.join(["tensorboard", "--logdir", str(context.store.root / LOGS)]))
    try:
        yield curves
    finally:
        curves.close()


def update_stages(context: BuildContext, needs: BuildCost) -> None:
    """Update the bar and the table when the remaining work is known better, such as after a round."""
    if isinstance(context.progress.display, BuildTable):
        context.progress.display.renew([progress_stage(context, need) for need in needs.needs])


def progress_stage(context: BuildContext, need: ResultCost) -> ProgressStage:
    """One result as a stage of the table."""
    item = need.item
    member = next((m for m in context.config.members if m.name == item.row), None)
    epochs = (context.config.recipe_of(member) if member else context.config.recipe).epochs
    total = {"members": epochs, "neighbours": 100}.get(item.kind, item.count)
    images = {"members": need.images / epochs, "calibrations": 0, "neighbours": 0, "rankings": 0}.get(item.kind, 1)
    before = (interrupted_after(context.store, item) or 0) / epochs if item.kind == "members" else 0.0
    doing, made = MADE[item.kind]
    return ProgressStage(
        item.address.key,
        item.row,
        item.kind,
        doing,
        made,
        float(total),
        float(images),
        need.seconds,
        need.measured,
        1.0 if item.kept else before,
    )
