"""Where batches come from: the same on a device as from a loader, ahead of use, and told what is not done."""

import os
import threading
import time

import numpy as np
import pytest
import torch

from models import registry
from models.data import feed as module
from models.data.ahead import ahead
from models.data.feed import DeviceFeed, LoaderFeed, Source, make_feed
from models.data.pk_sampler import Sampling
from tests import tiny

CPU = torch.device("cpu")


def source(share=slice(None), augment=None, images=None):
    training, pictures = tiny.training()
    recipe = tiny.recipe(**({"augment": augment} if augment is not None else {}))
    images = pictures if images is None else images
    augments = registry.make_augments(recipe, pictures)
    sampling = Sampling(training.labels, 4, 2, 3)
    return Source(images, sampling, augments, lambda t: 0.1 * t, share, CPU)


def seen(feed, epoch=0, batch=0, epochs=2):
    found = []
    for turn in feed.turns(epoch, batch, epochs):
        raw, labels, header = feed.unpack(turn.tensors)
        found.append((raw.clone(), labels.clone(), header.clone(), turn.batch, turn.batches, turn.rate, turn.last))
    return found


def same(one, other):
    assert len(one) == len(other) > 3
    for a, b in zip(one, other, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a[:3], b[:3], strict=True)) and a[3:] == b[3:]


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("share", [slice(None), slice(2, 6)])
def test_a_device_gives_the_batches_of_a_loader(resident, share):
    patch, noise = {"name": "random_patch", "p": 1}, {"name": "erase", "fill": "random"}
    augment = [{"name": "flip"}, noise, {"name": "pad_crop", "pad": 4}, patch, {"name": "erase"}]
    one = source(share, augment)
    same(seen(LoaderFeed(one, 0)), seen(DeviceFeed(one, resident=resident)))


@pytest.mark.parametrize("make", [lambda s: LoaderFeed(s, 0), lambda s: DeviceFeed(s, resident=True)])
def test_from_the_middle_of_an_epoch_on(make):
    patched = source(augment=[{"name": "random_patch", "p": 1}])
    whole = seen(make(patched))
    batches = whole[0][4]
    assert [w[3] for w in whole] == [*range(batches)] * 2 and [w[6] for w in whole].count(True) == 2
    same(whole[1:], seen(make(patched), epoch=0, batch=1))


def test_the_header_is_the_time_the_rate_and_the_batch():
    (*_, (_, _, header, batch, batches, rate, last)) = seen(LoaderFeed(source(), 0))
    assert last and header.tolist() == [2.0, 0.2, batch] and rate == 0.2 and batch == batches - 1


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine of one core
def test_loader_processes_live_as_long_as_the_training():
    """Each batch is made by a process that says which it is. Over three epochs they are two, and then they are gone."""

    def sign(image, rng):
        return np.full_like(image, 0) + np.frombuffer(os.getpid().to_bytes(3, "little"), np.uint8)

    one = Source(**(vars(source()) | {"augments": [sign]}))
    turns = LoaderFeed(one, 2).turns(0, 0, 3)
    pids = {int.from_bytes(bytes(turn.tensors[0][0, :, 0, 0].tolist()), "little") for turn in turns}
    assert len(pids) == 2 and os.getpid() not in pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_images_that_take_too_much_stay_on_the_host_and_it_is_said(monkeypatch):
    one, said = source(), []
    monkeypatch.setattr(module, "free_memory", lambda device: one.images.nbytes * 1.9)
    kept = make_feed(one, "device", 0, said.append)
    assert isinstance(kept, DeviceFeed) and kept.resident is None and len(said) == 1 and "more than 50%" in said[0]
    monkeypatch.setattr(module, "free_memory", lambda device: one.images.nbytes * 2)
    assert make_feed(one, "device", 0, said.append).resident is not None and len(said) == 1


def test_loader_processes_that_are_not_needed_are_said():
    said = []
    assert isinstance(make_feed(source(), "device", 3, said.append), DeviceFeed)
    assert len(said) == 1 and "--workers 3" in said[0]
    assert isinstance(make_feed(source(), "loader", 0, said.append), LoaderFeed) and len(said) == 1


# ---------------------------------------------------------------------------------------------------------------- ahead


def counting(n, begun=None, fail=None):
    def fill(i, arrays):
        if begun is not None:
            begun.append(i)
        if i == fail:
            raise OSError("on purpose")
        arrays[0][:] = i

    return ((i, lambda arrays, i=i: fill(i, arrays)) for i in range(n))


LIKE = [((2,), torch.int64)]


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_pieces_come_in_order_and_are_their_own_until_the_next(depth):
    for i, (what, (values,)) in enumerate(ahead(counting(20), LIKE, CPU, depth)):
        time.sleep(0.001)
        assert what == i and values.tolist() == [i, i]
    assert i == 19


def test_they_are_made_ahead_and_no_further_than_there_is_room():
    begun = []
    pieces = ahead(counting(20, begun), LIKE, CPU, 3)
    next(pieces)
    for _ in range(100):
        time.sleep(0.005)
        if len(begun) == 3:
            break
    time.sleep(0.02)
    assert begun == [0, 1, 2]
    pieces.close()
    assert not [t for t in threading.enumerate() if t.name == "ahead"]


def test_what_goes_wrong_is_raised_where_its_piece_would_have_come():
    got = []
    with pytest.raises(OSError, match="on purpose"):
        got += [what for what, _ in ahead(counting(9, fail=5), LIKE, CPU)]
    pieces = ahead(counting(9, fail=5), LIKE, CPU)
    assert [next(pieces)[0] for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(OSError, match="on purpose"):
        next(pieces)
    assert not [t for t in threading.enumerate() if t.name == "ahead"]
