"""What is said while one waits, with a clock that the test turns."""

import io

import pytest
from rich.console import Console

from configs.console import progress as module
from configs.console.progress import Progress, duration


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def turn(seconds):
        now[0] += seconds

    return turn


@pytest.fixture
def shown():
    progress = Progress()
    progress.console = Console(file=io.StringIO(), highlight=False, soft_wrap=True, force_terminal=False)
    return progress, lambda: progress.console.file.getvalue()


def test_a_short_task_says_nothing(clock, shown):
    progress, text = shown
    with progress.task("images", 10) as step:
        for _ in range(10):
            clock(0.19)
            step(1)
    assert text() == ""


def test_a_long_one_says_how_far_and_how_long_now_and_then(clock, shown):
    progress, text = shown
    with progress.task("images", 100) as step:
        for _ in range(100):
            clock(1)
            step(1)
    lines = text().splitlines()
    assert lines[0] == "  images: 16 of 100, 1 min 24 s left"
    assert 5 <= len(lines) <= 7 and not any("100 of 100" in line for line in lines)


def test_what_was_done_before_does_not_count_as_speed(clock, shown):
    progress, text = shown
    with progress.task("r50, epochs", 120, 100) as step:
        clock(16)
        step(0)
        assert text() == ""
        clock(24)
        step(4)
    assert text() == "  r50, epochs: 104 of 120, 2 min 40 s left\n"


def test_quiet_says_nothing(clock, shown):
    progress, text = shown
    progress.quiet = True
    progress.say("hello")
    with progress.task("images", 2) as step:
        clock(100)
        step(1)
    assert text() == ""


def test_brackets_in_a_path_are_not_taken_for_markup(shown):
    progress, text = shown
    progress.say("runs/[bold]x[/bold]")
    assert text() == "runs/[bold]x[/bold]\n"


def test_on_a_terminal_there_is_a_bar_that_goes_away():
    progress = Progress()
    progress.console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with progress.task("images", 4, 1) as step:
        step(1)
    assert "images" in progress.console.file.getvalue()


def test_it_speaks_on_standard_error(capsys):
    Progress().say("hello")
    assert capsys.readouterr() == ("", "hello\n")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (7.4, "7 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"),
        (3599.7, "1 h 00 min"), (7800, "2 h 10 min"), (100 * 3600 + 59, "100 h 00 min"),
    ],
)  # fmt: skip
def test_duration(seconds, text):
    assert duration(seconds) == text
