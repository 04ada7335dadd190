"""Checkpoints of other projects: networks written here under their names give the same features after loading."""

import copy
from collections import OrderedDict

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn.functional import interpolate, unfold

from configs.errors import WeightsError
from configs.schema import Weights
from configs.store.store import Store
from models.backbones.resnet import resnet
from models.backbones.timm_backbone import timm_map
from models.weights.__main__ import main
from models.weights.load import learned, load_weights, match
from models.weights.name_maps import from_unfold
from models.weights.positions import grid_of
from models.weights.report import refuse_others
from models.weights.sources import identify, keep_weights
from tests.tiny import unsettle


def put(backbone, state, tmp_path, **weights):
    """Save a file, and load it as a build does."""
    torch.save(state, tmp_path / "w.pth")
    asked = Weights(file=str(tmp_path / "w.pth"), **weights)
    return load_weights(backbone, keep_weights(Store(tmp_path / "runs"), asked), asked)


def report_of(backbone, state, **weights):
    report, _ = match(backbone, state, Weights(file="w.pth", **weights), "w.pth", "0" * 64)
    return report


def shaken(net, seed=1):
    """Every tensor another, those of norms too."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn(p.shape, generator=rng) * 0.05)
    return unsettle(net).eval()


def close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def under(prefix, state):
    return {prefix + k: v for k, v in state.items()}


def small_vit(depth=3, **options):
    return timm.create_model("test_vit", pretrained=False, num_classes=0, depth=depth, **options)


# -------------------------------------------------------------------------------------------------------------- ResNets


def test_fast_reid_agw_without_its_non_local_blocks(tmp_path):
    torch.manual_seed(0)
    theirs, ours = shaken(resnet(width_per_group=2)), resnet(width_per_group=2).eval()
    more = {f"backbone.NL_2.{i}.{name}": torch.ones(3) for i in (0, 1) for name in ("g.weight", "W.1.bias")}
    heads = {
        "heads.weight": torch.ones(5, 2048),
        "heads.bottleneck.0.bias": torch.ones(2048),
        "pixel_mean": torch.ones(3),
    }
    file = {"model": under("backbone.", theirs.state_dict()) | more | heads, "optimizer": {"state": {0: {"step": 1}}}}
    report = put(ours, file, tmp_path)
    images = torch.randn(2, 3, 64, 32)
    close(ours(images), theirs(images))
    assert report.remarks == ("without its non-local blocks, which its features had",)
    assert str(report).endswith("; without its non-local blocks, which its features had")
    assert not report.missing and not report.unexpected and len(report.left_over) == len(more) + len(heads)
    assert {f.what for f in report.tensors if "heads." in f.file} == {"of a head or classifier"}


@pytest.mark.parametrize("ibn", [None, "a"])
def test_fast_reid_mgn_by_its_first_branch(tmp_path, ibn):
    """A Sequential up to the first block of stage 3; the rest in each branch."""
    torch.manual_seed(0)
    whole, ours = shaken(resnet(width_per_group=2, ibn=ibn)), resnet(width_per_group=2, ibn=ibn).eval()
    theirs = nn.Module()
    begin = whole.conv1, whole.bn1, whole.relu, whole.maxpool, whole.layer1, whole.layer2, whole.layer3[0]
    theirs.backbone = nn.Sequential(*begin)
    theirs.b1 = nn.Sequential(nn.Sequential(*whole.layer3[1:]), whole.layer4)
    theirs.b2 = shaken(copy.deepcopy(theirs.b1), seed=2)
    theirs.b1_head = nn.Linear(2, 2)
    images = torch.randn(2, 3, 64, 32)
    want = theirs.b1(theirs.backbone(images))
    report = put(ours, {"model": under("module.", theirs.state_dict())}, tmp_path)
    close(ours(images), want)
    assert report.renamed == "fast-reid's MGN" and not report.missing and not report.unexpected
    assert {f.what for f in report.tensors if ".b2." in f.file} == {"of another branch"}


@pytest.mark.parametrize(
    ("options", "heads"),
    [
        ({}, ("classifier.weight",)),
        ({"ibn": "a"}, ("bottleneck.weight", "classifier.weight")),
        ({"ibn": "b"}, ("fc.0.weight",)),
        ({"ibn": "a", "se": True}, ("heads.bnneck.weight",)),
    ],
)
@pytest.mark.parametrize("prefix", ["", "base.", "backbone."])
def test_names_that_are_ours_behind_their_prefix(options, heads, prefix):
    """torchreid, reid-strong-baseline and fast-reid, of which the ResNets are torchvision's or IBN-Net's."""
    theirs = under(prefix, resnet(width_per_group=2, **options).state_dict()) | dict.fromkeys(heads, torch.ones(2))
    ours = resnet(width_per_group=2, **options)
    report = report_of(ours, {k: v for k, v in theirs.items() if "num_batches" not in k})
    assert report.prefix == prefix and report.matched == len(learned(ours)) and report.left_over == tuple(sorted(heads))


def test_the_se_resnets_of_reid_strong_baseline_are_timms():
    ours = timm_map(model="legacy_seresnet50").model
    assert "layer1.0.se_module.fc1.weight" in learned(ours)
    report = report_of(ours, under("base.", learned(ours)) | {"bottleneck.weight": torch.ones(2)})
    assert report.matched == len(learned(ours)) and not report.renamed


def clip_bottleneck(inside, planes, stride):
    """Of OpenAI's ModifiedResNet: an average pool instead of each stride."""
    block = nn.Module()
    for i, (a, b, k) in enumerate(((inside, planes, 1), (planes, planes, 3), (planes, planes * 4, 1)), 1):
        setattr(block, f"conv{i}", nn.Conv2d(a, b, k, padding=k // 2, bias=False))
        setattr(block, f"bn{i}", nn.BatchNorm2d(b))
    if stride > 1 or inside != planes * 4:
        conv, norm = nn.Conv2d(inside, planes * 4, 1, bias=False), nn.BatchNorm2d(planes * 4)
        block.downsample = nn.Sequential(OrderedDict([("-1", nn.AvgPool2d(stride)), ("0", conv), ("1", norm)]))
    block.pool = nn.AvgPool2d(stride)

    def forward(x):
        y = block.bn1(block.conv1(x)).relu()
        y = block.pool(block.bn2(block.conv2(y)).relu())
        return (block.bn3(block.conv3(y)) + (block.downsample(x) if hasattr(block, "downsample") else x)).relu()

    block.forward = forward
    return block


class ClipResNet(nn.Module):
    def __init__(self):
        super().__init__()
        for i, (a, b, stride) in enumerate(((3, 32, 2), (32, 32, 1), (32, 64, 1)), 1):
            setattr(self, f"conv{i}", nn.Conv2d(a, b, 3, stride=stride, padding=1, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(b))
        inside = 64
        for i, (planes, count) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 1):
            blocks = []
            for n in range(count):
                blocks.append(clip_bottleneck(inside, planes, 2 if i > 1 and n == 0 else 1))
                inside = planes * 4
            setattr(self, f"layer{i}", nn.Sequential(*blocks))
        self.attnpool = nn.Linear(8, 8)
        self.attnpool.positional_embedding = nn.Parameter(torch.zeros(50, 2048))

    def forward(self, x):
        for i in (1, 2, 3):
            x = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)).relu()
        return self.layer4(self.layer3(self.layer2(self.layer1(nn.functional.avg_pool2d(x, 2)))))


