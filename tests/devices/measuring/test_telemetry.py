"""Counters of the machine; what is absent is nan."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from edgekit.devices.measuring.telemetry import CpuTimes, load_1min, pressure_avg10


def test_steal_share_between_two_readings(tmp_path: Path):
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 0 50 800 10 0 0 40 7 0\ncpu0 1 2 3\n")
    before = CpuTimes.now(stat)
    stat.write_text("cpu  140 0 60 840 10 0 0 50 9 0\ncpu0 1 2 3\n")
    assert before == CpuTimes(1000.0, 40.0)
    assert CpuTimes.now(stat).steal_share_since(before) == pytest.approx(0.1)


def test_absent_counters_are_nan(tmp_path: Path):
    nothing = CpuTimes.now(tmp_path / "none")
    assert math.isnan(nothing.steal)
    assert math.isnan(CpuTimes.now().steal_share_since(nothing))
    assert math.isnan(pressure_avg10(tmp_path / "none"))


def test_pressure_is_a_share(tmp_path: Path):
    path = tmp_path / "cpu"
    path.write_text("some avg10=99.50 avg60=80.00 avg300=20.00 total=12\nfull avg10=0.00\n")
    assert pressure_avg10(path) == pytest.approx(0.995)


def test_load_of_this_machine():
    assert load_1min() >= 0
