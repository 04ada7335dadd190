"""ensemble.doctor end to end on folders of real small files, and its looks into single files."""

import hashlib
import pickle
import shutil

import numpy as np
import pytest
from PIL import Image

from configs.console.command import run
from configs.console.progress import Progress
from configs.errors import DataError, ImageError
from ensemble import doctor
from models.data import images
from models.data.doctor.inspect_files import inspect_file, inspect_files
from models.data.doctor.label_list import read_label_list

SMALL = ("--set", "recipe.identities_per_batch=4")  # the drawn people of the tests are few


def examined(capsys, *argv):
    """Exit status and lines."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        run(lambda: doctor.main([str(a) for a in argv] + ["--jobs", "1"]))
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return left.value.code, (said.out + said.err).splitlines()


def test_drawn_people_are_sound(people, capsys):
    status, lines = examined(capsys, "--data", people, *SMALL)
    assert status == 0
    assert lines[0].startswith("layout drawn, recognised by")
    rows = {line.split()[0]: line.split()[1:] for line in lines if line.split()[:1] and line.split()[0] in doctor.PARTS}
    count = {f: len(list((people / f).glob("*.jpg"))) for f in ("bounding_box_train", "query", "unlabelled")}
    gallery = sorted(p.name for p in (people / "bounding_box_test").iterdir() if not p.name.startswith("-1"))
    assert rows["train"][:2] == [str(count["bounding_box_train"]), "8"]
    assert rows["query"][:3] == [str(count["query"]), "6", "6"]
    assert rows["gallery"][:4] == [str(len(gallery)), "6", "6", str(sum(n.startswith("0000") for n in gallery))]
    assert rows["gallery"][4] == "64x32" and rows["unlabelled"][0] == str(count["unlabelled"])
    assert sum("identit" in line and "#" in line for line in lines) >= 2
    assert lines[-1].startswith("note: 2 of 8 identities have a single training image")


def test_it_stops_at_what_stops_a_build(people, capsys):
    status, lines = examined(capsys, "--data", people, "--quick")
    said = "stops: a batch takes 16 identities, and 6 can be trained on: a build stops; "
    assert status == 1 and said + "--set recipe.identities_per_batch=6" in lines
    assert examined(capsys, "--data", people, "--quick", "--set", "recipe.identities_per_batch=6")[0] == 0
    assert examined(capsys, "--data", people, "--quick", "--set", "recipe.identities_per_batch=7")[0] == 1


def test_what_is_left_out_is_not_looked_at(people, tmp_path, capsys):
    root = tmp_path / "people"
    shutil.copytree(people, root)
    broken = sorted((root / "query").iterdir())[0]
    broken.write_bytes(b"")
    assert examined(capsys, "--data", root, *SMALL)[0] == 1
    skip = f"competition.skip={{query: [{broken.name}]}}"
    status, lines = examined(capsys, "--data", root, *SMALL, "--set", skip)
    assert status == 0 and not any("cannot be decoded" in line for line in lines)
    status, lines = examined(capsys, "--data", root, "--set", "ensemble.k1=3")
    assert status == 2 and lines == [
        "error: --set ensemble.k1=3: the doctor reads recipe and competition alone; leave it out"
    ]


def test_index_files_without_their_images(tmp_path, capsys):
    """As VisDA 2020 gives them: no picture is broken, two folders are not there."""
    for side, count in (("query", 377), ("gallery", 3600)):
        rows = (f"{i:05d}.jpg {i % 5} {i % 90 + 1} {i}\n" for i in range(count))
        (tmp_path / f"index_validation_{side}.txt").write_text("".join(rows))
    status, lines = examined(capsys, "--data", tmp_path, "--layout", "visda2020")
    text = "\n".join(lines)
    assert status == 1 and "cannot be decoded" not in text
    assert "stops: 3,977 files of the lists are not there" in text
    assert f"no folder {tmp_path / 'image_gallery'}, which should hold 3,600" in text
    assert f"no folder {tmp_path / 'image_query'}, which should hold 377" in text


def test_planted_defects_are_found(people, tmp_path, capsys):
    root = tmp_path / "people"
    shutil.copytree(people, root)
    train = sorted((root / "bounding_box_train").iterdir())
    train[2].write_bytes(train[2].read_bytes()[:400])
    shutil.copy(train[5], root / "bounding_box_train" / "0099_c1s1_000000_00.jpg")
    shutil.copy(train[6], root / "query" / "0098_c1s1_000000_00.jpg")
    status, lines = examined(capsys, "--data", root)
    text = "\n".join(lines)
    assert status == 1
    assert (
        f"competition.skip={{train: [{train[2].name}]}}" in text and f"{train[2]}: cannot be decoded (truncated" in text
    )
    assert f"train/{train[5].name}" in text and "under different identities" in text
    assert f"train/{train[6].name}" in text and "equal files in train and in the test" in text
    assert "1 query has no right image" in text
    weights = [line.split(":")[0] for line in lines if line.split(":")[0] in ("stops", "hurts", "note")]
    assert weights == sorted(weights, key=["stops", "hurts", "note"].index)
    status, lines = examined(capsys, "--data", root, "--quick", *SMALL)
    assert status == 0 and "cannot be decoded" not in "\n".join(lines)


def test_what_it_cannot_look_at(tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    for argv, words in (
        (["--data", tmp_path], "no layout is recognised; the folder has photos/"),
        (["--data", tmp_path / "none"], "no such folder"),
        (["--data", tmp_path, "--layout", "markt"], "unknown layout 'markt'"),
        ([], "--data"),
    ):
        status, lines = examined(capsys, *argv)
        assert status == 2 and len(lines) == 1 and words in lines[0]


def test_a_label_list_by_itself(tmp_path, capsys):
    """The lists of NAIC 2019 and 2020; one of them names an image twice, as the public one does."""
    path = tmp_path / "train_list.txt"
    path.write_text("train/1.png 0\ntrain/2.png 0\ntrain/3.png 4\r\ntrain/2.png 0\ntrain/1.png 4\n")
    benchmark, found = read_label_list(path)
    assert dict(zip(benchmark.train.names, benchmark.train.pids.tolist(), strict=True)) == {
        "1.png": 0,
        "2.png": 0,
        "3.png": 4,
    }
    assert [(f.weight, f.text, f.examples) for f in found] == [
        ("hurts", "1 name has a second identity", ("line 5: 1.png is person 4 here and 0 earlier",)),
        ("note", "1 line repeats a name", ("line 4: 2.png is person 0 again",)),
    ]
    status, lines = examined(capsys, "--data", path)
    assert status == 1 and "stops: 1 identity has 2 training images or more" in "\n".join(lines)
    path.write_text("1.png:15178\n2.png:3\n")
    assert read_label_list(path)[0].train.pids.tolist() == [15178, 3]
    for line in ("1.png", " :5", ":5"):
        path.write_text(f"{line}\n")
        with pytest.raises(DataError, match=r"line 1: '.*'; must be lines"):
            read_label_list(path)


def test_a_look_into_a_file(tmp_path):
    Image.new("RGB", (30, 50), (100, 66, 200)).save(tmp_path / "a.png")
    Image.new("RGB", (30, 50), (100, 64, 200)).save(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(b"no image")
    (tmp_path / "d.png").touch()
    a, b, c, d, e = (inspect_file(tmp_path / f"{n}.png") for n in "abcde")
    assert (a.height, a.width, a.trouble, a.domain) == (50, 30, None, "green") and a.mean == (100, 66, 200)
    assert b.domain == "normal", "each channel's mean must be above 65"
    assert a.digest == hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
    assert "not an image" in c.trouble and "empty" in d.trouble and "cannot be read" in e.trouble


@pytest.mark.parametrize("name", ["a. Replace it.png", "b: c.png"])
def test_why_a_file_is_not_decoded_is_all_of_the_reason(tmp_path, name):
    """Whatever the file's name and the reason hold: nothing is cut out of a sentence."""
    (tmp_path / name).write_bytes(b"no image")
    assert inspect_file(tmp_path / name).trouble == (
        "cannot be decoded (not an image of a known format (8 bytes); known are JPEG, PNG, BMP, WEBP, TIFF, GIF, PPM)"
    )


