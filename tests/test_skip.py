"""Images that `competition.skip` leaves out: of which list, what stays numbered, and what is said."""

import shlex
import zipfile

import numpy as np
import pytest
from PIL import Image

from configs.errors import ConfigError
from configs.load import load_build_config, load_competition
from ensemble import build, doctor
from models.data.doctor.findings import find_in_files
from models.data.doctor.inspect_files import InspectedFile
from models.data.skip import leave_out
from models.data.split import Benchmark, make_split
from submit import check, make

ANGLES = {
    "query": [0.0, 1.0, 2.0, 3.0],
    "gallery": [0.05, 1.1, 2.15, 3.2, 0.25, 0.01, 2.3, 3.35, 0.35, 1.4, 2.45, 3.5],
}


def feature(angle):
    return np.array([np.cos(angle), np.sin(angle)], np.float32)


def member(path, query=(), gallery=()):
    """A file of features in a plane, without these numbers (from 1) of each side."""
    sides = {}
    for side, without in (("query", query), ("gallery", gallery)):
        rows = [(f"{i:06d}.jpg", feature(a)) for i, a in enumerate(ANGLES[side], 1) if i not in without]
        sides[f"{side}_names"], sides[side] = np.array([n for n, _ in rows]), np.stack([f for _, f in rows])
    np.savez(path, **sides)
    return path


@pytest.fixture
def aicity(tmp_path):
    """Four queries and twelve gallery images of empty files; nothing is decoded, since every member is from outside."""
    root = tmp_path / "aicity"
    for folder, n in (("image_train", 12), ("image_query", 4), ("image_test", 12)):
        (root / folder).mkdir(parents=True)
        for i in range(1, n + 1):
            (root / folder / f"{i:06d}.jpg").touch()
    items = "".join(f'<Item imageName="{i:06d}.jpg" vehicleID="{i % 4}" cameraID="c001"/>' for i in range(1, 13))
    (root / "train_label.xml").write_text(f"<TrainingImages><Items>{items}</Items></TrainingImages>")
    return root


def built(root, tmp_path, member_file, competition, *sets):
    """The folder of a submission of lists of 3, without re-ranking."""
    changes = ["competition.top_k=3", "ensemble.rerank=none", *sets]
    argv = ["--members", f"m={member_file}", "--data", root, "--competition", competition, "--out", tmp_path / "runs"]
    build.main([str(a) for a in [*argv, *(x for c in changes for x in ("--set", c))]])
    make.main(["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")])
    return tmp_path / "out"


def by_hand(query=(), gallery=(), first=1, length=3):
    """Each query's nearest by angle, as numbers of the whole gallery; a query that is left out lists it as it lies."""
    kept = [j for j in range(12) if j + 1 not in gallery]
    lists = []
    for i, q in enumerate(ANGLES["query"]):
        near = kept if i + 1 in query else sorted(kept, key=lambda j: abs(ANGLES["gallery"][j] - q))
        lists.append([j + first for j in near[:length]])
    return lists


def numbers(text):
    return [[int(t) for t in line.split()] for line in text.splitlines()]


def test_a_gallery_image_that_is_left_out_keeps_its_number(aicity, tmp_path, capsys):
    out = built(aicity, tmp_path, member(tmp_path / "m.npz", gallery=[6]), "aicity", "competition.skip=[000006.jpg]")
    assert numbers((out / "track2.txt").read_text()) == by_hand(gallery=[6])
    err = capsys.readouterr().err
    assert "1 image is left out of gallery by competition.skip (000006.jpg)" in err
    assert "plain competition.skip match images in several lists (000006.jpg: train, gallery)" in err
    assert (
        "; left out by competition.skip: 1 image of train (000006.jpg), 1 image of gallery (000006.jpg); next:" in err
    )
    assert err.splitlines()[-1].startswith("note: left out by competition.skip: 1 image of train")


