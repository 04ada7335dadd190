"""Features: unit rows in the order of the images, averaged over the mirror image, refused where they are no numbers."""

import numpy as np
import pytest
import torch

from configs.console.progress import Progress
from configs.errors import ConfigError, TrainingError, WeightsError
from configs.schema import ComponentConfig
from models import registry
from models.data.batches import normalise
from models.extraction import extract as module
from models.extraction.extract import BATCH, GPU_BATCH, SHARD, extract, find_shard, keep_shard, load_member
from models.extraction.views import make_views, other_sizes
from models.training import train
from tests import tiny

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def tiny_backbone(monkeypatch):
    monkeypatch.setitem(registry.BACKBONES, "tiny", tiny.TinyBackbone)


def make_net(member=None):
    torch.manual_seed(0)
    net = tiny.unsettle(registry.make_net(member or tiny.member(), 4))
    return net.eval()


def pictures(n=7, height=32, width=16):
    return np.random.default_rng(0).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


def features(net, images, **changes):
    views = [ComponentConfig.model_validate(view) for view in changes.pop("views", ())]
    changes["views"] = made = make_views(views, changes.pop("flip", True))
    changes.setdefault("others", [pictures(len(images), *size) for size in other_sizes(made, images.shape[1:3])])
    asked = {"channels_last": False, "device": CPU, "precision": "float32"}
    names = tuple(f"{i}.jpg" for i in range(len(images)))
    return extract(net, images, names, progress=Progress(quiet=True), **(asked | changes))


def by_hand(net, images, flip):
    """One image at a time: norm of the sum of the image's and its mirror's bn_feats."""
    rows = []
    with torch.no_grad():
        for image in images:
            total = torch.zeros(net.dim)
            for seen in (image, image[:, ::-1]) if flip else (image,):
                raw = torch.from_numpy(seen.copy()).permute(2, 0, 1)[None]
                total += net(normalise(raw, CPU, channels_last=False)).bn_feats[0]
            rows.append(total / total.square().sum().sqrt())
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("batch", [3, 128])
def test_equals_one_image_at_a_time(monkeypatch, flip, batch):
    monkeypatch.setattr(module, "BATCH", batch)
    net, images = make_net(), pictures()
    got = features(net, images, flip=flip)
    assert got.shape == (7, 16) and got.dtype == np.float32
    np.testing.assert_allclose(got, by_hand(net, images, flip), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-6)


def test_a_mirrored_image_has_the_same_feature_with_flip_and_another_without():
    net, images = make_net(), pictures()
    mirrored = np.ascontiguousarray(images[:, :, ::-1])
    np.testing.assert_allclose(features(net, images), features(net, mirrored), atol=1e-6)
    assert np.abs(features(net, images, flip=False) - features(net, mirrored, flip=False)).max() > 1e-3


def test_channels_last_and_bfloat16_give_about_the_same():
    net, images = make_net(), pictures()
    want = features(net, images)
    np.testing.assert_allclose(features(net, images, channels_last=True), want, atol=1e-5)
    low = features(net, images, precision="bfloat16")
    assert low.dtype == np.float32 and (low * want).sum(1).min() > 0.99
    np.testing.assert_allclose(np.linalg.norm(low, axis=1), 1, atol=1e-6)


def test_a_net_left_in_training_mode_is_not_used_so():
    """Its batch norm would make a feature depend on the images beside it."""
    images = pictures()
    want = features(make_net(), images)
    net = make_net().train()
    np.testing.assert_allclose(features(net, images), want, atol=1e-6)
    np.testing.assert_allclose(features(net, images[:2]), want[:2], atol=1e-5)


def test_images_of_a_read_only_memory_map(tmp_path):
    np.save(tmp_path / "x.npy", pictures())
    images = np.load(tmp_path / "x.npy", mmap_mode="r")
    np.testing.assert_array_equal(features(make_net(), images), features(make_net(), pictures()))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_no_numbers_are_refused_with_the_images(value):
    net = make_net()
    with torch.no_grad():
        net.backbone[3].weight[0, 0, 0, 0] = value
    with pytest.raises(TrainingError, match=r"features: 7 of 7 features are not finite .* first of 0\.jpg, 1\.jpg"):
        features(net, pictures())


def test_a_feature_of_zeros_has_no_direction(monkeypatch):
    """A norm of 0 is refused by name, here of the third image alone."""
    net, images = make_net(), pictures()
    real = net.forward

    def forward(batch):
        output = real(batch)
        output.bn_feats[2] = 0
        return output

    net.forward = forward
    with pytest.raises(TrainingError, match=r"r50, test: 1 of 7 features .* first of 2\.jpg\."):
        features(net, images, what="r50, test")


# -------------------------------------------------------------------------------------------------- stopped and gone on


class Stop(Exception):
    pass


def stop_at_batch(net, n):
    """The net raises in its n-th batch; the returned list counts them."""
    real, seen = net.forward, []

    def forward(batch):
        seen.append(len(batch))
        if len(seen) == n:
            raise Stop
        return real(batch)

    net.forward = forward
    return seen


@pytest.fixture
def shards_of_four(monkeypatch):
    monkeypatch.setattr("models.extraction.extract.SHARD", 4)
    monkeypatch.setattr("models.extraction.extract.BATCH", 2)


@pytest.mark.usefixtures("shards_of_four")
@pytest.mark.parametrize(("stopped_at", "again"), [(2, 6), (3, 4), (6, 2)])
def test_a_stopped_extraction_loses_its_last_shard_at_most(tmp_path, stopped_at, again):
    """11 pictures: shards of 4, 4, 3, each of two batches."""
    images = np.concatenate([pictures(), pictures()[:4][:, ::-1]])
    want = features(make_net(), images, flip=False)
    net = make_net()
    stop_at_batch(net, stopped_at)
    with pytest.raises(Stop):
        features(net, images, flip=False, keep=tmp_path / "query")
    net = make_net()
    seen = stop_at_batch(net, 0)
    np.testing.assert_array_equal(features(net, images, flip=False, keep=tmp_path / "query"), want)
    assert len(seen) == again


