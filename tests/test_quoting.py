"""Printed options: whatever they hold, the shell and then YAML read it back."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.console.quoting import set_option, yaml_flow
from configs.load import load_competition

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
NUMBERS = st.from_regex(r"\A[-+]?[0-9_]*\.?[0-9_]*([eE][-+]?[0-9]+)?(\.jpg)?\Z").filter(bool)
WORDS = st.sampled_from(
    ["yes", "No", "null", "~", "0x1F", "0b01", "0o17", "2001-01-01", "1:30", "-", "=", "<<", ".nan"]
)


def read_back(option):
    flag, change = shlex.split(option)
    assert flag == "--set"
    return load_competition("own", sets=[change]).skip


@given(st.lists(NAMES | NUMBERS | WORDS, min_size=1, max_size=3))
def test_whatever_a_file_is_called(names):
    assert read_back(set_option("competition.skip", {"gallery": names})) == {"gallery": tuple(names)}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"train": ["000006.jpg", "0001_c1s1_000451_03.jpg"]}, "{train: [000006.jpg, 0001_c1s1_000451_03.jpg]}"),
        (["/data/my set/a.jpg", "12e4"], '["/data/my set/a.jpg", "12e4"]'),
        ({"k1": 20, "lam": 1e-05, "flip": True, "views": None}, "{k1: 20, lam: 1e-05, flip: true, views: null}"),
    ],
)
def test_plain_where_that_can_be(value, text):
    assert yaml_flow(value) == text