def test_clip_reids_resnet(tmp_path):
    torch.manual_seed(0)
    theirs, ours = unsettle(ClipResNet()).eval(), timm_map(model="resnet50_clip_gap").eval()
    report = put(ours.model, under("image_encoder.", theirs.state_dict()), tmp_path)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        close(ours(images), theirs(images))
    assert report.renamed.endswith("ResNet") and not report.missing


# ------------------------------------------------------------------------------------------------------ small networks


@pytest.mark.parametrize("nested", [True, False])
def test_mobilenet_v2_as_torchvision_and_as_its_first_release_name_it(tmp_path, nested):
    torch.manual_seed(0)
    theirs, ours = shaken(torchvision.models.mobilenet_v2()), timm_map(model="mobilenetv2_100").eval()
    state = theirs.state_dict()
    if not nested:  # one list of layers a block: its convolutions, norms and activations in their order
        ends = (theirs.features[i].state_dict(prefix=f"features.{i}.") for i in (0, 18))
        state = next(ends) | next(ends)
        for i in range(1, 18):
            layers = [m for m in theirs.features[i].conv.modules() if not list(m.children())]
            state |= nn.Sequential(*layers).state_dict(prefix=f"features.{i}.conv.")
        assert state["features.2.conv.7.weight"].shape == (24,)
    report = put(ours.model, state, tmp_path)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        close(ours(images), theirs.features(images))
    assert report.renamed.startswith("MobileNetV2") and not report.missing and not report.unexpected


