"""The cosine classifier: its products written out, several centers, precision, and which losses demand it."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from configs.console.progress import Progress
from configs.errors import ConfigError
from configs.load import load_build_config
from configs.schema import Member
from models import registry
from models.data.balance import Training
from models.distributed.process_group import ALONE
from models.extraction.extract import load_member
from models.heads.classifiers import CosineClassifier, linear
from models.losses.margin import arcface_loss
from models.net import Output
from models.registry import check, make_losses, make_net
from models.training.setup import set_up
from models.training.train import train_member
from tests import tiny
from tests.oracles import cosine_distance, margin_softmax

COSINE = {"name": "cosine", "scale": 12.0, "centers": 3}
ON_COSINES = ("arcface", "cosface")


def feats(n=5, width=6, seed=1):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=[1, 3])
def classifier(request):
    torch.manual_seed(0)
    return CosineClassifier(6, 4, scale=12.0, centers=request.param)


def test_each_logit_is_the_largest_cosine_with_a_center_of_the_class(classifier):
    x, each = feats() * torch.tensor([[0.01], [1], [5], [30], [100]]), classifier.centers
    assert classifier.weight.shape == (4 * each, 6)
    rows = classifier.weight.detach().numpy().reshape(4, each, 6)
    want = [[12 * max(1 - cosine_distance(row, w) for w in centers) for centers in rows] for row in x.numpy()]
    np.testing.assert_allclose(classifier(x).detach(), want, atol=1e-5)


def test_with_arcface_it_is_sub_center_arcface():
    torch.manual_seed(0)
    made, x, labels = CosineClassifier(6, 4, scale=12.0, centers=3).double(), feats().double(), [0, 3, 1, 1, 2]
    rows = made.weight.detach().numpy().reshape(4, 3, 6)
    cosines = np.array([[[1 - cosine_distance(row, w) for w in centers] for centers in rows] for row in x.numpy()])
    want = margin_softmax(cosines, labels, 12.0, [0.5] * 4, "angle")
    loss = arcface_loss(scale=12.0, counts=(2,) * 4)
    assert loss(Output(x, x, (made(x),)), torch.tensor(labels)).item() == pytest.approx(want, rel=1e-6)


def test_only_the_nearest_center_of_a_class_learns():
    torch.manual_seed(0)
    made = CosineClassifier(6, 4, centers=3)
    x = feats(1)
    nearest = (nn.functional.normalize(x) @ nn.functional.normalize(made.weight).T).view(4, 3).argmax(1)
    made(x).sum().backward()
    learned = made.weight.grad.view(4, 3, 6).abs().sum(2) > 0
    assert (learned.sum(1) == 1).all() and (learned.int().argmax(1) == nearest).all()


def test_gradient(classifier):
    made = classifier.double()
    assert torch.autograd.gradcheck(made, feats().double().requires_grad_())
    made(feats().double()).square().sum().backward()
    assert torch.isfinite(made.weight.grad).all()


def test_neither_the_length_of_a_feature_nor_of_a_weight_matters_and_zero_is_finite(classifier):
    want = classifier(feats())
    with torch.no_grad():
        classifier.weight.mul_(torch.linspace(0.1, 9, len(classifier.weight))[:, None])
    torch.testing.assert_close(classifier(feats() * 7), want)
    x = torch.zeros(2, 6, requires_grad=True)
    classifier(x).sum().backward()
    assert torch.isfinite(x.grad).all() and not classifier(x).any()


def test_under_autocast_cosines_stay_float32(classifier):
    """In bfloat16 a cosine near 1 is one of 1, 0.996, 0.992."""
    want = classifier(feats())
    with torch.autocast("cpu", torch.bfloat16):
        got = classifier(feats())
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, want, rtol=0, atol=0)


def test_the_scale_bounds_every_logit():
    made = CosineClassifier(6, 4, scale=2.0)
    assert made(made.weight * 9).abs().max().item() == pytest.approx(2, abs=1e-5)


def test_linear_is_as_it_was():
    torch.manual_seed(0)
    made = linear(100, 50)
    assert made.bias is None and made.weight.std().item() == pytest.approx(0.001, rel=0.1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scale": 0}, "scale 0; must be above 0"),
        ({"scale": -30.0}, "scale -30.0; must be above 0"),
        ({"scale": math.nan}, "scale nan; must be above 0"),
        ({"centers": 0}, "centers 0; must be 1 or more, a whole number"),
        ({"centers": True}, "centers True; must be 1 or more"),
        ({"centers": 2.0}, "centers 2.0; must be 1 or more"),
    ],
)
def test_what_it_cannot_be(options, said):
    with pytest.raises(ValueError, match=said):
        CosineClassifier(6, 4, **options)


# ------------------------------------------------------------------------------------------------------ in the registry


@pytest.fixture
def tiny_backbone(monkeypatch):
    monkeypatch.setitem(registry.BACKBONES, "tiny", tiny.TinyBackbone)


@pytest.mark.parametrize("loss", ON_COSINES)
def test_a_loss_on_cosines_demands_the_cosine_classifier_before_training(loss):
    sets = [f"recipe.losses={{{loss}: {{}}}}"]
    plan = load_build_config(["r50"], sets=sets)
    with pytest.raises(ConfigError) as error:
        check(plan.members[0], plan.recipe)
    assert str(error.value) == (
        f"loss '{loss}' works on cosines, and recipe.classifier is 'linear'; "
        "--set 'recipe.classifier={name: cosine, scale: 30}'"
    )
    plan = load_build_config(["r50"], sets=[*sets, "recipe.classifier={name: cosine, scale: 30}"])
    check(plan.members[0], plan.recipe)


def test_the_losses_that_demand_it_are_these():
    for name in registry.LOSSES:
        recipe = tiny.recipe(losses={name: {}})
        if name in ON_COSINES:
            with pytest.raises(ConfigError, match="works on cosines"):
                make_losses(recipe, dim=4, classes=3)
        else:
            make_losses(recipe, dim=4, classes=3)


def test_a_loss_is_given_the_classifiers_scale_and_the_sizes_of_the_classes(tiny_backbone):
    recipe = tiny.recipe(classifier=COSINE, losses={"arcface": {"margin": 0.5, "least": 0.1}, "id": {}})
    training, images = tiny.training()
    keep = np.sort(np.r_[0:3, 3:5, 6:18])  # the second identity has 2 images
    training = Training(training.split.take(keep), training.labels[keep], training.pids)
    assert training.counts == [3, 2, 3, 3, 3, 3]
    net = make_net(tiny.member(), 6, recipe.classifier)
    run = set_up(net, recipe, 6, images[keep], torch.device("cpu"), "float32", ALONE, training.counts)
    loss = run.losses["arcface"][1]
    assert loss.scale == 12.0 and loss.margins.tolist() == pytest.approx([0.1, 0.5, 0.1, 0.1, 0.1, 0.1])


@pytest.mark.parametrize("head", ["global", "mgn", "mgn_grid", "rmgl"])
def test_every_part_of_every_head_has_it(head):
    member = Member.model_validate({"name": "x", "backbone": {"name": "resnet", "depth": 26, "base": 8}, "head": head})
    recipe = tiny.recipe(classifier=COSINE)
    net = make_net(member, 5, recipe.classifier).train()
    logits = net(torch.randn(4, 3, 64, 64)).logits
    made = [m for m in net.modules() if isinstance(m, CosineClassifier)]
    assert len(made) == len(logits) and not any(m.out_features == 5 for m in net.modules() if isinstance(m, nn.Linear))
    assert all(x.shape == (4, 5) and x.abs().max() <= 12.001 for x in logits)
    assert {(m.scale, len(m.weight)) for m in made} == {(12.0, 15)}


def test_a_head_that_makes_its_own_is_told(monkeypatch, tiny_backbone):
    def own(*, channels, classes):
        return registry.HEADS["token"]

    monkeypatch.setitem(registry.HEADS, "own", own)
    with pytest.raises(ConfigError, match=r"head 'own' makes its own classifier, so it cannot have recipe.classifier"):
        make_net(tiny.member(head="own"), 3, tiny.recipe(classifier=COSINE).classifier)


@pytest.mark.parametrize("centers", [1, 3])
def test_a_member_with_it_trains_and_comes_back(tmp_path, tiny_backbone, centers):
    losses = {"arcface": {"least": 0.1}, "cosface": {}, "circle": {}, "supcon": {}, "focal": {}}
    recipe = tiny.recipe(classifier=COSINE | {"centers": centers}, losses=losses)
    training, images = tiny.training()
    how = {"device": torch.device("cpu"), "precision": "float32", "workers": 0, "pretrained": None}
    train_member(tiny.member(), recipe, training, images, tmp_path, progress=Progress(quiet=True), **how)
    net = load_member(tiny.member(), tmp_path, (64, 32))
    assert net.head.classifier.weight.shape == (6 * centers, 16)
    assert net(torch.randn(2, 3, 64, 32)).bn_feats.shape == (2, 16)
