"""models/extraction/fused_convolutions.py: the fused network computes what the folded one does, on this CPU."""

import pytest
import torch
from torch import nn

from models.extraction import fused_convolutions
from models.extraction.fold_batch_norm import fold_batch_norms
from models.extraction.fused_convolutions import FusedBlock, fuse
from tests.test_fold_batch_norm import SMALL, features, make

FAMILIES = [
    ({}, "global"),
    ({"groups": 2}, "global"),
    ({"ibn": "a"}, "global"),
    ({"ibn": "b"}, "global"),
    ({"ibn": "a", "se": True}, "global"),
    ({}, {"name": "mgn", "width": 8}),
]


@pytest.mark.parametrize(("options", "head"), FAMILIES)
def test_the_features_are_the_same(options, head):
    net = make(SMALL | options, head).double().to(memory_format=torch.channels_last)
    images = torch.randn(2, 3, 64, 32, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    wanted, done = features(net, images), fuse(fold_batch_norms(net, "float32"))
    torch.testing.assert_close(features(done, images), wanted, rtol=1e-9, atol=1e-9)
    blocks = [m for m in done.modules() if isinstance(m, FusedBlock)]
    assert len(blocks) == (16 if head == "global" else 20)


def test_in_bfloat16_it_differs_by_rounding_alone():
    net, images = make(SMALL), torch.randn(4, 3, 64, 32)
    wanted = features(net, images)
    with torch.autocast("cpu", torch.bfloat16):
        low = features(fuse(fold_batch_norms(net, "bfloat16")), images)
    assert torch.cosine_similarity(low.float(), wanted).min() > 0.999


def test_what_is_asked_of_cudnn(monkeypatch):
    """Strides, groups and the shortcut as they are handed over: the operations stood in for by the same, apart."""
    asked = []

    def relu_op(x, weight, bias, stride, padding, dilation, groups):
        asked.append("relu")
        return torch.relu(nn.functional.conv2d(x, weight, bias, stride, padding, dilation, groups))

    def add_op(x, weight, z, alpha, bias, stride, padding, dilation, groups):
        asked.append("add_relu")
        assert (
            x.dtype == weight.dtype == z.dtype == bias.dtype
            and z.stride() == x.new_empty(z.shape).contiguous(memory_format=torch.channels_last).stride()
        )
        return torch.relu(nn.functional.conv2d(x, weight, bias, stride, padding, dilation, groups) + alpha * z)

    monkeypatch.setattr(fused_convolutions, "on_gpu", lambda x: True)
    monkeypatch.setattr(fused_convolutions, "cudnn_conv_relu", relu_op)
    monkeypatch.setattr(fused_convolutions, "cudnn_conv_add_relu", add_op)
    net = make(SMALL).to(memory_format=torch.channels_last)
    images = torch.randn(2, 3, 64, 32).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(
        features(fuse(fold_batch_norms(net, "float32")), images), features(net, images), rtol=1e-4, atol=1e-4
    )
    assert asked.count("relu") == 32 and asked.count("add_relu") == 16
    asked.clear()
    features(fuse(fold_batch_norms(make(SMALL | {"groups": 2}), "float32")), images)
    assert asked.count("relu") == 16 and asked.count("add_relu") == 16  # a grouped 3x3 goes its own way
