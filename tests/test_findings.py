"""What the doctor finds: each defect planted in small lists, found once, and nothing found where there is none."""

import pytest

from configs.load import load_build_config, load_competition
from models.data.doctor.finding import count
from models.data.doctor.findings import distractors, find_in_files, find_in_lists, find_in_rules, long_tail, people_of
from models.data.doctor.inspect_files import InspectedFile
from models.data.split import Benchmark, make_split


def split(tmp_path, part, rows):
    """(name, pid, camera) rows of a list whose files lie in a folder of its name."""
    return make_split([(name, tmp_path / part / name, pid, cam) for name, pid, cam in rows])


RECIPE = load_build_config(["r50"], sets=["recipe.identities_per_batch=2"]).recipe
TRAIN = [("t1.png", 1, 1), ("t2.png", 1, 2), ("t3.png", 2, 1), ("t4.png", 2, 2)]
ALIKE = "in gallery, 1 group of names that differ in capitals or Unicode form alone"
QUERY, GALLERY = (
    [("q1.png", 7, 1), ("q2.png", 8, 1)],
    [("g1.png", 7, 2), ("g2.png", 8, 2), ("g3.png", 0, 1)],
)


@pytest.fixture
def found(tmp_path):
    def find(train=TRAIN, query=QUERY, gallery=GALLERY, unlabelled=(), recipe=RECIPE):
        rows = {"train": train, "query": query, "gallery": gallery, "unlabelled": unlabelled}
        benchmark = Benchmark("x", tmp_path, **{part: split(tmp_path, part, r) for part, r in rows.items()})
        return [(f.weight, f.text, f.examples) for f in find_in_lists(benchmark, recipe)]

    return find


def test_a_sound_data_set(found):
    assert found() == []
    assert found(gallery=[*GALLERY, ("g0.png", 7, 1)]) == [], "an own camera's image is junk, and another's is there"


@pytest.mark.parametrize(
    ("lists", "weight", "text", "examples"),
    [
        ({"query": []}, "stops", "the query list is empty", ()),
        ({"train": []}, "stops", "the train list is empty", ()),
        ({"train": [*TRAIN, ("t5.png", 3, 1)]}, "note", "1 of 3 identities have a single training image", ()),
        (
            {"train": [*TRAIN, ("t5.png", 7, 1), ("t6.png", 7, 1)]},
            "hurts",
            "1 identity is in train and in the test",
            ("7",),
        ),
        ({"query": [*QUERY, ("q3.png", 9, 1)]}, "hurts", "1 query has no right image in the gallery", ("q3.png",)),
        (
            {"gallery": [*GALLERY[:1], ("g2.png", 8, 1)]},
            "hurts",
            "1 query has right images under their own camera alone",
            ("q2.png",),
        ),
        ({"gallery": [("g1.png", 5, 2)]}, "stops", "query and gallery share no identity", ()),
        ({"gallery": [(n, -1, -1) for n, _, _ in GALLERY]}, "note", "gallery have no identities", ()),
        ({"gallery": [*GALLERY, ("G1.png", 7, 3)]}, "hurts", ALIKE, ("'G1.png' and 'g1.png'",)),
        (
            {"gallery": [*GALLERY, ("\u00e9.png", 7, 3), ("e\u0301.png", 7, 3)]},
            "hurts",
            ALIKE,
            ("'e\\u0301.png' and '\\xe9.png'",),
        ),
        (
            {"gallery": [*GALLERY, ("t1.png", 7, 3)]},
            "note",
            "1 name is in train and in gallery, of different files",
            ("t1.png",),
        ),
    ],
)
def test_each_defect_is_found_once(found, lists, weight, text, examples):
    assert found(**lists) == [(weight, text, examples)]


def test_too_few_identities_to_train_on(found):
    said = found(train=[("t1.png", 1, 1), ("t2.png", 1, 2), ("t3.png", 2, 1)])
    assert said[0][:2] == ("stops", "1 identity has 2 training images or more")


def test_fewer_identities_than_a_batch_takes(found):
    """As `check_identities` refuses them: those of a single image are left out first."""
    train = [*TRAIN, ("t5.png", 3, 1)]
    assert [f for f in found(train=train) if f[0] == "stops"] == []
    recipe = RECIPE.model_copy(update={"identities_per_batch": 3})
    assert found(train=train, recipe=recipe)[0][:2] == ("stops", "a batch takes 3 identities, and 2 can be trained on")
    assert found(train=[*train, ("t6.png", 3, 1)], recipe=recipe) == []


def test_what_the_competition_wants_of_the_lists(tmp_path):
    benchmark = Benchmark("x", tmp_path, *(split(tmp_path, "g", rows) for rows in (TRAIN, QUERY, GALLERY, [])))
    rules = [load_competition("drawn", sets=["competition.format=prcv_csv", f"competition.top_k={k}"]) for k in (2, 3)]
    (finding,) = find_in_rules(rules[0], benchmark)
    assert finding.weight == "stops" and "distances to the whole gallery, and lists are of 2" in finding.text
    assert find_in_rules(rules[1], benchmark) == []


def test_files_that_are_not_there_are_not_broken(tmp_path):
    """A folder that is missing is one line; a file that is missing from a folder has its own."""
    there, gone = (split(tmp_path, part, [(f"{i}.png", 1, 1) for i in range(3)]) for part in ("train", "gallery"))
    (tmp_path / "train").mkdir()
    parts = {"train": (there, [InspectedFile(p, "", "cannot be read", missing=True) for p in there.paths[:1]])}
    parts["train"] = (there.take([0]), parts["train"][1])
    parts["gallery"] = (gone, [InspectedFile(p, "", "cannot be read", missing=True) for p in gone.paths])
    (finding,) = find_in_files(parts)
    assert (finding.weight, finding.text) == ("stops", "4 files of the lists are not there")
    assert finding.examples == (f"no folder {tmp_path / 'gallery'}, which should hold 3", str(there.paths[0]))


