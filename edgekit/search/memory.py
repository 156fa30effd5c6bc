"""Peak memory of candidates, before it is measured: a line through some that were.

What a process takes is the runtime, the same for all networks, and the weights as it keeps them:
nearly a line over the size of the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.core.errors import InputError
from edgekit.core.files import read_json, write_json
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.devices.measuring.memory import known_memory_bytes
from edgekit.search.networks import Networks
from edgekit.search.protocol.problem import Floats

MEMORY_FILE = "memory.json"
_KIND, _SCHEMA = "edgekit-memory", 1
_N_NETWORKS = 12


@dataclass(frozen=True, slots=True)
class MemoryLine:
    """Peak memory over size.

    Attributes:
        at_zero_bytes: of a file of no bytes.
        per_byte: what each byte of a file adds.
    """

    at_zero_bytes: float
    per_byte: float

    def predicted_bytes(self, sizes_bytes: Floats) -> Floats:
        """Of files of these sizes."""
        return self.at_zero_bytes + self.per_byte * sizes_bytes


def memory_line(
    folder: Path, networks: Networks, target: Target, *, seed: int, progress: Progress
) -> MemoryLine:
    """The line of a run: some networks of its space are measured once, and it is kept.

    Args:
        folder: run folder.
        networks: of its space, lowered.
        target: where they run.
        seed: which networks.
        progress: where the bar is drawn.

    Raises:
        InputError: the system does not tell the peak of a process, or the file is damaged.
    """
    path = folder / MEMORY_FILE
    if not path.is_file():
        candidates = networks.table_candidates(_N_NETWORKS, seed)
        rows = []
        with progress.track(len(candidates), "measuring memory") as update:
            for n_done, candidate in enumerate(candidates, 1):
                model = networks.model(candidate)
                rows.append([model.ByteSize(), known_memory_bytes(model, target)])
                update(n_done)
        write_json(path, _KIND, _SCHEMA, {"sizes_and_peaks_bytes": rows})
    try:
        pairs = np.array(read_json(path, _KIND, _SCHEMA)["sizes_and_peaks_bytes"], np.float64)
        sizes, peaks = pairs.T
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{MEMORY_FILE} holds pairs of bytes, {path} does not ({error}); delete it to measure "
            "again"
        ) from error
    if len(np.unique(sizes)) < 2:
        return MemoryLine(float(np.median(peaks)), 0.0)
    slope, start = np.polyfit(sizes, peaks, 1)
    return MemoryLine(float(start), float(slope))
