"""Heads of several branches: what they give, what they share, what they keep apart."""

import copy

import pytest
import torch
from torch import nn

from configs.errors import ConfigError
from configs.load import load_build_config
from models.backbones.resnet import Trunk, resnet
from models.heads.branches import BranchHead, Part, run_stripes_separately
from models.heads.pooling import Pool
from models.heads.stripes import equal_stripes
from models.losses.identity import identity_loss
from models.losses.triplet import triplet_loss
from models.net import Net
from models.registry import check, make_net
from tests.oracles import batch_hard_triplet

PARTS = {"mgn": (8, 3), "mgn_grid": (13, 4), "rmgl": (9, 3)}  # parts, branches
LABELS = torch.tensor([0, 0, 1, 1])


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(4, 3, 64, 32, generator=torch.Generator().manual_seed(0))


def small_net(head: str, **options: object) -> Net:
    """A trunk of one block a stage under a head."""
    torch.manual_seed(0)
    member = load_build_config(["r50"], sets=[f"members.r50.head={{name: {head}, fork: layer4.0, width: 16}}"]).members[
        0
    ]
    for key, value in options.items():
        member.head.model_extra[key] = value
    return make_net(member, classes=3)


@pytest.mark.parametrize("head", list(PARTS))
def test_parts_branches_and_sizes(head, images):
    n_parts, n_branches = PARTS[head]
    net = small_net(head)
    output = net.train()(images)
    assert output.feats.shape == (4, 16 * n_branches) and net.dim == 16 * n_branches
    assert output.bn_feats.shape == (4, 16 * n_parts)
    assert [tuple(logits.shape) for logits in output.logits] == [(4, 3)] * n_parts
    assert output.n_branches == n_branches and [b.shape[1] for b in output.branches] == [16] * n_branches
    assert net.eval()(images).logits == ()


