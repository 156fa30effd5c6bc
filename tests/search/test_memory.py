"""The line that predicts peak memory, through networks that are really measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.devices.measuring.memory import known_memory_bytes
from edgekit.search.mbconv.networks import MBConvNetworks
from edgekit.search.mbconv.space import MBConvRecipe, MBConvSpace
from edgekit.search.memory import MEMORY_FILE, MemoryLine, memory_line
from tests.devices.real import need_peak_memory

QUIET = Progress(quiet=True)
SPACE = MBConvSpace(MBConvRecipe.for_task(64, 10))


def test_a_line_through_some_networks_tells_others(tmp_path: Path) -> None:
    need_peak_memory()
    networks = MBConvNetworks(SPACE)

    def made() -> MemoryLine:
        return memory_line(tmp_path, networks, Target(), seed=0, progress=QUIET)

    line, kept = made(), (tmp_path / MEMORY_FILE).read_bytes()
    assert made() == line
    assert (tmp_path / MEMORY_FILE).read_bytes() == kept
    others = SPACE.sample(4, np.random.default_rng(5)).tolist()
    for genes in (list(SPACE.largest().genes), *others):
        model = networks.model(Candidate(tuple(genes)))
        (predicted,) = line.predicted_bytes(np.array([float(model.ByteSize())]))
        assert predicted == pytest.approx(known_memory_bytes(model, Target()), rel=0.15)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    header = '{"kind": "edgekit-memory", "schema_version": 1, "sizes_and_peaks_bytes": [[1, "x"]]}'
    (tmp_path / MEMORY_FILE).write_text(header)
    with pytest.raises(InputError, match="holds pairs of bytes"):
        memory_line(tmp_path, MBConvNetworks(SPACE), Target(), seed=0, progress=QUIET)
