"""The allocator settings, seen in a process of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys
import torch
from edgekit.training.memory import keep_freed_memory

if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit("no glibc")
for step in range(30):
    if step == 20:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 * 2**20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_freed_memory_is_not_faulted_in_again() -> None:
    n_faults = {mode: _run(mode) for mode in ("keep", "leave")}
    print(n_faults)
    assert n_faults["keep"] < n_faults["leave"] / 10


def _run(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", _FAULTS, mode], capture_output=True, text=True)
    if "no glibc" in done.stderr:
        pytest.skip("the C library is not glibc")
    return int(done.stdout)
