from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass

import pytest

from edgekit.core.progress import Progress, format_time_left


@dataclass
class _Clock:
    """Time that passes when the test says so."""

    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_short_work_shows_nothing() -> None:
    stream, clock = io.StringIO(), _Clock()
    with Progress(stream=stream, clock=clock).track(10, "reading") as update:
        clock.now_s += 2.9
        update(5)
    assert stream.getvalue() == ""


def test_long_work_prints_a_line_after_3_s_then_every_15_s_and_at_the_end() -> None:
    stream, clock = io.StringIO(), _Clock()
    with Progress(stream=stream, clock=clock).track(100, "searching") as update:
        for second in range(1, 41):
            clock.now_s += 1
            update(2 * second, "best so far 87.1 %" if second == 20 else "")
    lines = stream.getvalue().splitlines()
    assert lines[0] == "searching: 6/100, 0:03 gone, 0:47 left"
    assert lines[1] == "searching: 36/100, 0:18 gone, 0:32 left"
    assert lines[2] == "searching: 66/100, 0:33 gone, 0:17 left, best so far 87.1 %"
    assert lines[3:] == ["searching: 80/100, 0:40 gone, 0:10 left, best so far 87.1 %"]


def test_steps_of_an_earlier_run_do_not_count_for_the_pace() -> None:
    stream, clock = io.StringIO(), _Clock()
    with Progress(stream=stream, clock=clock).track(100, "training", n_start=90) as update:
        clock.now_s += 10
        update(90)
        clock.now_s += 20
        update(95)
    assert "training: 90/100, 0:10 gone, unknown left" in stream.getvalue()
    assert "training: 95/100, 0:30 gone, 0:30 left" in stream.getvalue()


def test_steps_that_take_longer_later_are_foreseen() -> None:
    stream, clock = io.StringIO(), _Clock()
    work = {0: 0.0, 60: 30.0, 100: 70.0}.__getitem__
    with Progress(stream=stream, clock=clock).track(100, "training", work=work) as update:
        clock.now_s += 30
        update(60)
    assert stream.getvalue().startswith("training: 60/100, 0:30 gone, 0:40 left\n")


def test_quiet_shows_nothing_however_long_it_takes() -> None:
    stream, clock = io.StringIO(), _Clock()
    with Progress(quiet=True, stream=stream, clock=clock).track(10, "reading") as update:
        clock.now_s += 60
        update(5, "best")
    assert stream.getvalue() == ""


def test_a_terminal_gets_a_bar_that_is_closed_also_after_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    stream, clock = _Terminal(), _Clock()
    progress = Progress(stream=stream, clock=clock)
    with contextlib.suppress(KeyboardInterrupt), progress.track(10, "[odd] label") as update:
        clock.now_s += 4
        update(2, "best so far 1.9 ms")
        raise KeyboardInterrupt
    text = stream.getvalue()
    assert "[odd] label" in text
    assert "2/10" in text
    assert "0:16 left, best so far 1.9 ms" in text
    assert text.rstrip().endswith("\x1b[?25h")  # the cursor is visible again


def test_stderr_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    clock = _Clock()
    with Progress(clock=clock).track(2, "reading") as update:
        clock.now_s += 4
        update(1)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("reading: 1/2, 0:04 gone, 0:04 left\n")


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (3661, "1:01:01")])
def test_time_left_is_printed_as_on_a_clock(seconds: float, text: str) -> None:
    assert format_time_left(seconds) == text