def test_a_training_image_leaves_no_other_list(aicity, tmp_path):
    """And a file that has rows of more images than are asked for is taken."""
    out = built(aicity, tmp_path, member(tmp_path / "m.npz"), "aicity", "competition.skip={train: [000006.jpg]}")
    assert numbers((out / "track2.txt").read_text()) == by_hand()
    other = tmp_path / "other"
    other.mkdir()
    out = built(aicity, other, member(tmp_path / "m.npz"), "aicity", "competition.skip=[image_test/000006.jpg]")
    assert numbers((out / "track2.txt").read_text()) == by_hand(gallery=[6])


def test_a_query_that_is_left_out_is_answered_by_the_stated_rule(aicity, tmp_path, capsys):
    out = built(
        aicity, tmp_path, member(tmp_path / "m.npz", query=[2]), "aicity", "competition.skip={query: [000002.jpg]}"
    )
    assert numbers((out / "track2.txt").read_text()) == by_hand(query=[2])
    assert "gets the gallery in the data set's order as its ranking" in capsys.readouterr().err.splitlines()[-1]
    argv = [str(out / "track2.txt"), "--competition", "aicity", "--data", str(aicity), "--set", "competition.top_k=3"]
    assert check.main(argv) == 0


@pytest.mark.parametrize("name", ["naic_json", "prcv_csv", "atrw_json", "pairs_csv"])
def test_every_format_speaks_of_the_whole_data_set(aicity, tmp_path, name, capsys):
    (aicity / "pairs.csv").write_text("row_id,query,gallery\n7,000001.jpg,000006.jpg\n8,000002.jpg,000001.jpg\n")
    sets = [f"competition.format={name}", "competition.skip={gallery: [000006.jpg], query: [000002.jpg]}"]
    sets += ["competition.top_k=12"] * (name in ("prcv_csv", "pairs_csv"))
    out = built(aicity, tmp_path, member(tmp_path / "m.npz", query=[2], gallery=[6]), "aicity", *sets)
    (file,) = (p for p in out.iterdir() if p.name != "score.json")
    if name == "pairs_csv":
        assert file.read_text() == "row_id,similarity\n7,0\n8,0\n", "an image that is left out is like none"
    capsys.readouterr()
    argv = [str(file), "--competition", "aicity", "--data", str(aicity), "--format", name]
    told = [x for change in sets[1:] for x in ("--set", change)]
    assert check.main([*argv, "--set", "competition.top_k=3", *told]) == 0, capsys.readouterr().out
    listed = file.read_text().replace("000007.jpg", "000006.jpg").replace("[7, ", "[6, ").replace(" 7,", " 6,")
    if listed != file.read_text():
        file.write_text(listed)
        assert check.main([*argv, "--set", "competition.top_k=3", *told]) == 1
        assert "is not in the gallery (competition.skip leaves it out)" in capsys.readouterr().out


def test_visdas_indices_are_those_of_the_whole_gallery(tmp_path):
    root = tmp_path / "visda"
    for side, n in (("query", 4), ("gallery", 12)):
        (root / f"image_{side}").mkdir(parents=True)
        lines = [f"{i:06d}.jpg 1 0 {i - 1:04d}\n" for i in range(1, n + 1)]
        (root / f"index_validation_{side}.txt").write_text("".join(lines))
    out = built(root, tmp_path, member(tmp_path / "m.npz", gallery=[6]), "visda2020", "competition.skip=[000006.jpg]")
    with zipfile.ZipFile(out / "result.zip") as archive:
        lists = numbers(archive.read("result.txt").decode())
    assert lists == by_hand(gallery=[6], first=0)


# ------------------------------------------------------------------------------------------------------- which image


