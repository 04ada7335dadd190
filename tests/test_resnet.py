"""The ResNet family against its papers, torchvision's networks and the names of IBN-Net's release."""

import pytest
import timm
import torch
import torchvision
from torch.nn.functional import cosine_similarity, instance_norm

from configs.load import load_build_config
from models.backbones.resnet import IBN, Block, SqueezeExcitation, open_gates, resnet
from tests.tiny import unsettle

MEMBERS = {
    "r50": ({}, 23_508_032),
    "rx50": ({"groups": 32, "width_per_group": 4}, 22_979_904),
    "ibn_a": ({"ibn": "a"}, 23_508_032),
    "ibn_b": ({"ibn": "b"}, 23_509_568),
    "se_ibn_a": ({"ibn": "a", "se": True}, 26_022_976),
}
WEIGHT_BIAS = ("weight", "bias")
OPTIONS = [options for options, _ in MEMBERS.values()]


def narrow(**options):
    """The same network with thin 3x3 convolutions, for speed."""
    torch.manual_seed(0)
    return resnet(**({"width_per_group": 4} | options))


def pictures(n=4, height=64, width=32):
    return torch.randn(n, 3, height, width, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", MEMBERS)
def test_parameters_as_in_the_recipe(name):
    options, count = MEMBERS[name]
    with torch.device("meta"):
        assert sum(p.numel() for p in resnet(**options).parameters()) == count


@pytest.mark.parametrize(("depth", "count"), [(101, 42_500_160), (152, 58_143_808)])
def test_parameters_of_the_deeper_ones(depth, count):
    """torchvision's counts (44,549,160 and 60,192,808) less a classifier of 2,049,000."""
    with torch.device("meta"):
        assert sum(p.numel() for p in resnet(depth=depth).parameters()) == count


def test_parameters_of_the_shallower_one():
    """timm's resnet26 (16.0 million) has the same trunk."""
    with torch.device("meta"):
        ours = sum(p.numel() for p in resnet(depth=26).parameters())
    assert ours == sum(p.numel() for p in timm.create_model("resnet26", num_classes=0).parameters()) == 13_946_176


def test_parameters_of_the_narrower_ones():
    """Stem 7x7 of 64 channels; stage s has base * 2^s planes and four times as many channels (so stage 1 keeps 64)."""
    base, into = 16, 64
    want = 64 * 3 * 49 + 2 * 64
    for planes in (base, 2 * base, 4 * base, 8 * base):
        for block in range(2):
            want += planes * into + 9 * planes**2 + 4 * planes**2 + 2 * (planes + planes + 4 * planes)
            want += (4 * planes * into + 2 * 4 * planes) if block == 0 and into != 4 * planes else 0
            into = 4 * planes
    net = resnet(depth=26, base=base)
    assert sum(p.numel() for p in net.parameters()) == want
    assert net(torch.zeros(1, 3, 64, 32)).shape == (1, net.channels, 4, 2) and net.channels == 512
    with pytest.raises(ValueError, match="base 20; must be a multiple of 8"):
        resnet(base=20)


@pytest.mark.parametrize("name", ["s26", "sx26", "s26_ibn_a", "s26_ibn_b", "s26_se_ibn_a"])
def test_parameters_of_the_small_family(name):
    """Stage s has 32 * 2^s planes and two blocks; sx26 has twice as many 3x3 channels, in 16 groups. An instance norm
    after the sum adds two numbers a channel; that of the stem takes a batch norm's place; a gate has 2 c^2 / 16.
    """
    groups, into, want = 16 if name == "sx26" else 1, 64, 64 * 3 * 49 + 2 * 64
    for stage, planes in enumerate((32, 64, 128, 256)):
        for block in range(2):
            out, wide = 4 * planes, 2 * planes if name == "sx26" else planes
            want += wide * into + 9 * wide**2 // groups + wide * out + 2 * (wide + wide + out)
            want += out * into + 2 * out if block == 0 else 0
            want += 2 * out if name.endswith("ibn_b") and stage < 2 and block == 1 else 0
            want += 2 * out**2 // 16 if "_se_" in name else 0
            into = out
    (member,) = load_build_config([name]).members
    with torch.device("meta"):
        net = resnet(**member.backbone.options)
    assert sum(p.numel() for p in net.parameters()) == want and net.channels == 1024


@pytest.mark.parametrize("options", OPTIONS)
def test_256x128_gives_16x8_and_odd_sizes_round_up(options):
    with torch.device("meta"):
        net = resnet(**options)
        assert net(torch.empty(2, 3, 256, 128)).shape == (2, net.channels, 16, 8)
        assert net(torch.empty(1, 3, 70, 33)).shape == (1, net.channels, 5, 3)
    assert (net.channels, net.stride) == (2048, 16)


@pytest.mark.parametrize("options", OPTIONS)
def test_the_gradient_reaches_every_parameter(options):
    net = narrow(**options)
    net(pictures()).square().mean().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("options", OPTIONS)
def test_bfloat16_and_channels_last_give_about_the_same(options):
    net = unsettle(narrow(**options)).eval()
    x = pictures()
    with torch.no_grad():
        want = net(x)
        last = net.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
        torch.testing.assert_close(last, want, rtol=1e-3, atol=1e-3)
        with torch.autocast("cpu", torch.bfloat16):
            low = net(x)
    assert torch.isfinite(low).all()
    assert cosine_similarity(low.float().flatten(1), want.flatten(1)).min() > 0.99


@pytest.mark.parametrize("options", OPTIONS)
def test_half_precision_can_be_asked_for(options):
    assert next(resnet(**options).half().parameters()).dtype == torch.float16


# --------------------------------------------------------------------------------------------------------- torchvision


@pytest.mark.parametrize(
    ("maker", "options"),
    [(torchvision.models.resnet50, {}), (torchvision.models.resnext50_32x4d, {"groups": 32, "width_per_group": 4})],
)
def test_torchvisions_weights_load_and_give_torchvisions_map(maker, options):
    """Up to stage 3 as it is; at stage 4 torchvision's own forward with its strides at 1."""
    torch.manual_seed(0)
    theirs = unsettle(maker(weights=None)).eval()
    ours = resnet(**options).eval()
    missed = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert missed.missing_keys == [] and missed.unexpected_keys == ["fc.weight", "fc.bias"]
    theirs.layer4[0].conv2.stride = theirs.layer4[0].downsample[0].stride = (1, 1)
    with torch.no_grad():
        x = pictures(2)
        want = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
        for stage in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4):
            want = stage(want)
        torch.testing.assert_close(ours(x), want, rtol=1e-4, atol=1e-5)


