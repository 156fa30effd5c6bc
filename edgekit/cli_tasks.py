"""What verbs do with the data and the places they are given."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.errors import InputError
from edgekit.core.progress import Progress

if TYPE_CHECKING:
    from edgekit.core.task import Task


def check_out(path: Path) -> None:
    """Refuse, before the work begins, a place that nothing can be written to."""
    there = path.absolute()
    while not there.exists():
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise InputError(
            f"a result needs a folder that can be written to, {there} is none; choose another"
        )


def check_data(data: str) -> None:
    """Refuse, before the work begins, data that are not there."""
    if data != "digits" and not Path(data).exists():
        raise InputError(
            f"--data is 'digits', a folder of class folders or parquet, {data!r} is not there"
        )


def load(data: str, seed: int, resolution: int | None, progress: Progress) -> Task:
    """The task, with a word on stderr about images that could not be read."""
    from edgekit.core.task import load_task

    task = load_task(data, seed=seed, resolution=resolution, progress=progress)
    if task.n_skipped:
        names = "; ".join(task.skipped[:3])
        print(f"edgekit: {task.n_skipped} images could not be read: {names}", file=sys.stderr)
    return task


def normalised(task: Task, mean: str | None, std: str | None) -> Task:
    """The task with the mean and standard deviation that a pretrained module expects."""
    if mean is None and std is None:
        return task
    if mean is None or std is None:
        raise InputError("--mean and --std belong together, got one of them; give both")
    return task.normalised(_triple("--mean", mean), _triple("--std", std))


def _triple(option: str, text: str) -> tuple[float, float, float]:
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"{option} is three numbers joined by commas, got {text!r}") from error
    return red, green, blue


def command_line() -> str:
    """The command that runs, as it is typed."""
    return shlex.join(["edgekit", *sys.argv[1:]])
