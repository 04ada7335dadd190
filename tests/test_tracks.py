"""Tracks that contradict the identities that are known."""

from dataclasses import replace

import numpy as np
import pytest

from configs.errors import DataError
from configs.load import load_build_config
from ensemble.pipeline.domains import check_domains_and_tracks
from models.data.layouts import read_layout
from models.data.split import make_split
from models.data.tracks import mixed_tracks
from tests.tables import built, write_member, write_table

HEADER = "label,path,split,is_query,is_gallery,track"


def rows(track):
    """Two people, each asked for once and found on two tracks; `track` names them."""
    found = []
    for who in ("fox", "owl"):
        found.append(f"{who},{who}_q.jpg,test,1,0,")
        found += [f"{who},{who}_{t}{i}.jpg,test,0,1,{track(who, t)}" for t in (1, 2) for i in range(2)]
    return found


def member(tmp_path):
    angles = {}
    for who, at in (("fox", 0.0), ("owl", 1.5)):
        angles[f"{who}_q.jpg"] = at
        angles |= {f"{who}_{t}{i}.jpg": at + 0.3 * t + 0.01 * i for t in (1, 2) for i in range(2)}
    return write_member(tmp_path / "m.npz", angles)


def test_numbers_that_begin_anew_for_each_person_are_refused_and_told(tmp_path):
    root = write_table(tmp_path / "t", HEADER, rows(lambda who, t: f"T000{t}"))
    (told,) = map(str, read_layout("table", root, wanted=()).found)
    assert told.startswith("hurts: 2 of 2 gallery tracks show several identities (fox_10.jpg and owl_10.jpg, ")
    with pytest.raises(DataError, match=r"2 tracks of the gallery show several identities, first that of 'fox_10.jpg'"):
        built(root, tmp_path / "runs", member(tmp_path), "ensemble.tracks=mean")


def test_whole_names_are_found_as_one(tmp_path, capsys):
    root = write_table(tmp_path / "t", HEADER, rows(lambda who, t: f"{who}T000{t}"))
    lists, scores = built(root, tmp_path / "runs", member(tmp_path), "ensemble.tracks=mean")
    assert scores[-1]["total"] == 1 and lists["fox_q.jpg"][:2] == ["fox_10.jpg", "fox_11.jpg"]
    assert "several identities" not in capsys.readouterr().err


def test_what_nobody_knows_contradicts_nothing():
    split = make_split([(f"{i}.jpg", None, pid, -1) for i, pid in enumerate([1, -1, 2, 3, 3])])
    assert mixed_tracks(split) == []
    assert mixed_tracks(replace(split, tracks=np.array([0, 0, -1, 1, 1]))) == []
    assert mixed_tracks(replace(split, tracks=np.array([0, 0, 0, 0, 1]))) == [("0.jpg", "2.jpg")]
    check_domains_and_tracks(load_build_config(["r50"]).ensemble, split, split)
