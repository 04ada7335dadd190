"""timm's models as backbones: facts about HRNet-W18, a small model end to end, and what is refused."""

import pytest
import torch
from safetensors.torch import save_file

from configs.errors import ConfigError
from configs.load import load_build_config
from configs.schema import ComponentConfig, Weights
from configs.store.store import Store
from models.backbones.timm_backbone import timm_map
from models.registry import BACKBONES, check, make, make_net
from models.weights.load import load_weights
from models.weights.sources import keep_weights

SMALL = "test_efficientnet"  # made by timm for tests: 0.4 million parameters


def test_hrnet_w18_is_the_published_one():
    with torch.device("meta"):
        net = timm_map(model="hrnet_w18")
        assert net(torch.empty(2, 3, 256, 128)).shape == (2, 2048, 8, 4)
    assert sum(p.numel() for p in net.parameters()) + 2048 * 1000 + 1000 == 21_299_004, "with its classifier"
    assert net.channels == 2048
    assert {"conv1.weight", "stage4.0.branches.0.0.conv1.weight", "final_layer.1.bias"} <= set(net.model.state_dict())
    assert not [k for k in net.model.state_dict() if k.startswith("classifier")]


def test_hrnet_is_a_member_that_passes_its_check():
    plan = load_build_config(["hrnet"], competition="market1501")
    assert plan.members[0].weights.url.endswith("hrnetv2_w18-8cb57bb9.pth")
    check(plan.members[0], plan.recipe)


def test_a_small_model_as_a_member():
    member = load_build_config(["hrnet"], sets=[f"members.hrnet.backbone={{name: timm, model: {SMALL}}}"]).members[0]
    net = make_net(member, classes=3)
    output = net(torch.rand(4, 3, 64, 32))
    assert output.feats.shape == output.bn_feats.shape == (4, net.backbone.channels)
    (output.feats.square().sum() + output.logits[0].sum()).backward()
    silent = [n for n, p in net.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert not silent


def test_timms_own_weights_fit(tmp_path):
    """A file as timm publishes it, classifier and all."""
    import timm

    published = timm.create_model(SMALL, pretrained=False, num_classes=1000)
    save_file(published.state_dict(), tmp_path / "model.safetensors")
    weights = Weights(file=str(tmp_path / "model.safetensors"))
    kept = keep_weights(Store(tmp_path / "runs"), weights)
    net = timm_map(model=SMALL)
    report = load_weights(net.model, kept, weights)
    assert not report.missing and not report.reshaped and not report.unexpected
    x = torch.rand(2, 3, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(net.eval()(x), published.eval().forward_features(x))


def test_channels_are_those_of_the_map():
    """MobileNetV3's last 1 x 1 convolution comes after its features: the map has more channels than `num_features`."""
    with torch.device("meta"):
        net = timm_map(model="mobilenetv3_small_050")
        assert net(torch.empty(2, 3, 64, 32)).shape[1] == net.channels == 1024


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("hrnet_w19", "no model 'hrnet_w19'; near it: hrnet_w18"),
        ("pit_ti_224", r"gives \(2, 1, 256\) of images \(2, 3, 224, 224\), which is no map and no tokens of places"),
        ("crossvit_tiny_240", "gives no feature map"),
        ("test_vit.r161_in1k", "test_vit has no release 'r161_in1k'; it has: r160_in1k"),
    ],
)
def test_what_gives_no_map_is_refused(model, said):
    with pytest.raises(ConfigError, match=said):
        make(BACKBONES, "backbone", ComponentConfig(name="timm", model=model))


def test_heads_of_branches_want_a_resnet():
    plan = load_build_config(
        ["hrnet"], sets=[f"members.hrnet.backbone={{name: timm, model: {SMALL}}}", "members.hrnet.head=mgn"]
    )
    with pytest.raises(ConfigError, match=r"head 'mgn': this backbone has no block 'layer4\.1'.*fork: null"):
        check(plan.members[0], plan.recipe)
