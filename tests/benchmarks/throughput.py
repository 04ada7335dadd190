"""Images a second of training, extraction and loading, beside the float32 loop of public baselines, as markdown tables.

`python -m tests.benchmarks.throughput [--size 256x128 128x64 64x32] [--seconds 8] [--device cuda]`

The plain loop: torchvision's ResNet-50 with last stride 1 and the same head, NCHW, float32, Adam as it comes, the same
ID and triplet loss, norms left as they are. The other: what `ensemble.build` runs. Both see the same images in one
process, in turn, so that a busy machine slows both; of each the fastest of several passes counts, and extraction of
both averages the mirrored image.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize
from torchvision.models import resnet50

from configs.schema import Member
from models import registry
from models.data.augment import image_rng
from models.data.batches import normalise
from models.data.images import decode
from models.device import autocast, choose_device, choose_precision
from models.extraction.fold_batch_norm import fold_batch_norms
from models.heads.global_head import GlobalHead
from models.losses.identity import identity_loss
from models.losses.triplet import triplet_loss
from models.net import Net, Output

IDS = 751
TFLOPS = {"H100": 990e12, "H200": 990e12, "A100": 312e12, "L4": 121e12}  # dense bfloat16, as their makers print it
MACS = 4.06e9  # of one 256x128 image through a ResNet-50 whose last stage keeps its resolution


class PlainTrunk(nn.Module):
    """torchvision's ResNet-50 to its last map, last stride 1: (B, 3, H, W) -> (B, 2048, H / 16, W / 16)."""

    def __init__(self) -> None:
        super().__init__()
        net = resnet50(weights=None)
        net.layer4[0].conv2.stride = net.layer4[0].downsample[0].stride = (1, 1)
        self.body = nn.Sequential(*list(net.children())[:-2])

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images)


def plain() -> Net:
    """The public baselines' network."""
    return Net(PlainTrunk(), GlobalHead(2048, IDS))


def training_step(
    net: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device, precision: str, channels_last: bool
) -> Callable[[Tensor, Tensor], None]:
    """One step: pixels in, weights moved."""
    losses = ((0.1, identity_loss()), (0.9, triplet_loss()))

    def step(raw: Tensor, labels: Tensor) -> None:
        with autocast(device, precision):
            output = net(normalise(raw, device, channels_last=channels_last))
        total = torch.stack([weight * loss(output, labels) for weight, loss in losses]).sum()
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        optimizer.step()
        total.item()

    return step


def extraction(net: nn.Module, device: torch.device, precision: str, channels_last: bool) -> Callable[[Tensor], None]:
    """Unit features of a batch, averaged over the mirrored image."""

    def run(raw: Tensor) -> None:
        with torch.inference_mode(), autocast(device, precision):
            batch = normalise(raw, device, channels_last=channels_last)
            first: Output = net(batch)
            feats = first.bn_feats.float() + net(batch.flip(3)).bn_feats.float()
            normalize(feats, dim=1).cpu()

    return run


def fastest(runs: dict[str, Callable[[], None]], images: int, seconds: float) -> dict[str, float]:
    """Images a second of each, run in turn until each had so many seconds."""
    for run in runs.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    while min(map(sum, times.values())) < seconds:
        for name, run in runs.items():
            begun = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - begun)
    return {name: images / min(each) for name, each in times.items()}