def test_with_the_stride_put_back_it_is_torchvisions_network():
    torch.manual_seed(0)
    theirs = unsettle(torchvision.models.resnet50(weights=None, num_classes=7)).eval()
    ours = resnet().eval()
    ours.load_state_dict(theirs.state_dict(), strict=False)
    ours.layer4[0].conv2.stride = ours.layer4[0].downsample[0].stride = (2, 2)
    with torch.no_grad():
        x = pictures(2)
        pooled = ours(x).mean(dim=(2, 3))
        torch.testing.assert_close(theirs.fc(pooled), theirs(x), rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------------------------------------------ IBN-a and IBN-b


def test_names_of_ibn_a():
    """Of IBN-Net's release: in every block of stages 1-3, and nowhere else."""
    with torch.device("meta"):
        names = set(resnet(ibn="a").state_dict())
    ours = {n.rsplit(".bn1", 1)[0] for n in names if ".bn1.IN.weight" in n}
    assert ours == {f"layer{s}.{b}" for s, n in ((1, 3), (2, 4), (3, 6)) for b in range(n)}
    for part in ("IN.weight", "IN.bias", "BN.weight", "BN.bias", "BN.running_mean", "BN.running_var"):
        assert f"layer1.0.bn1.{part}" in names
    assert {"layer4.0.bn1.weight", "bn1.weight", "bn1.running_mean"} <= names
    assert "layer1.0.bn1.IN.running_mean" not in names


def test_names_of_ibn_b_and_of_the_gates():
    with torch.device("meta"):
        b, se = set(resnet(ibn="b").state_dict()), set(resnet(ibn="a", se=True).state_dict())
    assert {n for n in b if "IN" in n} == {f"{block}.IN.{n}" for block in ("layer1.2", "layer2.3") for n in WEIGHT_BIAS}
    assert "bn1.weight" in b and "bn1.running_mean" not in b
    gates = {n for n in se if ".se." in n}
    blocks = [f"layer{s}.{i}" for s, n in ((1, 3), (2, 4), (3, 6), (4, 3)) for i in range(n)]
    assert gates == {f"{block}.se.fc.{i}.weight" for block in blocks for i in (0, 2)}


@pytest.mark.parametrize("channels", [64, 7])
def test_ibn_a_norms_the_first_half_by_instance_and_the_rest_by_batch(channels):
    torch.manual_seed(0)
    norm = unsettle(IBN(channels)).train()
    x = torch.randn(3, channels, 5, 4) * 2 + 1
    half = channels // 2
    out = norm(x)
    want = instance_norm(x[:, :half], weight=norm.IN.weight, bias=norm.IN.bias)
    torch.testing.assert_close(out[:, :half], want)
    rest = x[:, half:]
    mean, var = rest.mean((0, 2, 3), keepdim=True), rest.var((0, 2, 3), unbiased=False, keepdim=True)
    scaled = (rest - mean) / (var + 1e-5).sqrt()
    want = scaled * norm.BN.weight[:, None, None] + norm.BN.bias[:, None, None]
    torch.testing.assert_close(out[:, half:], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"ibn": "a"}, {"ibn": "b"}, {"se": True}, {"ibn": "a", "se": True}])