def test_miewids_trunk(tmp_path):
    theirs, ours = timm.create_model("test_efficientnet", pretrained=False), timm_map(model="test_efficientnet")
    shaken(theirs)
    state = {f"backbone.{k}": v for k, v in theirs.state_dict().items() if "classifier" not in k}
    report = put(ours.model, state | {"bn.weight": torch.ones(3), "pooling.p": torch.ones(1)}, tmp_path)
    assert torch.equal(ours.model.conv_head.weight, theirs.conv_head.weight)
    assert report.prefix == "backbone." and report.left_over == ("bn.weight", "pooling.p") and not report.missing


# --------------------------------------------------------------------------------------------------------- transformers


def transreid(vit, grid=None, jigsaw=False):
    """The state dict of TransReID on a ViT, with side embeddings, and position embeddings of its own grid."""
    state = under("base.", vit.state_dict()) | {"base.fc.weight": torch.ones(5, 64), "bottleneck.bias": torch.ones(64)}
    if grid:
        state["base.pos_embed"] = torch.randn(1, 1 + grid[0] * grid[1], 64)
    if jigsaw:
        for i in (1, 2):
            branch = nn.Sequential(copy.deepcopy(vit.blocks[-1]), copy.deepcopy(vit.norm))
            state |= shaken(branch, seed=i).state_dict(prefix=f"b{i}.")
    return state | {"base.sie_embed": torch.ones(6, 1, 64), "classifier.weight": torch.ones(9, 64)}


def test_transreids_positions_are_resampled_once_to_the_members_size(tmp_path):
    torch.manual_seed(0)
    state, ours = transreid(shaken(small_vit()), grid=(21, 10)), timm_map(model="test_vit")
    ours.model = small_vit()
    report = put(ours.model, {"state_dict": under("module.", state)}, tmp_path)
    assert report.remarks == (
        "positions of a grid of 21x10, resampled to the member's",
        "without its embeddings of cameras or views, which its features had",
    )
    assert not report.missing and not report.reshaped and report.prefix == "state_dict.module.base."
    ours.resize((256, 128))
    grid = state["base.pos_embed"][:, 1:].reshape(1, 21, 10, 64).permute(0, 3, 1, 2)
    want = interpolate(grid, (16, 8), mode="bicubic", antialias=True, align_corners=False).flatten(2).transpose(1, 2)
    close(ours.model.pos_embed.data[:, 1:], want)
    close(ours.model.pos_embed.data[:, :1], state["base.pos_embed"][:, :1])


def test_transreid_with_jigsaw_branches_takes_the_trained_last_block(tmp_path):
    torch.manual_seed(0)
    vit, ours = shaken(small_vit()), small_vit().eval()
    state = transreid(vit, jigsaw=True)
    block, norm = copy.deepcopy(vit.blocks[-1]), copy.deepcopy(vit.norm)
    nn.Sequential(block, norm).load_state_dict({k[3:]: v for k, v in state.items() if k.startswith("b1.")})
    report = put(ours, state, tmp_path)
    images = torch.randn(2, 3, 160, 160)
    vit.blocks, vit.norm = nn.Sequential(*vit.blocks[:-1], block), norm
    with torch.no_grad():
        close(ours.forward_features(images), vit.forward_features(images))
    fates = {f.file: f for f in report.tensors}
    assert fates["b1.0.mlp.fc1.bias"].backbone == "blocks.2.mlp.fc1.bias"
    assert fates["base.blocks.2.mlp.fc1.bias"].what == "a copy that was not trained"
    assert fates["b2.1.weight"].what == "of another branch"


class ClipBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        layers = ("c_fc", nn.Linear(width, 4 * width)), ("gelu", nn.Identity()), ("c_proj", nn.Linear(4 * width, width))
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, x):
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        hidden = self.mlp.c_fc(self.ln_2(x))
        return x + self.mlp.c_proj(hidden * torch.sigmoid(1.702 * hidden))


class Clip(nn.Module):
    """OpenAI's image encoder (Radford et al. 2021), as CLIP-ReID has it: any grid, (places, B, C) inside."""

    def __init__(self, width=64, heads=4, layers=2, patch=16, grid=(16, 8)):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width))
        self.positional_embedding = nn.Parameter(torch.randn(grid[0] * grid[1] + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.Sequential(*(ClipBlock(width, heads) for _ in range(layers)))
        self.proj = nn.Parameter(torch.randn(width, 32))

    def forward(self, images):
        x = self.conv1(images).flatten(2).transpose(1, 2)
        x = torch.cat((self.class_embedding.expand(len(x), 1, -1), x), dim=1) + self.positional_embedding
        return self.ln_post(self.transformer.resblocks(self.ln_pre(x).transpose(0, 1)).transpose(0, 1))


def test_clip_reids_vit_beside_its_text_encoder(tmp_path):
    torch.manual_seed(0)
    theirs = shaken(Clip())
    small = {"embed_dim": 64, "num_heads": 4, "depth": 2, "num_classes": 0}
    ours = timm.create_model("vit_base_patch16_clip_quickgelu_224", pretrained=False, **small).eval()
    texts = theirs.transformer.state_dict(prefix="text_encoder.transformer.")
    texts["prompt_learner.cls_ctx"] = torch.ones(9, 4, 8)
    more = texts | {"cv_embed": torch.ones(6, 64), "classifier.weight": torch.ones(2)}
    report = put(ours, {"model_state_dict": under("image_encoder.", theirs.state_dict()) | more}, tmp_path)
    assert report.prefix == "model_state_dict.image_encoder." and not report.missing and not report.unexpected
    assert report.remarks[0] == "positions of a grid of 16x8, resampled to the member's"
    assert {f.what for f in report.tensors if "text_encoder" in f.file} == {"of texts"}
    ours.set_input_size(img_size=(256, 128))
    images = torch.randn(2, 3, 256, 128)
    with torch.no_grad():
        close(ours.forward_features(images), theirs(images))


def small_swin():
    options = {"embed_dim": 24, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8), "num_classes": 0}
    return timm.create_model("swin_tiny_patch4_window7_224", pretrained=False, **options).eval()


def mm_swin(widths=(24, 48, 96, 192), heads=(1, 2, 4, 8)):
    """The modules of mmpretrain's and SOLIDER's Swin, with random weights, without what they compute."""
    net = nn.Module()
    net.patch_embed = nn.Module()
    net.patch_embed.projection, net.patch_embed.norm = nn.Conv2d(3, widths[0], 4, 4), nn.LayerNorm(widths[0])
    net.stages = nn.ModuleList()
    for i, width in enumerate(widths):
        stage = nn.Module()
        stage.blocks = nn.ModuleList()
        for _ in range(2):
            block = nn.Module()
            block.norm1, block.norm2, block.attn, block.ffn = (
                nn.LayerNorm(width),
                nn.LayerNorm(width),
                nn.Module(),
                nn.Module(),
            )
            block.attn.w_msa = nn.Module()
            block.attn.w_msa.relative_position_bias_table = nn.Parameter(torch.randn(169, heads[i]))
            block.attn.w_msa.register_buffer("relative_position_index", torch.zeros(49, 49, dtype=torch.long))
            block.attn.w_msa.qkv, block.attn.w_msa.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
            first = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(0.0))
            block.ffn.layers = nn.Sequential(first, nn.Linear(4 * width, width), nn.Dropout(0.0))
            stage.blocks.append(block)
        if i < 3:
            stage.downsample = nn.Module()
            stage.downsample.norm = nn.LayerNorm(4 * width)
            stage.downsample.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        net.stages.append(stage)
        setattr(net, f"norm{i}", nn.LayerNorm(width))
    net.semantic_embed_w = nn.ModuleList(nn.Linear(2, w) for w in (48, 96, 192, 192))
    return shaken(net)