def test_a_reason_with_advice_in_it_is_kept_whole(tmp_path, monkeypatch):
    def refuse(path):
        raise ValueError("bad marker. Replace it by 0xFF")

    (tmp_path / "a.png").write_bytes(b"x")
    monkeypatch.setattr(images, "check_file", refuse)
    assert inspect_file(tmp_path / "a.png").trouble == "cannot be decoded (bad marker. Replace it by 0xFF)"


def test_the_error_of_an_image_comes_whole_out_of_another_process(tmp_path):
    error = pickle.loads(pickle.dumps(ImageError(tmp_path / "a.png", "why", "Do that")))
    assert (error.reason, str(error)) == ("why", f"{tmp_path / 'a.png'}: cannot be decoded (why). Do that")


def test_the_order_is_kept_over_workers(tmp_path):
    paths = []
    for i in range(300):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(np.full((2, 3, 3), i % 256, np.uint8)).save(paths[-1])
    seen = inspect_files(paths, Progress(quiet=True), n_jobs=2)
    assert [s.path for s in seen] == paths and [s.mean[0] for s in seen] == [i % 256 for i in range(300)]
    assert inspect_files([], Progress(quiet=True)) == []


def test_a_recompressed_training_image_in_the_gallery_is_told(people, tmp_path, capsys):
    """Smaller and at another quality: no equal file, and yet the same picture."""
    root = tmp_path / "people"
    shutil.copytree(people, root)
    shown = sorted((root / "bounding_box_train").iterdir())[3]
    stranger = sorted(p.name[:4] for p in (root / "query").iterdir())[0]
    image = Image.open(shown)
    copy = root / "bounding_box_test" / f"{stranger}_c1s1_009999_00.jpg"
    image.resize((image.width * 3 // 4, image.height * 3 // 4), Image.Resampling.BICUBIC).save(copy, quality=75)
    text = "\n".join(examined(capsys, "--data", root, *SMALL)[1])
    assert "hurts: 1 pair looks like near-duplicates in train and in the test: look at them" in text
    assert f"train/{shown.name} (id {int(shown.name[:4])}) ~ gallery/{copy.name} (id {int(stranger)})" in text
