"""Weights files: read safely, checked by their SHA-256, reported tensor by tensor, refused where they are another's."""

import hashlib
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from configs.errors import ConfigError, WeightsError
from configs.schema import Weights
from configs.store.store import Store
from models.backbones.resnet import SqueezeExcitation, resnet
from models.weights import sources
from models.weights.load import load_weights
from models.weights.sources import identify, keep_weights
from tests.tiny import unsettle


def narrow(seed=0, **options):
    torch.manual_seed(seed)
    return resnet(**({"width_per_group": 2} | options))


def counted(net):
    """Names that must match: everything but the counters of batches."""
    return {k for k in net.state_dict() if not k.endswith("num_batches_tracked")}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs")


def loaded(store, net, **weights):
    asked = Weights(**weights)
    return load_weights(net, keep_weights(store, asked), asked)


def same(one, other):
    return all(torch.equal(one[k], other[k]) for k in one if not k.endswith("num_batches_tracked"))


# --------------------------------------------------------------------------------------------------- how a file is made


def under(prefix, state):
    return {prefix + k: v for k, v in state.items()}


WRAPPED = {
    "plain": lambda s: s,
    "base": lambda s: under("base.", s),
    "a model's": lambda s: under("model.", s),
    "compiled": lambda s: under("_orig_mod.", s),
    "compiled within": lambda s: {"model_state_dict": under("module._orig_mod.backbone.", s)},
    "stacked": lambda s: {"state_dict": under("module.encoder_q.", s)},
    "queue and key": lambda s: {
        "state_dict": under("encoder_q.", s) | under("encoder_k.", narrow(7).state_dict()) | {"queue": torch.ones(3)}
    },
    "averaged beside": lambda s: {"state_dict": s, "state_dict_ema": narrow(7).state_dict()},
    "with an optimizer": lambda s: {
        "model": s,
        "optimizer": {"state": {0: {"exp_avg": torch.full((3,), torch.nan)}}, "param_groups": [{"lr": 0.1}]},
    },
    "a name of one's own": lambda s: {"checkpoint": {"my_net": under("trunk.", s)}},
    "with a neck": lambda s: under("base.", s) | {"neck.weight": torch.ones(3), "classifier.weight": torch.ones(3)},
    "module": lambda s: {f"module.{k}": v for k, v in s.items()},
    "backbone": lambda s: {f"module.backbone.{k}": v for k, v in s.items()},
    "state_dict": lambda s: {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in s.items()}},
    "model": lambda s: {"model": {"net": s}},
    "with a classifier": lambda s: s | {"fc.weight": torch.zeros(9, 2048), "fc.bias": torch.zeros(9)},
    "with another's": lambda s: s | {f"{k}.bias": torch.zeros(9) for k in ("classifier", "head")},
    "without counters": lambda s: {k: v for k, v in s.items() if "num_batches" not in k},
    "strided": lambda s: {k: v.to(memory_format=torch.channels_last) if v.ndim == 4 else v for k, v in s.items()},
}


@pytest.mark.parametrize("how", WRAPPED)
def test_a_state_dict_however_it_is_wrapped(tmp_path, store, how):
    theirs, ours = narrow(1), narrow(2)
    torch.save(WRAPPED[how](theirs.state_dict()), tmp_path / "w.pth")
    report = loaded(store, ours, file=str(tmp_path / "w.pth"))
    assert same(theirs.state_dict(), ours.state_dict())
    assert report.matched == len(counted(ours))
    assert report.missing == report.unexpected == report.reshaped == report.fresh == ()
    assert report.sha256 == hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()
    assert f"{report.matched} tensors matched" in str(report) and report.sha256[:12] in str(report)


REPORTED = {
    "plain": "tensors matched",
    "stacked": "tensors matched, prefix 'state_dict.module.encoder_q.' stripped",
    "with a classifier": "tensors matched, 2 left over (fc.bias, fc.weight)",
    "with a neck": "tensors matched, prefix 'base.' stripped, 2 left over (classifier.weight, neck.weight)",
    "a model's": "tensors matched, prefix 'model.' stripped",
}