@pytest.mark.parametrize("prefix", ["backbone.", "base.", ""])
def test_soliders_swin(tmp_path, prefix):
    torch.manual_seed(0)
    theirs, ours = mm_swin(), small_swin()
    state = under(prefix, theirs.state_dict()) | {"head.mlp.0.weight": torch.ones(3)}
    report = put(ours, state, tmp_path)
    assert (
        report.prefix == prefix and report.renamed.startswith("Swin") and not report.missing and not report.unexpected
    )
    assert report.remarks == ("without its semantic controller, which its features had",)
    block = ours.layers[2].blocks[1]
    their = theirs.stages[2].blocks[1]
    assert torch.equal(block.attn.relative_position_bias_table, their.attn.w_msa.relative_position_bias_table)
    assert torch.equal(block.mlp.fc1.weight, their.ffn.layers[0][0].weight)
    assert torch.equal(ours.norm.bias, theirs.norm3.bias)
    x, merging = torch.randn(2, 8, 6, 24), theirs.stages[0].downsample  # patches merged as mmcv does it
    merged = unfold(x.permute(0, 3, 1, 2), 2, stride=2).transpose(1, 2)
    want = merging.reduction(merging.norm(merged)).unflatten(1, (4, 3))
    close(ours.layers[1].downsample(x), want)


def test_of_soliders_student_and_teacher_one_is_named(tmp_path):
    torch.manual_seed(0)
    teacher, ours = mm_swin(), small_swin()
    student = {k: v + 1 for k, v in teacher.state_dict().items() if v.is_floating_point()}
    file = {"student": under("module.backbone.", student), "teacher": under("backbone.", teacher.state_dict())}
    with pytest.raises(
        WeightsError, match=r"2 networks that fit, under student\.module\.backbone\., teacher\.backbone\."
    ):
        put(ours, file, tmp_path)
    assert put(ours, file, tmp_path, prefix="teacher.").prefix == "teacher.backbone."
    assert torch.equal(ours.norm.bias, teacher.norm3.bias)


def test_patches_in_the_order_of_unfold():
    """One place, 2x2 pixels of 2 channels: Swin has columns outside, rows inside, channels innermost."""
    names = [f"{c}{row}{column}" for c in "ab" for row in "01" for column in "01"]
    got = from_unfold(torch.arange(8))
    assert [names[i] for i in got] == ["a00", "b00", "a10", "b10", "a01", "b01", "a11", "b11"]


def test_megadescriptors_swin_has_its_merging_at_the_end_of_a_stage(tmp_path):
    torch.manual_seed(0)
    theirs, ours = shaken(small_swin()), small_swin()
    state = {}
    for k, v in theirs.state_dict().items():
        parts = k.split(".")
        if "downsample" in parts:
            parts[1] = str(int(parts[1]) - 1)
        state[".".join(parts)] = v
    buffers = {f"layers.{i}.blocks.1.attn_mask": torch.zeros(4, 49, 49) for i in range(3)}
    buffers |= {f"layers.{i}.blocks.0.attn.relative_position_index": torch.zeros(49, 49) for i in range(4)}
    report = put(ours, {"model": state | buffers | {"head.fc.weight": torch.ones(3)}}, tmp_path)
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        close(ours.forward_features(images), theirs.forward_features(images))
    assert (
        not report.missing
        and not report.unexpected
        and set(report.left_over) == {f"model.{k}" for k in (*buffers, "head.fc.weight")}
    )


# -------------------------------------------------------------------------------------------- positions, what is said


@pytest.mark.parametrize(
    ("places", "grid"), [(196, (14, 14)), (128, (16, 8)), (210, (21, 10)), (310, (31, 10)), (192, (24, 8)), (7, (7, 1))]
)
def test_the_grid_of_a_number_of_places(places, grid):
    assert grid_of(places) == grid


