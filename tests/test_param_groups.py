"""The rate and the decay of each parameter, and which are frozen: by timm's blocks, our stages, and published lists."""

import pytest
import timm
import torch

from configs.errors import ConfigError
from configs.schema import Member
from models import registry
from models.registry import check, make_net
from models.training.param_groups import backbone_held, freeze, param_groups
from models.training.setup import make_optimizer
from models.training.step import set_rate
from tests import tiny

VIT = {"name": "timm", "model": "vit_tiny_patch16_224"}
RESNET = {"name": "resnet", "depth": 26, "base": 8}
WEIGHTS = {"file": "model.safetensors"}


def member(backbone, **changes):
    return Member.model_validate({"name": "x", "backbone": backbone} | changes)


def net_of(backbone, **changes):
    with torch.device("meta"):
        return make_net(member(backbone, **changes), classes=3)


def found(net, **changes):
    """Parameter -> (factor of the rate, whether it is decayed)."""
    names = {id(p): name for name, p in net.named_parameters()}
    groups = param_groups(net, tiny.recipe(**changes))
    return {names[id(p)]: (g["scale"], "weight_decay" not in g) for g in groups for p in g["params"]}


def test_by_default_there_is_one_group_in_the_networks_order():
    net = net_of(RESNET)
    (group,) = param_groups(net, tiny.recipe())
    want = [p for p in net.parameters() if p.requires_grad]
    assert group["scale"] == 1 and set(group) == {"params", "scale"}
    assert all(a is b for a, b in zip(group["params"], want, strict=True))


def test_rates_of_a_vit_of_12_blocks():
    """Block i of 1 to 12 has d^(13 - i), embeddings d^13, the head 1: BEiT's code, `get_num_layer_for_vit`."""
    rates = {name: scale for name, (scale, _) in found(net_of(VIT), layer_decay=0.5, head_rate=3).items()}
    for block in range(12):
        own = {scale for name, scale in rates.items() if name.startswith(f"backbone.model.blocks.{block}.")}
        assert own == {0.5 ** (12 - block)}
    stem = ("cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias")
    assert {rates[f"backbone.model.{name}"] for name in stem} == {2.0**-13}
    assert rates["backbone.model.norm.weight"] == 0.5
    assert rates["head.classifier.weight"] == rates["head.neck.weight"] == 3


@pytest.mark.parametrize("model", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "convnext_atto"])
def test_rates_and_decay_are_those_of_timms_own_helper(model):
    """With a classifier, as timm's helper expects it; ours is the head."""
    from timm.optim import param_groups_layer_decay

    with torch.device("meta"):
        theirs = timm.create_model(model, num_classes=3)
    names = {id(p): name for name, p in theirs.named_parameters()}
    listed = theirs.no_weight_decay() if hasattr(theirs, "no_weight_decay") else ()
    groups = param_groups_layer_decay(theirs, 0.05, listed, layer_decay=0.75)
    want = {names[id(p)]: (g["lr_scale"], g["weight_decay"] > 0) for g in groups for p in g["params"]}
    ours = found(net_of({"name": "timm", "model": model}), layer_decay=0.75, decay="matrices")
    own = {k.removeprefix("backbone.model."): v for k, v in ours.items() if k.startswith("backbone.")}
    assert len(own) >= len(want) - 2 and {k: want[k] for k in own} == own
    highest = max(scale for scale, _ in own.values())
    assert highest == (1 if model == "convnext_atto" else 0.75)  # its last norm belongs to no block


def test_rates_of_the_stages_of_a_resnet():
    net = net_of(RESNET)
    rates = {name: scale for name, (scale, _) in found(net, layer_decay=0.5).items()}
    assert rates["backbone.conv1.weight"] == 0.5**5 and rates["backbone.bn1.bias"] == 0.5**5
    for stage in (1, 2, 3, 4):
        own = {scale for name, scale in rates.items() if name.startswith(f"backbone.layer{stage}.")}
        assert own == {0.5 ** (5 - stage)}
    assert rates["head.classifier.weight"] == 1


def test_a_heads_copies_of_blocks_have_the_rates_of_those_blocks():
    net = net_of(RESNET, head={"name": "mgn", "width": 8, "fork": "layer3.1"})
    rates = {name: scale for name, (scale, _) in found(net, layer_decay=0.5, head_rate=10).items()}
    assert rates["head.tails.0.0.conv1.weight"] == 0.25 and rates["head.tails.1.1.bn2.weight"] == 0.5
    assert rates["head.branches.0.parts.0.reduce.weight"] == 10
    net = net_of({"name": "timm", "model": "test_vit"}, head={"name": "mgn", "width": 8, "fork": "blocks.4"})
    rates = {name: scale for name, (scale, _) in found(net, layer_decay=0.5, head_rate=10).items()}
    assert rates["head.tails.0.layers.0.attn.qkv.weight"] == rates["backbone.model.blocks.4.attn.qkv.weight"] == 0.25
    assert rates["head.tails.1.layers.1.norm2.weight"] == rates["head.tails.1.layers.2.weight"] == 0.5


