"""The two commands as calls: the same keys and bytes, the same refusals, from a notebook's thread, however imported."""

import inspect
import json
import re
import shlex
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ensemble
import submit
from configs.console import call
from configs.console.command import run
from configs.errors import ConfigError, DataError, ResultError
from configs.external_members import text_of, words_of
from ensemble import build, carry_out
from submit import make
from tests.conftest import ROOT, TINY
from tests.tables import write_member, write_table

HEADER = "label,path,split,is_query,is_gallery"
ROWS = [f"{who},{who}{i}.jpg,test,{int(i == 0)},{int(i > 0)}" for who in ("fox", "owl") for i in range(3)]
ANGLES = {row.split(",")[1]: i / 3 for i, row in enumerate(ROWS)}
PLAIN = ("ensemble.rerank=none", "ensemble.weights={m: 2}")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to work in, with a data set and two members."""
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path / "data", HEADER, ROWS)
    write_member(tmp_path / "m.npz", ANGLES)
    write_member(tmp_path / "n, 1.npz", {name: -angle for name, angle in ANGLES.items()})
    return tmp_path


def contents(root):
    """Path -> bytes of every result; of a manifest what was asked, not when."""
    files = [p for p in root.rglob("*") if p.is_file() and not {".locks", "logs"} & {*p.relative_to(root).parts}]
    return {
        p.relative_to(root).as_posix(): json.loads(p.read_text())["request"]
        if p.name == "manifest.json"
        else p.read_bytes()
        for p in files
    }


# --------------------------------------------------------------------------------------------------------------------
# The same as the command
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("module", "more"), [(build, {"quiet": False}), (make, {})])
def test_a_keyword_for_each_option_with_its_default(module, more):
    options = {a.dest: a.default for a in module.options()._actions if a.help != "==SUPPRESS=="}
    options.pop("help")
    keywords = {name: p.default for name, p in inspect.signature(module).parameters.items()}
    assert keywords == {name: () if default == [] else default for name, default in options.items()} | more


def test_call_and_command_make_the_same(here, monkeypatch, capsys):
    """Two stores of one name, in two folders: every key and every byte, and then the submissions."""
    sets = [part for change in PLAIN for part in ("--set", change)]
    members = ["m.npz", "n=n, 1.npz"]
    for folder in ("typed", "called"):
        (here / folder).mkdir()
        monkeypatch.chdir(here / folder)
        for name in ("m.npz", "n, 1.npz"):
            shutil.copy(here / name, name)
        if folder == "typed":
            build.main(["--data", str(here / "data"), *sets, "--members", 'm.npz, "n=n, 1.npz"', "--layout", "table"])
            typed = capsys.readouterr()
            make.main([])
            shown = capsys.readouterr().out
        else:
            changes = {"ensemble.rerank": "none", "ensemble.weights": {"m": np.int64(2)}}
            built = ensemble.build(members, data=here / "data", layout="table", set=changes)
            called = capsys.readouterr()
            made = submit.make(built)
            assert capsys.readouterr().out == ""
            made.show()
    assert contents(here / "called/runs") == contents(here / "typed/runs") != {}
    assert contents(here / "called/submissions") == contents(here / "typed/submissions") != {}
    assert typed.out.splitlines() == [f"runs/{built.key}"] and called.out == ""
    assert called.err.splitlines()[:-1] == typed.err.splitlines()[:-1]  # the last one tells the time
    assert capsys.readouterr().out == shown and made.notes == [x for x in shown.splitlines() if x.startswith("note: ")]
    assert repr(made).startswith(f"Submission('submissions/{built.key.split('/')[1]}/submission.json', total: test ")


def test_the_record_holds_the_command_that_does_the_same(here, capsys):
    built = ensemble.build([Path("m.npz"), "n=n, 1.npz"], data="data", set=PLAIN, runs="my runs", quiet=True)
    words = shlex.split(built.command)
    assert words[:3] == ["python", "-m", "ensemble.build"]
    build.main(words[3:])
    assert capsys.readouterr().out == f"my runs/{built.key}\n"
    assert json.loads((built.path / "build.json").read_text())["command"] == built.command


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"workers": "two"}, "workers: 'two': wanted a whole number, 0 or more"),
        ({"workers": -1}, "workers: '-1': wanted a whole number, 0 or more"),
        ({"parallel": 0}, "parallel: '0': wanted a number of members to train at a time"),
        ({"budget": "20"}, "budget: '20': wanted a time above 0, such as 90s, 20m or 1.5h"),
        ({"budget": "20m"}, "nothing is trained: every member is from outside; leave --budget out"),
        ({"rounds": 0}, "rounds: '0': wanted a whole number, 1 or more"),
        ({"device": "gpu"}, "device: invalid choice: 'gpu'"),
        ({"log": "x"}, "log: invalid choice: 'x'"),
        ({"holdout": True}, "holdout: True is of type bool; wanted a text, a number or a path"),
        ({"holdout": 1.5}, "--holdout 1.5: must be a share"),
        ({"dry_run": 1}, "dry_run: 1; wanted True or False"),
        ({"device": None}, "device: None is of type NoneType"),
        ({"members": None}, "members: None is of type NoneType; wanted names and files"),
        ({"members": ["m.npz", 3]}, "members: 3 is of type int"),
        ({"members": []}, "no member named"),
        ({"members": "r5O"}, "unknown member 'r5O'"),
        ({"set": 3}, "set: 3; wanted a text, or a list of texts"),
        ({"set": {"recipe.epochs": object()}}, "wanted texts, numbers, lists and mappings of them"),
        ({"set": {"recipe.epoch": 3}}, "unknown key 'epoch'"),
        ({"set": ["recipe.epochs"]}, "--set 'recipe.epochs': wanted TABLE.KEY=VALUE"),
        ({"layout": "market1501", "data": None}, "--layout market1501 without --data"),
        ({"data": "-none"}, "-none: no such folder"),
    ],
)
def test_what_the_command_refuses_is_an_error(here, keywords, says, capsys):
    with pytest.raises((ConfigError, DataError)) as raised:
        ensemble.build(**{"members": "m.npz", "data": "data", "set": "ensemble.rerank=none"} | keywords)
    assert says in str(raised.value)
    assert capsys.readouterr().out == "" and not list(here.glob("runs/builds/*"))


def test_the_sentence_is_the_commands(here, capsys):
    with pytest.raises(SystemExit):
        run(lambda: build.main(["--workers", "two"]))
    with pytest.raises(ConfigError) as raised:
        build(workers="two")
    assert f"error: argument --{raised.value}; " in capsys.readouterr().err


def test_a_dry_run_makes_nothing(here, capsys):
    assert ensemble.build("m.npz", data="data", dry_run=True) is None
    assert "to make: m" in capsys.readouterr().err and not list(here.glob("runs/*/*"))


def test_quiet_leaves_the_warnings(here, capsys, monkeypatch):
    keywords = {"data": "data", "set": PLAIN[0], "quiet": True}
    ensemble.build("m.npz", **keywords)
    assert capsys.readouterr() == ("", "")
    kept = carry_out.run_rounds
    monkeypatch.setattr(
        carry_out, "run_rounds", lambda context, *a: (context.progress.warn("look"), kept(context, *a))[1]
    )
    ensemble.build("m.npz", **keywords)
    assert capsys.readouterr() == ("", "warning: look\n")


# --------------------------------------------------------------------------------------------------------------------
# However it is imported, wherever it runs
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        "import ensemble, submit; b, m = ensemble.build, submit.make",
        "import ensemble, ensemble.build, submit.make, submit; b, m = ensemble.build, submit.make",
        "from ensemble import build as b; from submit import make as m; import ensemble.build",
        "from ensemble.build import build as b; from submit.make import make as m",
    ],
)
def test_however_it_is_imported(lines, forked):
    """In a process of its own: what was imported before decides which attribute is found."""
    tries = "[b(workers='two'), 0]", "[m(device='gpu'), 0]"
    code = "\n".join([lines, *(f"try:\n    {call}\nexcept ValueError as e:\n    print(e)" for call in tries)])
    done = forked.run("-c", code)
    assert re.fullmatch("workers: 'two': .*\ndevice: invalid choice: 'gpu' .*\n", done.stdout), done


def test_the_packages_import_nothing_heavy(forked):
    import subprocess
    import sys

    code = "import sys, ensemble, submit; dir(ensemble); print({'torch', 'numba', 'numpy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
    for package, name in ((ensemble, "build"), (ensemble, "open_build"), (submit, "make")):
        assert name in dir(package) and callable(getattr(package, name))
        with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'buidl'"):
            _ = package.buidl


def test_help_shows_the_arguments(capsys):
    help(ensemble.build)
    help(submit.make)
    shown = capsys.readouterr().out
    assert "holdout: 'float | None' = None" in shown and "against: 'Submission" in shown
    assert "holdout: the share of identities that is kept aside" in shown


def test_in_a_notebook_what_is_said_goes_to_standard_error_too(here, capsys, monkeypatch):
    """Rich would show it as HTML among the results."""
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    ensemble.build("m.npz", data="data", set=PLAIN)
    said = capsys.readouterr()
    assert "kept: none; to make: m" in said.err and said.out == ""


def test_it_trains_in_a_thread(people, tmp_path):
    """Signals reach the main thread alone: nothing may ask for one elsewhere."""
    got = []
    changes = [word for word in TINY if word != "--set"][:-1]
    changes = [word for word in changes if "=" in word and not word.startswith("members.b")]
    keywords = {"data": people, "runs": tmp_path / "runs", "set": changes, "workers": 1, "quiet": True}

    def go():
        try:
            got.append(ensemble.build("a", **keywords))
        except BaseException as e:
            got.append(e)

    thread = threading.Thread(target=go)
    thread.start()
    thread.join()
    assert got[0].evaluations["test"].features("a")[1].shape == (79, 512), got


# --------------------------------------------------------------------------------------------------------------------
# What is in a build
# --------------------------------------------------------------------------------------------------------------------


def test_a_build_by_its_files(tiny_build, tmp_path, monkeypatch):
    """Of a build that the command made, from a relative folder that is left: names and arrays as NumPy and JSON have
    them."""
    monkeypatch.chdir(tiny_build.runs.parent)
    built = ensemble.open_build("runs")
    monkeypatch.chdir(tmp_path)
    assert built.key == json.loads((tiny_build.runs / "last.json").read_text())["build"] and built.path.is_dir()
    raw = json.loads((built.path / "build.json").read_text())["evaluations"]["test"]
    test = built.evaluations["test"]
    facts = json.loads((tiny_build.runs / raw["ranking"] / "ranking.json").read_text())
    order, dist = (np.load(tiny_build.runs / raw["ranking"] / f"{name}.npy") for name in ("order", "dist"))
    query = facts["query"][3]
    assert test.answers(query) == [(facts["gallery"][g], d) for g, d in zip(order[3], dist[3].tolist(), strict=True)]
    assert len(test.answers(query, 2)) == 2 and test.n_query == len(facts["query"]) == 18
    assert test.weights == {"a": 1.0, "b": 1.0}
    assert max(len(repr(thing)) for thing in (built, test)) < 400 and ".jpg" not in repr(test.ranking)
    names, feats = test.features("b")
    assert list(names) == facts["query"] + facts["gallery"] and isinstance(feats, np.memmap)
    assert np.array_equal(feats, np.load(tiny_build.runs / raw["banks"]["b"] / "feats.npy"))
    wanted = [raw[key] for key in ("query_pids", "gallery_pids", "query_camids", "gallery_camids")]
    assert [x.tolist() for x in test.labels] == wanted
    with pytest.raises(ConfigError, match="unknown member 'c'; this build has: a, b"):
        test.features("c")
    with pytest.raises(DataError, match=r"no query 'x'; 18 are in test: "):
        test.answers("x")


def test_labels_that_nobody_knows(here):
    write_table(here / "dark", HEADER, [f",{row.split(',', 1)[1]}" for row in ROWS])
    built = ensemble.build("m.npz", data="dark", set=PLAIN, quiet=True)
    with pytest.raises(DataError, match="test has no identities"):
        _ = built.evaluations["test"].labels
    made = submit.make(built)
    assert made.scores["test"] == [] and repr(made).endswith("total: not known)")


def test_a_submission_of_a_build_that_is_not_the_last(here):
    first = ensemble.build("m.npz", data="data", set=PLAIN, runs="one", quiet=True)
    ensemble.build(["n=n, 1.npz"], data="data", set="ensemble.rerank=none", runs="one", quiet=True)
    made = submit.make(first, out="first")
    assert made.build.key == first.key == json.loads((here / "first/score.json").read_text())["build"]
    assert made.file.read_bytes() == (here / "first/submission.json").read_bytes()
    lists = json.loads(made.file.read_text())
    assert lists == {q: [name for name, _ in first.evaluations["test"].answers(q)] for q in ("fox0.jpg", "owl0.jpg")}
    again = submit.make(first.key, runs="one", out="again", against=made)
    assert again.scores == made.scores and "total +0.0" in again.gains[0]
    with pytest.raises(ConfigError, match=r"runs: 'two', but the build lies in .*one; leave runs out"):
        submit.make(first, runs="two")
    with pytest.raises(ResultError, match="no such folder"):
        submit.make(runs="two")
    with pytest.raises(ResultError, match="two: no such folder"):
        ensemble.open_build("two")


@given(st.lists(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1), min_size=1))
def test_members_in_a_list_are_read_back(members):
    assert words_of(text_of(members)) == members


def test_settings_are_written_as_yaml():
    values = {"a.b": None, "a.c": True, "a.d": np.float64(0.5), "a.e": [np.int32(3), "x"], "a.f": Path("/x, y")}
    assert call.settings(values) == ["a.b=null", "a.c=true", "a.d=0.5", 'a.e=[3, "x"]', 'a.f="/x, y"']


# --------------------------------------------------------------------------------------------------------------------
# The page
# --------------------------------------------------------------------------------------------------------------------


def test_the_pages_examples(tiny_build, tmp_path, monkeypatch, capsys):
    """One after another, as in a notebook; the members are those that the suite has trained."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_build.runs, "runs")
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(encoding="utf-8"), re.S)
    names = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert len(blocks) == 6 and len(list(Path("runs/members").iterdir())) == 2, "a member was trained"
    out = capsys.readouterr().out
    assert names["first"].scores["test"][-1].signature in out and f"{names['score'].rank1} {names['score'].map}" in out
    assert names["names"][: names["test"].n_query] == names["test"].ranking.query_names
    assert "of submissions/" in names["second"].gains[0] and list(names["mixed"].evaluations["test"].weights) == [
        "a",
        "theirs",
    ]
    made = {"people", "runs", "submissions", "other", "theirs.npz", "calibration.json"}
    assert {p.name for p in Path().glob("[!.]*")} == made