def networks(size: tuple[int, int], batch: int, seconds: float, device: torch.device, precision: str) -> None:
    """Two rows of the table: training and extraction at one size."""
    member = Member.model_validate({"name": "r50", "backbone": "resnet"})
    ours, theirs = registry.make_net(member, IDS).to(device), plain().to(device)
    ours.to(memory_format=torch.channels_last)
    adam = torch.optim.Adam([p for p in theirs.parameters() if p.requires_grad], 3.5e-4, weight_decay=5e-4)
    fused = torch.optim.Adam([p for p in ours.parameters() if p.requires_grad], 3.5e-4, weight_decay=5e-4, fused=True)
    raw = torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8)
    labels = (torch.arange(batch) // 4).to(device)
    before = training_step(theirs.train(), adam, device, "float32", False)
    after = training_step(ours.train(), fused, device, precision, True)
    runs = {"plain": lambda: before(raw, labels), "ours": lambda: after(raw, labels)}
    row("training", size, batch, fastest(runs, batch, seconds), 3 * 2 * MACS)
    many = 2 * batch
    raw = torch.randint(0, 256, (many, 3, *size), dtype=torch.uint8)
    slow, fast = (
        extraction(theirs.eval(), device, "float32", False),
        extraction(fold_batch_norms(ours, precision), device, precision, True),
    )
    row(
        "extraction",
        size,
        many,
        fastest({"plain": lambda: slow(raw), "ours": lambda: fast(raw)}, many, seconds),
        4 * MACS,
    )


def row(what: str, size: tuple[int, int], batch: int, speed: dict[str, float], flops: float) -> None:
    """One line; on a GPU that is known, also the share of its peak."""
    peak = ""
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        known = next((v for k, v in TFLOPS.items() if k in name), None)
        each = flops * size[0] * size[1] / (256 * 128)
        peak = f" {100 * speed['ours'] * each / known:.0f} % of peak |" if known else " |"
    print(
        f"| {what} {size[0]}x{size[1]}, batch {batch} | {speed['plain']:.1f} | {speed['ours']:.1f} | "
        f"{speed['ours'] / speed['plain']:.2f} x |{peak}",
        flush=True,
    )


def loading(size: tuple[int, int], count: int = 200) -> None:
    """Rows of the table of one core: decoding, resizing, augmenting JPEG files."""
    rng = np.random.default_rng(0)
    recipe = registry.make_augments(_recipe(size), np.zeros((1, *size, 3), np.uint8))
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        for name, shape in (("of the size itself", size), ("of twice the size", (2 * size[0], 2 * size[1]))):
            path = Path(folder) / "picture.jpg"
            path.write_bytes(jpeg(rng, shape))
            timed(f"decode a JPEG {name}", count, lambda path=path: decode(path))
            timed(f"decode and resize a JPEG {name}", count, lambda path=path: decode(path, size))
        place = iter(range(10**9))

        def augment() -> None:
            changed, own = image, image_rng(0, 0, next(place))
            for change in recipe:
                changed = change(changed, own)

        timed("flip, pad and crop, erase (the recipe's)", count, augment)


def _recipe(size: tuple[int, int]):  # type: ignore[no-untyped-def]
    from configs.load import load_build_config

    return load_build_config(
        ["r50"], competition="own", layout=None, recipe=None, sets=[f"recipe.size={list(size)}"]
    ).recipe


def timed(what: str, count: int, run: Callable[[], object]) -> None:
    """One line: images a second of one core, by processor time."""
    run()
    begun = time.process_time()
    for _ in range(count):
        run()
    print(f"| {what} | {count / (time.process_time() - begun):,.0f} |", flush=True)


def jpeg(rng: np.random.Generator, shape: tuple[int, int]) -> bytes:
    """A picture that is smooth, with some noise, as a photograph is."""
    small = Image.fromarray(rng.integers(0, 256, (16, 8, 3), dtype=np.uint8))
    pixels = np.asarray(small.resize((shape[1], shape[0]), Image.Resampling.BICUBIC)).astype(int)
    noisy = np.clip(pixels + rng.integers(-12, 13, pixels.shape), 0, 255).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(noisy).save(content, "JPEG", quality=90)
    return content.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs="*", default=["256x128", "128x64", "64x32"], help="HEIGHTxWIDTH")
    parser.add_argument("--batch", type=int, default=0, help="images of a training step (default: 16, 64, 32)")
    parser.add_argument("--seconds", type=float, default=8, help="of each figure")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--no-loading", action="store_true")
    asked = parser.parse_args()
    torch.manual_seed(0)
    device, why = choose_device(asked.device)
    precision = choose_precision("auto", device)
    print(f"{why}; {precision}" + ("" if precision != "float32" else ": no bfloat16 arithmetic here") + "\n")
    print("| images/s | plain float32 loop | here | |\n|---|---|---|---|")
    for text in asked.size:
        size = (int(text.split("x")[0]), int(text.split("x")[1]))
        batch = asked.batch or {256: 16, 128: 64}.get(size[0], 32)
        networks(size, batch, asked.seconds, device, precision)
    if not asked.no_loading:
        print("\n| loading, one core, 256x128 | images/s |\n|---|---|")
        loading((256, 128))


if __name__ == "__main__":
    main()
