"""Lists of images: names once, one length, and digests of what changes a result."""

from pathlib import Path

import numpy as np
import pytest

from configs.errors import DataError
from models.data.split import Benchmark, Split, content_digest, label_digest, make_split


def written(folder, n=3):
    for i in range(n):
        (folder / f"{i}.jpg").write_bytes(bytes([i]) * 10)
    return make_split([(f"{i}.jpg", folder / f"{i}.jpg", i, 7) for i in range(n)])


def test_rows_in_the_order_of_their_names():
    split = make_split([("b", Path("x/b"), 2, 0), ("a", Path("y/a"), -1, 1), ("B", Path("z"), 5, -1)])
    assert split.names == ("B", "a", "b") and split.paths == (Path("z"), Path("y/a"), Path("x/b"))
    assert split.pids.tolist() == [5, -1, 2] and split.camids.tolist() == [-1, 1, 0]
    assert split.pids.dtype == split.camids.dtype == np.int64 and len(split) == 3
    assert not split.labelled


def test_an_empty_list():
    split = make_split([])
    assert len(split) == 0 and split.pids.dtype == np.int64 and not split.labelled
    assert len(split.take([])) == 0


def test_take_keeps_rows_together_in_the_order_asked():
    split = make_split([(n, Path(n), i, 10 + i) for i, n in enumerate("abc")])
    taken = split.take([2, 0])
    assert taken.names == ("c", "a") and taken.pids.tolist() == [2, 0] and taken.camids.tolist() == [12, 10]
    assert taken.paths == (Path("c"), Path("a")) and taken.labelled


def test_a_name_twice_is_an_error_that_tells_where():
    rows = [("a.jpg", Path("one/a.jpg"), 1, 0), ("a.jpg", Path("two/a.jpg"), 2, 0), ("b.jpg", Path("b.jpg"), 2, 0)]
    with pytest.raises(DataError, match=r"1 image names occur twice .* first 'a\.jpg' \(one/a\.jpg, two/a\.jpg\)"):
        make_split(rows)


def test_lists_of_different_length():
    with pytest.raises(ValueError, match=r"differ in length: \[1, 2\]"):
        Split(("a",), (Path("a"),), np.array([1, 2]), np.array([0]))


def test_a_benchmark_is_scorable_where_both_sides_are_labelled():
    known, unknown = (make_split([("a", Path("a"), pid, -1)]) for pid in (3, -1))
    for query, gallery, want in ((known, known, True), (known, unknown, False), (unknown, known, False)):
        assert Benchmark("x", Path(), known, query, gallery, make_split([])).scorable == want


def test_content_digest_is_of_names_and_bytes(tmp_path):
    split = written(tmp_path)
    first = content_digest(split)
    assert len(first) == 12 and content_digest(split, n_jobs=1) == first
    assert content_digest(split.take([0, 1])) != first
    assert content_digest(split.take([1, 0, 2])) != first
    renamed = Split(("0.jpg", "1.jpg", "9.jpg"), split.paths, split.pids, split.camids)
    assert content_digest(renamed) != first
    split.paths[1].write_bytes(b"another picture")
    assert content_digest(split) != first


def test_content_digest_is_not_of_labels_cameras_or_places(tmp_path):
    split = written(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    moved = written(other)
    assert content_digest(Split(moved.names, moved.paths, split.pids * 0, split.camids * 0)) == content_digest(split)


def test_bytes_do_not_slide_from_one_file_into_the_next(tmp_path):
    split = written(tmp_path, 2)
    first = content_digest(split)
    one, two = (p.read_bytes() for p in split.paths)
    split.paths[0].write_bytes(one + two[:1])
    split.paths[1].write_bytes(two[1:])
    assert content_digest(split) != first


def test_label_digest_is_of_identities_in_their_order(tmp_path):
    split = written(tmp_path)
    assert label_digest(split) == label_digest(Split(split.names, split.paths, split.pids, split.camids * 0))
    pids = {label_digest(Split(split.names, split.paths, np.array(p), split.camids)) for p in ([0, 1, 2], [0, 2, 1])}
    assert len(pids) == 2 and len({label_digest(make_split([])), *pids}) == 3


def test_a_file_that_is_gone_is_named(tmp_path):
    split = written(tmp_path)
    split.paths[1].unlink()
    with pytest.raises(DataError, match=r"1\.jpg: cannot be read \(No such file"):
        content_digest(split)