@pytest.mark.parametrize(("optimizer", "decay", "all_of_it"), [
    ("adam", "auto", True), ("sgd", "auto", True), ("adamw", "auto", False), ("adamw", "all", True),
    ("adam", "matrices", False),
])  # fmt: skip
def test_what_is_decayed(optimizer, decay, all_of_it):
    net = net_of({"name": "timm", "model": "vit_small_patch14_reg4_dinov2"}, head={"name": "token", "patches": "gem"})
    decayed = {k: on for k, (_, on) in found(net, optimizer=optimizer, decay=decay).items()}
    spared = {"cls_token", "reg_token", "pos_embed", "blocks.3.norm1.weight", "blocks.3.attn.qkv.bias",
              "blocks.3.ls1.gamma", "norm.bias"}  # fmt: skip
    assert {decayed[f"backbone.model.{name}"] for name in spared} == {all_of_it}
    assert decayed["head.neck.weight"] is decayed["head.pool.p"] is all_of_it
    assert decayed["backbone.model.blocks.3.attn.qkv.weight"] and decayed["head.classifier.weight"]
    assert decayed["backbone.model.patch_embed.proj.weight"]


def test_the_tables_of_a_window_transformer_are_not_decayed():
    decayed = found(net_of({"name": "timm", "model": "swin_tiny_patch4_window7_224"}), decay="matrices")
    tables = {on for k, (_, on) in decayed.items() if "relative_position_bias_table" in k}
    assert tables == {False}


def test_a_step_of_adamw_and_the_rates_of_its_groups():
    """Loshchilov and Hutter, algorithm 2: p (1 - lr wd) - lr m^ / (sqrt(v^) + eps), in two steps, by hand."""
    torch.manual_seed(0)
    net = make_net(member(RESNET), classes=3)
    recipe = tiny.recipe(
        optimizer={"name": "adamw", "lr": 1.0, "weight_decay": 0.1, "betas": [0.8, 0.9]}, layer_decay=0.5, head_rate=4
    )
    optimizer = make_optimizer(recipe, net, torch.device("cpu"))
    wanted = {"backbone.layer3.0.conv1.weight": (0.25, 0.1), "head.classifier.weight": (4, 0.1),
              "backbone.layer4.0.bn1.weight": (0.5, 0.0)}  # fmt: skip
    params = dict(net.named_parameters())
    values, m, v = ({k: params[k].detach().double().clone() * start for k in wanted} for start in (1, 0, 0))
    for step, rate in ((1, 0.01), (2, 0.02)):
        for p in net.parameters():
            p.grad = torch.randn_like(p)
        set_rate(optimizer, torch.tensor(rate, dtype=torch.float64))
        optimizer.step()
        for k, (scale, decay) in wanted.items():
            grad, lr = params[k].grad.double(), rate * scale
            m[k], v[k] = 0.8 * m[k] + 0.2 * grad, 0.9 * v[k] + 0.1 * grad**2
            moved = m[k] / (1 - 0.8**step) / ((v[k] / (1 - 0.9**step)).sqrt() + 1e-8)
            values[k] = values[k] * (1 - lr * decay) - lr * moved
    for k in wanted:
        torch.testing.assert_close(params[k].detach().double(), values[k], rtol=1e-5, atol=1e-6)


def test_sgd_with_momentum():
    """b <- 0.9 b + g + wd p, p <- p - lr b (Sutskever et al., ICML 2013, in torch's form)."""
    p = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = registry.OPTIMIZERS["sgd"]([{"params": [p], "scale": 1.0}], lr=0.1, weight_decay=0.5)
    value, momentum = [1.0, -2.0], [0.0, 0.0]
    for grad in ([1.0, 0.5], [-1.0, 2.0], [0.0, 1.0]):
        p.grad = torch.tensor(grad)
        optimizer.step()
        for i in (0, 1):
            momentum[i] = 0.9 * momentum[i] + grad[i] + 0.5 * value[i]
            value[i] -= 0.1 * momentum[i]
    torch.testing.assert_close(p.detach(), torch.tensor(value))


@pytest.mark.parametrize("name", registry.OPTIMIZERS)
def test_an_optimizer_moves_nothing_where_it_is_told_of_an_infinity(name):
    p = torch.nn.Parameter(torch.ones(3, 2))
    optimizer = registry.OPTIMIZERS[name]([{"params": [p]}], lr=0.1)
    optimizer.found_inf, p.grad = torch.ones(()), torch.full((3, 2), torch.nan)
    optimizer.step()
    assert torch.equal(p.detach(), torch.ones(3, 2))
    optimizer.found_inf, p.grad = torch.zeros(()), torch.ones(3, 2)
    optimizer.step()
    assert (p.detach() < 1).all()


