"""A member as an ONNX graph: images as they are decoded in, unit features out, checked against the member itself."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from configs.errors import ResultError
from configs.installed import need
from models.net import Net

IMAGES, FEATURES = "images", "features"
MOST = 1e-4  # that a feature may differ from the member's
TRIED = (1, 3)  # images in the batches that are compared
ONE_FILE = 1_800_000_000  # bytes of weights that the format holds beside its graph


class Deployed(nn.Module):
    """A member with what comes before and after: decoded images to unit features."""

    mean: Tensor
    std: Tensor

    def __init__(self, net: Net, mirrored: bool) -> None:
        super().__init__()
        self.net, self.mirrored = net, mirrored
        for name, values in zip(("mean", "std"), net.scale, strict=True):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1) * 255)

    def forward(self, images: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 -> (B, D) float32, each row of length 1."""
        batch = (images.permute(0, 3, 1, 2).float() - self.mean) / self.std
        if not self.mirrored:
            return normalize(self.net(batch).bn_feats, dim=1)
        both: Tensor = self.net(
            torch.cat((batch, batch.flip(3)))
        ).bn_feats  # one pass: the graph holds the network once
        return normalize(both.unflatten(0, (2, -1)).sum(dim=0), dim=1)


def write_onnx(net: Net, size: tuple[int, int], path: Path, mirrored: bool) -> float:
    """Write the graph, for any number of images of this height and width. Weights of gigabytes lie beside it.

    Returns:
        The largest difference of a feature from the member's, by ONNX Runtime on random images.

    Raises:
        ResultError: it differs too much, or its number of images is fixed.
        ConfigError: a package is missing.
    """
    need("export", "onnx", "onnxruntime", "onnxscript")
    deployed = Deployed(net, mirrored).eval()
    images = torch.zeros(2, *size, 3, dtype=torch.uint8)
    bytes_ = sum(p.numel() * p.element_size() for p in deployed.parameters())
    with TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        with torch.no_grad():
            torch.onnx.export(
                deployed,
                (images,),
                Path(folder, path.name),
                input_names=[IMAGES],
                output_names=[FEATURES],
                dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
                external_data=bytes_ > ONE_FILE,
                dynamo=True,
                verbose=False,
            )
        differs = _difference(deployed, Path(folder, path.name), size)
        if not differs <= MOST:
            raise ResultError(f"{path}: not written. Its features differ by {differs:.1e} from the member's")
        for made in sorted(Path(folder).iterdir()):
            os.replace(made, path.with_name(made.name))
    return differs


def _difference(deployed: Deployed, path: Path, size: tuple[int, int]) -> float:
    """The largest difference between ONNX Runtime and the member, over batches of several sizes."""
    from onnxruntime import InferenceSession

    session, rng, found = InferenceSession(path, providers=["CPUExecutionProvider"]), np.random.default_rng(0), [0.0]
    if isinstance(session.get_inputs()[0].shape[0], int):
        raise ResultError(f"{path.name}: not written. The graph takes {session.get_inputs()[0].shape[0]} images only")
    for count in TRIED:
        images = rng.integers(0, 256, (count, *size, 3), dtype=np.uint8)
        with torch.no_grad():
            want = deployed(torch.from_numpy(images)).numpy()
        found.append(float(np.abs(session.run([FEATURES], {IMAGES: images})[0] - want).max()))
    return max(found)