@pytest.mark.parametrize("how", REPORTED)
def test_the_report_says_the_prefix_and_what_is_left_over(tmp_path, store, how):
    net = narrow(2)
    torch.save(WRAPPED[how](narrow(1).state_dict()), tmp_path / "w.pth")
    told = str(loaded(store, net, file=str(tmp_path / "w.pth")))
    assert told.endswith(f"): {len(counted(net))} {REPORTED[how]}")


def test_two_networks_that_fit_are_told_apart_by_the_one_who_knows(tmp_path, store):
    student, teacher, ours = narrow(1), narrow(3), narrow(2)
    torch.save({"student": student.state_dict(), "teacher": teacher.state_dict()}, tmp_path / "w.pth")
    file = str(tmp_path / "w.pth")
    with pytest.raises(
        WeightsError, match=r"2 networks that fit, under student\., teacher\.\. Name one with .*prefix="
    ):
        loaded(store, ours, file=file)
    loaded(store, ours, file=file, prefix="teacher.")
    assert same(teacher.state_dict(), ours.state_dict())
    assert identify(Weights(file=file, prefix="teacher.")) != identify(Weights(file=file))


def test_a_dict_that_holds_itself_and_is_held_twice(tmp_path, store):
    state = dict(narrow(1).state_dict())
    state["again"] = {"first": state}
    torch.save({"first": state, "second": state}, tmp_path / "w.pth")
    ours = narrow(2)
    loaded(store, ours, file=str(tmp_path / "w.pth"))
    assert same(narrow(1).state_dict(), ours.state_dict())


def test_other_names_are_shown_beside_the_backbones(tmp_path, store):
    renamed = {f"block{i}": v for i, v in enumerate(narrow().state_dict().values())}
    torch.save(renamed, tmp_path / "w.pth")
    with pytest.raises(WeightsError) as error:
        loaded(store, narrow(), file=str(tmp_path / "w.pth"))
    assert "0 of the backbone's" in str(error.value) and "these are another network's" not in str(error.value)
    assert "begin block0, block1, block10 ..." in str(error.value)
    assert "the backbone's are bn1.bias, bn1.running_mean, bn1.running_var ..." in str(error.value)


@pytest.mark.parametrize("how", ["plain", "module", "with a classifier"])
def test_safetensors(tmp_path, store, how):
    theirs, ours = narrow(1), narrow(2)
    save_file(WRAPPED[how](theirs.state_dict()), tmp_path / "w.safetensors")
    report = loaded(store, ours, file=str(tmp_path / "w.safetensors"))
    assert same(theirs.state_dict(), ours.state_dict()) and report.unexpected == ()


def test_two_names_of_one_tensor(tmp_path, store):
    theirs, ours = narrow(1), narrow(2)
    state = theirs.state_dict()
    state["layer1.1.bn1.bias"] = state["layer1.1.bn1.weight"]
    torch.save(state, tmp_path / "w.pth")
    loaded(store, ours, file=str(tmp_path / "w.pth"))
    assert same(state, ours.state_dict())


def test_it_is_kept_as_safetensors_and_read_once(tmp_path, store, monkeypatch):
    torch.save(narrow(1).state_dict(), tmp_path / "w.pth")
    weights = Weights(file=str(tmp_path / "w.pth"))
    kept = keep_weights(store, weights)
    assert load_file(kept / "weights.safetensors").keys() == counted(narrow())
    monkeypatch.setattr(sources, "read_tensors", lambda path: pytest.fail("read again"))
    assert keep_weights(store, weights) == kept


# ------------------------------------------------------------------------------------------------------ what is refused


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code of the pickle was run')",))


