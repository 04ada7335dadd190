"""timm's transformers and other families as backbones: maps of tokens, class tokens, sizes, the model's own scale."""

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn.functional import interpolate

from configs.console.progress import Progress
from configs.errors import ConfigError
from configs.schema import Member, Weights
from configs.store.store import Store
from models import registry
from models.backbones.timm_backbone import TimmBackbone, timm_map
from models.data.batches import normalise
from models.device import choose_precision
from models.distributed.process_group import ALONE
from models.extraction.extract import extract
from models.extraction.views import make_views
from models.heads.branches import run_stripes_separately
from models.net import CLASS
from models.registry import check, make_net, resampling
from models.training.setup import set_up
from models.training.step import Step
from models.training.tally import Tally
from models.weights.load import load_weights
from models.weights.sources import keep_weights
from tests import tiny

CPU = torch.device("cpu")
TALL, SMALL = (256, 128), (128, 64)
FAMILIES = {  # one of each way to see: channels, pixels a place
    "test_vit": (64, 16),  # a class token
    "test_vit2": (64, 16),  # a register alone, and a norm after the pooling
    "test_vit3": (96, 16),  # pooled by attention
    "test_vit_relpos": (96, 16),  # positions in tables
    "test_convnext": (64, 32),
    "test_efficientnet": (256, 32),
    "test_byobnet": (256, 32),
    "test_mambaout": (256, 32),  # channels last
}


def member(model, **changes):
    given = {"name": "x", "backbone": {"name": "timm", "model": model}} | changes
    return Member.model_validate(given)


@pytest.fixture(scope="module")
def vit():
    """At 256x128, with weights of a trained one's size: timm starts class tokens near 0."""
    torch.manual_seed(0)
    backbone = timm_map(model="test_vit").eval()
    with torch.no_grad():
        for p in backbone.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    backbone.resize(TALL)
    return backbone


