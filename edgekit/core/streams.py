"""Standard output of a process, kept for edgekit's own lines."""

from __future__ import annotations

import os
import sys


def keep_stdout() -> None:
    """From now on ``sys.stdout`` alone writes to standard output.

    Native libraries (of execution providers, for example) print to file descriptor 1 as they
    like, and would break the one object that a reader expects there. What they print, and what
    child processes print, goes to standard error. Where standard output is closed, or the caller
    has put another stream in its place, nothing is done.

    Raises:
        OSError: standard error is closed.
    """
    before = sys.__stdout__
    if before is None or sys.stdout is not before:
        return
    before.flush()
    ours = os.fdopen(os.dup(1), "w", buffering=1, encoding=before.encoding, errors=before.errors)
    os.dup2(2, 1)
    sys.stdout = ours
