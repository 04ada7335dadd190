"""The tables: every row can be made, and what they do not have is refused with what they do."""

import numpy as np
import pytest
import torch

from configs import load
from configs.errors import ConfigError
from configs.schema import ComponentConfig, Member
from models import registry
from tests import tiny

IMAGES = np.zeros((4, 64, 32, 3), np.uint8)
TABLES = {
    "backbone": registry.BACKBONES,
    "head": registry.HEADS,
    "classifier": registry.CLASSIFIERS,
    "loss": registry.LOSSES,
    "augmentation": registry.AUGMENTS,
    "schedule": registry.SCHEDULES,
    "optimizer": registry.OPTIMIZERS,
}
NEEDED = {"timm": {"model": "resnet10t"}}  # rows that cannot be made without an option
ROWS = [(what, name) for what, table in TABLES.items() for name in table]
EVERY_MEMBER = list(load._read(load.HERE / "members.yaml"))


def given(what):
    """What the caller knows and hands over beside the options."""
    trunk = registry.BACKBONES["resnet"]()
    trunk.has_class = True  # what the head of tokens looks for
    handed = {
        "backbone": dict,
        "head": lambda: {"channels": 2048, "classes": 3, "backbone": trunk},
        "classifier": lambda: {"width": 4, "classes": 3},
        "loss": lambda: {"epochs": 10, "dim": 4, "classes": 3, "counts": (2, 2, 2), "scale": 30.0},
        "augmentation": lambda: {"images": IMAGES, "seed": 0},
        "schedule": lambda: {"epochs": 10, "then": lambda left: lambda t: 1.0},
        "optimizer": lambda: {"params": [torch.zeros(1, requires_grad=True)]},
    }
    return handed[what]()


@pytest.mark.parametrize(("what", "name"), ROWS)
def test_every_row_can_be_made(what, name):
    with torch.device("meta"):
        made = registry.make(TABLES[what], what, ComponentConfig(name=name, **NEEDED.get(name, {})), **given(what))
    assert made is not None


@pytest.mark.parametrize("what", TABLES)
def test_a_row_that_is_not_there_lists_those_that_are(what):
    listed = ", ".join(TABLES[what])
    with pytest.raises(ConfigError) as error:
        registry.make(TABLES[what], what, ComponentConfig(name="nobody"), **given(what))
    assert str(error.value) == f"unknown {what} 'nobody'; models/registry.py has: {listed}"


@pytest.mark.parametrize(("what", "name"), ROWS)
def test_an_option_that_a_row_does_not_have_lists_those_that_it_has(what, name):
    asked = ComponentConfig(name=name, **NEEDED.get(name, {}), colour="red")
    with torch.device("meta"), pytest.raises(ConfigError, match=f"{what} '{name}' has no option 'colour'; it has: "):
        registry.make(TABLES[what], what, asked, **given(what))


@pytest.mark.parametrize(("what", "name"), ROWS)
def test_what_the_caller_hands_over_is_no_option(what, name):
    """`--set recipe.losses.triplet.epochs=3` would otherwise come in twice, and end in a traceback."""
    with torch.device("meta"):
        known = given(what)
        for key in known:
            asked = ComponentConfig(name=name, **NEEDED.get(name, {}), **{key: 1})
            with pytest.raises(ConfigError, match=f"has no option '{key}'"):
                registry.make(TABLES[what], what, asked, **known)