@pytest.mark.usefixtures("shards_of_four")
def test_a_damaged_shard_is_said_and_made_again(tmp_path):
    images = pictures()
    want = features(make_net(), images, keep=tmp_path)
    shard = next(tmp_path.glob("0-*.npy"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 4
    shard.write_bytes(content)
    said = []
    assert find_shard(tmp_path, 0, 4, said.append) is None
    assert len(said) == 1 and "damaged shard" in said[0] and not shard.exists()
    np.testing.assert_array_equal(features(make_net(), images, keep=tmp_path), want)


def test_a_shard_of_another_length_is_not_taken(tmp_path):
    """Whole, but kept when a shard was of another size."""
    keep_shard(tmp_path, 0, np.ones((3, 2), np.float32))
    said = []
    assert find_shard(tmp_path, 0, 3, said.append) is not None and not said
    assert find_shard(tmp_path, 0, 4, said.append) is None and len(said) == 1


def test_a_shard_is_a_number_of_batches():
    assert SHARD % BATCH == 0 == SHARD % GPU_BATCH


# ----------------------------------------------------------------------------------------------- a member by its folder


def trained(tmp_path):
    data, images = tiny.training(identities=4, each=2)
    train.train_member(
        tiny.member(), tiny.recipe(epochs=1), data, images, tmp_path,
        device=CPU, precision="float32", workers=0, progress=Progress(quiet=True), pretrained=None,
    )  # fmt: skip


def test_a_member_comes_back_as_it_was_trained(tmp_path, monkeypatch):
    kept = []
    real = train._keep
    monkeypatch.setattr(train, "_keep", lambda weights, *rest: kept.append(weights) or real(weights, *rest))
    trained(tmp_path)
    again = load_member(tiny.member(), tmp_path, (64, 32))
    assert not again.training
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in kept[0].items())
    net = registry.make_net(tiny.member(), 4).eval()
    net.load_state_dict(kept[0])
    np.testing.assert_allclose(features(net, pictures()), features(again, pictures()), atol=1e-6)


def test_the_weights_of_another_member(tmp_path):
    trained(tmp_path)
    with pytest.raises(WeightsError, match="not the weights of member 'other' "):
        load_member(tiny.member(name="other", backbone={"name": "resnet", "width_per_group": 4}), tmp_path, (64, 32))


# ---------------------------------------------------------------------------------------------------------------- views


def seen(net, image, *changes):
    """bn_feats of one image (H, W, 3) after some changes of the normalised picture."""
    batch = normalise(torch.from_numpy(image.copy()).permute(2, 0, 1)[None], CPU, channels_last=False)
    for change in changes:
        batch = change(batch)
    with torch.no_grad():
        return net(batch).bn_feats[0]


def resize(batch, height, width):
    return torch.nn.functional.interpolate(batch, (height, width), mode="bilinear", antialias=True)


@pytest.mark.parametrize("views", [["plain"], [{"name": "scale", "size": [32, 16]}], [{"name": "crop", "share": 1.0}]])
def test_a_mean_over_the_image_itself_is_its_plain_feature(views):
    net, images = make_net(), pictures()
    np.testing.assert_array_equal(features(net, images, flip=False, views=views), features(net, images, flip=False))


@pytest.mark.parametrize("flip", [True, False])
def test_views_are_averaged_as_by_hand(flip):
    net, images = make_net(), pictures()
    views = ["plain", {"name": "scale", "size": [48, 32]}, {"name": "crop", "share": 0.75, "at": "bottom"}]
    got = features(net, images, flip=flip, views=views)
    mirrors = [lambda b: b, lambda b: b.flip(3)][: 1 + flip]
    for image, larger, row in zip(images, pictures(7, 48, 32), got, strict=True):  # it was decoded again, not enlarged
        total = sum(
            seen(net, image, mirror)
            + seen(net, larger, mirror)
            + seen(net, image, mirror, lambda b: resize(b[:, :, 8:32, 2:14], 32, 16))
            for mirror in mirrors
        )
        np.testing.assert_allclose(row, (total / total.norm()).numpy(), atol=1e-5)


def test_images_that_were_not_decoded_for_a_view_are_no_feature():
    net, images = make_net(), pictures()
    with pytest.raises(ValueError, match=r"\(48, 32\)"):
        features(net, images, views=[{"name": "scale", "size": [48, 32]}], others=[pictures(7, 48, 16)])


def test_flip_as_a_view_is_the_flip_of_all():
    net, images = make_net(), pictures()
    by_view = features(net, images, flip=False, views=["plain", "flip"])
    np.testing.assert_allclose(by_view, features(net, images, flip=True), atol=1e-6)


@pytest.mark.parametrize(
    ("view", "words"),
    [
        ("zoom", "unknown view 'zoom'"),
        ({"name": "scale"}, "size"),
        ({"name": "scale", "size": [8, 8]}, "at least 16 pixels"),
        ({"name": "crop", "share": 0}, "above 0"),
        ({"name": "crop", "at": "middle"}, "centre, top"),
        ({"name": "crop", "part": 1}, "part"),
        ("flip", "mirrors every view already"),
    ],
)
def test_views_that_cannot_be(view, words):
    with pytest.raises(ConfigError, match=words):
        make_views([ComponentConfig.model_validate(view)], True)
