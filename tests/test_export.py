"""A member for other programs: ONNX Runtime, torchvision and timm alone give its features."""

import ast
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession
from PIL import Image
from safetensors.torch import load_file
from safetensors.torch import save as save_safetensors

from configs.console.progress import Progress
from configs.errors import ConfigError, ResultError
from configs.schema import Member
from configs.store.atomic_files import write_file, write_text
from configs.store.store import Address, Store
from ensemble import open_build
from models.data.images import decode_all
from models.data.layouts import read_layout
from models.export import onnx_file
from models.export.__main__ import main
from models.export.onnx_file import Deployed, write_onnx
from models.extraction.extract import extract
from models.extraction.open_member import open_member
from models.extraction.views import make_views
from models.registry import make_net
from models.training.train import LABELS, WEIGHTS
from tests.tiny import unsettle

ROOT = Path(__file__).parent.parent
CPU = torch.device("cpu")


def member(name, model=None, head="global", **backbone):
    backbone = {"name": "timm", "model": model} if model else {"name": "resnet", **backbone}
    return Member.model_validate({"name": name, "backbone": backbone, "head": head})


def network(made, size, seed=0):
    torch.manual_seed(seed)
    net = make_net(made, classes=3)
    net.resize(size)
    norms = [m for m in unsettle(net).modules() if isinstance(m, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d)]
    for norm in norms:  # features around their mean, so that those of other images, or of mirrored ones, are far away
        norm.momentum = None
        norm.reset_running_stats()
    with torch.no_grad():
        net.train()(torch.randn(16, 3, *size))
    return net.eval()


def keep(runs, made, size):
    """A member of the store, as training leaves it."""
    net = network(made, size)

    def make(folder):
        write_file(folder / WEIGHTS, save_safetensors({k: v.contiguous() for k, v in net.state_dict().items()}))
        write_text(folder / LABELS, json.dumps({"pids": [1, 2, 3]}))

    request = {"member": made.model_dump(mode="json"), "recipe": {"size": list(size)}}
    return Store(runs, say=lambda text: None).get(Address("members", made.name, request), make).path


def run_onnx(path, images):
    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["features"], {"images": images})[0]


def extracted(folder, images, mirrored=True):
    """As a build extracts them."""
    net, _ = open_member(folder)
    how = {"channels_last": False, "device": CPU, "precision": "float32", "progress": Progress(quiet=True)}
    names = tuple(f"{i}.png" for i in range(len(images)))
    return extract(net, images, names, views=make_views((), mirrored), **how)


# ---------------------------------------------------------------------------------------------------------------- ONNX


def test_a_builds_own_features_by_onnx_runtime(tiny_build, people, tmp_path, capsys):
    main(["a", "--runs", str(tiny_build.runs), "--onnx", "--out", str(tmp_path)])
    assert "ONNX Runtime differs from the member by" in capsys.readouterr().out
    names, feats = open_build(tiny_build.runs).evaluations["test"].features("a")
    lists = read_layout("drawn", people)
    assert names == lists.query.names + lists.gallery.names
    images = np.stack(list(decode_all([*lists.query.paths, *lists.gallery.paths], (64, 32))))
    np.testing.assert_allclose(run_onnx(tmp_path / "a.onnx", images), feats, atol=1e-4)
    np.testing.assert_allclose(run_onnx(tmp_path / "a.onnx", images[:1]), feats[:1], atol=1e-4)
    told = json.loads((tmp_path / "a.json").read_text())
    assert told["size"] == [64, 32] and told["mirrored"] and told["mean"] == [0.485, 0.456, 0.406]
    assert {path.name for path in tmp_path.iterdir()} == {"a.onnx", "a.json"}


