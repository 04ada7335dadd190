"""ensemble.verify: every kept result hashed, what is damaged named, and removed where asked."""

import pytest

from configs.errors import ResultError
from configs.store.store import Address, Store
from ensemble import verify
from ensemble.results.build_record import LAST

ONE, TWO = Address("members", "r50", {"a": 1}), Address("features", "r50-test", {"a": 2})


@pytest.fixture
def runs(tmp_path):
    store = Store(tmp_path / "runs", lambda text: None)
    for address in (ONE, TWO):
        store.get(address, lambda folder: (folder / "x.bin").write_bytes(bytes(100)))
    (store.root / "drawn-people").mkdir()
    return store.root


def test_whole_results(runs, capsys):
    assert verify.main(["--runs", str(runs)]) == 0
    assert capsys.readouterr().out == "2 results, 0 damaged\n"


def test_what_is_damaged_is_named_and_removed_if_asked(runs, capsys):
    (runs / ONE.key / "x.bin").write_bytes(bytes(99) + b"\1")
    assert verify.main(["--runs", str(runs)]) == 1
    assert f"{ONE.key}: x.bin is damaged" in capsys.readouterr().out and (runs / ONE.key).exists()
    assert verify.main(["--runs", str(runs), "--remove"]) == 1
    assert not (runs / ONE.key).exists() and (runs / TWO.key).exists()
    assert verify.main(["--runs", str(runs)]) == 0


@pytest.mark.parametrize("content", [b"[]", b"\xff", b"{}", b'{"build": "x"}\n'])
def test_a_damaged_pointer(runs, capsys, content):
    (runs / LAST).write_bytes(content)
    assert verify.main(["--runs", str(runs)]) == 1
    assert f"{LAST}: is damaged" in capsys.readouterr().out


def test_no_such_folder(tmp_path):
    with pytest.raises(ResultError, match="no such folder"):
        verify.main(["--runs", str(tmp_path / "none")])
