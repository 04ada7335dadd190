"""Commands that are printed work as printed, from where they were printed: whatever folders and names are called."""

import json
import re
import shlex
import shutil
from html import unescape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import ConfigError
from configs.external_members import split_members, words_of
from configs.load import load_build_config
from configs.schema import Ensemble
from ensemble import build, runs
from ensemble.fusion.strategy import FusionSettings
from ensemble.tune.__main__ import domain_sets, sets
from submit import make
from submit.report import __main__ as report
from tests.tables import write_member, write_table

MODULES = {"ensemble.build": build, "submit.make": make, "ensemble.runs": runs, "submit.report": report}
ODD = 'my runs, #1 [it\'s: "x"]'
HEADER = "label,path,split,is_query,is_gallery"
ROWS = ["fox,q0.jpg,test,1,0", "fox,g0.jpg,test,0,1", "owl,q1.jpg,test,1,0", "owl,g1.jpg,test,0,1"]
ANGLES = {"q0.jpg": 0.0, "g0.jpg": 0.1, "q1.jpg": 1.0, "g1.jpg": 1.1}


def type_in(line):
    """Run a printed command as a shell would."""
    words = shlex.split(line)
    assert words[:2] == ["python", "-m"]
    return MODULES[words[2]].main(words[3:])


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    """A folder to type in, with a data set, a member and a store of odd names; and a build in the default store."""
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path / "data, #1", HEADER, ROWS)
    (tmp_path / ODD).mkdir()
    write_member(tmp_path / ODD / "m, 1.npz", ANGLES)
    write_member(tmp_path / "other.npz", ANGLES)
    build.main(["--members", "other.npz", "--data", "data, #1"])
    build.main(["--members", f'"m={ODD.replace(chr(34), chr(34) * 2)}/m, 1.npz"', "--data", "data, #1", "--runs", ODD])
    (tmp_path / "said").write_text(capsys.readouterr().err)
    return tmp_path


def built_with(folder):
    return json.loads((folder / "score.json").read_text())["command"]


def test_the_next_step_is_of_the_build_that_prints_it(here, capsys):
    line = (here / "said").read_text().splitlines()[-1].partition("next: ")[2]
    type_in(line)
    (out,) = (here / "submissions").iterdir()
    assert str(out.name) in capsys.readouterr().out and ODD[:8] in built_with(out)


def test_the_command_of_a_record_makes_it_again(here, capsys):
    line = built_with(make_out(here, capsys))
    type_in(line)
    assert "kept: m" in capsys.readouterr().err
    assert len(list((here / ODD / "builds").iterdir())) == 1


def make_out(here, capsys):
    make.main(["--runs", ODD, "--out", "out"])
    capsys.readouterr()
    return here / "out"


def test_the_commands_of_a_report(here, capsys):
    report.main(["--runs", ODD, "--out", "pages"])
    page = (here / "pages/build.html").read_text(encoding="utf-8")
    shown = re.search(r"<pre[^>]*>(python -m ensemble\.build.*?)</pre>", page, re.S)
    lines = unescape(shown[1]).strip().splitlines()
    assert [line.split()[2] for line in lines] == ["ensemble.build", "submit.make", "submit.report"]
    for line in lines:
        type_in(line)


def test_one_name_for_one_thing(capsys):
    """The store is --runs everywhere; what was --out at the build still is, where people have it in their scripts."""
    assert build.parse(["--out", "x"]).runs == build.parse(["--runs", "x"]).runs
    with pytest.raises(SystemExit):
        build.parse(["--help"])
    assert "--runs" in (said := capsys.readouterr().out) and "--out" not in said


def test_what_a_full_store_prints(here, capsys, monkeypatch):
    monkeypatch.setattr(
        "ensemble.planning.build_cost.shutil.disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 0)
    )
    shutil.rmtree(here / ODD / "features")
    with pytest.raises(Exception, match="see what can go: ") as full:
        build.main(["--members", "other.npz", "--data", "data, #1", "--runs", ODD])
    type_in(str(full.value).partition("see what can go: ")[2])


# ------------------------------------------------------------------------------------------------------------ options

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
MEMBERS = st.from_regex(r"\A\w[\w-]*\Z") | st.sampled_from(["no", "null", "1e3", "0x1F", "²"])


@settings(deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=3, unique=True), st.lists(MEMBERS, min_size=1, max_size=3, unique=True))
def test_what_tune_prints_is_read_back(domains, members):
    mix = FusionSettings(tuple(0.5 + i for i in range(len(members))))
    ensemble = Ensemble(flip=True, rerank="none", k1=1, k2=1, lam=0, power=1, domains="table", domain_settings={})
    lines = domain_sets(dict.fromkeys(domains, mix), members, ensemble)
    changes = [f"members.{m}={{backbone: resnet}}" for m in members]
    plan = load_build_config(members, sets=[*changes, *shlex.split(shlex.join(lines))])
    assert list(plan.ensemble.domain_settings) == domains
    want = dict(zip(members, mix.weights, strict=True))
    assert all(own.weights == want for own in plan.ensemble.domain_settings.values())
    assert load_build_config(members, sets=[*changes, *sets(mix, members)]).ensemble.weights == want


@pytest.mark.parametrize("folder", ["a b", "a,b", "a'b", 'a"b', "a=b", "a#b"])
def test_another_name_for_a_file(tmp_path, folder):
    path = tmp_path / folder / "m.npz"
    path.parent.mkdir()
    path.touch()
    with pytest.raises(ConfigError, match="is named twice; call one otherwise: ") as refused:
        split_members(["m", str(path)])
    flag, word = shlex.split(str(refused.value).partition("otherwise: ")[2])
    (outside,) = split_members(words_of(word))[1]
    assert (flag, outside.name, outside.file) == ("--members", "OTHER", str(path))


def test_a_member_named_twice():
    with pytest.raises(ConfigError, match="give it a weight") as refused:
        load_build_config(["r50", "r50"])
    option = re.search(r"\((--set .*)\)", str(refused.value))[1]
    assert load_build_config(["r50"], sets=[shlex.split(option)[1]]).ensemble.weights == {"r50": 2}
