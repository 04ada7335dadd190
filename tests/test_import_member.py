"""Members from outside: every form of file, matched by name whatever its order, refused with the names."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from scipy.io import savemat

from configs.console.command import run
from configs.errors import ConfigError, MismatchedBanks
from configs.load import load_build_config
from configs.schema import ExternalMember
from ensemble import build
from ensemble.features import external
from ensemble.features.external.import_member import match
from ensemble.tune import __main__
from models.data.split import Split
from submit import make
from tests import oracles
from tests.features import clustered, unit_rows

CAMS = (1, 2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A table of empty files: 6 people of 2 cameras to search, 4 images to train on; nothing may be decoded."""
    root = tmp_path_factory.mktemp("table")
    lines = ["label,path,split,is_query,is_gallery,camid"]
    for pid in range(6):
        lines += [f"{pid + 40},query/{pid}_{shot}.png,test,1,0,1" for shot in range(2)]
        lines += [f"{pid + 40},gallery/{pid}_{shot}.jpg,test,0,1,2" for shot in range(2, 5)]
    lines += [f"{90 + i // 2},train/t{i}.png,train,,,1" for i in range(4)]
    for line in lines[1:]:
        path = root / line.split(",")[1]
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (root / "df.csv").write_text("\n".join(lines) + "\n")
    return root


def lists(data):
    """Names, identities and folders of query and gallery, in the order of the names, read from the table."""
    rows = [line.split(",") for line in (data / "df.csv").read_text().splitlines()[1:]]
    sides = [[r for r in rows if r[at] == "1"] for at in (3, 4)]
    return [sorted((r[1].split("/")[1], int(r[0]), r[1]) for r in side) for side in sides]


@pytest.fixture
def rows(data):
    """name -> a feature of no particular length, the same for whoever asks."""
    rng = np.random.default_rng(7)
    query, gallery = lists(data)
    names = [name for name, *_ in query + gallery]
    return dict(zip(names, clustered(rng, len(names), 12, 6) * rng.uniform(0.1, 30, (len(names), 1)), strict=True))


