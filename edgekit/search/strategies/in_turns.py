"""One search for several devices: a strategy asks for each of them in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgekit.core.candidate import Candidate
from edgekit.search.protocol.problem import Floats, Observed, SearchProblem, Strategy
from edgekit.search.space import Genes


@dataclass(frozen=True, slots=True)
class InTurns:
    """Asks a strategy as if some of the objectives were all, a population for each such part.

    All parts learn from everything that was evaluated for any of them.

    Attributes:
        strategy: what is asked.
        parts: objectives of each part by their place, the first and its walls among them.

    Example: error, latency here, latency there, size; each device alone, then a compromise.
        >>> from edgekit.search.strategies import strategy_named
        >>> InTurns(strategy_named("random"), ((0, 1, 3), (0, 2, 3), (0, 1, 2, 3))).parts[1]
        (0, 2, 3)
    """

    strategy: Strategy
    parts: tuple[tuple[int, ...], ...]

    def ask(self, problem: SearchProblem, history: Sequence[Observed]) -> list[Candidate]:
        """The next of the part whose turn it is, or of the first after it that has some left."""
        turn, done = divmod(len(history), problem.population)
        for later in range(len(self.parts)):
            part = self.parts[(turn + later) % len(self.parts)]
            seen = [Observed(entry.candidate, _picked(entry, part)) for entry in history]
            asked = self.strategy.ask(_part(problem, part, problem.population - done), seen)
            if asked:
                return asked
        return []


def _part(problem: SearchProblem, part: tuple[int, ...], population: int) -> SearchProblem:
    def costs(genes: Genes) -> Floats:
        return problem.costs(genes)[:, part]

    objectives = tuple(problem.objectives[place] for place in part)
    return replace(problem, objectives=objectives, costs=costs, population=population)


def _picked(entry: Observed, part: tuple[int, ...]) -> tuple[float, ...] | None:
    values = entry.values
    return None if values is None else tuple(values[place] for place in part)
