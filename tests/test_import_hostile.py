"""Members from outside that are not what they say: each ends in a sentence, soon, and nothing of it is run."""

import io
import json
import os
import zipfile

import numpy as np
import pytest
import torch
from numpy.lib import format as npy
from safetensors.torch import save_file
from scipy.io import savemat

from configs.errors import ConfigError, DataError, WeightsError
from configs.external_members import split_members
from configs.schema import Weights
from configs.store.store import Store
from ensemble.features.external.npz import LARGE
from ensemble.features.external.read_file import read_external
from models.weights.sources import keep_weights

NAMES = ["a.jpg", "b.jpg"]


def header(shape, dtype="<f4"):
    """The head of an `.npy` that says this."""
    buffer = io.BytesIO()
    npy.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def zipped(path, feats, method=zipfile.ZIP_DEFLATED):
    names = io.BytesIO()
    np.save(names, np.array(NAMES))
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("names.npy", names.getvalue())
        archive.writestr("feats.npy", feats)
    return path


def refused(path, says):
    with pytest.raises(DataError, match=says) as error:
        read_external(path)
    assert "Traceback" not in str(error.value) and len(str(error.value)) < 600


def test_an_array_that_claims_terabytes(tmp_path):
    shape = (6, 6 * 2**40)
    refused(zipped(tmp_path / "m.npz", header(shape) + b"\0" * 8), rf"claims float32 of shape .*{shape[1]}.* but has 8")
    (tmp_path / "f").mkdir()
    (tmp_path / "f/names.json").write_text(json.dumps({"query": NAMES[:1], "gallery": NAMES[1:]}))
    (tmp_path / "f/feats.npy").write_bytes(header((2, 2**50)) + b"\0" * 8)
    refused(tmp_path / "f", "cannot be read")


def test_a_packed_bomb(tmp_path):
    size = LARGE + 4096
    content = header((2, size // 8)) + bytes(size // 8 * 8)
    refused(zipped(tmp_path / "m.npz", content), r"bytes that would unpack to 67,\d\d\d,\d\d\d; features never shrink")
    savemat(
        tmp_path / "m.mat", {"names": np.array(NAMES, object), "feats": np.zeros((2, size // 8))}, do_compression=True
    )
    refused(tmp_path / "m.mat", r"feats claims shape \(2, 8389120\)")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("m.npz", b"just,some,text\n" * 40, "not a zip of arrays, in spite of its name"),
        ("m.npz", header((2, 2)) + bytes(16), "one bare array"),
        ("m.npz", b"\x80\x04.", "a pickle in spite of its name; Python objects are never unpickled"),
        ("m.safetensors", b"just,some,text\n" * 40, "cannot be read"),
        (
            "m.mat",
            b"MATLAB 5.0 MAT-file" + bytes(105) + b"\x00\x01IM" + b"\x0e\0\0\0\xff\xff\xff\x7f" * 40,
            "cannot be read",
        ),
    ],
)
def test_files_that_are_something_else(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, says)


def test_objects_inside_an_array(tmp_path):
    np.savez(tmp_path / "m.npz", names=np.array(NAMES, dtype=object), feats=np.ones((2, 2)))
    refused(tmp_path / "m.npz", "Python objects, which are never unpickled; save names as np.array")


def test_the_reader_of_mat_may_end_and_nobody_else_does(tmp_path, monkeypatch):
    """SciPy's reader was met that ended the process; here it is made to."""
    savemat(tmp_path / "m.mat", {"names": np.array(NAMES, object), "feats": np.ones((2, 2))})
    assert read_external(tmp_path / "m.mat")[0].names == tuple(NAMES)
    (tmp_path / "scipy").mkdir()
    (tmp_path / "scipy/__init__.py").touch()
    (tmp_path / "scipy/io.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.syspath_prepend(tmp_path)
    refused(tmp_path / "m.mat", "damaged, or made to crash its reader")


@pytest.mark.parametrize("where", ["file", "names", "array"])
def test_pipes_are_not_waited_for(tmp_path, where):
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "names.json").write_text(json.dumps({"query": NAMES[:1], "gallery": NAMES[1:]}))
    np.save(folder / "feats.npy", np.ones((2, 2), np.float32))
    path = {"file": tmp_path / "m.npz", "names": folder / "names.json", "array": folder / "feats.npy"}[where]
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    refused(path if where == "file" else folder, "not a regular file; reading a pipe or a device might never end")
    if where == "file":
        with pytest.raises(ConfigError, match="no plain file, and no folder"):
            split_members([str(path)])


def test_bfloat16_is_read(tmp_path):
    feats = torch.randn(2, 5).to(torch.bfloat16)
    save_file({"feats": feats, "other": torch.ones(3)}, tmp_path / "m.safetensors", {"names": json.dumps(NAMES)})
    (rows,) = read_external(tmp_path / "m.safetensors")
    assert rows.names == tuple(NAMES) and rows.feats.dtype == np.float32
    np.testing.assert_array_equal(rows.feats, feats.float().numpy())
    save_file({"feats": feats.to(torch.float8_e4m3fn)}, tmp_path / "e.safetensors", {"names": json.dumps(NAMES)})
    refused(tmp_path / "e.safetensors", "feats is F8_E4M3; want features of 16, 32 or 64 bits")


@pytest.mark.parametrize("name", ["lr=1.npz", "a=b.npz", "r50=x.safetensors"])
def test_names_with_an_equals_sign(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).touch()
    with pytest.raises(
        ConfigError, match=f"'{name.rpartition('.')[0]}' cannot be a member's name; give it one"
    ) as error:
        split_members([name])
    assert f"NAME={name}" in str(error.value)
    (outside,) = split_members([f"m={name}"])[1]
    assert (outside.name, outside.file) == ("m", name)


# ---------------------------------------------------------------------------------------------------------- weights


def kept(tmp_path, file):
    return keep_weights(Store(tmp_path / "runs", lambda text: None), Weights(file=str(file)))


class Anything:
    """A class of somebody's code, as a whole model saved with it is."""


def test_torchs_advice_to_unpickle_is_not_passed_on(tmp_path):
    torch.save({"state_dict": {"a": torch.ones(2)}, "args": Anything()}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"it holds .*Anything, and Python objects are never unpickled") as error:
        kept(tmp_path, tmp_path / "w.pth")
    assert "weights_only" not in str(error.value) and "arbitrary" not in str(error.value)
    (tmp_path / "t.pth").write_text("just some text")
    with pytest.raises(WeightsError, match=r"torch\.save did not write it, or it is damaged") as error:
        kept(tmp_path, tmp_path / "t.pth")
    assert "weights_only" not in str(error.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(tmp_path, value):
    """They ended in 'lower the rate', in the first step."""
    torch.save({"a": torch.ones(2), "b": torch.tensor([1.0, value])}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="1 of its tensors hold NaN or infinite numbers, first 'b'"):
        kept(tmp_path, tmp_path / "w.pth")
