"""Progress of long work on stderr: a bar or plain lines, with time left and a note."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

SHOWN_AFTER_S = 3.0
BAR_EVERY_S = 0.2
LINE_EVERY_S = 15.0


class Update(Protocol):
    """Tells how far the work is; calling it often is cheap."""

    def __call__(self, n_done: int, note: str = "") -> None:
        """Say that ``n_done`` steps are done; an empty ``note`` keeps the last one."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How progress is shown; handed to whatever may take longer than three seconds.

    Nothing runs in the background, so that a measurement is never disturbed: the display changes
    only inside ``update``. On a terminal it is a bar, elsewhere a plain line every 15 seconds.

    Attributes:
        quiet: show nothing at all, as ``--json`` needs.
        stream: where to write; None for stderr as it is at that moment.
        clock: monotonic time in seconds.

    Example:
        >>> with Progress(quiet=True).track(2, "reading images") as update:
        ...     update(1, "best so far 87.1 %")
    """

    quiet: bool = False
    stream: TextIO | None = None
    clock: Callable[[], float] = time.monotonic

    @contextmanager
    def track(
        self,
        n_total: int,
        label: str,
        *,
        n_start: int = 0,
        work: Callable[[int], float] = float,
    ) -> Iterator[Update]:
        """Show the progress of ``n_total`` steps while the block runs.

        Args:
            n_total: steps in all, 0 or more.
            label: what is being done, for example ``"reading images"``.
            n_start: steps done earlier by a run that is being resumed; they do not count for the
                pace.
            work: how much of the work is done after so many steps, in any unit, ascending; for
                steps that do not take equally long.

        Yields:
            A function to call with the steps done and, where there is one, a note: the best so
            far, or the loss.
        """
        if self.quiet:
            yield _ignore
            return
        stream = sys.stderr if self.stream is None else self.stream
        shown = _Shown(n_total, label, n_start, work, stream, self.clock, self.clock())
        try:
            yield shown.update
        finally:
            shown.close()

    def say(self, text: str) -> None:
        """Print a line beside the bars, unless quiet."""
        if not self.quiet:
            print(text, file=sys.stderr if self.stream is None else self.stream, flush=True)


def _ignore(n_done: int, note: str = "") -> None:
    pass


def format_time_left(seconds: float) -> str:
    """Hours, minutes and seconds, without leading zeros in the first.

    Example:
        >>> format_time_left(75)
        '1:15'
    """
    minutes, rest_s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest_s:02d}" if hours else f"{minutes}:{rest_s:02d}"


@dataclass(slots=True)
class _Shown:
    """State of one tracked block."""

    n_total: int
    label: str
    n_start: int
    work: Callable[[int], float]
    stream: TextIO
    clock: Callable[[], float]
    started_s: float
    n_done: int = 0
    note: str = ""
    painted_s: float | None = None
    bar: RichProgress | None = field(default=None, repr=False)

    def update(self, n_done: int, note: str = "") -> None:
        self.n_done, self.note = n_done, note or self.note
        now_s = self.clock()
        every_s = BAR_EVERY_S if self.stream.isatty() else LINE_EVERY_S
        due_s = (
            self.started_s + SHOWN_AFTER_S if self.painted_s is None else self.painted_s + every_s
        )
        if now_s >= due_s:
            self._paint(now_s)

    def close(self) -> None:
        if self.painted_s is not None:
            self._paint(self.clock())
        if self.bar is not None:
            self.bar.stop()

    def _paint(self, now_s: float) -> None:
        self.painted_s = now_s
        if self.stream.isatty():
            self._paint_bar(now_s)
        else:
            self.stream.write(f"{self.label}: {self.n_done}/{self.n_total}, {self._tail(now_s)}\n")
            self.stream.flush()

    def _tail(self, now_s: float) -> str:
        """Time left at the mean pace so far, time gone, and the note."""
        elapsed_s, done = now_s - self.started_s, self.work(self.n_done)
        new, to_do = done - self.work(self.n_start), self.work(self.n_total) - done
        left_s = elapsed_s / new * max(to_do, 0.0) if new > 0 else None
        left = "unknown" if left_s is None else format_time_left(left_s)
        note = f", {self.note}" if self.note else ""
        return f"{format_time_left(elapsed_s)} gone, {left} left{note}"

    def _paint_bar(self, now_s: float) -> None:
        if self.bar is None:
            self.bar = _new_bar(self.stream)
            self.bar.start()
            self.bar.add_task(self.label, total=self.n_total, tail="")
        task = self.bar.task_ids[0]
        self.bar.update(task, completed=self.n_done, tail=self._tail(now_s), refresh=True)


def _new_bar(stream: TextIO) -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[tail]}", markup=False),
    )
    return RichProgress(*columns, console=Console(file=stream), auto_refresh=False)