def test_a_block_is_what_its_paper_draws(options):
    """The last block of stage 1, written out: the gate before the sum, IBN-b's norm after it and before the ReLU."""
    net = unsettle(narrow(**options)).eval()
    block = net.layer1[2]
    x = torch.randn(2, 256, 6, 5, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        out = block.bn1(block.conv1(x)).clamp(min=0)
        out = block.bn2(block.conv2(out)).clamp(min=0)
        out = block.bn3(block.conv3(out))
        if options.get("se"):
            first, second = (p for n, p in block.named_parameters() if ".fc." in n)
            hidden = (out.mean((2, 3)) @ first.T).clamp(min=0)
            out = out * (1 / (1 + torch.exp(-hidden @ second.T)))[:, :, None, None]
        out = out + x
        if options.get("ibn") == "b":
            weight, bias = (dict(block.named_parameters())[f"IN.{n}"] for n in WEIGHT_BIAS)
            mean, var = out.mean((2, 3), keepdim=True), out.var((2, 3), unbiased=False, keepdim=True)
            out = (out - mean) / (var + 1e-5).sqrt() * weight[:, None, None] + bias[:, None, None]
        torch.testing.assert_close(block(x), out.clamp(min=0), rtol=1e-4, atol=1e-5)


def test_ibn_b_makes_the_stem_blind_to_contrast():
    """An instance norm forgets a picture's brightness and contrast; the plain stem does not."""
    x = pictures(2)
    for ibn, same in (("b", True), (None, False)):
        net = unsettle(narrow(ibn=ibn)).eval()
        with torch.no_grad():
            one, other = (net.bn1(net.conv1(v)) for v in (x, 3 * x))
        assert torch.allclose(one, other, atol=1e-3) == same


# ---------------------------------------------------------------------------------------------------------------- gates


@pytest.mark.parametrize("level", [0.05, 1.0, 20.0])
def test_an_open_gate_is_near_1_at_its_level_and_still_learns(level):
    torch.manual_seed(0)
    gate = SqueezeExcitation(256)
    gate.open(level=level)
    x = level * torch.randn(16, 256, 1, 1)
    gates = gate(x) / x
    assert gates.mean() > 0.95 and gates.min() > 0.8 and gates.max() < 0.9999
    gate(x).sum().backward()
    assert all((layer.weight.grad != 0).any() for layer in (gate.fc[0], gate.fc[2]))


def test_a_closed_gate_is_not_near_1():
    torch.manual_seed(0)
    x = torch.randn(16, 256, 1, 1)
    assert (SqueezeExcitation(256)(x) / x).mean() < 0.6


def test_open_gates_let_the_trunk_compute_what_it_did():
    torch.manual_seed(0)
    net = unsettle(narrow(ibn="a", se=True))
    plain = unsettle(narrow(ibn="a"))
    open_gates(net)
    state = net.state_dict()
    plain.load_state_dict({k: v for k, v in state.items() if ".se." not in k})
    seen = []
    for m in net.modules():
        if isinstance(m, SqueezeExcitation):
            m.fc.register_forward_hook(lambda layer, given, out: seen.append(out.detach()))
    x = pictures(8) + torch.randn(8, 3, 1, 1, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        for _ in range(20):  # running statistics of these pictures, as a trained trunk has those of its own
            plain(x)
        net.load_state_dict(plain.state_dict(), strict=False)
        with_gates, without = (n.eval()(x).mean((2, 3)) for n in (net, plain))
    assert len(seen) == 16 and min(g.mean() for g in seen) > 0.75
    assert torch.stack([g.mean() for g in seen]).mean() > 0.9
    assert cosine_similarity(with_gates, without).min() > 0.98


def test_every_block_is_of_the_house():
    assert len([m for m in resnet(depth=101).modules() if isinstance(m, Block)]) == 3 + 4 + 23 + 3


@pytest.mark.parametrize("options", [{"depth": 18}, {"depth": "50"}, {"ibn": "c"}])
def test_what_the_family_does_not_have_is_refused(options):
    with pytest.raises(ValueError, match=r"allowed: 26, 50, 101, 152|allowed: a, b"):
        resnet(**options)
