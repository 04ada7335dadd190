"""The table and the bar of a whole build, on a screen of 80 columns and in a pipe."""

import io

import pytest
from rich.console import Console

from configs.console.build_progress import Stage
from configs.console.build_table import Screen
from configs.console.progress import Progress

TWO = "loss 2.000 (id 20.000, triplet 0.300), spread 0.020, lr 3.5e-4"  # of an epoch whose loss is 2
TWO_CELLS = ("2.000", "20.000", "0.300", "0.020", "3.5e-4")


class Clock:
    """Stands until it is turned."""

    def __init__(self):
        self.now = 50.0

    def __call__(self):
        return self.now


def stages(done=0.0):
    """Two members of 12 epochs of 600 images, their features, and one search."""
    made = []
    for name in ("r50", "se_ibn_a"):
        kept = done if name == "r50" else 0.0
        made.append(Stage(f"members/{name}", name, "members", "training", "trained", 12, 600, 100, True, kept))
        made.append(Stage(f"features/{name}", name, "features", "extracting", "extracted", 900, 1, 20, True, kept))
    return [*made, Stage("rankings/test", "test", "rankings", "ranking", "ranked", 1, 0, 10, True, 0.0)]


def board_on(terminal, clock, width=80, parallel=1, **kwargs):
    progress = Progress()
    progress.console = Console(
        file=io.StringIO(),
        force_terminal=terminal,
        width=width,
        height=30,
        highlight=False,
        soft_wrap=True,
        color_system=None,
    )
    board = Screen(progress.console, stages(**kwargs), clock, parallel=parallel)
    progress.display = board
    progress.listeners.append(board)
    return progress, board, progress.console.file.getvalue


def screen(board, width=80):
    """The lines as they stand on a screen so wide."""
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=True, soft_wrap=True)
    console.print(board)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.fixture
def clock():
    return Clock()


def metrics(loss):
    """Of a line of epochs.jsonl, whose triplet stands at its margin."""
    return {"loss": loss, "terms": {"id": 10 * loss, "triplet": 0.3}, "apart": 0.02, "lr": 3.5e-4}


def train(progress, clock, name, epochs, seconds=10.0, done=0):
    progress.event("begun", kind="members", key=f"members/{name}")
    progress.event("training", member=name, epochs=12, done=done, images=600, metrics="x")
    with progress.task(f"{name}, epochs", 12, done) as step:
        for epoch in range(done, done + epochs):
            for _ in range(10):
                clock.now += seconds / 10
                step(0.1)
            fields = {"epoch": epoch + 1, "images": 600, "seconds": seconds} | metrics(2.0 - epoch / 10)
            progress.event("epoch", member=name, epochs=12, **fields)


def test_the_screen_of_a_build_halfway(clock):
    progress, board, _ = board_on(True, clock)
    train(progress, clock, "r50", 6)
    lines = screen(board)
    assert lines[0].startswith("build ") and lines[0].endswith(" 20 %, 3 min 50 s left")
    assert lines[1].split() == ["stage", "epoch", "loss", "id", "triplet", "spread", "lr", "images/s"]
    assert lines[2].split() == [
        "r50",
        "training",
        "50",
        "%",
        "6/12",
        "1.500",
        "15.000",
        "0.300",
        "0.020",
        "3.5e-4",
        "60",
    ]
    assert [line.split() for line in lines[3:]] == [["se_ibn_a", "waiting"], ["test", "waiting"]]
    assert max(map(len, lines)) <= 80


def test_a_second_build_begins_at_what_is_kept(clock):
    _, board, _ = board_on(True, clock, done=1.0)
    lines = screen(board)
    assert " 48 %, 2 min 10 s left" in lines[0] and lines[2].split() == ["r50", "kept"]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_line_is_longer_than_the_screen(clock, width):
    progress, board, _ = board_on(True, clock, width)
    train(progress, clock, "se_ibn_a", 11)
    lines = screen(board, width)
    assert max(map(len, lines)) <= width and len(lines) == 5