@pytest.mark.parametrize("head", list(PARTS))
def test_a_gradient_reaches_every_parameter(head, images):
    net = small_net(head).train()
    output = net(images)
    (identity_loss()(output, LABELS) + triplet_loss(margin=0.5)(output, LABELS)).backward()
    silent = [n for n, p in net.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert not silent


def test_triplet_works_on_the_globals_alone(images):
    net = small_net("mgn").train()
    output = net(images)
    each = [batch_hard_triplet(branch.detach(), LABELS.tolist(), 0.3) for branch in output.branches]
    assert triplet_loss(margin=0.3)(output, LABELS).item() == pytest.approx(sum(each) / 3, rel=1e-4)
    net.zero_grad()
    triplet_loss(margin=2.0)(output, LABELS).backward()
    moved = {n for n, p in net.head.named_parameters() if p.grad is not None and p.grad.any() and "reduce" in n}
    assert moved == {f"branches.{b}.parts.0.reduce.weight" for b in range(3)}


def test_mgn_by_hand(images):
    """Every number of the output again, from the modules and plain slices."""
    net = small_net("mgn").eval()
    trunk, head = net.backbone, net.head
    with torch.no_grad():
        before = trunk.layer3(trunk.layer2(trunk.layer1(trunk.maxpool(trunk.relu(trunk.bn1(trunk.conv1(images)))))))
        maps = [trunk.layer4(before), head.tails[0](before), head.tails[1](before)]
        slices = [[(0, 4)], [(0, 4), (0, 2), (2, 4)], [(0, 4), (0, 1), (1, 3), (3, 4)]]
        globals_, every = [], []
        for x, cuts, branch in zip(maps, slices, head.branches, strict=True):
            for n, ((a, b), part) in enumerate(zip(cuts, branch.parts, strict=True)):
                feats = x[:, :, a:b].amax((2, 3)) @ part.reduce.weight.T
                every.append(part.neck(feats))
                globals_ += [feats] if n == 0 else []
        output = net(images)
    torch.testing.assert_close(output.feats, torch.cat(globals_, 1))
    torch.testing.assert_close(output.bn_feats, torch.cat(every, 1))


def test_grid_cells_see_left_and_right_apart(images):
    net = small_net("mgn_grid").eval()
    with torch.no_grad():
        before, _ = net.backbone.fork(images, "layer4.0")
        x, branch = net.head.tails[2](before), net.head.branches[3]
        cells = [x[:, :, a : a + 2, b : b + 1].amax((2, 3)) for a in (0, 2) for b in (0, 1)]
        wanted = [part(cell).bn_feats for part, cell in zip(branch.parts[1:], cells, strict=True)]
        got = net(images).bn_feats[:, -4 * 16 :]
    torch.testing.assert_close(got, torch.cat(wanted, 1))


def test_stripes_apart_know_nothing_of_each_other():
    tail = resnet().tail("layer4.1").eval()
    x = torch.rand(2, 2048, 4, 2, generator=torch.Generator().manual_seed(1))
    other = x.clone()
    other[:, :, 2:] = 0
    with torch.no_grad():
        whole, apart, other_apart = tail(x), run_stripes_separately(tail, x, 2), run_stripes_separately(tail, other, 2)
        alone = tail(x[:, :, :2])
    torch.testing.assert_close(apart[:, :, :2], alone)
    torch.testing.assert_close(apart[:, :, :2], other_apart[:, :, :2])
    assert not torch.allclose(apart, whole), "the cut is felt"
    torch.testing.assert_close(run_stripes_separately(tail, x, 1), whole)


def test_stripes_are_laid_together_in_their_order():
    x = torch.rand(3, 5, 6, 2)
    for layout in (x, x.to(memory_format=torch.channels_last)):
        assert torch.equal(run_stripes_separately(nn.Identity(), layout, 3), x)
        pooled = run_stripes_separately(nn.MaxPool2d(2), layout, 3)
        assert torch.equal(pooled, nn.functional.max_pool2d(x, 2))


def test_rmgl_is_cut_pooled_and_laid_together(images):
    """With equal stripes and only 1 x 1 convolutions between the fork and the output, cutting changes nothing."""
    together = small_net("rmgl", adaptive=False, stripes=[2, 4]).eval()
    for tail in together.head.tails:
        for block in tail:
            block.conv2.weight.data[:, :, :, [0, 2]] = 0
            block.conv2.weight.data[:, :, [0, 2]] = 0
    apart = copy.deepcopy(together)
    together.head.apart = False
    with torch.no_grad():
        torch.testing.assert_close(apart(images).bn_feats, together(images).bn_feats)


@pytest.mark.parametrize(("fork", "channels", "rows"), [("layer3.0", 128, 16), ("layer3.1", 256, 8)])
def test_the_cut_goes_into_a_middle_stage_and_the_stripes_go_through_the_following_layers_apart(fork, channels, rows):
    """After layer 2, and within layer 3: what the bottom shows is not known at the top, in no later layer."""
    backbone = {"name": "resnet", "depth": 26, "base": 16}
    member = load_build_config(
        ["s"], sets=[f"members.s={{backbone: {backbone}, head: {{name: rmgl, fork: {fork}}}}}"]
    ).members[0]
    net, seen, maps = make_net(member, classes=3).eval(), [], []
    for tail in net.head.tails:
        tail[0].register_forward_pre_hook(lambda module, given: seen.append(tuple(given[0].shape)))
    for branch in net.head.branches[1:]:
        branch.register_forward_pre_hook(lambda module, given: maps.append(given[0]))
    before = torch.rand(2, channels, rows, 4, generator=torch.Generator().manual_seed(0))
    other = before.clone()
    other[:, :, rows // 2 :] = 0
    with torch.no_grad():
        for x in (before, other):
            net.head(torch.zeros(2, 512, 8, 2), x)
    assert seen[:2] == [(2 * parts, channels, rows // parts, 4) for parts in (2, 4)]
    for one, two in zip(maps[:2], maps[2:], strict=True):
        assert one.shape[2] == 8, "laid together, as high as the trunk's own"
        assert torch.equal(one[:, :, :4], two[:, :, :4]) and not torch.equal(one[:, :, 4:], two[:, :, 4:])


def test_the_middle_cut_is_a_recipe():
    plan = load_build_config(["r50"], recipe="rmgl_middle", competition="market1501")
    check(plan.members[0], plan.recipe)
    assert plan.members[0].head.options == {"stripes": [2, 4], "fork": "layer3.0"}


def test_branches_begin_as_copies_of_the_trunk():
    net = small_net("mgn")
    with torch.no_grad():
        for p in net.backbone.layer4.parameters():
            p.add_(1.0)
    first = net.head.tails[0][0].conv1.weight
    assert not torch.equal(first, net.backbone.layer4[0].conv1.weight)
    net.copy_backbone_weights()
    for tail in net.head.tails:
        for copied, own in zip(tail.state_dict().values(), net.backbone.layer4.state_dict().values(), strict=True):
            assert torch.equal(copied, own) and copied.data_ptr() != own.data_ptr()


@pytest.mark.parametrize("first", ["layer1.0", "layer2.3", "layer4.2"])
def test_the_trunk_in_two_halves_is_the_trunk(first, images):
    trunk = resnet(ibn="a", se=True).eval()
    with torch.no_grad():
        before, last = trunk.fork(images, first)
        assert torch.equal(last, trunk(images)) and torch.equal(trunk.tail(first)(before), last)
    assert set(trunk.state_dict()) == set(resnet(ibn="a", se=True).state_dict())
    assert isinstance(trunk, Trunk) and list(trunk.blocks())[:4] == ["layer1.0", "layer1.1", "layer1.2", "layer2.0"]


def test_part_has_a_neck_without_bias():
    part = Part(8, 4, 3)
    assert not part.neck.bias.requires_grad and part.classifier.bias is None and part.reduce.bias is None


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["recipe.size=[32, 32]", "members.r50.head=mgn"], "3 stripes of a feature map of 2 rows"),
        (["recipe.size=[80, 32]", "members.r50.head=mgn_grid"], "a 2x2 grid does not divide a feature map of 5x2"),
        (["recipe.size=[80, 32]", "members.r50.head=rmgl"], "2 stripes do not divide a feature map of 5 rows"),
        (
            ["recipe.size=[96, 32]", "members.r50.head={name: rmgl, fork: layer3.0}"],
            "4 stripes do not divide a feature map of 12 rows, .* and then made 2 times lower",
        ),
        (["members.r50.head={name: mgn, fork: layer5.0}"], "block 'layer5.0'; the trunk has layer1.0, layer1.1"),
        (["members.r50.head={name: mgn, pool: mean}"], "there are: avg, max, gem"),
        (["members.r50.head={name: mgn, width: 0}"], "width 0"),
        (["members.r50.head=mgm"], "unknown head 'mgm'; models/registry.py has: global, mgn, mgn_grid, rmgl"),
    ],
)
def test_what_cannot_be_is_said_before_any_work(sets, said):
    plan = load_build_config(["r50"], sets=sets)
    with pytest.raises(ConfigError, match=said):
        check(plan.members[0], plan.recipe)


def test_another_backbone_has_no_blocks_to_branch_off():
    with pytest.raises(ValueError, match="fork: null"):
        BranchHead(nn.Identity(), 8, 3, [(1, 1)], width=4, pool="max", fork="layer4.0", adaptive=False, apart=False)


def test_stripes_and_pool_meet():
    x = torch.rand(2, 6, 4, 2)
    assert torch.equal(Pool("max").stripes(x, equal_stripes(4, 2))[:, 1], x[:, :, 2:].amax((2, 3)))
