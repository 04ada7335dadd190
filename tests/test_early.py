"""What would be refused after hours is refused at once: nothing is made, and the sentence says what to change."""

import shutil

import numpy as np
import pytest

from configs.errors import ConfigError, DataError
from configs.load import load_build_config, load_competition
from configs.schema import FORMATS, WHOLE
from ensemble import build
from submit import check, make
from submit import formats as submit_formats
from tests.conftest import TINY
from tests.tables import built, write_member, write_table

HEADER = "label,path,split,is_query,is_gallery,camid"
ROWS = [f"{who},{who}{i}.jpg,test,{int(i == 0)},{int(i > 0)},{i}" for who in ("fox", "owl") for i in range(3)]


@pytest.fixture
def data(tmp_path):
    write_member(tmp_path / "m.npz", {row.split(",")[1]: i / 3 for i, row in enumerate(ROWS)})
    return write_table(tmp_path / "data", HEADER, ROWS)


def refused(data, *sets, argv=()):
    """The sentence; and nothing may have been made."""
    with pytest.raises((ConfigError, DataError)) as error:
        built(data, data.parent / "runs", data.parent / "m.npz", *sets, argv=argv)
    assert not list((data.parent / "runs").glob("[a-z]*/*-*"))
    return str(error.value)


def test_the_formats_that_are_known_are_those_that_are_there():
    assert tuple(submit_formats.FORMATS) == FORMATS
    pairs = submit_formats.FORMATS["pairs_csv"]
    assert {name for name, form in submit_formats.FORMATS.items() if form.whole or form is pairs} == set(WHOLE)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("competition.format=naic", "unknown format 'naic'; submit/formats has: naic_json, aicity_txt, visda_txt"),
        ("competition.score={rank1: -1}", "score.rank1: Input should be greater than or equal to 0"),
        ("competition.score={rank1: 0, map: 0}", "rank1 and map are both 0"),
        ("competition.top_k=99999999999", "top_k: Input should be less than 2147483648"),
        ("competition.ap=voc", "ap: Input should be 'hits', 'relevant', 'relevant_at_k' or 'market'"),
    ],
)
def test_values_of_a_competition(data, change, says):
    assert says in refused(data, change)


def test_a_format_of_the_whole_gallery_wants_whole_lists(data):
    said = refused(data, "competition.format=prcv_csv", "competition.top_k=3")
    assert said.endswith("lists are of 3; --set competition.top_k=4")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "pairs.csv: cannot be read"),
        ("row_id,query,gallery\n1,fox0.jpg,fox9.jpg\n", "row '1': 'fox9.jpg' is not in the gallery list"),
        ("row_id,query,gallery\n1,fox1.jpg,fox1.jpg\n", "row '1': 'fox1.jpg' is not in the query list"),
        ("row_id;query;gallery\n", "wanted the columns row_id,query,gallery"),
    ],
)
def test_given_pairs(data, text, says):
    if text is not None:
        (data / "pairs.csv").write_text(text)
    assert says in refused(data, "competition.format=pairs_csv")


def test_a_penalty_without_cameras(data):
    write_table(data, HEADER, [row.rpartition(",")[0] + "," for row in ROWS])
    assert "no camera is known here" in refused(data, "ensemble.camera_penalty=0.1")


@pytest.mark.parametrize("change", ["ensemble.expand=queries", "ensemble.tracks=mean", "ensemble.whiten=test"])
def test_distances_cannot_be_averaged_or_whitened(data, tmp_path, change):
    folder = tmp_path / "dist"
    folder.mkdir()
    (folder / "names.json").write_text('{"query": ["fox0.jpg", "owl0.jpg"], "gallery": ["fox1.jpg", "fox2.jpg", '
                                       '"owl1.jpg", "owl2.jpg"]}')  # fmt: skip
    for name, shape in (("qq", (2, 2)), ("qg", (2, 4)), ("gg", (4, 4))):
        np.save(folder / f"{name}.npy", 1 - np.eye(*shape, dtype=np.float32))
    write_table(data, HEADER + ",track", [f"{row},{row[:3]}" for row in ROWS])
    with pytest.raises(ConfigError, match=r"s features, and member 'd' gives distances"):
        build.main(["--members", f"d={folder}", "--data", str(data), "--runs", str(tmp_path / "r"), "--set", change])


