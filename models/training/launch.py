"""Launch of a step on its device: kernel by kernel (eager), or as one captured CUDA graph."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from configs.errors import ConfigError
from models.distributed.process_group import ProcessGroup

EAGER_STEPS = 3  # before a capture: libraries choose algorithms in them, and the optimizer makes its state
Body = Callable[[Sequence[Tensor]], None]


def choose_launch(asked: str, device: torch.device, team: ProcessGroup, say: Callable[[str], None]) -> str:
    """The launch mode. `auto` stays `auto` for one process on a GPU: the step is captured if possible.

    Otherwise `auto` becomes `eager`, with a message on a GPU.

    Raises:
        ConfigError: `graph` without a GPU or with several processes.
    """
    problem = ""
    if device.type != "cuda":
        problem = "there is no GPU"
    elif team.size > 1:
        problem = f"{team.size} processes exchange messages in every step"
    if asked == "graph" and problem:
        raise ConfigError(f"recipe.launch graph: the step cannot be captured: {problem}; --set recipe.launch=auto")
    if asked in ("auto", "compile") and device.type == "cuda" and problem:
        say(f"  steps are not captured as a CUDA graph: {problem}")
    return "eager" if asked == "auto" and problem else asked


def compiled(forward: nn.Module, how: str) -> nn.Module:
    """The network, by torch.compile if `how` is compile."""
    if how != "compile":
        return forward
    result: nn.Module = torch.compile(forward, dynamic=False)  # type: ignore[assignment]
    return result


def make_launch(body: Body, how: str, device: torch.device, team: ProcessGroup, say: Callable[[str], None]) -> Body:
    """The function to call with the inputs of each step.

    Args:
        how: from `choose_launch`. `graph` must be captured. The others may fall back to eager, with a message.
    """
    if how == "eager" or device.type != "cuda" or team.size > 1:
        return body
    return Captured(body, None if how == "graph" else say)


class Captured:
    """A step of fixed shapes as a CUDA graph. Call it on one stream that is not the default stream.

    The first steps run eagerly. Then the step is captured, which runs nothing, and the graph is launched.
    Every step runs once, and its results are the same to the bit.
    """

    def __init__(self, body: Body, say: Callable[[str], None] | None) -> None:
        """say: gets a message if the step cannot be captured; None makes that an error."""
        self.body = body
        self.say = say
        self.done = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: list[Tensor] = []
        self.refused = False

    def __call__(self, inputs: Sequence[Tensor]) -> None:
        """Run one step. Work that is launched later may change the inputs.

        Raises:
            ConfigError: the step cannot be captured, and must be.
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
        gc.collect()  # freeing an older graph during a capture would end the capture
        try:
            # thread_local: threads that prefetch batches and write checkpoints continue during the capture
            with torch.cuda.graph(graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"):
                self.body(self.inputs)
        except RuntimeError as e:
            self.refused = True
            reason = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
            if self.say is None:
                raise ConfigError(
                    f"recipe.launch graph: the step cannot be captured ({reason}); --set recipe.launch=eager"
                ) from e
            self.say(f"  steps cannot be captured as a CUDA graph: {reason}")
            return
        self.graph = graph
