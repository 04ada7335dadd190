"""Stochastic depth: what is dropped, by which numbers, at which rates."""

import numpy as np
import pytest
import timm
import torch

from configs.schema import Member
from models.backbones.drop_path import DropPath
from models.data.feed import HEADER, BatchSource
from models.data.pk_sampler import Sampling
from models.registry import make_net

RESNET = {"name": "resnet", "depth": 26, "base": 8}


def net_of(backbone, rate, **changes):
    torch.manual_seed(0)
    return make_net(Member.model_validate({"name": "x", "backbone": backbone} | changes), 3, drop_path=rate)


def test_an_image_is_dropped_or_made_up_for():
    drop = DropPath(0.25).train()
    drop.draw(torch.tensor([0.0, 0.24, 0.25, 0.9]))
    given = torch.arange(1.0, 9).view(4, 2)
    torch.testing.assert_close(drop(given), given * torch.tensor([0, 0, 4 / 3, 4 / 3])[:, None])
    assert torch.equal(drop.eval()(given), given)


def test_pieces_of_an_image_share_its_number():
    drop = DropPath(0.5).train()
    drop.draw(torch.tensor([0.1, 0.9]))
    assert drop(torch.ones(6, 1)).flatten().tolist() == [0, 0, 0, 2, 2, 2]


@pytest.mark.parametrize("model", ["test_vit", "test_convnext", "test_efficientnet"])
def test_the_rates_are_timms(model):
    theirs = timm.create_model(model, pretrained=False, drop_path_rate=0.3)
    want = [m.drop_prob for m in theirs.modules() if isinstance(m, timm.layers.DropPath) and m.drop_prob]
    net = net_of({"name": "timm", "model": model}, 0.3)
    assert [m.rate for m in net.paths] == pytest.approx(want) and len(want) > 1
    assert not any(isinstance(m, timm.layers.DropPath) for m in net.modules())
    assert net.state_dict().keys() == net_of({"name": "timm", "model": model}, 0).state_dict().keys()


def test_the_rates_of_a_resnet_rise_with_its_blocks():
    net = net_of(RESNET, 0.7)
    assert [m.rate for m in net.paths] == pytest.approx([0.1 * i for i in range(1, 8)])
    assert not net_of(RESNET, 0).paths


def test_a_block_that_is_skipped_is_its_shortcut():
    block = net_of(RESNET, 0.7).backbone.layer4[1].train()
    block.drop.draw(torch.tensor([0.69, 0.71]))
    x = torch.rand(2, 256, 4, 2)
    out = block(x)
    torch.testing.assert_close(out[0], x[0])
    assert (out[1] - x[1]).abs().max() > 0.1


@pytest.mark.parametrize("head", [{"name": "mgn", "width": 8}, {"name": "rmgl", "width": 8}], ids=["mgn", "rmgl"])
def test_blocks_of_a_heads_own_have_numbers_of_their_own(head):
    net = net_of(RESNET, 0.7, head=head).train()
    assert len(net.paths) > 7
    net.draw_paths(torch.rand(4, len(net.paths)))
    net(torch.randn(4, 3, 128, 64))


def test_numbers_are_of_seed_epoch_and_batch_and_shared_out_with_the_images():
    def source(share, seed=3):
        sampling = Sampling(np.repeat(np.arange(4), 4), 2, 2, seed)
        return BatchSource(np.empty((16, 8, 4, 3), np.uint8), sampling, (), float, share, torch.device("cpu"), 5)

    whole, half = source(slice(0, 4)), source(slice(2, 4))
    assert len(whole.header(1, 0, 4)) == whole.numbers == HEADER + 20 and half.numbers == HEADER + 10
    assert whole.header(1, 0, 4)[HEADER + 10 :] == half.header(1, 0, 4)[HEADER:]
    every = {whole.header(e, b, 4)[HEADER:] for e in (0, 1) for b in (0, 1)}
    assert len(every | {source(slice(0, 4), seed=4).header(0, 0, 4)[HEADER:]}) == 5
    drawn = np.concatenate([whole.header(e, b, 4)[HEADER:] for e in range(20) for b in range(4)])
    assert drawn.min() >= 0 and drawn.max() < 1 and abs(drawn.mean() - 0.5) < 0.03
