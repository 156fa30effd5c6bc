"""ProxylessNAS: the most probable networks of a distribution that was learnt, at the limits.

Cai, Zhu & Han 2019 (arXiv 1812.00332); the training is ``edgekit.search.proxyless``. The paper
derives one network, the most probable one, whatever it costs. Here it is the most probable one
that is predicted inside the limits and within 2 % of one; where it turns out slower or faster than
predicted, the prediction of the others is corrected, and the next one follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.search.protocol.problem import Observed, SearchProblem, fresh

_NEAR = 0.02


@dataclass(frozen=True, slots=True)
class ProxylessStrategy:
    """Goes down ``SearchProblem.scores``, the logarithm of a probability."""

    def ask(self, problem: SearchProblem, history: Sequence[Observed]) -> list[Candidate]:
        """The next population; see ``Strategy``.

        Raises:
            InputError: the problem has no scores.
        """
        if problem.scores is None:
            raise InputError(
                "proxyless chooses by probabilities that it learns, the problem has none; give it "
                "scores"
            )
        genes, worth = problem.scores.genes, problem.scores.values[:, 0]
        above = problem.margins(genes, history).max(axis=1)
        is_near = (above <= 0) & (above >= -_NEAR)
        # Near ones by probability, then those farther inside, then those outside, nearest first.
        order = np.lexsort((-worth, np.maximum(above, 0), ~is_near))
        return fresh(genes[order], history, problem.n_next(history))
