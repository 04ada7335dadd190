"""What must hold for every row of the tables, so that a new row is tested by being there."""

import json

import numpy as np
import pytest
import torch

from configs.console.progress import Progress
from configs.load import load_build_config
from configs.schema import ComponentConfig
from models import registry
from models.data.augment import Seat, image_rng
from models.losses import Learner
from models.net import Output
from models.training import train
from tests import tiny

SIZE = (32, 16)
PICTURES = np.random.default_rng(0).integers(0, 256, (12, *SIZE, 3), dtype=np.uint8)
LABELS = torch.tensor([0, 0, 1, 1, 2, 2])


def augmentation(name: str, **options):
    return registry.make(
        registry.AUGMENTS, "augmentation", ComponentConfig(name=name, **options), images=PICTURES, seed=0
    )


def seat(place: int, epoch: int = 0) -> Seat:
    """In an epoch of 40 places."""
    return Seat(epoch, place, np.arange(40) % 12)


def loss_row(name: str):
    known = {"epochs": 10, "dim": 8, "classes": 3, "counts": (2, 2, 2), "scale": 10.0}
    return registry.make(registry.LOSSES, "loss", ComponentConfig(name=name), **known)


def output(dtype: torch.dtype = torch.float32, seed: int = 0) -> Output:
    rng = torch.Generator().manual_seed(seed)
    feats, logits = torch.randn(6, 8, generator=rng), torch.randn(6, 3, generator=rng)
    return Output(feats.to(dtype).requires_grad_(), feats.to(dtype), (logits.to(dtype).requires_grad_(),))


@pytest.mark.parametrize("name", registry.AUGMENTS)
def test_augmentation_keeps_size_and_type_and_leaves_what_it_was_given(name):
    change, before = augmentation(name), PICTURES.copy()
    for i in range(60):
        seen = change(PICTURES[i % 12], image_rng(0, 0, i), seat(i % 40))
        assert seen.shape == (*SIZE, 3) and seen.dtype == np.uint8
    assert (before == PICTURES).all()


@pytest.mark.parametrize("name", registry.AUGMENTS)
def test_augmentation_depends_on_seed_epoch_and_place_alone(name):
    def seen(order: range | list[int], seed: int = 0, epoch: int = 2) -> dict[int, bytes]:
        change = augmentation(name)
        return {i: change(PICTURES[i], image_rng(seed, epoch, i), seat(i, epoch)).tobytes() for i in order}

    assert seen(range(12)) == seen(range(11, -1, -1)) == seen(range(12))
    assert seen(range(12)) != seen(range(12), epoch=3) and seen(range(12)) != seen(range(12), seed=1)


@pytest.mark.parametrize("name", registry.AUGMENTS)
def test_augmentation_changes_something_and_works_on_a_mirrored_view(name):
    change = augmentation(name)
    mirrored = PICTURES[0][:, ::-1]
    assert any((change(mirrored, image_rng(0, 0, i), seat(i)) != mirrored).any() for i in range(40))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", registry.LOSSES)
def test_loss_is_a_finite_scalar_with_finite_gradients(name, dtype):
    given = output(dtype)
    value = loss_row(name)(given, LABELS, 3.0)
    assert value.shape == () and value.dtype == torch.float32 and value >= 0
    value.backward()
    grads = [t.grad for t in (given.feats, *given.logits) if t.grad is not None]
    assert grads and all(torch.isfinite(g).all() for g in grads) and any(g.any() for g in grads)


@pytest.mark.parametrize("name", registry.LOSSES)
@pytest.mark.parametrize(
    "labels", [[0, 0, 0, 0, 0, 0], [0, 1, 2, 0, 1, 2], [0, 0, 1, 1, 2, 2]], ids=["no-negative", "some", "pairs"]
)
def test_loss_stands_identical_features_and_missing_partners(name, labels):
    same = torch.ones(6, 8, requires_grad=True)
    logits = torch.zeros(6, 3, requires_grad=True)
    value = loss_row(name)(Output(same, same, (logits,)), torch.tensor(labels))
    value.backward()
    assert torch.isfinite(value) and all(g is None or torch.isfinite(g).all() for g in (same.grad, logits.grad))


@pytest.mark.parametrize("name", registry.LOSSES)
def test_loss_of_a_batch_without_positives_is_finite(name):
    feats = torch.randn(3, 8, requires_grad=True)
    logits = torch.randn(3, 3, requires_grad=True)
    assert torch.isfinite(loss_row(name)(Output(feats, feats, (logits,)), torch.tensor([0, 1, 2])))


