"""Search strategies, one file each, and the names they have on the command line."""

from __future__ import annotations

from edgekit.core.errors import InputError
from edgekit.search.mbconv.space import MBConvSpace
from edgekit.search.protocol.problem import Strategy
from edgekit.search.space import SearchSpace
from edgekit.search.strategies.bayes import BayesStrategy
from edgekit.search.strategies.evolution import EvolutionStrategy
from edgekit.search.strategies.exhaustive import ExhaustiveStrategy, check_listable
from edgekit.search.strategies.local import LocalSearchStrategy
from edgekit.search.strategies.nsga2 import NSGA2Strategy
from edgekit.search.strategies.proxyless import ProxylessStrategy
from edgekit.search.strategies.random import RandomStrategy
from edgekit.search.strategies.robot import RobotStrategy, by_rank
from edgekit.search.strategies.samplers import SamplerStrategy, gp, tpe
from edgekit.search.strategies.simq import SimQStrategy, published_model
from edgekit.search.strategies.warm import WarmStrategy

_ROBOT = RobotStrategy(by_rank, begins_equal=True)

STRATEGIES: dict[str, Strategy] = {
    "simq": SimQStrategy(),
    "simq-published": SimQStrategy(fit_error=published_model),
    "simq-warm": WarmStrategy(_ROBOT, SimQStrategy()),
    "robot": _ROBOT,
    "robot-published": RobotStrategy(),
    "proxyless": ProxylessStrategy(),
    "proxyless-reward": ProxylessStrategy(),
    "bayes": BayesStrategy(),
    "nsga2": NSGA2Strategy(),
    "evolution": EvolutionStrategy(),
    "local": LocalSearchStrategy(),
    "tpe": SamplerStrategy(tpe),
    "gp": SamplerStrategy(gp),
    "exhaustive": ExhaustiveStrategy(),
    "random": RandomStrategy(),
}

BY_GATES = frozenset({"proxyless", "proxyless-reward"})
"""Strategies whose ``SearchProblem.scores`` are probabilities, learnt with own weights a path."""

ALONE = BY_GATES | {"robot", "robot-published"}
"""Strategies of few evaluations: a candidate is trained alone for a while before it is judged."""

BY_METRICS = frozenset({"robot", "robot-published", "simq-warm"})
"""Strategies whose ``SearchProblem.scores`` are training-free metrics."""

BY_SCORES = BY_GATES | BY_METRICS
"""Strategies that need ``SearchProblem.scores``."""


def check_strategy(name: str, space: SearchSpace) -> None:
    """Raise InputError unless there is that strategy and it can search the space."""
    if isinstance(strategy_named(name), ExhaustiveStrategy):
        check_listable(space)
    if name in BY_GATES and not isinstance(space, MBConvSpace):
        raise InputError(
            f"{name} needs a space of operations with weights of their own, which is mbconv, got "
            f"{space.name}; take another strategy"
        )


def strategy_named(name: str) -> Strategy:
    """The strategy of that name.

    Raises:
        InputError: no such strategy; lists those there are.
    """
    if name not in STRATEGIES:
        raise InputError(f"a strategy is one of {', '.join(STRATEGIES)}, got {name!r}")
    return STRATEGIES[name]