def test_a_pickle_that_would_run_code(tmp_path, store):
    with open(tmp_path / "w.pth", "wb") as f:
        pickle.dump({"state_dict": Bomb()}, f)
    with pytest.raises(WeightsError, match=r"w\.pth: not a plain file of weights"):
        keep_weights(store, Weights(file=str(tmp_path / "w.pth")))
    torch.save({"state_dict": narrow().state_dict(), "args": Bomb()}, tmp_path / "v.pth")
    with pytest.raises(WeightsError, match=r"v\.pth: not a plain file of weights"):
        keep_weights(store, Weights(file=str(tmp_path / "v.pth")))


def test_weights_that_unpack_to_terabytes(tmp_path, store):
    torch.save({"conv1.weight": torch.zeros(1).expand(1 << 20, 1 << 20)}, tmp_path / "w.pth")
    assert (tmp_path / "w.pth").stat().st_size < 10_000
    with pytest.raises(WeightsError, match=r"w\.pth: its tensors would take more than .* bytes"):
        keep_weights(store, Weights(file=str(tmp_path / "w.pth")))


def test_tensors_of_four_times_the_file_and_no_more(tmp_path, store):
    """Names that share their numbers, which are stored once."""
    numbers = torch.arange(100_000.0)
    for names, enough in (("abcd", True), ("abcde", False)):
        torch.save(dict.fromkeys(names, numbers), tmp_path / f"{names}.pth")
        weights = Weights(file=str(tmp_path / f"{names}.pth"))
        if enough:
            assert set(load_file(keep_weights(store, weights) / "weights.safetensors")) == set(names)
            continue
        with pytest.raises(WeightsError, match="its tensors would take more than"):
            keep_weights(store, weights)


def test_a_twentieth_may_be_missing_and_no_more(tmp_path, store):
    state, names = narrow().state_dict(), sorted(counted(narrow()))
    some = len(names) // 20
    for missing, enough in ((some, True), (some + 1, False)):
        torch.save({k: v for k, v in state.items() if k not in names[:missing]}, tmp_path / "w.pth")
        if enough:
            report = loaded(store, narrow(), file=str(tmp_path / "w.pth"))
            assert sorted(report.missing) == names[:missing] and report.matched == len(names) - missing
            continue
        with pytest.raises(WeightsError, match=f"{missing} missing .*a part of this network"):
            loaded(store, narrow(), file=str(tmp_path / "w.pth"))


def test_a_file_is_kept_once_whatever_is_to_start_anew(tmp_path, store):
    torch.save(narrow().state_dict(), tmp_path / "w.pth")
    file = str(tmp_path / "w.pth")
    assert keep_weights(store, Weights(file=file)) == keep_weights(store, Weights(file=file, fresh=("se",)))


ODD = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "rows of sparse": lambda: torch.eye(3).to_sparse_csr(),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "without numbers": lambda: torch.ones(3, device="meta"),
    "complex": lambda: torch.ones(3, dtype=torch.complex64),
}


@pytest.mark.filterwarnings("ignore")  # torch says of each kind that it is new, or on its way out
@pytest.mark.parametrize("kind", ODD)
def test_weights_that_are_not_plain_arrays(tmp_path, store, kind):
    torch.save({"conv1.weight": torch.ones(2), "bn1.weight": ODD[kind]()}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"w\.pth: holds tensors that are not plain arrays of numbers"):
        keep_weights(store, Weights(file=str(tmp_path / "w.pth")))


def test_whole_numbers_and_halves_are_plain_arrays(tmp_path, store):
    odd = {"bn1.weight": torch.ones(3).bfloat16(), "steps": torch.tensor(3), "mask": torch.tensor([True])}
    torch.save(odd, tmp_path / "w.pth")
    assert (
        load_file(keep_weights(store, Weights(file=str(tmp_path / "w.pth"))) / "weights.safetensors").keys()
        == odd.keys()
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [("w.pth", b""), ("w.pth", b"text"), ("w.safetensors", b"text that is no header"), ("w.safetensors", b"")],
)
def test_a_file_that_is_no_weights(tmp_path, store, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=rf"{name}: (cannot be read|not a plain file)"):
        keep_weights(store, Weights(file=str(tmp_path / name)))