KINDS = {
    "se_ibn_a, mgn": (member("x", head="mgn", depth=26, base=16, ibn="a", se=True), (96, 32)),
    "ibn_b, adaptive stripes": (
        member("x", head={"name": "mgn", "adaptive": True, "width": 8}, depth=26, base=16, ibn="b"),
        (96, 32),
    ),
    "ViT, class token": (member("x", "test_vit", head={"name": "token", "patches": "gem"}), (128, 64)),
    "ViT, parts": (member("x", "test_vit", head={"name": "mgn", "fork": None, "width": 8}), (96, 32)),
    "ConvNeXt": (member("x", "test_convnext"), (64, 32)),
    "EfficientNet": (member("x", "test_efficientnet"), (64, 32)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_of_each_kind_by_onnx_runtime(tmp_path, kind):
    """Against what a build extracts from the same images, in batches of other sizes than that of the export."""
    made, size = KINDS[kind]
    folder = keep(tmp_path / "runs", made, size)
    main([str(folder), "--onnx", "--no-flip", "--out", str(tmp_path)])
    images = np.random.default_rng(1).integers(0, 256, (5, *size, 3), dtype=np.uint8)
    want = extracted(folder, images, mirrored=False)
    np.testing.assert_allclose(run_onnx(tmp_path / "x.onnx", images), want, atol=1e-4)
    assert np.abs(want - extracted(folder, images)).max() > 0.01 and (want @ want.T)[0, 1:].max() < 0.99


def test_a_graph_that_differs_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "MOST", 0.0)
    monkeypatch.setattr(onnx_file, "_difference", lambda *given: 2e-3)
    net = network(member("x", "test_efficientnet"), (64, 32))
    with pytest.raises(ResultError, match=r"x\.onnx: not written\. Its features differ by 2\.0e-03"):
        write_onnx(net, (64, 32), tmp_path / "x.onnx", mirrored=False)
    assert not list(tmp_path.iterdir())


def test_a_graph_for_two_images_only_is_refused(tmp_path):
    net = network(member("x", "test_efficientnet"), (64, 32))
    path = tmp_path / "x.onnx"
    images = torch.zeros(2, 64, 32, 3, dtype=torch.uint8)
    torch.onnx.export(Deployed(net, False).eval(), (images,), path, dynamo=True, verbose=False)
    with pytest.raises(ResultError, match="takes 2 images only"):
        onnx_file._difference(Deployed(net, False), path, (64, 32))


def test_without_its_packages_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'onnx and onnxruntime and onnxscript are not .*pip install "\.\[export\]"'):
        write_onnx(network(member("x", "test_efficientnet"), (64, 32)), (64, 32), tmp_path / "x.onnx", mirrored=True)


# ------------------------------------------------------------------------------------------------------- plain weights


def test_everything_but_the_classifier_under_published_names(tmp_path):
    folder = keep(tmp_path / "runs", member("vit", "test_vit", head="token"), (128, 64))
    main(["vit", "--runs", str(tmp_path / "runs"), "--safetensors", "--out", str(tmp_path / "out")])
    state = load_file(tmp_path / "out" / "vit.safetensors")
    kept = load_file(folder / WEIGHTS)
    assert torch.equal(state["backbone.blocks.0.attn.qkv.weight"], kept["backbone.model.blocks.0.attn.qkv.weight"])
    assert len(state) == len(kept) - 1 and not [k for k in state if "classifier" in k]
    told = json.loads((tmp_path / "out" / "vit.json").read_text())
    assert told["interpolation"] == "bicubic" and told["mean"] == [0.5, 0.5, 0.5]
    assert told["timm"]["create_model"]["img_size"] == [128, 64] and told["timm"]["tokens_before_patches"] == 1


@pytest.mark.parametrize(
    ("at", "made", "size"),
    [(0, member("r50"), (128, 64)), (1, member("vit", "test_vit", head="token"), (128, 64))],
    ids=["r50", "timm"],
)
def test_the_pages_examples_need_nothing_of_this_project(tmp_path, monkeypatch, at, made, size):
    folder = keep(tmp_path / "runs", made, size)
    monkeypatch.chdir(tmp_path)
    main([made.name, "--safetensors"])
    rng = np.random.default_rng(2)
    Image.fromarray(rng.integers(0, 256, (150, 70, 3), dtype=np.uint8)).save("person.jpg")
    block = re.findall(r"```python\n(.*?)```", (ROOT / "docs/weights.md").read_text(encoding="utf-8"), re.S)[at]
    tree = ast.parse(block)
    imported = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module.split(".")[0] for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert imported <= {"json", "pathlib", "numpy", "PIL", "safetensors", "timm", "torch", "torchvision"}
    assert len([line for line in block.splitlines() if line and "import" not in line]) <= 20
    names = {}
    exec(compile(block, "docs/weights.md", "exec"), names)
    _, trained = open_member(folder)
    images = np.stack(list(decode_all([Path("person.jpg")], size, resampled=trained.resampled)))
    np.testing.assert_allclose(names["feature"], extracted(folder, images)[0], atol=1e-5)


# ----------------------------------------------------------------------------------------------------- what is refused


def test_which_member_is_meant(tmp_path):
    made, runs = member("x", "test_efficientnet"), tmp_path / "runs"
    folder = keep(runs, made, (64, 32))
    out = ["--runs", str(runs), "--safetensors", "--out", str(tmp_path / "out")]
    with pytest.raises(ResultError, match="no trained member 'y'; trained are: x"):
        main(["y", *out])
    with pytest.raises(ConfigError, match="give --onnx, --safetensors or both"):
        main(["x", "--runs", str(runs)])
    other = keep(runs, made, (32, 32))
    with pytest.raises(ResultError, match=r"2 members 'x' are there; name one: .*x-"):
        main(["x", *out])
    shutil.rmtree(other)
    with open(folder / WEIGHTS, "r+b") as f:
        f.write(b"changed")
    with pytest.raises(ResultError, match=r"weights\.safetensors is damaged .*Run the build again"):
        main(["x", *out])
    with pytest.raises(ResultError, match="has no manifest"):
        main([str(tmp_path), *out])
    assert not (tmp_path / "out").exists()
