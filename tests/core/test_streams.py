"""Standard output stays ours whatever a native library prints."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edgekit.core.streams import keep_stdout

_SCRIPT = """
import ctypes, os, subprocess, sys
from edgekit.core.streams import keep_stdout
print("before")
keep_stdout()
os.write(1, b"a library\\n")
ctypes.CDLL(None).puts(b"a C library")
subprocess.run([sys.executable, "-c", "print('a child')"], check=True)
print("after")
"""


def test_only_our_lines_reach_standard_output() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n") == ["before", "after", ""]
    assert {"a library", "a C library", "a child"} <= set(done.stderr.split("\n"))


def test_a_closed_standard_output_is_left_alone() -> None:
    script = "import os, sys; os.close(1); sys.stdout = None\n"
    script += "from edgekit.core.streams import keep_stdout; keep_stdout()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_stream_of_the_caller_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout
    keep_stdout()
    assert sys.stdout is before
    print("ours")
    assert capsys.readouterr().out == "ours\n"
