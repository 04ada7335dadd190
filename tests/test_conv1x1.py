"""models/backbones/conv1x1.py: the product is the convolution, forwards and backwards."""

import torch
from torch import nn

from models.backbones.conv1x1 import Pointwise, as_products


def test_value_and_gradients_are_the_convolutions() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 4, 1, bias=False, dtype=torch.float64)
    net = nn.Sequential(conv)
    x = torch.randn(3, 6, 5, 2, dtype=torch.float64, requires_grad=True)
    wanted = conv(x)
    weigh = torch.randn_like(wanted)
    wanted_grads = torch.autograd.grad((wanted * weigh).sum(), (x, conv.weight))
    as_products(net)
    assert isinstance(net[0], Pointwise)
    got = net(x)
    grads = torch.autograd.grad((got * weigh).sum(), (x, net[0].weight))
    torch.testing.assert_close(got, wanted)
    for a, b in zip(grads, wanted_grads, strict=True):
        torch.testing.assert_close(a, b)


def test_only_plain_one_by_one_convolutions_are_replaced() -> None:
    others = [nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 1, stride=2), nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 4, 1)]
    net = nn.Sequential(*others, nn.Conv2d(4, 4, 1, bias=False))
    names = list(net.state_dict())
    as_products(net)
    assert [isinstance(m, Pointwise) for m in net] == [False] * 4 + [True]
    assert list(net.state_dict()) == names