def test_strangers_are_no_people(tmp_path):
    """0 names nobody where no query has it, and somebody where one has."""
    query, gallery = split(tmp_path, "q", QUERY), split(tmp_path, "g", GALLERY)
    assert people_of(gallery, query) == {7, 8} and distractors(query, gallery) == 1
    asked = split(tmp_path, "q", [("q1.png", 0, 1)])
    assert people_of(gallery, asked) == {0, 7, 8} and distractors(asked, gallery) == 2


def files(tmp_path, digests):
    """part -> (name, pid, digest) rows as the split and its files."""
    parts = {}
    for part, rows in digests.items():
        lists = split(tmp_path, part, [(n, pid, 1) for n, pid, _ in rows])
        by_name = {n: d for n, _, d in rows}
        seen = [
            InspectedFile(p, by_name[n] or "", None if by_name[n] else "truncated")
            for n, p in zip(lists.names, lists.paths, strict=True)
        ]
        parts[part] = (lists, seen)
    return [(f.weight, f.text, f.examples) for f in find_in_files(parts)]


def test_equal_files_by_what_they_do(tmp_path):
    said = files(
        tmp_path,
        {
            "train": [("a.png", 1, "x"), ("b.png", 2, "x"), ("c.png", 1, "y"), ("d.png", 1, "z"), ("e.png", 1, "z")],
            "query": [("q.png", 7, "y"), ("r.png", 7, "w")],
            "gallery": [("g.png", 7, "w"), ("h.png", 7, "v"), ("i.png", 8, "v")],
        },
    )
    assert said == [
        (
            "hurts",
            "2 groups of equal files under different identities",
            ("train/a.png (id 1) = train/b.png (id 2)", "gallery/h.png (id 7) = gallery/i.png (id 8)"),
        ),
        ("hurts", "1 group of equal files in train and in the test", ("train/c.png (id 1) = query/q.png (id 7)",)),
        ("note", "1 group of equal files in query and gallery", ("query/r.png (id 7) = gallery/g.png (id 7)",)),
        ("note", "1 group of equal files in one list", ("train/d.png (id 1) = train/e.png (id 1)",)),
    ]


def test_broken_files_and_the_line_that_leaves_them_out(tmp_path):
    lists = split(tmp_path, "train", [("a.png", 1, 1), ("b.png", 1, 1)])
    seen = [InspectedFile(lists.paths[0], "x"), InspectedFile(lists.paths[1], "x", "truncated after 3 bytes")]
    (finding,) = find_in_files({"train": (lists, seen)})
    assert finding.weight == "stops" and finding.text == "1 file cannot be decoded"
    assert "--set 'competition.skip={train: [b.png]}'" in finding.does
    assert finding.examples == (f"{lists.paths[1]}: truncated after 3 bytes",)


def test_the_long_tail(tmp_path):
    rows = [
        (f"{pid}-{i}.png", pid, 1) for pid, n in ((1, 1), (2, 1), (3, 2), (4, 3), (5, 9), (-1, 4)) for i in range(n)
    ]
    assert long_tail(split(tmp_path, "t", rows)) == [(1, 1, 2, 2), (2, 3, 2, 5), (4, 7, 0, 0), (8, 15, 1, 9)]
    assert long_tail(make_split([])) == []


def test_counts_are_said_in_words():
    assert [count(n, "file") for n in (0, 1, 2000)] == ["0 files", "1 file", "2,000 files"]


def test_near_duplicates_are_told_by_what_they_would_do(tmp_path):
    """A train image near one of the test, whoever it shows; two identities; not one identity, nor nobody's images."""
    far = [0b1111_1111 << 8 * i for i in range(7)]
    looks = {
        "train": [("a.png", 1, far[0]), ("b.png", 2, far[1]), ("c.png", 3, far[1] ^ 0b11), ("d.png", 4, far[5])],
        "query": [("q.png", 7, far[0] ^ 0b1111), ("n.png", -1, far[2]), ("f.png", 8, 0)],
        "gallery": [("g.png", 8, far[3]), ("h.png", 8, far[3] ^ 1), ("m.png", -1, far[2] ^ 1), ("z.png", 9, 0)],
        "unlabelled": [("u.png", -1, far[5]), ("v.png", -1, far[3])],
    }
    parts = {}
    for part, rows in looks.items():
        listed = split(tmp_path, part, [(name, pid, 1) for name, pid, _ in rows])
        by_name = {name: value for name, _, value in rows}
        files = [
            InspectedFile(path, f"{part}/{name}", hash=by_name[name])
            for name, path in zip(listed.names, listed.paths, strict=True)
        ]
        parts[part] = listed, files
    found = [(f.weight, f.text, f.examples) for f in find_in_files(parts, {1: "ann", 7: "zoe"})]
    assert found == [
        (
            "hurts",
            "1 pair looks like near-duplicates in train and in the test",
            ("train/a.png (id ann) ~ query/q.png (id zoe)",),
        ),
        (
            "hurts",
            "1 pair looks like near-duplicates under different identities",
            ("train/b.png (id 2) ~ train/c.png (id 3)",),
        ),
    ]


def test_equal_files_are_no_near_duplicates_too(tmp_path):
    files = {
        part: (
            listed := split(tmp_path, part, [(f"{part}.png", pid, 1)]),
            [InspectedFile(listed.paths[0], "same", hash=5)],
        )
        for part, pid in (("train", 1), ("gallery", 2))
    }
    assert [f.text for f in find_in_files(files)] == ["1 group of equal files in train and in the test"]
