"""What a member costs, against the network itself and by hand."""

import pytest
import torch

from configs.load import load_build_config
from models.model_cost import footprint
from models.registry import BACKBONES, make_net
from models.training.checkpoint import snapshot
from models.training.epoch_metrics import TrainingPosition
from tests import tiny
from tests.conftest import TINY


@pytest.fixture(scope="module")
def narrow():
    plan = load_build_config(["a"], sets=[x for x in TINY if x.startswith(("members.", "recipe."))])
    return plan.members[0], plan.recipe


def test_a_footprint_is_that_of_the_network(narrow, tmp_path):
    """Parameters, state and checkpoint against the network itself; a convolution's products by hand."""
    member, recipe = narrow
    one, net = footprint(member, recipe, 6), make_net(member, 6)
    assert one.parameters == 4 * sum(p.numel() for p in net.parameters() if p.requires_grad)
    assert one.weights == sum(v.numel() * v.element_size() for v in net.state_dict().values())
    optimizer = torch.optim.Adam(p for p in net.parameters() if p.requires_grad)
    out = net(torch.randn(4, 3, 64, 32))
    assert one.dim == out.bn_feats.shape[1]
    (out.feats.sum() + sum(logits.sum() for logits in out.logits)).backward()
    optimizer.step()
    snapshot(TrainingPosition(1), net, optimizer, torch.amp.GradScaler("cpu", enabled=False)).write(tmp_path)
    written = next((tmp_path / "resume").glob("*.safetensors")).stat().st_size
    assert abs(one.checkpoint() - written) < 0.05 * written


def test_products_of_a_network_small_enough_to_count(monkeypatch):
    """tiny.TinyBackbone at 64x32: 3x3 convolutions 3 -> 8 on 32x16 and 8 -> 16 on 16x8, and a classifier 16 -> 5."""
    monkeypatch.setitem(BACKBONES, "tiny", tiny.TinyBackbone)
    one = footprint(tiny.member(), tiny.recipe(), 5)
    assert one.flops == 2 * (9 * 3 * 8 * 32 * 16 + 9 * 8 * 16 * 16 * 8 + 16 * 5)


def test_a_network_that_looks_at_values_is_taken_for_a_resnet(monkeypatch):
    """A forecast never stops a build."""

    class Looks(tiny.TinyBackbone):
        def forward(self, images):
            return super().forward(images) * float(images.sum())

    monkeypatch.setitem(BACKBONES, "tiny", Looks)
    small, large = (footprint(tiny.member(), tiny.recipe(size=size), 5) for size in ([64, 32], [128, 64]))
    assert small.dim == 2048 and large.flops == 4 * small.flops