@pytest.mark.parametrize("content", [{"epoch": 3}, [torch.zeros(2)], {"state_dict": {"a": 1}}])
def test_a_file_without_a_state_dict(tmp_path, store, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="holds no state dict of tensors"):
        keep_weights(store, Weights(file=str(tmp_path / "w.pth")))


def test_a_missing_file(store):
    with pytest.raises(WeightsError, match=r"nowhere\.pth: no such weights file; mend .*pretrained=false"):
        keep_weights(store, Weights(file="nowhere.pth"))


def test_another_sha256(tmp_path, store):
    torch.save(narrow().state_dict(), tmp_path / "w.pth")
    right = hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()
    for sha256 in (right, right.upper(), right[:12]):
        assert keep_weights(store, Weights(file=str(tmp_path / "w.pth"), sha256=sha256))
    with pytest.raises(WeightsError, match=rf"its SHA-256 is {right}, not {'0' * 64}"):
        keep_weights(store, Weights(file=str(tmp_path / "w.pth"), sha256="0" * 64))


OTHERS = {
    "wider": ({"width_per_group": 4}, {"width_per_group": 2}, "reshaped .*another network's weights"),
    "plain for ibn_a": ({}, {"ibn": "a"}, "missing .*another network's weights"),
    "ibn_a for plain": ({"ibn": "a"}, {}, "unexpected .*another network's weights"),
    "deeper": ({"depth": 101}, {}, "unexpected .*another network's weights"),
    "shallower": ({}, {"depth": 101}, "missing .*a part of this network, or a smaller one"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_backbones_weights_are_refused_with_counts(tmp_path, store, what):
    theirs, ours, word = OTHERS[what]
    torch.save(narrow(**theirs).state_dict(), tmp_path / "w.pth")
    net = narrow(**ours)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(WeightsError, match=rf"\d+ tensors matched.* {word}") as error:
        loaded(store, net, file=str(tmp_path / "w.pth"))
    common = {k for k, v in narrow(**theirs).state_dict().items() if k in before and before[k].shape == v.shape}
    assert f"{len(common & counted(net))} tensors matched" in str(error.value)
    assert same(before, net.state_dict())


def test_a_fresh_part_that_the_backbone_does_not_have(tmp_path, store):
    torch.save(narrow().state_dict(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="fresh names 'see', of which the backbone has no part"):
        loaded(store, narrow(), file=str(tmp_path / "w.pth"), fresh=("see",))


# ----------------------------------------------------------------------------------------------- se_ibn_a from ibn_a


def test_se_ibn_a_starts_from_the_ibn_a_trunk_with_its_gates_near_1(tmp_path, store):
    trunk = unsettle(narrow(1, ibn="a")).train()
    x = torch.randn(8, 3, 64, 32) + torch.randn(8, 3, 1, 1)
    with torch.no_grad():
        for _ in range(20):
            trunk(x)
    torch.save(trunk.state_dict(), tmp_path / "w.pth")
    net = narrow(2, ibn="a", se=True)
    report = loaded(store, net, file=str(tmp_path / "w.pth"), fresh=("se",))
    assert len(report.fresh) == 32 and all(".se." in name for name in report.fresh)
    assert report.matched == len(counted(trunk)) and report.missing == ()
    assert "32 fresh" in str(report)
    seen = []
    for m in net.modules():
        if isinstance(m, SqueezeExcitation):
            m.fc.register_forward_hook(lambda layer, given, out: seen.append(out.mean()))
    with torch.no_grad():
        want, got = (n.eval()(x).mean((2, 3)) for n in (trunk, net))
    assert len(seen) == 16 and torch.stack(seen).mean() > 0.9
    assert torch.nn.functional.cosine_similarity(want, got).min() > 0.98


def test_without_fresh_the_missing_gates_are_an_error(tmp_path, store):
    torch.save(narrow(1, ibn="a").state_dict(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="32 missing"):
        loaded(store, narrow(2, ibn="a", se=True), file=str(tmp_path / "w.pth"))


# ------------------------------------------------------------------------------------------------------ from an address


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A cache of torch's own, and an address that is answered from a file; the list of what was asked for."""
    state = narrow(1).state_dict()
    torch.save(state, tmp_path / "served")
    content, asked = (tmp_path / "served").read_bytes(), []

    def download(url, to, hash_prefix=None, progress=True):
        asked.append(url)
        with open(to, "wb") as f:
            f.write(content)

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(sources, "download_url_to_file", download)
    return state, hashlib.sha256(content).hexdigest(), asked


def test_an_address_is_fetched_once(store, web):
    state, sha256, asked = web
    url = f"https://example.org/r50-{sha256[:8]}.pth"
    for _ in range(2):
        net = narrow(2)
        report = loaded(store, net, url=url)
        assert same(state, net.state_dict()) and report.sha256 == sha256 and report.source == url
    assert asked == [url]


def test_a_file_that_is_not_the_one_in_its_name(store, web):
    with pytest.raises(WeightsError, match=r"its SHA-256 is .*, not 0123abcd"):
        keep_weights(store, Weights(url="https://example.org/r50-0123abcd.pth"))


def test_a_sha256_given_beside_an_address_is_checked(store, web):
    _, sha256, _ = web
    assert keep_weights(store, Weights(url="https://example.org/r50.pth", sha256=sha256))
    with pytest.raises(WeightsError, match="its SHA-256 is"):
        keep_weights(store, Weights(url="https://example.org/r50.pth", sha256="1" * 64))


def test_an_address_whose_contents_nothing_pins(store):
    for name in ("latest.pth", "model-2024.pth", "model-0123abc.pth", "model-0123abcg.pth"):
        with pytest.raises(ConfigError, match=r"give weights\.sha256"):
            keep_weights(store, Weights(url=f"https://example.org/{name}"))


def test_torchvisions_weights_by_their_name(store, web, monkeypatch):
    _, sha256, asked = web
    monkeypatch.setattr(sources, "_hash_in", lambda source: sha256[:8])
    keep_weights(store, Weights(torchvision="ResNet50_Weights.IMAGENET1K_V1"))
    assert asked == ["https://download.pytorch.org/models/resnet50-0676ba61.pth"]
    with pytest.raises(ConfigError, match="torchvision has no such weights"):
        keep_weights(store, Weights(torchvision="ResNet50_Weights.IMAGENET9K"))


@pytest.mark.parametrize("error", [OSError("no route"), RuntimeError("invalid hash value")])
def test_no_network_says_what_to_do(store, web, monkeypatch, error):
    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr(sources, "download_url_to_file", refuse)
    with pytest.raises(
        WeightsError, match=r"cannot be fetched \(.*\)\. Fetch it where there is a network .*file: PATH"
    ):
        keep_weights(store, Weights(url="https://example.org/r50-0123abcd.pth"))


# ----------------------------------------------------------------------------------------------- what they are known by


def test_known_by_contents_and_not_by_path(tmp_path):
    torch.save(narrow(1).state_dict(), tmp_path / "w.pth")
    first = identify(Weights(file=str(tmp_path / "w.pth")))
    (tmp_path / "w.pth").rename(tmp_path / "v.pth")
    assert identify(Weights(file=str(tmp_path / "v.pth"))) == first
    torch.save(narrow(2).state_dict(), tmp_path / "v.pth")
    assert identify(Weights(file=str(tmp_path / "v.pth"))) != first
    assert identify(Weights(file=str(tmp_path / "v.pth"), fresh=("se",))) != identify(
        Weights(file=str(tmp_path / "v.pth"))
    )