def benchmark(tmp_path):
    def split(folder, *names):
        return make_split([(name.rpartition("/")[2], tmp_path / folder / name, 1, 1) for name in names])

    return Benchmark(
        "x", tmp_path, split("train", "a.jpg", "b.jpg"), split("query", "a.jpg"), split("gallery", "b.jpg", "c.jpg"),
        make_split([("p/a.jpg", tmp_path / "u/p/a.jpg", -1, -1), ("q/a.jpg", tmp_path / "u/q/a.jpg", -1, -1)]),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("skip", "left"),
    [
        ({"train": ["a.jpg"]}, {"train": {"a.jpg": 0}}),
        ({"every": ["b.jpg"]}, {"train": {"b.jpg": 1}, "gallery": {"b.jpg": 0}}),
        ({"every": ["gallery/b.jpg"]}, {"gallery": {"b.jpg": 0}}),
        ({"unlabelled": ["q/a.jpg"]}, {"unlabelled": {"q/a.jpg": 1}}),
        ({"every": ["/u/p/a.jpg"]}, {"unlabelled": {"p/a.jpg": 0}}),
        ({"every": ["ain/a.jpg"]}, {}),
    ],
)
def test_what_an_entry_means(tmp_path, skip, left):
    found = leave_out(benchmark(tmp_path), skip)
    assert found.left_out() == left
    assert all(name not in getattr(found, part).names for part, names in left.items() for name in names)
    full = benchmark(tmp_path).train.paths[0]
    assert leave_out(benchmark(tmp_path), {"every": [str(full)]}).left_out() == {"train": {"a.jpg": 0}}


def test_an_entry_of_several_images_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"'a\.jpg' matches 2 images of unlabelled .* longer path"):
        leave_out(benchmark(tmp_path), {"unlabelled": ["a.jpg"]})


def test_an_entry_of_no_image_is_told(tmp_path):
    told = [str(f) for f in leave_out(benchmark(tmp_path), {"every": ["z.jpg"], "query": ["b.jpg"]}).found]
    assert told == [
        "hurts: 1 entry of competition.skip for every without an image (z.jpg): it leaves nothing out",
        "hurts: 1 entry of competition.skip for query without an image, but another list has it (b.jpg): it leaves "
        "nothing out",
    ]


def test_a_list_that_is_none_is_refused():
    with pytest.raises(ConfigError, match=r"there is no list 'test'; the lists are train, query, gallery, unlabelled"):
        load_build_config(["r50"], sets=["competition.skip={test: [a.jpg]}"])


# ------------------------------------------------------------------------------------------------- what is printed


ODD = [
    "fox 1.jpg",
    "a,b.jpg",
    "a#b.jpg",
    "#a.jpg",
    "[x].jpg",
    "a: b.jpg",
    "it's.jpg",
    '"q".jpg',
    "1e3",
    "狐.jpg",
    "$H.jpg",
]


def change_in(text):
    """The change that a printed `--set` asks for, as a shell would hand it on."""
    words = shlex.split(text[text.index("--set ") :])
    return words[1]


@pytest.mark.parametrize("name", ODD)
def test_the_doctors_line_leaves_out_that_image(tmp_path, name):
    lists = make_split([(name, tmp_path / name, 1, 1), ("other.jpg", tmp_path / "other.jpg", 1, 1)])
    seen = [InspectedFile(p, "x", "truncated" if p.name == name else None) for p in lists.paths]
    (finding,) = find_in_files({"gallery": (lists, seen)})
    skip = load_competition("own", sets=[change_in(finding.does)]).skip
    empty = make_split([])
    assert leave_out(Benchmark("x", tmp_path, empty, empty, lists, empty), skip).gallery.names == ("other.jpg",)


def test_the_doctors_line_where_one_name_is_in_many_folders(tmp_path, capsys):
    """As printed: the same folder without its broken picture has nothing wrong with it."""
    rows = ["label,path,split,is_query,is_gallery"]
    for pid in range(4):
        (tmp_path / f"fox {pid}").mkdir()
        for shot in range(3):
            path = f"fox {pid}/IMG_{shot}.jpg"
            Image.new("RGB", (8, 16), (40 * pid, 80 * shot, 9)).save(tmp_path / path)
            kind = ("train", "", "") if pid < 2 else ("test", str(shot == 0).lower(), str(shot > 0).lower())
            rows.append(f"fox {pid},{path},{','.join(kind)}")
    (tmp_path / "df.csv").write_text("\n".join(rows) + "\n")
    broken = tmp_path / "fox 3/IMG_1.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    assert doctor.main(["--data", str(tmp_path), "--jobs", "1"]) == 1
    change = change_in(next(line for line in capsys.readouterr().out.splitlines() if "cannot be decoded" in line))
    assert change == 'competition.skip={gallery: ["fox 3/IMG_1.jpg"]}'