@pytest.mark.parametrize(
    ("what", "options", "said"),
    [
        ("backbone", {"name": "resnet", "depth": 51}, "backbone 'resnet': depth 51; allowed: 26, 50, 101, 152"),
        ("backbone", {"name": "resnet", "ibn": "c"}, "ibn 'c'"),
        ("backbone", {"name": "resnet", "groups": "many"}, "backbone 'resnet': "),
        ("loss", {"name": "id", "eps": 1}, "loss 'id': eps 1; must be 0 or more and less than 1"),
        ("loss", {"name": "triplet", "margin": "hard"}, "loss 'triplet': margin 'hard'; must be 0 or more"),
        ("classifier", {"name": "cosine", "scale": 0}, "classifier 'cosine': scale 0; must be above 0"),
        ("classifier", {"name": "cosine", "scale": float("inf")}, "classifier 'cosine': scale inf; must be above 0"),
        ("classifier", {"name": "cosine", "centers": 0}, "classifier 'cosine': centers 0; must be 1 or more"),
        ("classifier", {"name": "cosine", "centers": 1.5}, "classifier 'cosine': centers 1.5; must be 1 or more"),
        ("loss", {"name": "arcface", "margin": -0.1}, "loss 'arcface': margin -0.1; must be from 0 to 1.571"),
        ("loss", {"name": "arcface", "margin": 1.6}, "loss 'arcface': margin 1.6; must be from 0 to 1.571"),
        ("loss", {"name": "arcface", "least": 0.6}, "loss 'arcface': least 0.6 with margin 0.5; must be from 0 to"),
        ("loss", {"name": "arcface", "least": 0.1, "power": 0}, "loss 'arcface': power 0; must be above 0"),
        ("loss", {"name": "cosface", "margin": -0.1}, "loss 'cosface': margin -0.1; must be from 0 to 2"),
        ("loss", {"name": "cosface", "margin": "soft"}, "loss 'cosface': "),
        ("loss", {"name": "circle", "margin": -0.1}, "loss 'circle': margin -0.1; must be from 0 to 1"),
        ("loss", {"name": "circle", "gamma": 0}, "loss 'circle': gamma 0; must be above 0"),
        ("loss", {"name": "supcon", "temperature": 0}, "loss 'supcon': temperature 0; must be above 0"),
        ("loss", {"name": "focal", "gamma": -1}, "loss 'focal': gamma -1; must be 0 or more"),
        ("augmentation", {"name": "flip", "p": 2}, "augmentation 'flip': p 2; must be from 0 to 1"),
        ("augmentation", {"name": "erase", "area": 0.4}, "augmentation 'erase': "),
        ("augmentation", {"name": "pad_crop", "pad": -1}, "augmentation 'pad_crop': pad -1"),
        ("schedule", {"name": "steps", "milestones": [70, 40]}, "schedule 'steps': "),
        ("schedule", {"name": "steps", "milestones": 40}, "schedule 'steps': "),
        ("optimizer", {"name": "adam", "lr": -1}, "optimizer 'adam': Invalid learning rate: -1"),
    ],
)
def test_a_value_that_a_row_refuses(what, options, said):
    with pytest.raises(ConfigError) as error:
        registry.make(TABLES[what], what, ComponentConfig(**options), **given(what))
    assert said in str(error.value)


@pytest.mark.parametrize("name", EVERY_MEMBER)
def test_check_passes_every_member_without_computing(name):
    (member,) = load.load_build_config([name]).members
    registry.check(member, tiny.recipe())


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": {"name": "adam", "lrr": 1}},
        {"schedule": {"name": "stairs"}},
        {"losses": {"id": {"weight": 1, "epsilon": 0.1}}},
        {"losses": {"identity": {}}},
        {"classifier": "sphere"},
        {"classifier": {"name": "cosine", "scale": -1}},
        {"classifier": {"name": "linear", "scale": 30}},
        {"augment": [{"name": "flop"}]},
    ],
    ids=str,
)
def test_check_finds_what_a_recipe_gets_wrong_before_any_work(changes):
    (member,) = load.load_build_config(["r50"]).members
    with pytest.raises(ConfigError):
        registry.check(member, tiny.recipe(**changes))


def test_check_finds_what_a_member_gets_wrong():
    for changes in ({"backbone": "resnext"}, {"head": {"name": "global", "parts": 3}}):
        with pytest.raises(ConfigError):
            registry.check(Member.model_validate({"name": "x", "backbone": "resnet"} | changes), tiny.recipe())


def test_losses_have_their_weights_and_one_where_none_is_given():
    losses = registry.make_losses(tiny.recipe(losses={"id": {"weight": 0.25}, "triplet": {}}), dim=4, classes=3)
    assert {name: weight for name, (weight, _) in losses.items()} == {"id": 0.25, "triplet": 1.0}


@pytest.mark.parametrize("name", EVERY_MEMBER)
def test_the_gradient_reaches_every_trained_parameter_of_a_member(name):
    """Under the total loss; the neck's bias alone is not trained."""
    (member,) = load.load_build_config([name]).members
    if member.backbone.name == "resnet":
        narrow = member.backbone.model_dump() | {"width_per_group": 4}
        member = member.model_copy(update={"backbone": ComponentConfig(**narrow)})
    torch.manual_seed(0)
    net = registry.make_net(member, 3).train()
    recipe = tiny.recipe(losses={"id": {"weight": 0.1}, "triplet": {"weight": 0.9, "margin": 2}})
    output = net(torch.randn(6, 3, 64, 32))
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    losses = registry.make_losses(recipe, dim=net.dim, classes=3).values()
    sum(weight * loss(output, labels) for weight, loss in losses).backward()
    missed = [n for n, p in net.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.abs().sum())]
    assert missed == []
