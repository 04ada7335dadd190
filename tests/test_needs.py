"""Forecasts of a build: bytes held against what a build left behind, refusals, and rates from earlier members."""

import json
import shutil

import pytest
import torch

from configs.artifact import Store
from configs.errors import ResultError
from configs.load import load_plan
from configs.progress import Progress
from ensemble import needs as module
from ensemble.build import load_benchmark, parse
from ensemble.items import items_of
from ensemble.job import Job
from ensemble.needs import amount, check_room, needs_of
from ensemble.pace import training_rate
from ensemble.stages import prepare
from ensemble.stale import Past
from models.checkpoint import save_checkpoint
from models.footprint import footprint
from models.registry import make_net
from tests import tiny
from tests.conftest import TINY


def forecast(people, out, *more):
    """Items and needs of the tiny build, as `ensemble.build` makes them."""
    args = parse(["--members", "a,b", "--data", str(people), "--out", str(out), *TINY, *more])
    plan = load_plan(args.members.split(","), competition="own", layout=args.layout, sets=args.set)
    job = Job(plan, Store(out, lambda text: None), Progress(quiet=True), "cpu", "float32", 0)
    work = prepare(job, load_benchmark(plan, args.data, out, job.progress), None)
    return job, needs_of(job, work, items_of(job, work))


def size_of(folder):
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def test_bytes_are_those_that_a_build_leaves(tiny_build, tmp_path):
    """Before a build, of each kind of result: what the finished build's folders hold, within a factor of 1.5."""
    _, needs = forecast(tiny_build.people, tmp_path / "empty")
    assert len(needs.left) == len(needs.needs) == 3 + 2 + 2 + 1 + 1
    for kind in ("images", "members", "features", "neighbours", "rankings"):
        told = sum(n.disk for n in needs.left if n.item.kind == kind)
        there = size_of(tiny_build.runs / kind)
        assert there / 1.5 < told < there * 1.5, kind
    one = next(n for n in needs.left if n.item.row == "a" and n.item.kind == "members")
    made = size_of(next(tiny_build.runs.glob("members/a-*")))
    assert abs(one.disk - made) < 0.05 * made  # weights are counted tensor by tensor


def test_a_second_build_needs_nothing(tiny_build):
    _, needs = forecast(tiny_build.people, tiny_build.runs)
    assert needs.left == [] and needs.disk == 0 and str(needs) == "nothing to make"


def test_what_is_kept_is_not_counted_again(tiny_build):
    _, needs = forecast(tiny_build.people, tiny_build.runs, "--set", "ensemble.lam=0.9")
    assert [n.item.kind for n in needs.left] == ["rankings"] and needs.passing == 0


def test_time_is_that_of_the_same_member_trained_earlier(tiny_build):
    """Twice the epochs at the rate that its `epochs.jsonl` has."""
    line = json.loads(next(tiny_build.runs.glob("members/a-*/epochs.jsonl")).read_text())
    _, needs = forecast(tiny_build.people, tiny_build.runs, "--set", "recipe.epochs=20")
    one = next(n for n in needs.left if n.item.row == "a" and n.item.kind == "members")
    assert one.measured and one.seconds == pytest.approx(20 * one.item.count * line["seconds"] / line["images"])
    assert needs.seconds > one.seconds and "time: some" in str(needs)


def test_time_is_not_known_where_nothing_like_it_was_trained(tiny_build, tmp_path):
    for out, more in ((tmp_path / "empty", []), (tiny_build.runs, ["--set", "recipe.size=[96,48]"])):
        _, needs = forecast(tiny_build.people, out, *more)
        assert needs.seconds is None and "time: not known yet" in str(needs)


def test_another_network_is_timed_by_its_products(tiny_build):
    past = Past(Store(tiny_build.runs))
    old = next(m for m in past.manifests if m.key.startswith("members/a-"))
    rate = training_rate(past, old.request, 1.0)
    other = dict(old.request) | {"member": old.request["member"] | {"head": {"name": "global", "pool": "max"}}}
    newest = next(m for m in past.manifests if m.key.startswith("members/"))
    line = json.loads((tiny_build.runs / newest.key / "epochs.jsonl").read_text())
    plan = load_plan(
        [newest.request["member"]["name"]], sets=[x for x in TINY if x.startswith(("members.", "recipe."))]
    )
    flops = footprint(plan.members[0], plan.recipe, 100).flops
    assert training_rate(past, other, flops / 2) == pytest.approx(2 * line["images"] / line["seconds"], rel=1e-3)
    assert rate and training_rate(past, dict(old.request) | {"device": "cuda"}, 1.0) is None


def test_a_build_that_the_disk_cannot_hold_is_refused(tiny_build, tmp_path, monkeypatch):
    job, needs = forecast(tiny_build.people, tmp_path / "empty")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage._replace(free=needs.disk))
    check_room(job.store, needs)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage._replace(free=needs.disk - 1))
    with pytest.raises(ResultError, match=f"needs {amount(needs.disk)} on the disk and .* are free"):
        check_room(job.store, needs)


def test_checkpoints_are_counted_where_they_are_written(tiny_build, tmp_path):
    _, rare = forecast(tiny_build.people, tmp_path / "x", "--set", "recipe.checkpoint_every=5")
    _, often = forecast(tiny_build.people, tmp_path / "x")
    shards = max(n.disk for n in rare.left if n.item.kind == "features")
    assert rare.passing == shards < often.passing


@pytest.fixture(scope="module")
def narrow():
    plan = load_plan(["a"], sets=[x for x in TINY if x.startswith(("members.", "recipe."))])
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
    save_checkpoint(tmp_path, 1, net, optimizer, torch.amp.GradScaler("cpu", enabled=False))
    written = next((tmp_path / "resume").glob("*.safetensors")).stat().st_size
    assert abs(one.checkpoint() - written) < 0.05 * written


def test_products_of_a_network_small_enough_to_count(monkeypatch):
    """tiny.TinyBackbone at 64x32: 3x3 convolutions 3 -> 8 on 32x16 and 8 -> 16 on 16x8, and a classifier 16 -> 5."""
    monkeypatch.setitem(module.footprint.__globals__["registry"].BACKBONES, "tiny", tiny.TinyBackbone)
    one = footprint(tiny.member(), tiny.recipe(), 5)
    assert one.flops == 2 * (9 * 3 * 8 * 32 * 16 + 9 * 8 * 16 * 16 * 8 + 16 * 5)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 KB"), (999_600, "1 MB"), (2.5e9, "2.5 GB"), (3e12, "3 TB")],
)
def test_amount(size, text):
    assert amount(size) == text


def test_an_item_that_nobody_needs_is_not_listed(tiny_build, tmp_path):
    """Features that are kept need neither their member nor its images."""
    runs = shutil.copytree(tiny_build.runs, tmp_path / "runs")
    shutil.rmtree(runs / "members")
    shutil.rmtree(runs / "images")
    _, needs = forecast(tiny_build.people, runs)
    assert {n.item.kind for n in needs.needs} == {"features", "neighbours", "rankings"} and needs.left == []


def test_a_network_that_looks_at_values_is_taken_for_a_resnet(monkeypatch):
    """A forecast never stops a build."""

    class Looks(tiny.TinyBackbone):
        def forward(self, images):
            return super().forward(images) * float(images.sum())

    monkeypatch.setitem(module.footprint.__globals__["registry"].BACKBONES, "tiny", Looks)
    small, large = (footprint(tiny.member(), tiny.recipe(size=size), 5) for size in ([64, 32], [128, 64]))
    assert small.dim == 2048 and large.flops == 4 * small.flops
