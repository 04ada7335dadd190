"""models/extraction/fold_batch_norm.py: the folded network computes what the network does.

Every family of the resnet, every head.
"""

import pytest
import torch
from torch import nn

from configs.schema import Member
from models import registry
from models.backbones.resnet import IBN
from models.extraction.fold_batch_norm import fold_batch_norms
from tests import tiny

SMALL = {"name": "resnet", "width_per_group": 4}


def make(backbone, head="global"):
    torch.manual_seed(0)
    net = registry.make_net(Member.model_validate({"name": "x", "backbone": backbone, "head": head}), 5)
    return tiny.unsettle(net).eval()


def features(net, images):
    with torch.inference_mode():
        return net(images).bn_feats


@pytest.mark.parametrize(
    ("options", "head"),
    [
        ({}, "global"),
        ({"groups": 2}, "global"),
        ({"ibn": "a"}, "global"),
        ({"ibn": "b"}, "global"),
        ({"ibn": "a", "se": True}, "global"),
        ({}, {"name": "mgn", "width": 8}),
    ],
)
@pytest.mark.parametrize("channels_last", [True, False])
def test_the_features_are_the_same(options, head, channels_last):
    net = make(SMALL | options, head)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net, images = net.double().to(memory_format=layout), torch.randn(2, 3, 64, 32, dtype=torch.float64)
    images = images.contiguous(memory_format=layout)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    wanted, folded = features(net, images), fold_batch_norms(net, "float32")
    torch.testing.assert_close(features(folded, images), wanted, rtol=1e-9, atol=1e-9)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())  # the network itself is left alone
    norms = [m for m in folded.backbone.modules() if isinstance(m, nn.BatchNorm2d | IBN)]
    assert not norms


def test_in_float32_it_differs_by_rounding_alone():
    net, images = make(SMALL | {"ibn": "a", "se": True}), torch.randn(4, 3, 64, 32)
    wanted = features(net, images)
    assert (features(fold_batch_norms(net, "float32"), images) - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_weights_are_cast_once_and_heads_stay_as_they_are():
    folded = fold_batch_norms(make(SMALL), "bfloat16")
    assert {m.weight.dtype for m in folded.backbone.modules() if isinstance(m, nn.Conv2d)} == {torch.bfloat16}
    assert folded.head.neck.weight.dtype == torch.float32
    wanted, images = make(SMALL), torch.randn(4, 3, 64, 32)
    with torch.autocast("cpu", torch.bfloat16):
        low = features(folded, images)
    assert torch.cosine_similarity(low.float(), features(wanted, images)).min() > 0.999


def test_another_backbone_keeps_its_norms(monkeypatch):
    monkeypatch.setitem(registry.BACKBONES, "tiny", tiny.TinyBackbone)
    net, images = make("tiny"), torch.randn(2, 3, 64, 32)
    torch.testing.assert_close(features(fold_batch_norms(net, "float32"), images), features(net, images))