@pytest.mark.parametrize("name", registry.LOSSES)
def test_loss_reads_no_value_and_no_shape_depends_on_one(name):
    """So that it can be captured: on the meta device there are shapes and no values."""
    loss = loss_row(name)
    loss = loss.to("meta") if isinstance(loss, torch.nn.Module) else loss
    with torch.device("meta"):
        feats, logits = torch.empty(6, 8, requires_grad=True), torch.empty(6, 3, requires_grad=True)
        given, labels = Output(feats, feats, (logits,)), torch.empty(6, dtype=torch.long)
        t, skip = torch.empty((), dtype=torch.float64), torch.empty((), dtype=torch.bool)
        loss(given, labels, t).backward()
        if isinstance(loss, Learner):
            loss.update_state(given, labels, skip, t)
    assert feats.grad is not None or logits.grad is not None


@pytest.mark.parametrize("name", registry.LOSSES)
def test_order_of_the_batch_does_not_matter_to_a_loss(name):
    given, order = output(), torch.tensor([4, 1, 0, 5, 3, 2])
    other = Output(given.feats[order], given.bn_feats[order], tuple(x[order] for x in given.logits))
    one, two = loss_row(name)(given, LABELS), loss_row(name)(other, LABELS[order])
    assert one.item() == pytest.approx(two.item(), rel=1e-5)


@pytest.mark.parametrize("name", registry.SCHEDULES)
@pytest.mark.parametrize("epochs", [1, 7, 120])
def test_schedule_is_a_finite_factor_all_along(name, epochs):
    recipe = tiny.recipe(epochs=epochs, schedule={"name": name})
    rate = registry.make_schedule(recipe)
    factors = [rate(epochs * share) for share in np.linspace(0.001, 1, 200)]
    assert all(np.isfinite(factors)) and min(factors) >= 0 and max(factors) > 0


@pytest.mark.parametrize(
    ("head", "pool"),
    [*((head, "max") for head in registry.HEADS if head != "token"), ("global", "gem"), ("mgn", "gem")],
)
def test_head_trains_in_half_precision(head, pool):
    member = load_build_config(["r50"], sets=[f"members.r50.head={{name: {head}, pool: {pool}}}"]).members[0]
    torch.manual_seed(0)
    net = registry.make_net(member, classes=3).train()
    with torch.autocast("cpu", torch.bfloat16):
        given = net(torch.randn(6, 3, 64, 32))
    recipe = tiny.recipe()
    losses = registry.make_losses(recipe, dim=net.dim, classes=3)
    total = sum(weight * loss(given, LABELS) for weight, loss in losses.values())
    total.backward()
    broken = [n for n, p in net.named_parameters() if p.grad is not None and not torch.isfinite(p.grad).all()]
    assert torch.isfinite(total) and not broken and given.feats.dtype == torch.float32


def test_everything_on_is_the_same_with_any_workers():
    strong = load_build_config(["r50"], recipe="strong").recipe
    training, images = tiny.training(identities=8, each=5)
    augments = registry.make_augments(strong.model_copy(update={"size": (64, 32)}), images)

    def epoch(workers: int) -> torch.Tensor:
        loader = tiny.epoch_loader(
            images,
            training.labels,
            augments,
            identities=4,
            per_identity=4,
            seed=1,
            epoch=2,
            doubled=(0, 3),
            workers=workers,
        )
        return torch.cat([batch for batch, _ in loader])

    alone = epoch(0)
    assert torch.equal(alone, epoch(1)) and torch.equal(alone, epoch(2))


def test_everything_on_trains(tmp_path, monkeypatch):
    """The strong recipe's parts with a small network: it ends, the margin and the centres are at work."""
    monkeypatch.setitem(registry.BACKBONES, "tiny", tiny.TinyBackbone)
    strong = load_build_config(["r50"], recipe="strong").recipe
    recipe = tiny.recipe(
        losses=strong.losses, augment=[a.model_dump() for a in strong.augment], resample={"p": 1.0}, epochs=2
    )
    training, images = tiny.training()
    train.train_member(
        tiny.member(head={"name": "global", "pool": "gem"}),
        recipe,
        training,
        images,
        tmp_path,
        device=torch.device("cpu"),
        precision="float32",
        workers=0,
        progress=Progress(quiet=True),
        pretrained=None,
    )
    last = json.loads((tmp_path / "epochs.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert last["epoch"] == 2 and set(last["terms"]) == {"id", "triplet", "center"} and last["terms"]["center"] > 0
