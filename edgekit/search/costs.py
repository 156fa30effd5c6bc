"""What candidates cost, before they are measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.core.candidate import Candidate
from edgekit.core.figures import Predicted
from edgekit.core.kernel import Kernel
from edgekit.devices.predicting.predictor import KernelPredictor
from edgekit.search.space import Genes

Floats = NDArray[np.float64]


class CostTable(ABC):
    """Predicted latency and size of any candidate of a space, as fast as they can be gathered."""

    relative_interval: tuple[float, float]
    """Bounds of the predictor's 90 % interval, relative to the latency."""

    unknown_ops: tuple[str, ...] = ()
    """Operators that the profile does not know: priced as operators are on the whole."""

    @abstractmethod
    def latencies_s(self, genes: Genes) -> Floats:
        """Latency of each row of canonical genes ``(n, genes)``, in seconds ``(n,)`` float64."""

    @abstractmethod
    def sizes_bytes(self, genes: Genes) -> Floats:
        """File size of each row of canonical genes ``(n, genes)``, in bytes ``(n,)`` float64."""

    @abstractmethod
    def block_latencies_s(self, candidate: Candidate) -> dict[str, float]:
        """Latency of each active block of a candidate, by name, in seconds; the sum is its own."""

    def predicted(self, candidate: Candidate) -> Predicted:
        """One candidate's latency with its 90 % interval, and the unknown operators."""
        latency = float(self.latencies_s(np.array([candidate.genes]))[0])
        low, high = self.relative_interval
        return Predicted(latency, (latency * low, latency * high), self.unknown_ops)


class LoweredSpace(Protocol):
    """What the runtime runs for the candidates of a space."""

    def of(self, candidate: Candidate) -> list[Kernel]:
        """The kernels of a candidate, in execution order, without lowering it."""

    def priced(self, predictor: KernelPredictor) -> CostTable:
        """The table of costs; none is zero.

        Raises:
            InputError: an operator of a built-in space has no cost.
        """

    def save(self, folder: Path) -> None:
        """Keep it in a run folder: lowering takes a while, a run never changes its runtime."""
