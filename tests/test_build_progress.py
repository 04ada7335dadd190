"""How far a build is and how long it will take, with a clock that the test turns."""

import pytest

from configs.console.build_progress import BuildProgress, ProgressStage, makespan


class Clock:
    """Stands until it is turned."""

    def __init__(self):
        self.now = 50.0

    def __call__(self):
        return self.now


def stage(key, kind="members", seconds=100.0, done=0.0, total=10.0, measured=True):
    return ProgressStage(key, key, kind, "training", "trained", total, 1.0, seconds, measured, done)


@pytest.fixture
def clock():
    return Clock()


def test_kept_stages_count_as_done(clock):
    """Three members of 100 s, one kept; the fourth item weighs little."""
    whole = BuildProgress([stage("a", done=1.0), stage("b"), stage("c"), stage("f", "features", 20.0)], clock)
    assert whole.share() == pytest.approx(100 / 320)
    assert whole.left() == pytest.approx(220)


def test_a_stage_weighs_what_it_costs(clock):
    whole = BuildProgress([stage("a", seconds=300.0), stage("f", "features", 100.0)], clock)
    whole.begin("a")
    whole.step(5)
    assert whole.share() == pytest.approx(150 / 400)
    whole.end("a", finished=True)
    assert whole.share() == pytest.approx(300 / 400)


def test_time_left_follows_the_pace_of_this_run(clock):
    """Half of 100 s took 200: four times as slow. The other kind keeps its own measure until it has run."""
    whole = BuildProgress([stage("a"), stage("b"), stage("f", "features", 40.0)], clock)
    whole.begin("a")
    clock.now += 200
    whole.step(5)
    assert whole.left() == pytest.approx(4 * (50 + 100) + 40)


def test_where_nothing_was_measured_what_ran_so_far_tells(clock):
    whole = BuildProgress([stage("a", measured=False), stage("f", "features", 40.0, measured=False)], clock)
    assert whole.left() is None
    whole.begin("a")
    clock.now += 20
    whole.step(1)
    assert whole.left() == pytest.approx(2 * 90 + 2 * 40)


def test_what_an_earlier_run_did_is_no_pace(clock):
    whole = BuildProgress([stage("a", done=0.4)], clock)
    assert whole.share() == pytest.approx(0.4)
    whole.begin("a")
    whole.resume(4)
    clock.now += 30
    whole.step(1)
    assert whole.left() == pytest.approx(3 * 50)


def test_the_time_of_a_stage_inside_another_is_its_own(clock):
    """Images are read while a member begins: 10 s of reading, 10 s of training for a tenth of it."""
    whole = BuildProgress([stage("i", "images", 5.0), stage("a")], clock)
    whole.begin("a")
    whole.begin("i")
    clock.now += 10
    whole.step(10)
    whole.end("i", finished=True)
    clock.now += 10
    whole.step(1)
    assert whole.spent == {"images": 10, "members": 10}
    assert whole.left() == pytest.approx(90)


def test_what_is_not_on_the_list_does_no_harm(clock):
    whole = BuildProgress([stage("a")], clock)
    whole.begin("a")
    whole.begin("weights/resnet50-x")
    clock.now += 10
    whole.end("weights/resnet50-x", finished=True)
    assert whole.current().key == "a"
    whole.keep("weights/other")
    whole.end("a", finished=False)
    whole.end("a", finished=False)
    assert whole.current() is None and whole.share() == 0
    whole.step(1)


def test_a_share_never_passes_the_whole(clock):
    whole = BuildProgress([stage("a", total=3.0)], clock)
    whole.begin("a")
    for _ in range(5):
        whole.step(1)
    assert whole.share() == 1 and whole.left() == 0


def test_nothing_to_do(clock):
    assert BuildProgress([], clock).share() == 1 and BuildProgress([], clock).left() == 0


def test_what_is_left_is_known_better(clock):
    """a was made and b is under way, half of it done; c was only supposed, d and e come in its place."""
    whole = BuildProgress([stage("a", done=1.0), stage("b"), stage("c", seconds=900.0)], clock)
    whole.begin("b")
    whole.step(5)
    whole.renew([stage("a"), stage("b"), stage("d"), stage("e")])
    assert whole.share() == pytest.approx((100 + 50) / 400) and whole.left() == pytest.approx(50 + 200)
    whole.step(5)
    assert whole.share() == pytest.approx(200 / 400)


def test_two_members_at_a_time(clock):
    """Three of 100 s; a and b are half done after 50 s of both. Then a third of c is done while b ends."""
    whole = BuildProgress([stage("a"), stage("b"), stage("c"), stage("r", "rankings", 7.0)], clock, parallel=2)
    assert whole.left() == pytest.approx(200 + 7)
    whole.begin("a", 11)
    whole.begin("b", 12)
    clock.now += 50
    whole.step(5, 11)
    whole.step(5, 12)
    assert whole.spent == {"members": 100} and whole.left() == pytest.approx(50 + 100 + 7)
    whole.end("a", 11, finished=True)
    assert {p: s.key for p, s in whole.under_way().items()} == {12: "b"}
    whole.begin("c", 11)
    whole.step(2, 11)
    assert whole.done == {"a": 1.0, "b": 0.5, "c": 0.2, "r": 0.0}
    whole.renew([stage("d")])
    assert set(whole.stages) == {"a", "b", "c", "d"}


def test_each_process_has_results_within_results_of_its_own(clock):
    whole = BuildProgress([stage("fa", "features"), stage("a"), stage("b")], clock, parallel=2)
    for key, process in (("fa", 11), ("b", 12), ("a", 11)):
        whole.begin(key, process)
    whole.resume(4, 12)
    assert whole.done["b"] == 0.4 and whole.current(11).key == "a" and whole.current(12).key == "b"
    whole.end("fa", 11, finished=False)
    assert whole.current(11) is None and whole.current(12).key == "b" and whole.current() is None


@pytest.mark.parametrize(
    ("loads", "workers", "seconds"),
    [([], 3, 0), ([5, 4], 1, 9), ([5, 4], 3, 5), ([4, 5, 3, 2], 2, 7), ([2, 2, 8], 2, 10)],
)
def test_makespan(loads, workers, seconds):
    """By hand, the third but last: 4 and 3 on one, 5 and 2 on the other."""
    assert makespan(loads, workers) == seconds