def built(data, tmp_path, capsys, *argv):
    """Run a build of these members alone; its ranking by name, and what was said."""
    capsys.readouterr()
    build.main(["--data", str(data), "--out", str(tmp_path / "runs"), "--set", "ensemble.k1=5", *map(str, argv)])
    said = capsys.readouterr().err
    make.main(["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "sub")])
    capsys.readouterr()
    return json.loads((tmp_path / "sub/submission.json").read_text()), said


def refused(data, tmp_path, capsys, *argv):
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        run(lambda: build.main(["--data", str(data), "--out", str(tmp_path / "runs"), *map(str, argv)]))
    err = capsys.readouterr().err
    assert left.value.code == 2 and "Traceback" not in err, err
    assert not list((tmp_path / "runs").glob("[a-z]*/*-*"))
    return err.splitlines()[-1].removeprefix("error: ")


def dense(data, parts):
    """The fused distance over all images by hand: cosine of each {name: row}, or a matrix, with its weight."""
    names = [name for side in lists(data) for name, *_ in side]
    total = np.zeros((len(names), len(names)))
    for given, weight in parts:
        if isinstance(given, dict):
            feats = np.array([given[n] for n in names], np.float64)
            feats /= np.linalg.norm(feats, axis=1, keepdims=True)
            given = np.maximum(1 - feats @ feats.T, 0)
        total += weight * given
    return total


def expected(data, parts, k1=5):
    query, gallery = lists(data)
    final = oracles.k_reciprocal(dense(data, parts), len(query), k1, 6, 0.3, 2)
    return {query[i][0]: [gallery[j][0] for j in oracles.rank_list(row)] for i, row in enumerate(final)}


def shuffled(rows, key=lambda name: name, seed=0):
    names = list(np.random.default_rng(seed).permutation(list(rows)))
    return [key(str(n)) for n in names], np.array([rows[str(n)] for n in names])


def two_sided(data, rows):
    """query_names, query, gallery_names, gallery; each backwards."""
    found = {}
    for side, entries in zip(("query", "gallery"), lists(data), strict=True):
        names = [name for name, *_ in reversed(entries)]
        found |= {f"{side}_names": names, side: np.array([rows[n] for n in names])}
    return found


def write_npz(path, data, rows):
    names, feats = shuffled(rows)
    np.savez(path, names=names, feats=feats)


def write_bytes(path, data, rows):
    names, feats = shuffled(rows)
    np.savez_compressed(path, names=np.array([n.encode() for n in names]), feats=feats.astype(np.float32))


def write_sides(path, data, rows):
    np.savez(path, **two_sided(data, rows))


def write_safetensors(path, data, rows):
    names, feats = shuffled(rows)
    save_file({"feats": feats.astype(np.float32)}, path, {"names": json.dumps(names)})


def write_safetensors_sides(path, data, rows):
    given = two_sided(data, rows)
    arrays = {k: np.ascontiguousarray(v, np.float32) for k, v in given.items() if not k.endswith("names")}
    save_file(arrays, path, {k: json.dumps(v) for k, v in given.items() if k.endswith("names")})


def write_saved(path, data, rows):
    external.save(path, *shuffled(rows))


def write_mat_with_names(path, data, rows):
    names, feats = shuffled(rows)
    savemat(path, {"names": np.array(names, dtype=object), "feats": feats})


def write_mat_padded(path, data, rows):
    """MATLAB's rows of characters, as long as the longest; and layumi's words for the features."""
    given = two_sided(data, rows)
    savemat(path, {k.replace("query", "query_f") if k == "query" else k: v for k, v in given.items()})


def write_folder(path, data, rows):
    path.mkdir()
    given = two_sided(data, rows)
    np.save(path / "feats.npy", np.concatenate([given["query"], given["gallery"]]))
    (path / "names.json").write_text(json.dumps({s: given[f"{s}_names"] for s in ("query", "gallery")}))


FORMS = {
    "m.npz": write_npz,
    "bytes.npz": write_bytes,
    "sides.npz": write_sides,
    "m.safetensors": write_safetensors,
    "sides.safetensors": write_safetensors_sides,
    "saved.npz": write_saved,
    "saved.safetensors": write_saved,
    "cells.mat": write_mat_with_names,
    "padded.mat": write_mat_padded,
    "./folder": write_folder,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_matched_by_name_and_needs_no_training(data, rows, tmp_path, capsys, form):
    FORMS[form](tmp_path / form, data, rows)
    got, said = built(data, tmp_path, capsys, "--members", f"m={tmp_path / form}")
    assert got == expected(data, [(rows, 1.0)])
    assert "nothing to train" in said and "rows of length" in said and "normalised to 1" in said


def test_a_sum_of_members_from_outside_with_weights_by_name(data, rows, tmp_path, capsys):
    other = dict(zip(rows, unit_rows(np.random.default_rng(1), len(rows), 5), strict=True))
    write_npz(tmp_path / "one.npz", data, rows)
    external.save(tmp_path / "two.npz", *shuffled(other, seed=4))
    members = f"{tmp_path / 'one.npz'},b={tmp_path / 'two.npz'}"
    got, _ = built(data, tmp_path, capsys, "--members", members, "--set", "ensemble.weights={one: 0.25, b: 2}")
    assert got == expected(data, [(rows, 0.25), (other, 2.0)])
    assert got != expected(data, [(rows, 1.0), (other, 1.0)])
    scores = json.loads((tmp_path / "sub/score.json").read_text())["scores"]["test"]
    assert [row["name"] for row in scores] == ["one", "b", "sum", "sum, re-ranked"]


def test_a_member_of_no_weight_has_no_part_where_each_is_re_ranked_first(data, rows, tmp_path, capsys):
    rng = np.random.default_rng(3)
    for name, far in (("one", 0.0), ("two", 2.0), ("none", 9.0)):
        write_npz(tmp_path / f"{name}.npz", data, {n: row + far * rng.standard_normal(12) for n, row in rows.items()})
    each = ["--set", "ensemble.fusion=rerank_then_sum"]
    paths = [tmp_path / f"{name}.npz" for name in ("one", "two", "none")]
    want, _ = built(data, tmp_path, capsys, "--members", ",".join(map(str, paths[:2])), *each)
    other, _ = built(data, tmp_path, capsys, "--members", ",".join(map(str, paths)), *each)
    found, _ = built(
        data, tmp_path, capsys, "--members", ",".join(map(str, paths)), *each, "--set", "ensemble.weights.none=0"
    )
    assert found == want != other


def test_distances_from_outside_beside_features(data, rows, tmp_path, capsys):
    query, gallery = lists(data)
    q, n = len(query), len(query) + len(gallery)
    points = np.random.default_rng(2).standard_normal((n, 3))
    dist = np.sqrt(((points[:, None] - points) ** 2).sum(2))
    folder = tmp_path / "dist"
    folder.mkdir()
    back = np.r_[np.arange(q)[::-1], np.arange(n - 1, q - 1, -1)]  # other order on disk
    turned = dist[np.ix_(back, back)].astype(np.float32)
    for key, part in (("qq", turned[:q, :q]), ("qg", turned[:q, q:]), ("gg", turned[q:, q:])):
        np.save(folder / f"{key}.npy", part)
    names = {s: [e[2] for e in reversed(side)] for s, side in (("query", query), ("gallery", gallery))}
    (folder / "names.json").write_text(json.dumps(names))
    write_npz(tmp_path / "one.npz", data, rows)
    members = f"d={folder},{tmp_path / 'one.npz'}"
    got, said = built(data, tmp_path, capsys, "--members", members, "--set", "ensemble.weights.d=0.3")
    assert got == expected(data, [(dist, 0.3), (rows, 1.0)])
    assert "distances, unchanged" in said
    with pytest.raises(ConfigError, match=r"d: distances from outside; tuning wants features\. Build"):
        __main__.main(["--runs", str(tmp_path / "runs")])
    twice = refused(data, tmp_path / "a", capsys, "--members", f"d={folder}", "--rounds", 2)
    assert "every member is external, nothing is trained" in twice
    got, _ = built(
        data, tmp_path, capsys, "--members", f"{folder}/,{tmp_path / 'one.npz'}", "--set", "ensemble.rerank=none"
    )
    final = dense(data, [(dist, 1.0), (rows, 1.0)])[:q, q:]
    assert got == {query[i][0]: [gallery[j][0] for j in oracles.rank_list(row)] for i, row in enumerate(final)}
    np.save(folder / "gg.npy", 5 - turned[q:, q:])
    assert "these look like similarities" in refused(data, tmp_path / "b", capsys, "--members", f"d={folder}")
    np.save(folder / "gg.npy", np.where(np.arange(n - q) == 2, np.nan, turned[q:, q:]))
    assert "are NaN, infinite or negative" in refused(data, tmp_path / "c", capsys, "--members", f"d={folder}")
    np.save(folder / "gg.npy", turned)
    assert "its names need floats of shape (18, 18)" in refused(
        data, tmp_path / "d", capsys, "--members", f"d={folder}"
    )


@pytest.mark.parametrize(
    ("key", "how"),
    [
        (lambda data: {n: f"/pictures/set/{p}" for side in lists(data) for n, _, p in side}, "without their folders"),
        (lambda data: {n: "C:\\set\\" + p.replace("/", "\\") for s in lists(data) for n, _, p in s}, "without their"),
        (lambda data: {n: n for side in lists(data) for n, *_ in side}, ""),
    ],
)
def test_folders_in_front_of_names(data, rows, tmp_path, capsys, key, how):
    names = key(data)
    external.save(tmp_path / "m.npz", *shuffled(rows, names.get))
    got, said = built(data, tmp_path, capsys, "--members", tmp_path / "m.npz")
    assert got == expected(data, [(rows, 1.0)])
    assert (f"names compared {how}" in said) == bool(how)


def test_the_same_name_in_query_and_gallery_needs_its_folder(tmp_path, capsys):
    """AI City's folders both begin at 000001.jpg."""
    root = tmp_path / "aicity"
    for folder in ("train", "query", "test"):
        (root / f"image_{folder}").mkdir(parents=True)
        for i in range(1, 4):
            (root / f"image_{folder}" / f"{i:06d}.jpg").touch()
    (root / "train_label.xml").write_text('<a><Item imageName="000001.jpg" vehicleID="1" cameraID="c1"/></a>')
    rng = np.random.default_rng(0)
    feats = unit_rows(rng, 6, 4)
    names = [f"image_{f}/{i:06d}.jpg" for f in ("query", "test") for i in range(1, 4)]
    external.save(tmp_path / "m.npz", [f"/x/{n}" for n in names], feats)
    argv = ["--competition", "aicity", "--data", str(root), "--out", str(tmp_path / "runs"), "--members"]
    build.main([*argv, str(tmp_path / "m.npz"), "--set", "ensemble.rerank=none"])
    make.main(["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "sub")])
    want = [oracles.rank_list(row) for row in 1 - feats[:3] @ feats[3:].T]
    lines = (tmp_path / "sub/track2.txt").read_text().splitlines()
    assert lines == [" ".join(str(j + 1) for j in row) for row in want]
    external.save(tmp_path / "bare.npz", [n.split("/")[1] for n in names[3:]], feats[3:])
    capsys.readouterr()
    with pytest.raises(SystemExit):
        run(lambda: build.main([*argv, str(tmp_path / "bare.npz")]))
    assert "give query and gallery apart, or names with folders" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda n, f: (n[1:], f[1:]), "has no row for 1 of 30 images: '"),
        (
            lambda n, f: ([*n, "stranger.png"], np.vstack([f, f[:1]])),
            "has 1 name that the data set does not have: 'stra",
        ),
        (lambda n, f: ([*n, n[0]], np.vstack([f, f[:1]])), "1 name occurs more than once: '"),
        (lambda n, f: (["x" + x for x in n], f), "has no row for 30 of 30 images: "),
        (lambda n, f: (n, np.where(np.arange(30)[:, None] == 4, np.nan, f)), "is not finite (NaN or infinite)"),
        (lambda n, f: (n, np.where(np.arange(30)[:, None] == 4, np.inf, f)), "is not finite (NaN or infinite)"),
        (lambda n, f: (n, np.where(np.arange(30)[:, None] == 4, 0, f)), "is zero: it has no direction"),
        (lambda n, f: (n, (f * 100).astype(np.int32)), "feats is int32; want floating-point features"),
        (lambda n, f: (n[:-1], f), "feats has shape (30, 12) for 29 names"),
        (lambda n, f: (list(range(30)), f), "names hold '0', of int; want one text per row"),
        (lambda n, f: (np.array(n, object), f), "never unpickled; save names as np.array(names)"),
    ],
)
def test_what_is_not_of_these_images_is_refused(data, rows, tmp_path, capsys, change, words):
    names, feats = change(*shuffled(rows))
    np.savez(tmp_path / "m.npz", names=names, feats=feats)
    assert words in refused(data, tmp_path, capsys, "--members", tmp_path / "m.npz")


def test_rows_far_from_one_are_made_unit_and_tiny_or_huge_ones_too(data, rows, tmp_path, capsys):
    scaled = {n: f * 10.0 ** (300 if i % 2 else -300) for i, (n, f) in enumerate(rows.items())}
    write_npz(tmp_path / "m.npz", data, scaled)
    assert built(data, tmp_path, capsys, "--members", tmp_path / "m.npz")[0] == expected(data, [(rows, 1.0)])


def test_training_images_and_junk_may_be_in_the_file(data, rows, tmp_path, capsys):
    extra = {f"train/t{i}.png": np.ones(12) for i in range(4)} | {"-1_c1s1_000001_00.jpg": np.ones(12)}
    where = {n: p for side in lists(data) for n, _, p in side}
    write_npz(tmp_path / "m.npz", data, {where[n]: f for n, f in rows.items()} | extra)
    assert built(data, tmp_path, capsys, "--members", tmp_path / "m.npz")[0] == expected(data, [(rows, 1.0)])


def layumi(data, rows, **changes):
    """As its test.py saves them: no names, in the order of folders and names, cameras from 1, -1 for junk."""
    found = {}
    for side, entries in zip(("query", "gallery"), lists(data), strict=True):
        feats = np.array([rows[n] for n, *_ in entries], np.float32)
        pids = [pid for _, pid, _ in entries]
        cams = [1 if side == "query" else 2] * len(pids)
        if side == "gallery":
            feats, pids, cams = np.vstack([np.ones((1, 12)), feats]), [-1, *pids], [1, *cams]
        found |= {f"{side}_f": feats, f"{side}_label": pids, f"{side}_cam": cams}
    return found | changes


def test_layumis_numbers_are_compared_with_what_the_data_set_writes(tmp_path):
    """A table numbers its labels as they come: person 7 is its 0. Labels that are no numbers cannot be compared."""
    pids, camids = np.array([0, 1]), np.array([0, 0])
    names = ("a.jpg", "b.jpg")
    split = Split(names, tuple(tmp_path / name for name in names), pids, camids)
    content = {}
    for side in ("query", "gallery"):
        content |= {f"{side}_f": np.eye(2), f"{side}_label": [7, 3], f"{side}_cam": [1, 1]}
    savemat(tmp_path / "m.mat", content)
    member, cameras = ExternalMember(name="m", file=str(tmp_path / "m.mat")), {0: "1"}
    found = match(member, {"test": (split, split)}, (), {0: "7", 1: "3"}, cameras)
    assert [rows.tolist() for _, rows in found.rows["test"]] == [[0, 1], [0, 1]]
    with pytest.raises(MismatchedBanks, match=r"would be 'a\.jpg', identity 3"):
        match(member, {"test": (split, split)}, (), {0: "3", 1: "7"}, cameras)
    with pytest.raises(MismatchedBanks, match="identities of this data set are texts, such as 'fox'"):
        match(member, {"test": (split, split)}, (), {0: "7", 1: "fox"}, cameras)
    with pytest.raises(MismatchedBanks, match="cameras of this data set are texts, such as 'hall'"):
        match(member, {"test": (split, split)}, (), {0: "7", 1: "3"}, {0: "hall"})


def test_layumis_file_without_names(data, rows, tmp_path, capsys):
    savemat(tmp_path / "pytorch_result.mat", layumi(data, rows))
    got, said = built(data, tmp_path, capsys, "--members", tmp_path / "pytorch_result.mat")
    assert got == expected(data, [(rows, 1.0)]) and "no names in the file: rows taken in the order of the names" in said
    turned = layumi(data, rows)
    for key in ("gallery_f", "gallery_label", "gallery_cam"):
        turned[key] = turned[key][::-1]
    savemat(tmp_path / "turned.mat", turned)
    assert "would be '0_2.jpg', identity 40 and camera 2" in refused(
        data, tmp_path / "b", capsys, "--members", tmp_path / "turned.mat"
    )
    savemat(
        tmp_path / "short.mat", layumi(data, rows, query_f=np.ones((3, 12)), query_label=[1] * 3, query_cam=[1] * 3)
    )
    assert "3 query rows that are no junk for 12" in refused(
        data, tmp_path / "c", capsys, "--members", tmp_path / "short.mat"
    )
    savemat(tmp_path / "cameras.mat", layumi(data, rows, query_cam=[1] * 11 + [2]))
    assert "identity 45 and camera 1, where it says 45 and 2 (1 such rows)" in refused(
        data, tmp_path / "d", capsys, "--members", tmp_path / "cameras.mat"
    )


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("m.npz", b"", "cannot be read"),
        ("m.npz", b"PK\x03\x04 and then nothing", "cannot be read"),
        ("m.npz", b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07builtin\x94.", "never unpickled"),
        ("m.safetensors", b"\xff" * 40, "cannot be read"),
        ("m.mat", b"MATLAB 7.3 MAT-file" + b"\0" * 105 + b"\x00\x02IM", "v7.3"),
        ("m.mat", b"nothing", "cannot be read"),
        ("m.npy", b"", "a single array has no names"),
        ("m.pth", b"", "pickles are not read"),
        ("m.h5", None, "unknown member 'm.h5'"),
        ("none.npz", None, "no such file"),
    ],
)
def test_files_that_cannot_be_read(data, tmp_path, capsys, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    path = tmp_path / name if name != "m.h5" else name
    assert words in refused(data, tmp_path, capsys, "--members", path)


@pytest.mark.parametrize("arrays", [{"a": np.ones(3)}, {"names": np.array(["a"])}, {"feats": np.ones((2, 2))}])
def test_files_of_other_arrays(data, tmp_path, capsys, arrays):
    np.savez(tmp_path / "m.npz", **arrays)
    assert "want names (N,) and feats (N, D), or query_names" in refused(
        data, tmp_path, capsys, "--members", tmp_path / "m.npz"
    )


def test_the_address_is_the_contents(data, rows, tmp_path, capsys):
    write_npz(tmp_path / "m.npz", data, rows)
    built(data, tmp_path, capsys, "--members", tmp_path / "m.npz")
    again = built(data, tmp_path, capsys, "--members", tmp_path / "m.npz")[1]
    assert "kept: m; to make: none" in again and "normalised" not in again
    changed = rows | {"0_0.png": -rows["0_0.png"]}
    write_npz(tmp_path / "m.npz", data, changed)
    got, said = built(data, tmp_path, capsys, "--members", tmp_path / "m.npz")
    assert got == expected(data, [(changed, 1.0)]) != expected(data, [(rows, 1.0)]) and "to make: m" in said
    assert len(list((tmp_path / "runs/features").glob("m-test-*"))) == 2


def test_beside_a_trained_member(tiny_build, tmp_path, capsys):
    """b's own features taken in from their folder give what b gave; the trained member is not made again."""
    for copy in ("runs", "old"):
        shutil.copytree(tiny_build.runs, tmp_path / copy)
    bank = next(tiny_build.runs.glob("features/b-test-*"))
    argv = list(tiny_build.argv)
    argv[argv.index("--out") + 1] = str(tmp_path / "runs")
    build.main([*argv, "--members", f"a,b={bank}"])
    said = capsys.readouterr().err
    assert "kept: a; to make: b" in said and "unit rows" in said and "training" not in said
    for runs in ("old", "runs"):
        make.main(["--runs", str(tmp_path / runs), "--out", str(tmp_path / f"{runs}-sub")])
    old, new = ((tmp_path / f"{runs}-sub/submission.json").read_bytes() for runs in ("old", "runs"))
    assert old == new


def test_names_of_members(data, rows, tmp_path, capsys):
    for name in ("r50.npz", "two words.npz"):
        write_npz(tmp_path / name, data, rows)
    path = tmp_path / "r50.npz"
    assert "member 'r50' is named twice" in refused(data, tmp_path, capsys, "--members", f"r50,{path}")
    assert "'two words' cannot be a member's name" in refused(
        data, tmp_path, capsys, "--members", tmp_path / "two words.npz"
    )
    with pytest.raises(ConfigError, match=r"ensemble.weights names member 'x'; this build has: r50"):
        load_build_config([str(path)], sets=["ensemble.weights.x=1"])
    plan = load_build_config([f"a={path}", "ibn_a", f"b={path}"])
    assert [m.name for m in plan.members] == ["ibn_a"] and [(o.name, o.file) for o in plan.outside] == [
        ("a", str(path)), ("b", str(path)),
    ]  # fmt: skip


def test_save_refuses_what_is_not_whole(tmp_path):
    for given in ({"names": ["a"]}, {"query_names": ["a"], "query": np.ones((1, 2))}, {}):
        with pytest.raises(ConfigError, match="give names and feats, or query_names"):
            external.save(tmp_path / "m.npz", **given)
    with pytest.raises(ConfigError, match=r"feats has shape \(2, 3\) for 1 names"):
        external.save(tmp_path / "m.npz", ["a"], np.ones((2, 3)))
    with pytest.raises(ConfigError, match=r"ends in .npz or .safetensors"):
        external.save(tmp_path / "m.pkl", ["a"], np.ones((1, 3)))
    for names, feats, says in (
        (["a", "a"], np.ones((2, 3)), "1 names occur more than once, first 'a'"),
        (["a", "b"], [[1.0, 2.0], [np.nan, 1.0]], "the row of 'b' is zero or not finite"),
        (["a", "b"], np.eye(2, dtype=int), "feats is int64; want floating-point"),
        (["a", "b"], [[1.0], [1.0, 2.0]], "feats: list is not an array of one shape"),
    ):
        with pytest.raises(ConfigError, match=says):
            external.save(tmp_path / "m.npz", names, feats)
    assert list(tmp_path.iterdir()) == []
    external.save(tmp_path / "m.npz", ["a"], torch.ones(1, 3, requires_grad=True))
