"""Whether a member can take every test-time view: asked before anything is trained, on shapes alone."""

from __future__ import annotations

import torch

from configs.errors import ConfigError
from configs.schema import Member, Plan
from models.extraction.views import make_views
from models.registry import make_net


def check_views(member: Member, plan: Plan) -> None:
    """Push shapes of every view through the member's network.

    Raises:
        ConfigError: a view of a size that its head cannot cut, or its backbone not take.
    """
    views = plan.ensemble.views
    if not views:
        return
    with torch.device("meta"):
        net = make_net(member, classes=2)
    for named, view in zip(views, make_views(views, mirrored=False), strict=True):
        height, width = view(torch.zeros(1, 3, *plan.recipe.size)).shape[2:]
        try:
            net(torch.empty(2, 3, height, width, device="meta"))
        except (ConfigError, RuntimeError) as e:
            raise ConfigError(
                f"ensemble.views, {named.name}: member {member.name!r} cannot take pictures of {height}x{width} "
                f"({' '.join(str(e).split())[:300]}). Choose another size, or leave the view out"
            ) from e
