"""Progress on a terminal, in a file and in silence."""

import io
import time

import pytest
from rich.progress import Progress as Bar

from competition.core import console as module
from competition.core.console import Progress, console, progress, results


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the console writes."""
    stream = io.StringIO()
    for each in (console, results):
        monkeypatch.setattr(each, "_file", stream)
    return stream


def test_a_file_gets_plain_lines(written: io.StringIO) -> None:
    with progress("fold 0", 30, "rows") as work:
        for _ in range(3):
            work.advance(10)
    (line,) = written.getvalue().splitlines()
    assert line.startswith("fold 0: 30 rows in ")
    assert line.endswith(" rows/s")
    assert "\x1b" not in line


def test_a_line_of_a_file_is_not_wrapped(written: io.StringIO) -> None:
    results.print("word " * 1000)
    console.print("word " * 1000)
    assert written.getvalue().splitlines() == ["word " * 1000] * 2


def test_what_was_done_before_is_not_told_as_done_now(written: io.StringIO) -> None:
    with progress("fold 0", 30, "rows") as work:
        work.reach(20)
        work.advance(10)
    with progress("fold 0", 30, "rows") as work:
        work.reach(30)
    (line,) = written.getvalue().splitlines()
    assert line.startswith("fold 0: 10 rows in ")


def test_a_long_step_says_rate_and_time_left(
    written: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    work = Progress("fold 0", 400, None, "rows")
    now[0] += 20  # 100 rows in 20 s: 5 per second, and the other 300 take 60 s
    work.advance(100)
    assert written.getvalue() == "fold 0: 100 of 400 rows, 5 rows/s, 0:01:00 left\n"


def test_work_of_unknown_size_says_how_long_it_took(written: io.StringIO) -> None:
    with progress("reading"):
        pass
    assert written.getvalue() == "reading: 0.0 s\n"


def test_a_terminal_shows_work_within_work(
    written: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_force_terminal", True)
    with progress("blend", 2, "folds") as outer, progress("fold 0", 10, "rows") as inner:
        inner.advance(10)
        outer.advance(1)
        (bar,) = module._live
        assert isinstance(bar, Bar)
        rate = module._RateColumn().render(bar.tasks[1])
        assert rate.plain == "" or rate.plain.endswith(" rows/s")
        shown = {task.description: task.completed for task in bar.tasks}
        assert shown == {"blend": 1, "fold 0": 10}
    assert not module._live
    lines = [line for line in written.getvalue().splitlines() if " in 0.0 s" in line]
    assert len(lines) == 2


def test_a_bar_ends_with_the_work_that_failed(
    written: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_force_terminal", True)
    with pytest.raises(RuntimeError), progress("blend", 2, "folds"):
        raise RuntimeError
    assert not module._live