@pytest.mark.parametrize(
    ("backbone", "blocks", "frozen", "trained"),
    [
        (VIT, 2, ("model.pos_embed", "model.blocks.0.", "model.blocks.1."), ("model.blocks.2.", "model.norm.")),
        (RESNET, 1, ("conv1", "bn1", "layer1."), ("layer2.", "layer3.", "layer4.")),
    ],
    ids=["vit", "resnet"],
)
def test_the_first_blocks_are_frozen(backbone, blocks, frozen, trained):
    net = net_of(backbone)
    freeze(net, tiny.recipe(freeze=blocks))
    learns = {name: p.requires_grad for name, p in net.named_parameters()}
    for word in frozen:
        assert {on for name, on in learns.items() if name.startswith(f"backbone.{word}")} == {False}
    for word in trained:
        assert {on for name, on in learns.items() if name.startswith(f"backbone.{word}")} == {True}
    assert learns["head.classifier.weight"]


def test_norms_of_frozen_stages_stay_as_in_use_and_those_of_branches_with_them():
    net = net_of(RESNET, head={"name": "mgn", "width": 8, "fork": "layer3.0"})
    freeze(net, tiny.recipe(freeze=3))
    net.train()
    norms = {k: m.training for k, m in net.named_modules() if isinstance(m, torch.nn.BatchNorm2d)}
    assert {on for k, on in norms.items() if k.startswith(("backbone.bn1", "backbone.layer3", "head.tails.0.1"))} == {
        False
    }
    assert {on for k, on in norms.items() if k.startswith(("backbone.layer4", "head.tails.0.2"))} == {True}
    assert not net.eval().training and not any(m.training for m in net.modules())


def test_a_held_backbone_is_frozen_inside_alone():
    net = net_of(RESNET)
    net.backbone.conv1.weight.requires_grad_(False)
    with backbone_held(net, True):
        net.train()
        assert not any(p.requires_grad for p in net.backbone.parameters()) and not net.backbone.bn1.training
        assert net.head.classifier.weight.requires_grad and net.head.neck.training
    net.train()
    learns = {k: p.requires_grad for k, p in net.backbone.named_parameters()}
    assert not learns.pop("conv1.weight") and all(learns.values()) and net.backbone.bn1.training


@pytest.mark.parametrize(
    ("backbone", "changes", "said"),
    [
        (RESNET, {"freeze": 5}, "recipe.freeze is 5, and the backbone has 4 blocks or stages; take fewer, or all"),
        (
            RESNET,
            {"freeze": 2, "pretrained": False},
            r"recipe.freeze keeps a backbone's weights, and it starts from",
        ),
        (RESNET, {"head_epochs": 1, "pretrained": False}, r"recipe.head_epochs keeps a backbone's weights"),
        ("tiny", {"layer_decay": 0.5}, "this one's are not known; it can be trained with layer_decay: 1"),
        ("tiny", {"drop_path": 0.5}, "backbone 'tiny' has no drop path; take recipe.drop_path: 0"),
        ({"name": "timm", "model": "hrnet_w18_small"}, {"drop_path": 0.5}, "'hrnet_w18_small' has no drop path"),
        (RESNET, {"optimizer": "adamx"}, "unknown optimizer 'adamx'; models/registry.py has: adam, adamw, sgd"),
        (
            RESNET,
            {"optimizer": {"name": "sgd", "beta": 1}},
            "no option 'beta'; it has: lr, momentum, weight",
        ),
    ],
)
def test_what_cannot_be_trained_so_is_said_before_any_work(monkeypatch, backbone, changes, said):
    monkeypatch.setitem(registry.BACKBONES, "tiny", tiny.TinyBackbone)
    asked = tiny.recipe(**{"pretrained": True} | changes)
    with pytest.raises(ConfigError, match=said):
        check(member(backbone, weights=WEIGHTS), asked)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"freeze": "some"}, "freeze"),
        ({"freeze": 0}, "greater than or equal to 1"),
        ({"layer_decay": 0}, "greater than 0"),
        ({"layer_decay": 1.1}, "less than or equal to 1"),
        ({"head_rate": 0}, "greater than 0"),
        ({"clip_norm": 0}, "greater than 0"),
        ({"ema": 1}, "less than 1"),
        ({"drop_path": 1}, "less than 1"),
        ({"decay": "norms"}, "'auto', 'all' or 'matrices'"),
        ({"head_epochs": 2}, "head_epochs is 2 of 2 epochs, so the backbone would never be trained"),
        ({"freeze": "all"}, "only one flip is possible; came: flip, pad_crop, erase. Take --recipe frozen"),
        ({"freeze": "all", "augment": [], "layer_decay": 0.5}, "layer_decay is for a backbone that is trained"),
        ({"freeze": "all", "augment": [], "drop_path": 0.5}, "drop_path is for a backbone that is trained"),
        ({"freeze": "all", "augment": [], "head_epochs": 1}, "head_epochs is for a backbone that is trained"),
    ],
)
def test_values_that_make_no_sense_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        tiny.recipe(**changes)
