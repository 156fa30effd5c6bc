"""What the operating system says about disturbance. Anything may be absent: then nan, never 0."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_STEAL_FIELD = 7
_GUEST_FIELD = 8


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Counters of the machine since it started, in clock ticks; nan where unknown.

    Attributes:
        total: all states, guest time not counted twice.
        steal: time the hypervisor gave to others.
    """

    total: float
    steal: float

    @classmethod
    def now(cls, stat: Path = Path("/proc/stat")) -> CpuTimes:
        """Read the counters."""
        try:
            fields = [int(word) for word in stat.read_text().split("\n", 1)[0].split()[1:]]
            return cls(float(sum(fields[:_GUEST_FIELD])), float(fields[_STEAL_FIELD]))
        except (OSError, ValueError, IndexError):
            return cls(float("nan"), float("nan"))

    def steal_share_since(self, earlier: CpuTimes) -> float:
        """Stolen share of the time between two readings, 0..1; nan where unknown."""
        elapsed = self.total - earlier.total
        return (self.steal - earlier.steal) / elapsed if elapsed > 0 else float("nan")


def load_1min() -> float:
    """1-minute load average; nan where unknown."""
    try:
        return os.getloadavg()[0]
    except OSError:
        return float("nan")


def pressure_avg10(path: Path = Path("/proc/pressure/cpu")) -> float:
    """Share of the last 10 s in which some task waited for a CPU, 0..1; nan where unknown."""
    try:
        words = path.read_text().split()
        return float(words[1].removeprefix("avg10=")) / 100
    except (OSError, ValueError, IndexError):
        return float("nan")
