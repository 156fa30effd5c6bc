"""Peak memory of a real process."""

from __future__ import annotations

import pytest

from edgekit.core.errors import InputError
from edgekit.core.target import Target
from edgekit.devices.measuring import memory
from edgekit.devices.measuring.memory import known_memory_bytes
from edgekit.devices.networks.graph import GraphBuilder
from tests.devices.real import need_peak_memory

WIDE, NARROW = 2048, 64


def model(width: int) -> bytes:
    net = GraphBuilder("dense", (1, width, 1, 1))
    return net.build(net.conv(net.input, width, 1)).SerializeToString()


def test_weights_are_in_the_peak_at_least_once() -> None:
    need_peak_memory()
    small, large = (known_memory_bytes(model(width), Target()) for width in (NARROW, WIDE))
    assert 0 < small < large
    assert large - small > 4 * (WIDE**2 - NARROW**2)


def test_a_system_that_does_not_say_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "run_job", lambda *_: None)
    with pytest.raises(InputError, match="this one does not; leave memory out"):
        known_memory_bytes(b"", Target())
