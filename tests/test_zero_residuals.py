"""zero_init_residual: at the start a block is its shortcut alone."""

import pytest
import torch

from configs.errors import ConfigError
from configs.schema import ComponentConfig, Member
from models.backbones.resnet import resnet
from models.registry import make_net
from models.training.setup import zero_residuals


def test_blocks_without_a_change_of_shape_pass_on_what_comes_in() -> None:
    torch.manual_seed(0)
    trunk = resnet()
    x = torch.rand(2, 256, 4, 4)
    block = trunk.blocks()["layer1.1"]
    assert not torch.allclose(block(x), x)
    trunk.zero_residuals()
    torch.testing.assert_close(block(x), x)


def test_the_branches_of_a_head_start_so_too() -> None:
    member = Member(name="r50", backbone=ComponentConfig(name="resnet"), head=ComponentConfig(name="mgn"))
    net = make_net(member, classes=2)
    zero_residuals(net, member)
    last = [v for k, v in net.state_dict().items() if k.endswith("bn3.weight")]
    assert len(last) > 16
    assert all(not v.any() for v in last)


def test_another_family_is_refused() -> None:
    member = Member(name="other", backbone=ComponentConfig(name="timm", model="resnet18"))
    net = make_net(Member(name="r50", backbone=ComponentConfig(name="resnet")), classes=2)
    net.backbone = torch.nn.Identity()
    with pytest.raises(ConfigError, match="zero_init_residual is for the resnet family"):
        zero_residuals(net, member)
