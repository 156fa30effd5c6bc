"""What every strategy is given, and what it gives back.

problem + history --> ask --> candidates --> evaluate --> history --> ask --> ...
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.core.candidate import Candidate
from edgekit.search.space import Genes, SearchSpace

Floats = NDArray[np.float64]

_CHUNK = 64

Values = tuple[float, ...]
"""Of each objective of a problem, in its order; all are to be small."""


@dataclass(frozen=True, slots=True)
class Objective:
    """A figure that a search makes small.

    Attributes:
        name: such as ``"error"`` or ``"latency_s"``.
        limit: the wall, above 0; infinite for none.
    """

    name: str
    limit: float = math.inf


@dataclass(frozen=True, slots=True)
class Observed:
    """A candidate and what its evaluation gave.

    Attributes:
        candidate: its genes.
        values: of the objectives; None where the evaluation failed.
    """

    candidate: Candidate
    values: Values | None


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Training-free metrics of a pool of candidates.

    Attributes:
        genes: ``(candidates, genes)`` int64, canonical, distinct.
        names: of the metrics.
        values: ``(candidates, metrics)`` float64, NaN where a metric has no value.
    """

    genes: Genes
    names: tuple[str, ...]
    values: Floats


def _not_told(candidates: Sequence[Candidate]) -> None:
    pass


@dataclass(frozen=True, slots=True)
class SearchProblem:
    """A search, as a strategy sees it.

    Attributes:
        space: what may be chosen.
        objectives: what is made small; the first has no prediction as a rule and is what one
            network is chosen by, such as the error.
        costs: what is predicted of canonical genes ``(n, genes)``: ``(n, objectives)`` float64,
            NaN for what only an evaluation tells.
        evaluate: the values of one candidate; raises ``EvaluationFailed`` where it has none.
        n_evaluations: candidates that may be evaluated, above 0.
        population: candidates a strategy may ask for at once, above 0.
        seed: of every random choice.
        max_seconds: of evaluations; infinite for no end.
        scores: metrics of a pool, for strategies that choose by them; None without any.
        ahead: told what will be evaluated next, in that order, so that work on it may begin.
    """

    space: SearchSpace
    objectives: tuple[Objective, ...]
    costs: Callable[[Genes], Floats]
    evaluate: Callable[[Candidate], Values]
    n_evaluations: int
    population: int
    seed: int
    max_seconds: float = math.inf
    scores: Scores | None = None
    ahead: Callable[[Sequence[Candidate]], None] = _not_told

    def rng(self, n_done: int) -> np.random.Generator:
        """Randomness after ``n_done`` evaluations, whether or not the search was resumed."""
        return np.random.default_rng((self.seed, n_done))

    def n_next(self, history: Sequence[Observed]) -> int:
        """Candidates that may be asked for now; 0 where the budget is used up."""
        return max(0, min(self.population, self.n_evaluations - len(history)))

    def predicted(self, genes: Genes, history: Sequence[Observed] = ()) -> Floats:
        """Costs, corrected by the median ratio of what was evaluated to what was predicted.

        Args:
            genes: canonical genes ``(n, genes)``.
            history: everything evaluated so far.

        Returns:
            ``(n, objectives)`` float64, NaN for what only an evaluation tells.
        """
        return self.costs(genes) * self._corrections(history)

    def margins(self, genes: Genes, history: Sequence[Observed] = ()) -> Floats:
        """How far what is predicted lies above the limits, relative to them.

        Args:
            genes: canonical genes ``(n, genes)``.
            history: everything evaluated so far.

        Returns:
            ``(n, objectives)`` float64; 0 and below is inside, -1 where there is no limit or no
            prediction.
        """
        limits = np.array([objective.limit for objective in self.objectives])
        margins = self.predicted(genes, history) / limits - 1
        return np.where(np.isnan(margins), -1.0, margins)

    def keeps(self, entry: Observed) -> bool:
        """Whether what was evaluated is inside every limit."""
        return entry.values is not None and all(
            value <= objective.limit
            for value, objective in zip(entry.values, self.objectives, strict=True)
        )

    def best(self, history: Sequence[Observed]) -> Observed | None:
        """The smallest first objective inside the limits, the earlier of equals."""
        inside = [entry for entry in history if self.keeps(entry)]
        return min(inside, key=_first_value) if inside else None

    def _corrections(self, history: Sequence[Observed]) -> Floats:
        done = succeeded(history)
        if not done:
            return np.ones(len(self.objectives))
        predicted = self.costs(genes_of(done))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = values_of(done) / predicted
        ratios = np.where(np.isfinite(ratios) & (ratios > 0), ratios, 1.0)
        return np.asarray(np.median(ratios, axis=0))


def _first_value(entry: Observed) -> float:
    assert entry.values is not None
    return entry.values[0]


class Strategy(Protocol):
    """Chooses what to evaluate next.

    The loop is ``ask``, evaluate, add to the history, ``ask``, ... (``protocol.loop``). A strategy
    keeps no state: what it asks for follows from the problem and the history alone, so a search
    that was killed goes on as if nothing had happened.
    """

    def ask(self, problem: SearchProblem, history: Sequence[Observed]) -> list[Candidate]:
        """The next candidates to evaluate.

        Args:
            problem: the search.
            history: everything evaluated so far, in order, failures too.

        Returns:
            At most ``problem.population`` distinct candidates with canonical genes, none of them
            in the history; inside the limits as far as that can be predicted, while such are left;
            empty when there is nothing left to ask for.
        """
        ...


def fresh(genes: Genes, history: Sequence[Observed], n: int) -> list[Candidate]:
    """The first ``n`` distinct rows of ``(m, genes)`` canonical genes not evaluated yet."""
    seen = {entry.candidate for entry in history}
    found: dict[Candidate, None] = {}
    for start in range(0, len(genes), _CHUNK):
        for row in genes[start : start + _CHUNK].tolist():
            if len(found) >= n:
                return list(found)
            candidate = Candidate(tuple(row))
            if candidate not in seen:
                found[candidate] = None
    return list(found)


def succeeded(history: Sequence[Observed]) -> list[Observed]:
    """Without the failures."""
    return [entry for entry in history if entry.values is not None]


def genes_of(history: Sequence[Observed]) -> Genes:
    """``(n, genes)`` int64 of at least one entry."""
    return np.array([entry.candidate.genes for entry in history])


def values_of(history: Sequence[Observed]) -> Floats:
    """``(n, objectives)`` float64 of at least one entry, none of which failed."""
    return np.array([entry.values for entry in history], dtype=np.float64)
