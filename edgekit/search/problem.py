"""What every strategy is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.core.candidate import Candidate
from edgekit.core.figures import Measured, MeasuredAccuracy
from edgekit.core.limits import Limits
from edgekit.search.costs import CostTable
from edgekit.search.space import Genes, SearchSpace


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A candidate with its measured figures.

    Attributes:
        candidate: its genes.
        accuracy: on the validation split, int8 blocks simulated, weights as inherited from the
            supernet.
        latency: on the device, in the runtime.
        size_bytes: bytes of its serialised model.
        loss: mean cross-entropy on the calibration split in nats, where candidates are ranked by
            it.
    """

    candidate: Candidate
    accuracy: MeasuredAccuracy
    latency: Measured
    size_bytes: int
    loss: float | None = None

    @property
    def merit(self) -> float:
        """What candidates are ranked by, the more the better: top-1, or minus the loss."""
        return self.accuracy.top1 if self.loss is None else -self.loss

    def meets(self, limits: Limits) -> bool:
        """Whether the measured figures keep the limits."""
        return not limits.broken_by(self.latency.quantile_s(limits.quantile), self.size_bytes)


@dataclass(frozen=True, slots=True)
class SearchProblem:
    """A search, as a strategy sees it.

    Attributes:
        space: what may be chosen.
        table: predicted latency and size of any candidate.
        limits: walls on latency and size.
        n_evaluations: candidates that may be measured, above 0.
        population: candidates a strategy may ask for at once, above 0.
        seed: of every random choice.
        quantile_ratio: what a limit is about (p50, p90 or p99) over what the table predicts (the
            label, a low quantile), as measured so far; above 0.
    """

    space: SearchSpace
    table: CostTable
    limits: Limits
    n_evaluations: int
    population: int
    seed: int
    quantile_ratio: float = 1.0

    def rng(self, n_done: int) -> np.random.Generator:
        """Randomness after ``n_done`` evaluations, whether or not the search was resumed."""
        return np.random.default_rng((self.seed, n_done))

    def margins(self, genes: Genes) -> NDArray[np.float64]:
        """How far predicted latency and size are above the limits, relative to them.

        Args:
            genes: canonical genes ``(n, genes)``.

        Returns:
            ``(n, 2)`` float64, latency first; 0 and below is inside, -1 where there is no limit.
        """
        latency = self.quantile_ratio * self.table.latencies_s(genes)
        size = self.table.sizes_bytes(genes)
        limit_s, limit_bytes = self.limits.latency_s, self.limits.size_bytes
        over_s = latency / limit_s - 1 if limit_s else np.full(len(genes), -1.0)
        over_bytes = size / limit_bytes - 1 if limit_bytes else np.full(len(genes), -1.0)
        return np.stack([over_s, over_bytes], axis=1)


class Strategy(Protocol):
    """Chooses what to measure next.

    The loop is ``ask``, measure, add to the history, ``ask``, ... A strategy keeps no state: what
    it asks for follows from the problem and the history alone, so a search that was killed goes on
    as if nothing had happened.
    """

    def ask(self, problem: SearchProblem, history: Sequence[Evaluated]) -> list[Candidate]:
        """The next candidates to measure.

        Args:
            problem: the search.
            history: everything measured so far, in order.

        Returns:
            At most ``problem.population`` distinct candidates with canonical genes, none of them
            in the history; empty when there is nothing left to ask for.
        """
        ...


def fresh(genes: Genes, history: Sequence[Evaluated], n: int) -> list[Candidate]:
    """The first ``n`` distinct rows of ``(m, genes)`` canonical genes not measured yet."""
    seen = {entry.candidate for entry in history}
    rows = (Candidate(tuple(row)) for row in genes.tolist())
    distinct = dict.fromkeys(candidate for candidate in rows if candidate not in seen)
    return list(distinct)[: max(0, n)]


def front(entries: Sequence[Evaluated]) -> list[Evaluated]:
    """Measured entries that no other beats in top-1, p50 latency and size, fastest first."""

    def figures(entry: Evaluated) -> tuple[float, float, float]:
        return (-entry.accuracy.top1, entry.latency.p50_s, float(entry.size_bytes))

    def beaten(entry: Evaluated) -> bool:
        mine = figures(entry)
        return any(
            figures(other) != mine
            and all(a <= b for a, b in zip(figures(other), mine, strict=True))
            for other in entries
        )

    return sorted((e for e in entries if not beaten(e)), key=lambda e: e.latency.p50_s)
