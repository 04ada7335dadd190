"""Several processes train as one would: the same weights, whatever the losses; gloo on this machine's CPU."""

import json
import os
import socket
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from configs.errors import ConfigError
from configs.schema import ComponentConfig, Member
from models import registry
from models.distributed.data_parallel import check_shares, spread
from models.distributed.process_group import ProcessGroup, join_process_group
from tests import tiny

TRAIN = """
    import sys, json
    from pathlib import Path
    import torch
    torch.set_num_threads(1)
    from configs.console.progress import Progress
    from models import registry
    from models.training import train
    from models.distributed.process_group import join_process_group
    from tests import tiny
    registry.BACKBONES["tiny"] = tiny.TinyBackbone
    training, images = tiny.training(identities=8, each=4, seed=1)
    with join_process_group("cpu") as team:
        train.train_member(tiny.member(), tiny.recipe(**json.loads(sys.argv[2])), training, images, Path(sys.argv[1]),
            device=torch.device("cpu"), precision="float32", workers=0, progress=Progress(quiet=True), pretrained=None,
            team=team)
"""


@pytest.fixture
def run_team(forked):
    """run_team(code, size, ...): `code` in so many processes of one team, or in one without; what each printed."""

    def run(code, size, *argv):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        env = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
        envs = [env | ({**address, "RANK": str(rank)} if size > 1 else {}) for rank in range(size)]
        with ThreadPoolExecutor(size) as all_at_once:
            done = [*all_at_once.map(lambda env: forked.run("-c", textwrap.dedent(code), *argv, env=env), envs)]
        assert [one.returncode for one in done] == [0] * size, [one.stderr for one in done]
        return [one.stdout for one in done]

    return run


LOSSES = {
    "id": {"weight": 0.1},
    "triplet": {"weight": 0.9, "start": 0.1},
    "center": {"weight": 0.05},
}


def test_two_processes_train_the_head_first_clip_and_average_as_one(tmp_path, run_team):
    """The processes are joined twice, with other parameters each time."""
    recipe = {"epochs": 3, "head_epochs": 1, "clip_norm": 0.1, "ema": 0.9, "schedule": {"name": "constant"}}
    recipe |= {"optimizer": {"name": "sgd", "lr": 1e-2}, "images_per_identity": 4, "head_rate": 2}
    for size in (1, 2):
        (tmp_path / str(size)).mkdir()
        run_team(TRAIN, size, tmp_path / str(size), json.dumps(recipe))
    one, two = (load_file(tmp_path / str(n) / "weights.safetensors") for n in (1, 2))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-6, msg=name)


def test_two_processes_move_the_weights_as_one(tmp_path, run_team):
    """20 steps of 4 identities x 4 images: hardest triplets of the whole batch, shared norms, centres, ID loss."""
    recipe = {"epochs": 10, "images_per_identity": 4, "losses": LOSSES, "schedule": {"name": "constant"}}
    recipe["optimizer"] = {"name": "adam", "lr": 3.5e-4, "weight_decay": 5e-4}
    for size in (1, 2):
        (tmp_path / str(size)).mkdir()
        run_team(TRAIN, size, tmp_path / str(size), json.dumps(recipe))
    lines = [(tmp_path / str(n) / "epochs.jsonl").read_text().splitlines() for n in (1, 2)]
    one, two = (load_file(tmp_path / str(n) / "weights.safetensors") for n in (1, 2))
    assert sum(json.loads(line)["images"] for line in lines[0]) == 20 * 16
    for line, other in zip(*(map(json.loads, x) for x in lines), strict=True):
        assert line["loss"] == pytest.approx(other["loss"], abs=1e-5) and line["images"] == other["images"]
    assert one.keys() == two.keys()
    for name in one:
        away = (one[name].double() - two[name].double()).abs().max().item()
        assert away < (5e-6 if "running" in name else 1e-6), name


