"""Search problems whose answers follow formulas, so that the optimum is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgekit.core.candidate import Candidate
from edgekit.core.figures import Conditions, Measured, MeasuredAccuracy
from edgekit.core.limits import Limits
from edgekit.search.costs import CostTable
from edgekit.search.evaluated import Evaluated
from edgekit.search.mbconv.contexts import N_CONTEXTS, SKIPPED
from edgekit.search.mbconv.costs import BlockTable
from edgekit.search.mbconv.space import OPERATIONS, SKIP, MBConvRecipe, MBConvSpace, Stage
from edgekit.search.protocol.loop import search
from edgekit.search.protocol.problem import Observed, Scores, SearchProblem, Strategy
from edgekit.search.run import problem_of
from edgekit.search.settings import OBJECTIVES, RunSettings
from edgekit.training.loop import TrainRecipe

CONDITIONS = Conditions("CPUExecutionProvider", 1, 20, 200, 14, 0, 0.1, 0.0, 1.0, "2026-01-01")
TINY = MBConvRecipe(32, 10, 16, 2, 16, (Stage(16, 2, 2), Stage(32, 2, 2)), 64)
N_IMAGES = 10_000
SETTINGS = RunSettings(
    data="digits",
    data_sha256="0",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    profile="",
    fingerprint="",
    reference_fast_s=(),
    target="local",
    space=TINY,
    training=TrainRecipe(n_epochs=2, batch_size=32, learning_rate=0.1, mirror=False),
    query=None,
    strategy="random",
    limits=Limits(latency_s=1.0),
    n_evaluations=3,
    population=2,
    n_table_networks=0,
    n_finalists=0,
    trial=None,
    seed=3,
)


def measured(latency_s: float) -> Measured:
    """A latency without noise."""
    return Measured(latency_s, latency_s, latency_s, latency_s, (latency_s,) * 2, CONDITIONS)


def evaluated(candidate: Candidate, top1: float, latency_s: float, size_bytes: int) -> Evaluated:
    """A candidate with these figures."""
    accuracy = MeasuredAccuracy(round(top1 * N_IMAGES), N_IMAGES, "validation")
    return Evaluated(candidate, accuracy, measured(latency_s), size_bytes)


def drawn(space: MBConvSpace, n: int, seed: int) -> list[Candidate]:
    """Random candidates, the first all fp32 and the second all int8; some may be equal."""
    genes = space.sample(n, np.random.default_rng(seed))
    for row, precision in zip(genes, (0, 1), strict=False):
        row[space.n_positions :] = precision
    return [Candidate(tuple(row)) for row in space.canonical(genes).tolist()]


def formula_table(space: MBConvSpace) -> BlockTable:
    """Larger operations cost more, int8 halves a block, a border between precisions costs 5 us."""
    latency_s = np.zeros((space.n_positions + 2, SKIPPED + N_CONTEXTS))
    size_bytes = np.zeros_like(latency_s)
    for block, code in np.ndindex(*latency_s.shape):
        operation, context = divmod(code, N_CONTEXTS)
        if operation == SKIP:
            continue
        before, own, after = context >> 3 & 1, context >> 2 & 1, int(context & 3 == 1)
        kernel, expansion = OPERATIONS[operation]
        work_s = 5e-6 * expansion * (1 + kernel * kernel / 25) * (1 + 0.1 * (block % 3))
        latency_s[block, code] = work_s / (1 + own) + 5e-6 * ((before != own) + (own != after))
        size_bytes[block, code] = 1000 * expansion * (1 + block) * (1 if own else 4)
    return BlockTable(space, latency_s, size_bytes, (0.9, 1.1))


def formula_top1(space: MBConvSpace, candidate: Candidate) -> float:
    """Additive in the blocks: size helps, int8 hurts, each block in its own way."""
    top1, n = 0.7, space.n_positions
    for block, operation in enumerate(candidate.genes[:n]):
        if operation == SKIP:
            continue
        kernel, expansion = OPERATIONS[operation]
        top1 += 0.006 * expansion * (1 + 0.5 * np.sin(block)) + 0.004 * kernel * np.cos(2 * block)
        top1 -= 0.012 * candidate.genes[n + 1 + block] * (1 + np.cos(block))
    return float(top1 - 0.01 * candidate.genes[n] - 0.005 * candidate.genes[-1])


def formula_evaluated(
    space: MBConvSpace, candidate: Candidate, table: CostTable | None = None
) -> Evaluated:
    """A candidate measured by the formulas, exactly as the table predicts it."""
    genes, table = np.array([candidate.genes]), table or formula_table(space)
    latency_s, size = table.latencies_s(genes)[0], table.sizes_bytes(genes)[0]
    return evaluated(candidate, formula_top1(space, candidate), float(latency_s), int(size))


def formula_problem(
    seed: int = 0,
    limits: Limits | None = None,
    n_evaluations: int = 40,
    population: int = 10,
    recipe: MBConvRecipe = TINY,
) -> SearchProblem:
    """A search whose figures follow the formulas."""
    space = MBConvSpace(recipe)
    limits, table = limits or Limits(), formula_table(space)
    return problem_of(
        space,
        table,
        limits,
        lambda candidate: formula_evaluated(space, candidate, table).values(
            OBJECTIVES, limits.quantile
        ),
        n_evaluations=n_evaluations,
        population=population,
        seed=seed,
    )


def with_scores(problem: SearchProblem, n: int = 2000) -> SearchProblem:
    """The same search with metrics: noise, the accuracy with noise, and one with gaps."""
    rng, space = np.random.default_rng(7), problem.space
    assert isinstance(space, MBConvSpace)
    genes = np.unique(space.sample(n, rng), axis=0)
    top1 = np.array([formula_top1(space, Candidate(tuple(row))) for row in genes.tolist()])
    noise = rng.normal(size=(len(genes), 3))
    values = np.stack([noise[:, 0], top1 + 0.02 * noise[:, 1], -top1 + 0.1 * noise[:, 2]], axis=1)
    values[rng.random(len(genes)) < 0.1, 2] = np.nan
    return replace(problem, scores=Scores(genes, ("noise", "good", "upside down"), values))


def searched(strategy: Strategy, problem: SearchProblem) -> list[Observed]:
    """The whole history of a search."""
    return list(search(problem, strategy))


def top1_of(entry: Observed) -> float:
    """The accuracy of an entry that did not fail."""
    assert entry.values
    return 1 - entry.values[0]


def best_top1(problem: SearchProblem, history: Sequence[Observed]) -> float:
    """The highest accuracy inside the limits, 0 where there is none."""
    best = problem.best(history)
    return top1_of(best) if best else 0.0


class Stop(Exception):
    """Raised by ``StoppingClock``."""


class StoppingClock:
    """Stops what shows its progress when the progress has read it so often."""

    def __init__(self, n_readings: int) -> None:
        self._n_left = n_readings

    def __call__(self) -> float:
        self._n_left -= 1
        if self._n_left < 0:
            raise Stop
        return 0.0
