"""Weights from the Hugging Face hub: a commit of a repository, from a cache folder made here; no network."""

import hashlib

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from configs.errors import ConfigError, WeightsError
from configs.load import load_build_config
from configs.schema import Weights
from configs.store.store import Store
from models.backbones.timm_backbone import timm_map
from models.weights.load import load_weights
from models.weights.sources import identify, keep_weights, name_of

REPO, COMMIT, OTHER = "timm/test_vit.r160_in1k", "0123456789abcdef" * 2 + "01234567", "f" * 40


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """The hub's cache as it is after a download, and no way to the hub itself."""
    torch.manual_seed(5)
    state = timm.create_model("test_vit", pretrained=False).state_dict()
    folder = tmp_path / "hub" / "models--timm--test_vit.r160_in1k" / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    save_file(state, folder / "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder / "model.safetensors", state


def test_a_commit_of_a_repository(cached, tmp_path):
    file, state = cached
    weights = Weights(hub=REPO, revision=COMMIT)
    kept = keep_weights(Store(tmp_path / "runs"), weights)
    assert kept.name.startswith("test_vit.r160_in1k-") and name_of(weights) == "test_vit.r160_in1k"
    backbone = timm_map(model="test_vit.r160_in1k")
    report = load_weights(backbone.model, kept, weights)
    assert torch.equal(backbone.model.pos_embed, state["pos_embed"]) and not report.missing
    assert report.source == f"{REPO}@{COMMIT}"
    assert report.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_it_is_known_by_its_commit_before_it_is_fetched():
    one, other = (identify(Weights(hub=REPO, revision=commit)) for commit in (COMMIT, OTHER))
    assert one == {"hub": REPO, "revision": COMMIT, "fresh": []} and one != other


def test_another_file_than_was_meant(cached, tmp_path):
    with pytest.raises(WeightsError, match="its SHA-256 is"):
        keep_weights(Store(tmp_path / "runs"), Weights(hub=REPO, revision=COMMIT, sha256="0" * 64))


def test_what_cannot_be_fetched_says_what_to_do(cached, tmp_path):
    with pytest.raises(WeightsError, match=r"revision f{40}: model.safetensors cannot be fetched.*file: PATH"):
        keep_weights(Store(tmp_path / "runs"), Weights(hub=REPO, revision=OTHER))


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("{hub: timm/x}", "hub and revision go together.*https://huggingface.co/timm/x/commits/main"),
        (f"{{file: a.pth, revision: {COMMIT}}}", "hub and revision go together"),
        ("{hub: timm/x, revision: main}", "revision"),
        (f"{{hub: ../x, url: y, revision: {COMMIT}}}", "exactly one of torchvision, url, file, hub"),
        (f"{{hub: x, revision: {COMMIT}}}", "hub"),
    ],
)
def test_what_pins_nothing_is_refused(weights, said):
    with pytest.raises(ConfigError, match=said):
        load_build_config(["r50"], sets=[f"members.r50.weights={weights}"])
