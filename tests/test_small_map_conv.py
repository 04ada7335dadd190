"""models/backbones/small_map_conv.py: the product is the convolution's gradient by its weight."""

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from models.backbones import small_map_conv
from models.backbones.small_map_conv import SmallMap, on_small_maps, patches

LOW = {"device_type": "cpu", "dtype": torch.bfloat16}


@pytest.mark.parametrize(
    ("stride", "padding", "size"), [(1, 1, (5, 3)), (2, 1, (6, 4)), (2, 1, (5, 3)), (1, 0, (4, 4))]
)
def test_patches_times_weights_are_the_convolution(stride, padding, size):
    x, weight = torch.randn(2, 4, *size, dtype=torch.float64), torch.randn(6, 4, 3, 3, dtype=torch.float64)
    wanted = conv2d(x, weight, None, stride, padding)
    seen = patches(x, weight.shape[2:], (stride, stride), (padding, padding), wanted.shape[2:])
    got = seen @ weight.permute(2, 3, 1, 0).reshape(-1, 6)
    torch.testing.assert_close(got, wanted.permute(0, 2, 3, 1).reshape(-1, 6))


@pytest.mark.parametrize("stride", [1, 2])
def test_values_and_gradients_are_the_convolutions(stride):
    """In bfloat16, of small whole numbers, whose products and sums are exact."""
    rng = torch.Generator().manual_seed(0)
    plain = nn.Conv2d(128, 8, 3, stride=stride, padding=1, bias=False)
    with torch.no_grad():
        plain.weight.copy_(torch.randint(-1, 2, plain.weight.shape, generator=rng))
    net = nn.Sequential(nn.Conv2d(128, 8, 3, stride=stride, padding=1, bias=False))
    net[0].weight = nn.Parameter(plain.weight.detach().clone())
    on_small_maps(net)
    assert type(net[0]) is SmallMap and list(net.state_dict()) == ["0.weight"]
    x = torch.randint(-1, 2, (3, 128, 6, 4), generator=rng).float()
    grads = []
    for module in (plain, net):
        images = x.clone().contiguous(memory_format=torch.channels_last).requires_grad_()
        with torch.autocast(**LOW):
            y = module(images)
        weigh = torch.arange(y.numel()).view(y.shape) % 3 - 1.0
        (y.float() * weigh).sum().backward()
        grads.append((y.detach(), images.grad, next(module.parameters()).grad))
    for one, other in zip(*grads, strict=True):
        assert torch.equal(one, other)


def test_large_maps_and_float32_are_left_to_the_convolution(monkeypatch):
    def never(*_):
        raise AssertionError("made as a product")

    monkeypatch.setattr(small_map_conv, "patches", never)
    conv = SmallMap(128, 4, 3, padding=1, bias=False)
    conv(torch.randn(1, 128, 4, 4)).sum().backward()
    with torch.autocast(**LOW):
        large = conv(torch.randn(1, 128, 64, 64))
        small = conv(torch.randn(1, 128, 4, 4))
    large.sum().backward()
    with pytest.raises(AssertionError, match="as a product"):
        small.sum().backward()


def test_only_plain_convolutions_of_many_channels_are_replaced():
    others = [nn.Conv2d(64, 64, 3, bias=False), nn.Conv2d(128, 128, 3, groups=2, bias=False), nn.Conv2d(128, 128, 3)]
    net = nn.Sequential(*others, nn.Conv2d(128, 128, 3, bias=False))
    on_small_maps(net)
    assert [type(m) is SmallMap for m in net] == [False] * 3 + [True]
