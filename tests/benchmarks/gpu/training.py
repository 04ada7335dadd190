"""Training and extraction on a GPU: bare steps as they can be launched, rivals, and the share of the card's peak.

`python -m tests.benchmarks.gpu --part training`. A bare step has its pixels on the card already; "with its feed" they
come from images there, drawn and augmented by the default recipe. Share of peak: of a large bfloat16 product, measured
in the same run, by the products of ResNet-50's convolutions.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from configs.load import load_build_config
from configs.recipe import Recipe
from configs.schema import Member
from models import registry
from models.data.batches import Order, TrainingBatches, make_loader, normalise
from models.data.feed import BatchSource, make_feed
from models.data.pk_sampler import Sampling
from models.device import autocast, choose_precision, computing
from models.distributed.process_group import ALONE
from models.extraction.fold_batch_norm import fold_batch_norms
from models.extraction.fused_convolutions import fuse
from models.training.launch import compiled, make_launch
from models.training.setup import set_up
from models.training.step import Step
from models.training.tally import Tally
from tests.benchmarks.gpu.figures import Table, copy_rate, cudnn, product_rate, rate, upload_rate
from tests.benchmarks.throughput import IDS, MACS, plain, training_step

BATCH, SIZES = 64, ((256, 128), (128, 64))
WANTED = {(256, 128): "5,000", (128, 64): "9,000"}
HOWS = ("graph", "eager", "compile")


def recipe_of(size: tuple[int, int]) -> Recipe:
    """The default recipe at a size."""
    return load_build_config(
        ["r50"], competition="own", layout=None, recipe=None, sets=[f"recipe.size={list(size)}"]
    ).recipe


def flops(size: tuple[int, int], passes: float) -> float:
    """Of one image: a pass forward is one, training three."""
    return passes * 2 * MACS * size[0] * size[1] / (256 * 128)


class Bare:
    """What trains r50 at one size, as `train_member` sets it up."""

    def __init__(self, size: tuple[int, int], how: str, device: torch.device, images: np.ndarray, batch: int) -> None:
        self.recipe, self.device, self.batch = recipe_of(size), device, batch
        precision = choose_precision("auto", device)
        member = Member.model_validate({"name": "r50", "backbone": "resnet"})
        torch.manual_seed(0)
        self.run = set_up(registry.make_net(member, IDS), self.recipe, IDS, images, device, precision, ALONE)
        self.tally = Tally(tuple(self.run.losses), batch, self.run.net, device)
        self.step = Step(self.run, self.tally, compiled(self.run.forward(), how))
        self.run.net.train()
        self.how = how

    def launcher(
        self, unpack: Callable[[list[Tensor]], tuple[Tensor, Tensor, Tensor]]
    ) -> Callable[[list[Tensor]], None]:
        how = self.how if self.device.type == "cuda" else "eager"
        return make_launch(lambda inputs: self.step(*unpack(list(inputs))), how, self.device, ALONE, print)


def bare_step(
    size: tuple[int, int], how: str, device: torch.device, seconds: float, batch: int, **flags: bool
) -> list[str]:
    """Images a second of a step, and how long the first call took."""
    with computing(device), cudnn(flags.get("deterministic", True), flags.get("benchmark", False)):
        bare = Bare(size, how, device, np.zeros((1, *size, 3), np.uint8), batch)
        raw = torch.randint(0, 256, (batch, *size, 3), dtype=torch.uint8, device=device).permute(0, 3, 1, 2)
        labels = torch.arange(batch, device=device) // 4
        header = torch.tensor([1.0, 3.5e-4, 0.0], dtype=torch.float64, device=device)
        launch = bare.launcher(lambda inputs: (inputs[0], inputs[1], inputs[2]))
        begun = time.perf_counter()
        launch([raw, labels, header])
        bare.tally.broken.item()
        first = time.perf_counter() - begun
        speed = rate(lambda: launch([raw, labels, header]), batch, seconds, device=device.type)
        return [f"{speed:,.0f}", share(speed, flops(size, 3)), f"{first:.1f} s"]


def fed_step(size: tuple[int, int], device: torch.device, seconds: float, batch: int) -> list[str]:
    """The same with its feed: images on the device, numbers drawn ahead, pixels made in the graph."""
    images, labels = pictures(size, batch)
    with computing(device):
        bare = Bare(size, "graph", device, images, batch)
        sampling = Sampling(labels, batch // 4, 4, 0)
        source = BatchSource(images, sampling, bare.run.augments, lambda t: 3.5e-4, slice(None), device)
        feed = make_feed(source, "device", 0, print)
        launch, turns = bare.launcher(feed.unpack), feed.turns(0, 0, 10**6)

        def one() -> None:
            launch(next(turns).tensors)

        try:
            speed = rate(one, batch, seconds, device=device.type)
        finally:
            turns.close()
    return [f"{speed:,.0f}", share(speed, flops(size, 3)), ""]


def pictures(size: tuple[int, int], batch: int) -> tuple[np.ndarray, np.ndarray]:
    """2,048 images of noise, 8 an identity, and their labels."""
    images = np.random.default_rng(0).integers(0, 256, (max(2048, 8 * batch), *size, 3), dtype=np.uint8)
    return images, np.arange(len(images)) // 8 % IDS


def plain_step(size: tuple[int, int], device: torch.device, seconds: float, batch: int) -> list[str]:
    """The public baselines' bare step: NCHW, float32, Adam as it comes, a loss read in each step."""
    net = plain().to(device).train()
    adam = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], 3.5e-4, weight_decay=5e-4)
    step = training_step(net, adam, device, "float32", False)
    raw = torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8, device=device)
    labels = torch.arange(batch, device=device) // 4
    speed = rate(lambda: step(raw, labels), batch, seconds, device=device.type)
    return [f"{speed:,.0f}", share(speed, flops(size, 3)), ""]


