"""Search strategies, one file each, and the names they have on the command line."""

from __future__ import annotations

from edgekit.core.errors import InputError
from edgekit.search.problem import Strategy
from edgekit.search.strategies.random import RandomStrategy
from edgekit.search.strategies.simq import SimQStrategy, published_model

STRATEGIES: dict[str, Strategy] = {
    "random": RandomStrategy(),
    "simq": SimQStrategy(),
    "simq-published": SimQStrategy(fit_accuracy=published_model),
}


def strategy_named(name: str) -> Strategy:
    """The strategy of that name.

    Raises:
        InputError: no such strategy; lists those there are.
    """
    if name not in STRATEGIES:
        raise InputError(f"a strategy is one of {', '.join(STRATEGIES)}, got {name!r}")
    return STRATEGIES[name]
