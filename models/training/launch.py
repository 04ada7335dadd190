"""How a step's work reaches its device: piece by piece, or captured once as a CUDA graph and launched as one."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from configs.errors import ConfigError
from models.distributed.process_group import ProcessGroup

EAGER_STEPS = 3  # before a capture: real ones, in which libraries choose and the optimizer makes its state
Body = Callable[[Sequence[Tensor]], None]


def choose_launch(asked: str, device: torch.device, team: ProcessGroup, say: Callable[[str], None]) -> str:
    """`auto` stays where one process trains on a GPU, and is captured if it can be; else it is `eager`, which is said.

    Raises:
        ConfigError: a graph is asked for where there can be none.
    """
    problem = ""
    if device.type != "cuda":
        problem = "there is no GPU here"
    elif team.size > 1:
        problem = f"{team.size} processes pass messages in every step"
    if asked == "graph" and problem:
        raise ConfigError(f"recipe.launch graph: a step cannot be captured, {problem}; --set recipe.launch=auto")
    if asked in ("auto", "compile") and device.type == "cuda" and problem:
        say(f"  steps are launched piece by piece, not captured: {problem}")
    return "eager" if asked == "auto" and problem else asked


def compiled(forward: nn.Module, how: str) -> nn.Module:
    """The network as it is, or by torch.compile where that is asked for."""
    if how != "compile":
        return forward
    result: nn.Module = torch.compile(forward, dynamic=False)  # type: ignore[assignment]
    return result


def make_launch(body: Body, how: str, device: torch.device, team: ProcessGroup, say: Callable[[str], None]) -> Body:
    """What to call with the inputs of one step after another.

    Args:
        how: as `choose_launch` gave it; `graph` must be captured, the others may fall back to pieces, which is said.
    """
    if how == "eager" or device.type != "cuda" or team.size > 1:
        return body
    return Captured(body, None if how == "graph" else say)


class Captured:
    """A step of fixed shapes as a CUDA graph. It must be called on one stream that is not the default one.

    The first steps are made piece by piece, on that stream; then the step is captured, which does none of it, and from
    there on the graph is launched: every step is made once, and what it makes is the same to the bit.
    """

    def __init__(self, body: Body, say: Callable[[str], None] | None) -> None:
        """say: told of a step that cannot be captured; without it that is an error."""
        self.body, self.say = body, say
        self.done = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: list[Tensor] = []
        self.refused = False

    def __call__(self, inputs: Sequence[Tensor]) -> None:
        """One step; the inputs are read by what is launched here, and may be changed by what is launched later.

        Raises:
            ConfigError: it cannot be captured, and must be.
        """
        self.done += 1
        if self.done > EAGER_STEPS and self.graph is None and not self.refused:
            self._capture(inputs)
        if self.graph is None:
            self.body(inputs)
            return
        for kept, given in zip(self.inputs, inputs, strict=True):
            kept.copy_(given, non_blocking=True)
        self.graph.replay()

    def _capture(self, inputs: Sequence[Tensor]) -> None:
        self.inputs = [x.clone() for x in inputs]
        graph = torch.cuda.CUDAGraph()
        gc.collect()  # an older graph that went away in the middle of a capture would end it
        try:
            # thread_local: the threads that read batches ahead and write checkpoints go on beside it
            with torch.cuda.graph(graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"):
                self.body(self.inputs)
        except RuntimeError as e:
            self.refused = True
            reason = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
            if self.say is None:
                raise ConfigError(
                    f"recipe.launch graph: the step cannot be captured ({reason}); --set recipe.launch=eager"
                ) from e
            self.say(f"  steps are launched piece by piece, they cannot be captured: {reason}")
            return
        self.graph = graph