EXTRACT = """
    import sys
    import numpy as np
    import torch
    torch.set_num_threads(1)
    from configs.console.progress import Progress
    from models import registry
    from models.extraction.extract import extract
    from models.extraction.views import make_views
    from models.distributed.process_group import join_process_group
    from tests import tiny
    registry.BACKBONES["tiny"] = tiny.TinyBackbone
    torch.manual_seed(0)
    net = tiny.unsettle(registry.make_net(tiny.member(), 4))
    images = tiny.training(identities=1, each=7)[1]
    with join_process_group("cpu") as team:
        views = make_views((), True)
        feats = extract(net, images, tuple("abcdefg"), views=views, channels_last=True, device=torch.device("cpu"),
            precision="float32", progress=Progress(quiet=True), team=team)
        np.save(f"{sys.argv[1]}/{team.size}-{team.rank}.npy", feats)
"""


def test_images_are_shared_out_and_every_process_has_all_features(tmp_path, run_team):
    for size in (1, 2):
        run_team(EXTRACT, size, tmp_path)
    alone, *others = (np.load(tmp_path / f"{name}.npy") for name in ("1-0", "2-0", "2-1"))
    assert alone.shape == (7, 16)
    for feats in others:
        np.testing.assert_allclose(feats, alone, atol=1e-6)


def test_words_and_disagreement(run_team):
    code = """
    from configs.errors import ResultError
    from models.distributed.process_group import join_process_group
    with join_process_group("cpu") as team:
        if team.is_leader:
            team.send({"do": "train", "names": ["ä.jpg"] * 1000})
            team.send(None)
        else:
            print(len(team.receive()["names"]), team.receive())
        team.check_same("a number", 5)
        print(team.broadcast(team.rank), team.all_reduce_max(team.rank))
        try:
            team.check_same("rank", team.rank)
        except ResultError as e:
            print(e)
    """
    leader, follower = run_team(code, 2)
    assert leader.startswith("0 1\nrank: process 0 of 2 has 0, another process has a different value")
    assert follower.startswith("1000 None\n0 1\nrank: process 1 of 2 has 1, another")


def test_a_team_of_one_is_no_team(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join_process_group("auto") as team:
        assert team == ProcessGroup() and team.is_leader and team.shard(7) == slice(0, 7)
    net = registry.make_net(Member(name="x", backbone=ComponentConfig(name="resnet", width_per_group=4)), 3)
    assert spread(net, team, torch.device("cpu")) is net


@pytest.mark.parametrize(("n", "size"), [(7, 3), (2, 3), (64, 4), (0, 2)])
def test_the_parts_of_a_team_are_the_whole_in_order(n, size):
    parts = [range(n)[ProcessGroup(rank, size).shard(n)] for rank in range(size)]
    assert [i for part in parts for i in part] == list(range(n))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_each_process_sees_the_pixels_that_one_would():
    training, images = tiny.training()
    augment = registry.make_augments(tiny.recipe(), images)

    def batches(share):
        asked = {"identities": 4, "per_identity": 2, "seed": 3, "epoch": 1, "share": share}
        return list(tiny.epoch_loader(images, training.labels, augment, **asked))

    whole, first, rest = batches(slice(None)), batches(slice(0, 3)), batches(slice(3, 8))
    for (pixels, labels), (a, x), (b, y) in zip(whole, first, rest, strict=True):
        assert torch.equal(pixels, torch.cat((a, b))) and torch.equal(labels, torch.cat((x, y)))


def test_a_batch_that_cannot_be_shared_equally():
    check_shares(16, 4, ProcessGroup(0, 32))
    with pytest.raises(
        ConfigError, match=r"4 x 2 = 8 images .* over 3 processes; start torchrun with 1, 2, 4 processes, or"
    ):
        check_shares(4, 2, ProcessGroup(0, 3))
    with pytest.raises(ConfigError, match="over 8 processes"):  # a norm of one image
        check_shares(4, 2, ProcessGroup(0, 8))


def test_a_norm_that_is_more_than_a_norm_is_not_replaced():
    class Activated(torch.nn.BatchNorm2d):
        pass

    with pytest.raises(ConfigError, match="0: Activated cannot be synchronized over processes"):
        spread(torch.nn.Sequential(Activated(3)), ProcessGroup(0, 2), torch.device("cpu"))