def test_stages_follow_each_other(clock):
    progress, board, _ = board_on(True, clock)
    train(progress, clock, "r50", 12)
    progress.event("done", key="members/r50")
    assert "r50 trained 12/12" in " ".join(screen(board)[2].split())
    progress.event("begun", key="features/r50")
    with progress.task("r50, test query", 300) as step:
        clock.now += 1
        step(150)
        clock.now += 1
        step(150)
    assert screen(board)[2].split()[:4] == ["r50", "extracting", "33", "%"]
    assert screen(board)[2].split()[-1] == "150"
    progress.event("done", key="features/r50")
    assert screen(board)[2].split()[1] == "done"


def test_a_terminal_keeps_what_was_said(clock):
    progress, board, text = board_on(True, clock)
    with board:
        progress.say("device cpu")
        train(progress, clock, "r50", 1)
        progress.say("done")
    assert "device cpu\n" in text().replace("\r", "") and "done\n" in text().replace("\r", "")
    assert text().endswith("\x1b[?25h"), "the cursor comes back"


def test_a_fast_loop_is_drawn_five_times_a_second_at_most(clock):
    progress, board, text = board_on(True, clock)
    with board:
        progress.event("begun", key="features/r50")
        before = text().count("build")
        with progress.task("r50, test query", 900) as step:
            for _ in range(900):
                clock.now += 0.002
                step(1)
        assert 8 <= text().count("build") - before <= 10


def test_a_pipe_gets_lines_now_and_then(clock):
    progress, board, text = board_on(False, clock)
    with board:
        train(progress, clock, "r50", 12)
    lines = text().splitlines()
    assert lines[0] == f"  r50: training 12 %, epoch 1/12, {TWO}, 60 images/s; whole build 5 %, 4 min 35 s left"
    assert 6 <= len(lines) <= 8 and "\x1b" not in text()


def test_a_night_gives_hundreds_of_lines_not_thousands(clock):
    progress, board, text = board_on(False, clock)
    with board:
        train(progress, clock, "r50", 12, seconds=3600)
        train(progress, clock, "se_ibn_a", 12, seconds=3600)
    assert 20 <= len(text().splitlines()) < 400


def test_no_line_where_nothing_has_begun(clock):
    progress, board, text = board_on(False, clock)
    with board:
        clock.now += 100
        progress.event("kept", key="members/r50")
        progress.event("said", text="x")
    assert text() == ""


def side_by_side(progress, clock, board):
    """Two members begun in processes 11 and 12; 5 s of one epoch of each, the second at half the speed."""
    steps = {}
    for name, process in (("r50", 11), ("se_ibn_a", 12)):
        progress.event("begun", kind="members", key=f"members/{name}", pid=process)
        steps[process] = board.task(f"{name}, epochs", 12, 0, process)
    for _ in range(5):
        clock.now += 1
        steps[11](0.2)
        steps[12](0.1)
    progress.event("epoch", member="r50", epochs=12, epoch=1, images=600, seconds=5.0, pid=11, **metrics(2.0))


def test_two_members_at_a_time_are_two_lines_under_way(clock):
    progress, board, _ = board_on(True, clock, parallel=2)
    side_by_side(progress, clock, board)
    lines = screen(board)
    assert lines[2].split() == ["r50", "training", "8", "%", "1/12", *TWO_CELLS, "120"]
    assert lines[3].split() == ["se_ibn_a", "training", "4", "%", "60"]
    progress.event("stopped", key="members/r50", pid=11)
    board.task("se_ibn_a, epochs", 12, 6, 12)
    assert [line.split()[1:] for line in screen(board)[2:4]] == [
        ["waiting", "1/12", *TWO_CELLS, "120"],
        ["training", "50", "%", "60"],
    ]


def test_two_members_at_a_time_in_a_pipe_are_one_line(clock):
    """Both at 0.8 of the forecast seconds: 96 x 0.8 s of training are left of the slower row, 20 and 10 of the rest."""
    progress, board, _ = board_on(False, clock, parallel=2)
    side_by_side(progress, clock, board)
    one, other = f"r50: training 8 %, epoch 1/12, {TWO}, 120 images/s", "se_ibn_a: training 4 %, 60 images/s"
    assert board.line() == f"  {one}; {other}; whole build 5 %, 1 min 47 s left"