def test_a_grid_that_is_given(tmp_path):
    state = small_vit().state_dict() | {"pos_embed": torch.randn(1, 193, 64)}
    assert "grid of 16x12" in str(put(small_vit(), state, tmp_path, grid=(16, 12)))
    assert "grid of 24x8" in str(put(small_vit(), state, tmp_path))
    file = str(tmp_path / "w.pth")
    assert identify(Weights(file=file, grid=(16, 12))) != identify(Weights(file=file)), "a member's cache key"
    with pytest.raises(WeightsError, match=r"weights\.grid is 16x8; the file has 192 places"):
        put(small_vit(), state, tmp_path, grid=(16, 8))


OTHERS = {
    "OSNet": (
        lambda: {"conv1.conv.weight": torch.ones(2), "conv2.0.conv2a.conv1.weight": torch.ones(2)},
        r"OSNet, as torchreid's, and there is no such network here",
    ),
    "CLIP": (
        lambda: under("image_encoder.", Clip().state_dict()),
        "a file: timm:vit_base_patch16_clip_quick",
    ),
    "SOLIDER": (lambda: mm_swin().state_dict(), "Swin, as SOLIDER's and mmpretrain's; the members .*swin_tiny"),
    "ViT": (lambda: transreid(small_vit()), "ViTs, as timm's; the members"),
    "nobody's": (lambda: {"a.b.weight": torch.ones(2)}, "Another network's weights have other names"),
}


@pytest.mark.parametrize("whose", OTHERS)
def test_a_known_file_for_another_network_says_whose_it_is(tmp_path, whose):
    make, said = OTHERS[whose]
    with pytest.raises(WeightsError, match=said):
        put(resnet(width_per_group=2), make(), tmp_path)


def test_a_deeper_transformer_is_another_network(tmp_path):
    with pytest.raises(WeightsError, match=r"12 unexpected .*another network's weights"):
        put(small_vit(), transreid(small_vit(depth=4)), tmp_path)
    with pytest.raises(WeightsError, match=r"reshaped .*another network's weights"):
        put(small_vit(), small_vit(embed_dim=32).state_dict(), tmp_path)


def test_every_tensor_has_a_line(tmp_path, capsys):
    torch.manual_seed(0)
    state = under("base.", resnet().state_dict()) | {"classifier.weight": torch.ones(7, 2048)}
    del state["base.layer4.2.bn3.bias"]
    torch.save(state, tmp_path / "w.pth")
    main([str(tmp_path / "w.pth"), "--member", "r50"])
    *lines, summary = capsys.readouterr().out.splitlines()
    rows = [line.split(maxsplit=3) for line in lines[1:]]
    assert [row[0] for row in rows] == [*(k for k in state if "num_batches" not in k), "-"]
    assert rows[0] == ["base.conv1.weight", "conv1.weight", "64x3x7x7", "in"]
    assert rows[-2] == ["classifier.weight", "-", "7x2048", "of a head or classifier"]
    assert rows[-1] == ["-", "layer4.2.bn3.bias", "2048", "missing"]
    assert summary.endswith("prefix 'base.' stripped, 1 missing (layer4.2.bn3.bias), 1 left over (classifier.weight)")


def test_the_table_of_a_refused_file_comes_before_the_error(tmp_path, capsys):
    torch.save(under("backbone.", mm_swin().state_dict()), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="members that take such a file"):
        main([str(tmp_path / "w.pth"), "--member", "r50"])
    assert "backbone.stages.0.blocks.0.norm1.weight" in capsys.readouterr().out


def test_the_table_of_a_transformer_at_a_members_size(tmp_path, capsys):
    state = transreid(timm.create_model("test_vit", pretrained=False, num_classes=0), grid=(21, 10))
    torch.save(state, tmp_path / "w.pth")
    main([str(tmp_path / "w.pth"), "--member", "vit=timm:test_vit"])
    said = capsys.readouterr().out
    assert "in: positions of a grid of 21x10, resampled to the member's" in said
    assert "embeddings of cameras or views" in said


def test_a_report_of_nothing_refuses():
    report = report_of(resnet(width_per_group=2), {"a": torch.ones(1)})
    with pytest.raises(WeightsError, match="0 of the backbone's"):
        refuse_others(report, {"a": 1}, learned(resnet(width_per_group=2)))
