"""Every format on the drawn people: written, read back equal, and the checker has nothing to say."""

import pytest

from models.data.drawn import draw_people
from models.data.layouts import read_layout
from submit.formats import FORMATS
from tests.benchmarks.formats import rank, travel


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn") / "people"
    draw_people(folder, ids=12, seed=0, size=(32, 16))
    benchmark = read_layout("drawn", folder, (), wanted=("query", "gallery"))
    return benchmark, rank(benchmark)


@pytest.mark.parametrize("name", FORMATS)
def test_drawn_people_round_trip(people, name, tmp_path):
    benchmark, ranking = people
    trip = travel(name, benchmark, ranking, tmp_path)
    assert trip.equal and trip.faults == ()
    assert trip.lists == len(benchmark.query) * (2 if name == "pairs_csv" else 1) > 0
    assert not [note for note in trip.notes if not note.startswith("lists of")]


@pytest.mark.parametrize("name", FORMATS)
def test_a_trip_that_lost_its_way_is_seen(people, name, tmp_path, monkeypatch):
    """The last line cut off before it is written: neither equal nor clean."""
    benchmark, ranking = people
    form = FORMATS[name]

    def short(answers):
        dists = None if answers.dists is None else answers.dists[:-1]
        return form.write(type(answers)(answers.queries[:-1], answers.lists[:-1], dists))

    monkeypatch.setitem(FORMATS, name, type(form)(**vars(form) | {"write": short}))
    trip = travel(name, benchmark, ranking, tmp_path)
    assert not trip.equal and "is not answered" in trip.faults[-1] + trip.faults[0]
