"""NSGA-II over integer genes, with pymoo.

Deb, Pratap, Agarwal & Meyarivan 2002 (IEEE Trans. Evolutionary Computation 6(2)): non-dominated
sorting, crowding distance, binary tournaments, parents and children compete, constraints as in
their section VI. Genes name choices and have no order, so where the paper varies real numbers we
cross uniformly and draw a mutated gene anew from its choices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.core.candidate import Candidate
from edgekit.search.protocol.pool import drawn_inside
from edgekit.search.protocol.problem import Floats, Observed, SearchProblem, Values, fresh
from edgekit.search.space import Genes

Score = Callable[[Genes], tuple[Floats, Floats]]
"""Objectives ``(n, m)`` to minimise, and how far ``(n,)`` constraints are broken, 0 for not."""

Scored = tuple[Genes, Floats, Floats]
"""Rows of genes, their objectives and their violation."""

_CROSSOVER = 0.9
_MUTATED_GENES = 2.0
_UNKNOWN = 1e9
"""Objectives of what is not evaluated because it is predicted outside, or failed."""
_MOST_GENERATIONS = 200


def evolve(
    score: Score,
    start: Genes,
    n_choices: Sequence[int],
    *,
    n_generations: int,
    rng: np.random.Generator,
) -> Scored:
    """Evolve a population.

    Args:
        score: called with ``(n, genes)`` once at the start and once a generation.
        start: ``(n, genes)`` int64, the first population, distinct rows; its size stays.
        n_choices: choices of each gene; genes lie in ``0..n_choices - 1``.
        n_generations: generations after the first, 0 or more.
        rng: the only source of randomness.

    Returns:
        Everything that was scored, in order: genes ``(scored, genes)``, objectives ``(scored, m)``
        and violation ``(scored,)``. A row that died out may stand there again.
    """
    algorithm = _algorithm(start, n_choices, int(rng.integers(2**31)))
    seen = []
    for _ in range(n_generations + 1):
        asked = algorithm.ask()
        if asked is None:  # of a small space everything near was seen
            break
        genes = np.asarray(asked.get("X"), dtype=np.int64)
        objectives, violation = score(genes)
        seen.append((genes, objectives, violation))
        _tell(algorithm, asked, objectives, violation)
    genes, objectives, violation = (np.concatenate(part) for part in zip(*seen, strict=True))
    return genes, objectives, violation


@dataclass(frozen=True, slots=True)
class NSGA2Strategy:
    """NSGA-II on what was evaluated.

    Children that are predicted outside the limits, by what is predicted before anything was
    evaluated, are not evaluated: they take part with what the prediction breaks, and die out. The
    search is gone through again from its first population with every question.

    Attributes:
        n_alive: population, above 1.
    """

    n_alive: int = 10

    def ask(self, problem: SearchProblem, history: Sequence[Observed]) -> list[Candidate]:
        """The next population; see ``Strategy``."""
        n = problem.n_next(history)
        if not n:
            return []
        known = {entry.candidate: entry.values for entry in history}
        start = drawn_inside(problem, [])[: self.n_alive]
        seed = int(problem.rng(0).integers(2**31))
        algorithm = _algorithm(start, problem.space.n_choices, seed)
        for _ in range(_MOST_GENERATIONS):
            asked = algorithm.ask()
            if asked is None:
                break
            genes = problem.space.canonical(np.asarray(asked.get("X"), dtype=np.int64))
            margins = problem.margins(genes)
            inside = genes[(margins <= 0).all(axis=1)]
            wanted = [c for c in fresh(inside, [], len(inside)) if c not in known]
            if wanted:
                return wanted[:n]
            values = [known.get(Candidate(tuple(row))) for row in genes.tolist()]
            _tell(algorithm, asked, *_judged(problem, values, margins))
        return fresh(drawn_inside(problem, history), history, n)


def _judged(
    problem: SearchProblem, values: Sequence[Values | None], margins: Floats
) -> tuple[Floats, Floats]:
    """Objectives and violation of evaluated rows, and of those that were not or failed."""
    none = (_UNKNOWN,) * len(problem.objectives)
    objectives = np.array([none if v is None else v for v in values], dtype=np.float64)
    limits = np.array([objective.limit for objective in problem.objectives])
    measured = (objectives / limits - 1).clip(min=0).sum(axis=1)
    predicted = margins.clip(min=0).sum(axis=1)
    is_unknown = np.array([v is None for v in values])
    return objectives, np.where(is_unknown, 1 + predicted, measured)


def _algorithm(start: Genes, n_choices: Sequence[int], seed: int) -> Any:
    """Pymoo's NSGA-II, ready to be asked; seeded, without output."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.mutation import Mutation
    from pymoo.core.problem import Problem
    from pymoo.core.termination import NoTermination
    from pymoo.operators.crossover.ux import UniformCrossover

    class Redraw(Mutation):  # type: ignore[misc]
        """Draws some genes anew from their choices."""

        def _do(self, problem: Any, X: Any, random_state: Any = None, **kwargs: Any) -> Any:
            changed = random_state.random(X.shape) < _MUTATED_GENES / X.shape[1]
            return np.where(changed, random_state.integers(0, n_choices, X.shape), X)

    algorithm = NSGA2(
        pop_size=len(start),
        sampling=start,
        crossover=UniformCrossover(prob=_CROSSOVER),
        mutation=Redraw(),
    )
    highest = np.array(n_choices) - 1
    problem = Problem(n_var=len(n_choices), n_obj=2, n_ieq_constr=1, xl=0, xu=highest, vtype=int)
    return algorithm.setup(problem, termination=NoTermination(), seed=seed, verbose=False)


def _tell(algorithm: Any, asked: Any, objectives: Floats, violation: Floats) -> None:
    asked.set("F", objectives)
    asked.set("G", violation[:, None])
    for individual in asked:
        individual.evaluated = {"F", "G"}
    algorithm.tell(infills=asked)