@pytest.mark.parametrize("model", FAMILIES)
@pytest.mark.parametrize("size", [TALL, SMALL])
def test_a_map_of_any_family_and_the_gradient_reaches_every_parameter(model, size):
    channels, stride = FAMILIES[model]
    torch.manual_seed(0)
    net = make_net(member(model), classes=3).train()
    net.resize(size)
    for p in net.backbone.parameters():  # some families start branches and gates at zero
        p.data.add_(torch.randn_like(p) * 0.02)
    images = torch.randn(4, 3, *size)
    assert net.backbone(images).shape == (4, channels, size[0] // stride, size[1] // stride)
    output = net(images)
    assert output.feats.shape == output.bn_feats.shape == (4, channels)
    labels = torch.tensor([0, 0, 1, 2])
    losses = registry.make_losses(tiny.recipe(losses={"id": {}, "triplet": {"margin": 2}}), dim=net.dim, classes=3)
    sum(weight * loss(output, labels, torch.tensor(0.0)) for weight, loss in losses.values()).backward()
    silent = [n for n, p in net.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert not silent


def test_tokens_are_laid_out_row_by_row_and_the_class_token_is_apart(vit):
    images = torch.randn(2, 3, *TALL)
    with torch.no_grad():
        tokens = vit.model.forward_features(images)
        token, laid = vit.fork(images, CLASS)
        torch.testing.assert_close(vit(images), laid)
    assert tokens.shape == (2, 1 + 16 * 8, 64)
    torch.testing.assert_close(token, tokens[:, 0])
    for row, column in ((0, 0), (0, 7), (5, 3), (15, 7)):
        torch.testing.assert_close(laid[:, :, row, column], tokens[:, 1 + 8 * row + column])
    assert (token - laid.flatten(2).transpose(1, 2)[:, 0]).abs().max() > 0.1


def test_permuted_patches_permute_the_map_where_places_mean_nothing(vit):
    place = torch.randperm(16 * 8, generator=torch.Generator().manual_seed(3))
    images = torch.randn(1, 3, *TALL)
    patches = images.unfold(2, 16, 16).unfold(3, 16, 16).flatten(2, 3)
    moved = patches[:, :, place].unflatten(2, (16, 8)).permute(0, 1, 2, 4, 3, 5).reshape(images.shape)
    kept = vit.model.pos_embed.data.clone()
    try:
        vit.model.pos_embed.data.zero_()
        with torch.no_grad():
            before, after = vit.fork(images, CLASS), vit.fork(moved, CLASS)
    finally:
        vit.model.pos_embed.data.copy_(kept)
    torch.testing.assert_close(after[1].flatten(2), before[1].flatten(2)[:, :, place], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(after[0], before[0], rtol=1e-4, atol=1e-4)


def test_position_embeddings_are_resampled_to_the_members_size():
    backbone = timm_map(model="test_vit")
    made_for = backbone.model.pos_embed.detach().clone().normal_()
    backbone.model.pos_embed.data.copy_(made_for)
    backbone.resize(TALL)
    grid = made_for[:, 1:].reshape(1, 10, 10, 64).permute(0, 3, 1, 2)  # 160 pixels in patches of 16
    want = interpolate(grid, (16, 8), mode="bicubic", antialias=True, align_corners=False).flatten(2).transpose(1, 2)
    torch.testing.assert_close(backbone.model.pos_embed.data[:, 1:], want)
    torch.testing.assert_close(backbone.model.pos_embed.data[:, :1], made_for[:, :1])


@pytest.mark.parametrize("model", ["test_vit", "test_vit2"])
def test_published_weights_give_timms_own_features(model, tmp_path):
    """A file as timm publishes it, at the size it was made for; pooled afterwards, as timm pools for the second."""
    torch.manual_seed(1)
    theirs = timm.create_model(model, pretrained=False).eval()
    for p in theirs.parameters():
        p.data.add_(torch.randn_like(p) * 0.1)
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    weights = Weights(file=str(tmp_path / "model.safetensors"))
    ours = timm_map(model=model).eval()
    report = load_weights(ours.model, keep_weights(Store(tmp_path / "runs"), weights), weights)
    assert not report.missing and not report.unexpected and not report.reshaped
    ours.resize((160, 160))
    images = torch.randn(2, 3, 160, 160)
    with torch.no_grad():
        tokens = theirs.fc_norm(theirs.forward_features(images))
        torch.testing.assert_close(ours(images).flatten(2).transpose(1, 2), tokens[:, 1:])


def test_of_a_model_that_pools_by_attention_the_rest_fits(tmp_path):
    """As SigLIP: what pools is left aside."""
    theirs = timm.create_model("test_vit3", pretrained=False)
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    weights = Weights(file=str(tmp_path / "model.safetensors"))
    ours = timm_map(model="test_vit3")
    report = load_weights(ours.model, keep_weights(Store(tmp_path / "runs"), weights), weights)
    assert report.matched == len(ours.model.state_dict()) and not report.unexpected


def test_the_norm_before_a_classifier_is_no_classifier(tmp_path):
    """ConvNeXt's `head.norm` is of the map."""
    theirs = timm.create_model("test_convnext", pretrained=False)
    theirs.head.norm.weight.data.fill_(0.25)
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    weights = Weights(file=str(tmp_path / "model.safetensors"))
    ours = timm_map(model="test_convnext")
    report = load_weights(ours.model, keep_weights(Store(tmp_path / "runs"), weights), weights)
    assert not report.missing and set(report.unexpected) == {"head.fc.weight", "head.fc.bias"}
    assert (ours.model.head.norm.weight == 0.25).all()


@pytest.mark.parametrize("patches", ["none", "avg", "gem"])
def test_the_token_head(vit, patches):
    head = registry.make(
        registry.HEADS,
        "head",
        member("x", head={"name": "token", "patches": patches}).head,
        backbone=vit,
        channels=64,
        classes=3,
    )
    token, laid = torch.randn(4, 64), torch.randn(4, 64, 16, 8)
    output = head.train()(laid, token)
    beside = {
        "none": [],
        "avg": [laid.mean((2, 3))],
        "gem": [laid.clamp(min=1e-6).pow(3).mean((2, 3)) ** (1 / 3)],
    }[patches]
    torch.testing.assert_close(output.feats, torch.cat([token, *beside], dim=1))
    assert head.dim == output.bn_feats.shape[1] == 64 * (1 + len(beside)) and output.logits[0].shape == (4, 3)
    assert not head.eval()(laid, token).logits


@pytest.mark.parametrize("model", ["test_vit", "test_vit2"])
@pytest.mark.parametrize(
    "head",
    [
        *({"name": "global", "pool": pool} for pool in ("avg", "max", "gem")),
        {"name": "token"},
        {"name": "token", "patches": "gem"},
        *({"name": name, "fork": None} for name in ("mgn", "mgn_grid")),
        {"name": "mgn", "fork": None, "adaptive": True, "pool": "gem"},
        *({"name": name, "fork": "blocks.5"} for name in ("mgn", "mgn_grid", "rmgl")),
        {"name": "rmgl", "fork": "blocks.2", "adaptive": False, "pool": "gem"},
    ],
    ids=str,
)
def test_heads_on_tokens_as_a_member(model, head):
    if model == "test_vit2" and head["name"] == "token":
        pytest.skip("it has a register, and no class token")
    head = head | ({"width": 8} if head["name"] in ("mgn", "mgn_grid", "rmgl") else {})
    torch.manual_seed(0)
    net = make_net(member(model, head=head), classes=3).train()
    with torch.no_grad():
        for p in net.backbone.parameters():  # as large as a trained one's
            p.add_(torch.randn_like(p) * 0.1)
    net.copy_backbone_weights()
    net.resize(SMALL)
    output = net(torch.randn(4, 3, *SMALL))
    sum(x.square().sum() for x in (output.feats, *output.logits)).backward()
    silent = [n for n, p in net.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert not silent
    check(member(model, head=head), tiny.recipe(size=SMALL))


@pytest.mark.parametrize("model", ["test_vit", "test_vit2"])
@pytest.mark.parametrize("first", ["blocks.1", "blocks.5"])
def test_a_transformer_in_two_halves_is_the_whole(model, first):
    torch.manual_seed(0)
    backbone = timm_map(model=model).eval()
    for p in backbone.parameters():
        p.data.add_(torch.randn_like(p) * 0.1)
    backbone.resize(SMALL)
    images = torch.randn(2, 3, *SMALL)
    with torch.no_grad():
        (before, tokens), last = backbone.fork(images, first)
        whole, again = backbone(images), backbone.tail(first)(before, tokens)
    assert before.shape == (2, 64, 8, 4) and tokens.shape == (2, 1, 64)
    torch.testing.assert_close(last, whole)
    torch.testing.assert_close(again, whole)


def test_stripes_of_tokens_know_the_class_token_and_nothing_of_each_other(vit):
    """Each stripe by itself through timm's own blocks, with the class token of its image before it."""
    before, tokens = torch.randn(3, 64, 8, 4), torch.randn(3, 1, 64)
    with torch.no_grad():
        apart = run_stripes_separately(vit.tail("blocks.4"), before, 4, 1, tokens)
        for image in range(3):
            for part in range(4):
                stripe = before[image, :, 2 * part : 2 * part + 2].reshape(64, 8).T
                x = torch.cat((tokens[image], stripe))[None]
                for block in vit.model.blocks[4:]:
                    x = block(x)
                want = vit.model.norm(x)[0, 1:].T.reshape(64, 2, 4)
                torch.testing.assert_close(apart[image, :, 2 * part : 2 * part + 2], want)
        other = run_stripes_separately(vit.tail("blocks.4"), before, 4, 1, -tokens)
        assert (other - apart).abs().max() > 1e-2


def test_branches_of_tokens_begin_as_copies_of_the_trunk(vit):
    net = make_net(member("test_vit", head={"name": "rmgl", "fork": "blocks.4"}), classes=3)
    with torch.no_grad():
        for p in net.backbone.parameters():
            p.add_(1.0)
    net.copy_backbone_weights()
    for tail in net.head.tails:
        assert torch.equal(tail.layers[0].mlp.fc1.weight, net.backbone.model.blocks[4].mlp.fc1.weight)
        assert torch.equal(tail.layers[2].weight, net.backbone.model.norm.weight) and len(tail.layers) == 3


@pytest.mark.parametrize(
    ("model", "changes", "size", "said"),
    [
        ("vit_small_patch14_dinov2", {}, TALL, r"patches are 14x14 pixels, which do not fill it; \[252, 126\] would"),
        ("convit_tiny", {}, TALL, r"cannot take images of \[256, 128\].*made for --set members.x.size=\[224, 224\]"),
        ("test_vit2", {"head": "token"}, SMALL, "head 'token': this backbone has no class token; take head global"),
        ("test_convnext", {"head": "token"}, SMALL, "head 'token': this backbone has no class token"),
        ("test_vit", {"head": {"name": "token", "patches": "mean"}}, SMALL, "pool 'mean'; there are: avg, max, gem"),
        ("test_vit", {"head": {"name": "mgn"}}, SMALL, r"no block 'layer4.1'; it has blocks.1, .*fork: null mgn"),
        ("test_vit", {"head": {"name": "mgn", "fork": "blocks.0"}}, SMALL, "no block 'blocks.0'; it has blocks.1, "),
        ("test_vit_relpos", {"head": {"name": "rmgl", "fork": "blocks.2"}}, SMALL, "are for a resnet or a plain ViT"),
        ("test_convnext", {"head": {"name": "mgn"}}, SMALL, "are for a resnet or a plain ViT. With fork: null mgn"),
        ("test_vit", {"head": {"name": "rmgl", "fork": "blocks.4", "stripes": [3]}}, SMALL, "3 stripes do not divide"),
        ("test_vit", {"head": {"name": "rmgl", "fork": None}}, SMALL, "fork must name the first"),
        ("test_convnext", {"head": {"name": "mgn", "fork": None}}, (64, 32), "3 stripes of a feature map of 2 rows"),
    ],
)
def test_what_a_model_cannot_do_is_said_before_any_work(model, changes, size, said):
    with pytest.raises(ConfigError, match=said):
        check(member(model, **changes), tiny.recipe(size=size))


def test_weights_that_are_wanted_and_not_named_are_asked_for():
    wants = tiny.recipe(size=SMALL, pretrained=True)
    with pytest.raises(ConfigError) as error:
        check(member("test_vit"), wants)
    said = str(error.value)
    assert "members.x.weights={file:" in said and "weights={hub: timm/test_vit.r160_in1k, revision: COMMIT}" in said
    assert "recipe={pretrained: false}" in said
    check(member("test_vit", weights={"file": "model.safetensors"}), wants)
    with pytest.raises(ConfigError, match="no model 'test_vitt'"):
        check(member("test_vitt"), wants)


def test_dropout_and_stochastic_depth_are_off():
    """A step must repeat."""
    dropped = timm.create_model("test_vit", pretrained=False, drop_path_rate=0.5, drop_rate=0.5)
    wrapped = TimmBackbone(dropped, ("forward_features",), "tokens", 64).train()
    images = torch.randn(2, 3, 160, 160)
    torch.testing.assert_close(wrapped(images), wrapped(images), rtol=0, atol=0)


@pytest.mark.parametrize(("model", "mean"), [("test_vit", (0.5, 0.5, 0.5)), ("test_byobnet", (0.485, 0.456, 0.406))])
def test_a_model_has_its_own_scale(model, mean):
    assert make_net(member(model), classes=2).scale[0] == mean


def test_images_are_resized_as_the_model_was_published():
    assert resampling(member("test_vit")) == "bicubic" and resampling(member("test_resnet")) == "bilinear"
    assert resampling(Member.model_validate({"name": "r", "backbone": "resnet"})) == "bilinear"


class Witness(tiny.TinyBackbone):
    """Keeps what it was given."""

    scale = ((0.5, 0.25, 0.125), (0.5, 0.5, 0.25))

    def forward(self, x):
        self.seen = x.detach().clone()
        return super().forward(x)


def test_training_and_extraction_normalise_by_the_members_scale(monkeypatch):
    monkeypatch.setitem(registry.BACKBONES, "witness", Witness)
    net = make_net(tiny.member(backbone="witness"), classes=6)
    training, images = tiny.training()
    recipe = tiny.recipe(augment=[])
    want = (images[:8] / 255 - np.array(Witness.scale[0])) / np.array(Witness.scale[1])
    run = set_up(net, recipe, 6, images, CPU, choose_precision("float32", CPU), ALONE)
    raw = torch.from_numpy(images[:8]).permute(0, 3, 1, 2)
    step = Step(run, Tally(tuple(run.losses), 8, net, CPU), run.forward())
    step(raw, torch.from_numpy(training.labels[:8]), torch.tensor([0.1, 1e-3, 0.0], dtype=torch.float64))
    np.testing.assert_allclose(net.backbone.seen.permute(0, 2, 3, 1), want, atol=1e-5)
    seen = []
    monkeypatch.setattr(Witness, "forward", lambda self, x: seen.append(x.clone()) or super(Witness, self).forward(x))
    how = {"channels_last": False, "device": CPU, "precision": "float32", "progress": Progress(quiet=True)}
    extract(net.eval(), images[:8], training.split.names[:8], views=make_views((), False), **how)
    np.testing.assert_allclose(seen[0].permute(0, 2, 3, 1), want, atol=1e-5)
    plain = normalise(raw, CPU, channels_last=False)
    assert (plain - seen[0]).abs().max() > 0.5, "ImageNet's is another"
