"""Networks from random weights that start as their shortcuts alone (Goyal et al. 2017, section 5.1)."""

from __future__ import annotations

from configs.errors import ConfigError
from configs.schema import Member
from models.backbones.resnet import Trunk
from models.net import Net


def zero_residuals(net: Net, member: Member) -> None:
    """Start every residual branch at zero, those of the head's branches too.

    Raises:
        ConfigError: the backbone is of another family.
    """
    if not isinstance(net.backbone, Trunk):
        raise ConfigError(
            f"{member.name}: zero_init_residual is for the resnet family, not {member.backbone.name!r}; "
            "--set recipe.zero_init_residual=false"
        )
    net.backbone.zero_residuals()
    net.branch_off()