@pytest.mark.parametrize(
    ("how", "cameras", "says"),
    [
        ("train", "112212", "'m' comes from outside with those of query and gallery alone"),
        ("{name: test, center: camera}", "", "center=camera: none is known of the query list"),
        ("{name: test, center: camera}", "112213", "camera 3 has a single image"),
        ("{name: test, center: domain}", "112212", "whiten.center domain goes by ensemble.domains, which is none"),
    ],
)
def test_whitening_that_cannot_be(data, how, cameras, says):
    bare = [row.rpartition(",")[0] for row in ROWS]
    write_table(data, HEADER, [f"{row},{camid}" for row, camid in zip(bare, cameras or [""] * len(bare), strict=True)])
    assert says in refused(data, f"ensemble.whiten={how}")


def test_nothing_that_counts_is_said_before_and_handed_in_all_the_same(data, capsys):
    """Every right image is of its query's own camera: a score of nothing was an error after everything was made."""
    write_table(data, HEADER, [row.rpartition(",")[0] + ",1" for row in ROWS])
    lists, scores = built(data, data.parent / "runs", data.parent / "m.npz")
    said = capsys.readouterr()
    assert len(lists) == 2 and scores == []
    assert "all right images are of their query's own camera (--set competition.junk=none counts them)" in said.err
    assert "so there is nothing to score" in said.out


def test_a_broken_test_picture_is_found_before_anything_is_trained(people, tmp_path, capsys):
    root = shutil.copytree(people, tmp_path / "people")
    picture = max((root / "bounding_box_test").iterdir())
    picture.write_bytes(picture.read_bytes()[:500])
    with pytest.raises(DataError, match=f"{picture.name}: cannot be decoded"):
        build.main(["--members", "a", "--data", str(root), "--runs", str(tmp_path / "runs"), *TINY])
    assert "training a" not in capsys.readouterr().err and not list((tmp_path / "runs/members").glob("*"))


# ---------------------------------------------------------------------------------- a competition of one's own


RULES = "layout: table\nformat: visda_txt\ntop_k: 2\nap: hits\njunk: none\n"


def test_a_competition_from_anywhere(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ours.yaml").write_text(RULES)
    argv = ["--members", "m=m.npz", "--data", "data", "--competition", "./ours.yaml"]
    build.main([*argv, "--set", "ensemble.rerank=none"])
    (tmp_path / "ours.yaml").unlink()  # the record holds its rules
    make.main(["--out", "out"])
    assert next((tmp_path / "runs/builds").iterdir()).name.startswith("ours-")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"result.zip", "score.json"}
    (tmp_path / "ours.yml").write_text(RULES)
    assert check.main(["out/result.zip", "--data", "data", "--competition", "ours.yml"]) == 0
    (tmp_path / "mine.yaml").write_text("recipe: {epochs: 7}\n")
    assert load_build_config(["r50"], recipe=str(tmp_path / "mine.yaml")).recipe.epochs == 7


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("naic", "unknown competition 'naic'; configs/competitions has: aicity, cuhk03np"),
        ("none.yaml", "or name a file of yours that ends in .yaml"),
        ("a b.yaml", "'a b' cannot be a competition's name"),
        ("list.yaml", "holds list; a mapping of keys to values is wanted"),
        ("odd.yaml", "competition odd.yaml: unknown key 'junks'; it knows: name, data"),
    ],
)
def test_what_is_no_competition(tmp_path, monkeypatch, name, says):
    monkeypatch.chdir(tmp_path)
    for file, text in (("a b.yaml", RULES), ("list.yaml", "- 1\n"), ("odd.yaml", RULES + "junks: 1\n")):
        (tmp_path / file).write_text(text)
    with pytest.raises(ConfigError) as error:
        load_competition(name)
    assert says in str(error.value)