def plain_loop(size: tuple[int, int], device: torch.device, seconds: float, batch: int, workers: int) -> list[str]:
    """The same with a DataLoader of decoded images, augmented by worker processes."""
    images, labels = pictures(size, batch)
    net = plain().to(device).train()
    adam = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], 3.5e-4, weight_decay=5e-4)
    step = training_step(net, adam, device, "float32", False)
    augments = registry.make_augments(recipe_of(size), images)
    batches = TrainingBatches(images, Sampling(labels, batch // 4, 4, 0), augments)
    loader = make_loader(batches, Order(0, 0, len(batches.rows(0))), workers=workers, pin=device.type == "cuda")

    def endless():  # type: ignore[no-untyped-def]
        while True:
            yield from loader

    each = endless()

    def one() -> None:
        raw, own = next(each)
        step(raw, own.to(device, non_blocking=True))

    speed = rate(one, batch, seconds, device=device.type)
    each.close()
    return [f"{speed:,.0f}", share(speed, flops(size, 3)), ""]


def extraction(
    size: tuple[int, int], how: str, device: torch.device, seconds: float, batch: int, **flags: bool
) -> list[str]:
    """Images a second, flip averaged; how: plain, fused or compile, each captured."""
    member = Member.model_validate({"name": "r50", "backbone": "resnet"})
    precision = choose_precision("auto", device)
    with computing(device), cudnn(flags.get("deterministic", True), flags.get("benchmark", False)):
        net = fold_batch_norms(registry.make_net(member, IDS).eval().to(device), precision).to(
            memory_format=torch.channels_last
        )
        net = fuse(net) if how == "fused" else net
        forward: nn.Module = compiled(net, how)
        unit: list[Tensor] = []

        def body(inputs) -> None:  # type: ignore[no-untyped-def]
            images = normalise(inputs[0].permute(0, 3, 1, 2), device, channels_last=True)
            with torch.inference_mode(), autocast(device, precision):
                feats = forward(images).bn_feats.float() + forward(images.flip(3)).bn_feats.float()
            unit[:] = [normalize(feats, dim=1)]

        images = torch.randint(0, 256, (batch, *size, 3), dtype=torch.uint8, device=device)
        launch = make_launch(body, "graph" if device.type == "cuda" else "eager", device, ALONE, print)
        begun = time.perf_counter()
        launch([images])
        float(unit[0][0, 0])
        first = time.perf_counter() - begun
        speed = rate(lambda: launch([images]), batch, seconds, device=device.type)
    return [f"{speed:,.0f}", share(speed, flops(size, 2)), f"{first:.1f} s"]


PEAK = [0.0]


def share(speed: float, each: float) -> str:
    """Of the large product's rate."""
    return f"{100 * speed * each / PEAK[0]:.0f} %" if PEAK[0] else ""


def main(seconds: float = 180, device: str = "cuda", batch: int = BATCH, sizes=SIZES, each: float = 1.5) -> None:  # type: ignore[no-untyped-def]
    """The tables, as far as the time goes."""
    there, table = torch.device(device), Table(seconds)
    torch.manual_seed(0)
    table.head("floor", "measured", "took")
    table.row("bfloat16 product, 8,192 x 8,192, TFLOP/s", lambda: [peak(device)])
    table.row("copy on the card, GB/s read and written", lambda: [f"{copy_rate(device) / 1e9:,.0f}"])
    table.row("copy from page-locked memory, GB/s", lambda: [f"{upload_rate() / 1e9:,.1f}"])
    columns = ("images/s", "share of the product's rate", "first call", "took")
    table.head(f"training r50, batch {batch}", *columns)
    workers = max(0, min(12, (os.cpu_count() or 1) - 2))
    for size in sizes:
        name = f"{size[0]}x{size[1]}"
        wanted = f" (wanted: {WANTED.get(size, '-')})"
        table.row(f"{name}, graph{wanted}", lambda size=size: bare_step(size, "graph", there, each, batch))
        table.row(f"{name}, graph with its feed", lambda size=size: fed_step(size, there, 2 * each, batch))
        table.row(f"{name}, piece by piece", lambda size=size: bare_step(size, "eager", there, each, batch))
        table.row(
            f"{name}, graph, algorithms need not repeat",
            lambda size=size: bare_step(size, "graph", there, each, batch, deterministic=False),
        )
        table.row(
            f"{name}, graph, algorithms by timing",
            lambda size=size: bare_step(size, "graph", there, each, batch, deterministic=False, benchmark=True),
        )
        table.row(f"{name}, the plain float32 step", lambda size=size: plain_step(size, there, each, batch))
        table.row(
            f"{name}, the plain loop, {workers} loader processes",
            lambda size=size: plain_loop(size, there, 2 * each, batch, workers),
        )
    table.head("extraction r50, flip averaged (wanted: 15,000 at 256x128)", *columns)
    size = sizes[0]
    for many in (2 * batch, 8 * batch, 16 * batch):
        for how in ("fused", "plain"):
            table.row(
                f"{size[0]}x{size[1]}, batch {many}, {how}",
                lambda how=how, many=many: extraction(size, how, there, each, many),
            )
    table.row(
        f"{size[0]}x{size[1]}, batch {8 * batch}, fused, algorithms by timing",
        lambda: extraction(size, "fused", there, each, 8 * batch, deterministic=False, benchmark=True),
    )
    table.head("torch.compile", *columns)
    for done in sizes:
        table.row(
            f"training {done[0]}x{done[1]}, compiled and captured",
            lambda done=done: bare_step(done, "compile", there, each, batch),
        )
    table.row(
        f"extraction {size[0]}x{size[1]}, batch {8 * batch}, compiled and captured",
        lambda: extraction(size, "compile", there, each, 8 * batch),
    )


def peak(device: str) -> str:
    """Measured once; what the other rows are shares of."""
    PEAK[0] = product_rate(device) if device == "cuda" else product_rate(device, 512)
    return f"{PEAK[0] / 1e12:,.1f}"
