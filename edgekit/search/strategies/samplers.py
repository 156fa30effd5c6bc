"""Optuna's samplers as strategies: tree-structured Parzen estimators and a Gaussian process.

Bergstra, Bardenet, Bengio & Kegl 2011 (TPE); Optuna's ``GPSampler``. Both see genes as choices
without an order, and the first objective of what was evaluated inside the limits. A suggestion
that was evaluated before is told again, and one that is predicted outside the limits is told as
the worst seen, so that the next one differs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekit.core.candidate import Candidate
from edgekit.search.protocol.pool import drawn_inside
from edgekit.search.protocol.problem import Observed, SearchProblem, fresh, succeeded

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

_MOST_REPEATS = 20


def tpe(seed: int, n_start: int) -> BaseSampler:
    """Optuna's TPE over all genes together."""
    from optuna.samplers import TPESampler

    return TPESampler(seed=seed, n_startup_trials=n_start, multivariate=True)


def gp(seed: int, n_start: int) -> BaseSampler:
    """Optuna's Gaussian process with expected improvement."""
    from optuna.samplers import GPSampler

    return GPSampler(seed=seed, n_startup_trials=n_start, deterministic_objective=True)


@dataclass(frozen=True, slots=True)
class SamplerStrategy:
    """One of Optuna's samplers.

    Attributes:
        sampler: of a seed and the number of evaluations it begins to learn from.
        n_start: random candidates inside the limits that come first, above 0.
    """

    sampler: Callable[[int, int], BaseSampler]
    n_start: int = 10

    def ask(self, problem: SearchProblem, history: Sequence[Observed]) -> list[Candidate]:
        """The next population; see ``Strategy``."""
        n = problem.n_next(history)
        drawn = fresh(drawn_inside(problem, history), history, n)
        if not n or len(history) < self.n_start or not succeeded(history):
            return drawn[: max(1, self.n_start - len(history))]
        suggested = self._suggested(problem, history, n)
        return (suggested + [c for c in drawn if c not in suggested])[:n]

    def _suggested(
        self, problem: SearchProblem, history: Sequence[Observed], n: int
    ) -> list[Candidate]:
        space = problem.space
        worst = max(entry.values[0] for entry in history if entry.values is not None)
        known = {
            entry.candidate: entry.values[0] if entry.values and problem.keeps(entry) else worst
            for entry in history
        }
        found: list[Candidate] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # experimental features
            study = self._study(problem, known)
            for _ in range(n + _MOST_REPEATS):
                if len(found) == n:
                    break
                trial = study.ask(_distributions(problem))
                raw = np.array([[trial.params[name] for name in space.gene_names]])
                candidate = Candidate(tuple(space.canonical(raw)[0].tolist()))
                inside = (problem.margins(np.array([candidate.genes])) <= 0).all()
                if inside and candidate not in known:
                    found.append(candidate)
                study.tell(trial, known.setdefault(candidate, worst))
        return found

    def _study(self, problem: SearchProblem, known: dict[Candidate, float]) -> Study:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        seed = int(problem.rng(len(known)).integers(2**31))
        study = optuna.create_study(sampler=self.sampler(seed, self.n_start))
        distributions = _distributions(problem)
        for candidate, value in known.items():
            params = dict(zip(distributions, candidate.genes, strict=True))
            study.add_trial(
                optuna.trial.create_trial(params=params, distributions=distributions, value=value)
            )
        return study


def _distributions(problem: SearchProblem) -> dict[str, BaseDistribution]:
    from optuna.distributions import CategoricalDistribution

    space = problem.space
    return {
        name: CategoricalDistribution(tuple(range(n)))
        for name, n in zip(space.gene_names, space.n_choices, strict=True)
    }
