"""Strategies on NAS-Bench-201, where every answer is known.

    python -m tests.benchmarks.bench_nb201 --data DATA --work build/nb201 --part robot --out robot.json

DATA holds ``nas/nb201.parquet``, ``latency/nb201.parquet`` and ``cifar10/``. The objective is the validation accuracy on
CIFAR-10 after 12 epochs; test accuracies are read once, for what a search picked. One query is one cell whose
accuracy is asked for; asking again costs nothing. ``--part``:

robot   20 queries in a pool whose metrics edgekit computes (kept in the work folder), of which each seed has a random half:
        regret to the best test accuracy of that half, rank of the pick in it; the rank correlation of each metric with
        the test table. CIFAR-100 is judged by its own test column with the metrics and queries of CIFAR-10.
free    without metrics, all 15,625 cells: queries until the cell of the best validation accuracy.
limits  a device's latency as a wall at shares of its range: regret in validation accuracy to the best cell inside.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import bootstrap, spearmanr
from torch import nn

from edgekit.core.candidate import Candidate
from edgekit.core.progress import Progress
from edgekit.core.task import load_task
from edgekit.search.metrics.scoring import score, table_of
from edgekit.search.nb201.network import CellNetwork
from edgekit.search.nb201.space import NB201Space
from edgekit.search.nb201.tables import CellTable, load_column, tabular_problem
from edgekit.search.protocol.loop import search
from edgekit.search.protocol.pool import enumerated
from edgekit.search.protocol.problem import (
    Floats,
    Observed,
    Scores,
    SearchProblem,
    Strategy,
    fresh,
)
from edgekit.search.space import Genes
from edgekit.search.strategies import BY_SCORES, STRATEGIES
from edgekit.search.strategies.robot import RobotStrategy, by_extremes, by_rank
from edgekit.training.augment import to_tensor

SPACE = NB201Space()
PUBLISHED_METRICS = ("grad_norm", "snip", "grasp", "fisher", "synflow", "jacob_cov")
DEVICES, SHARES = ("raspi4", "pixel3"), (0.25, 0.5, 0.75)
TESTS = ("cifar10", "cifar100")
N_QUERIES = 20
ALL_FOUR = RobotStrategy(by_rank, lowest_weight=0.0, begins_equal=True, learns_noise=True)
Row = dict[str, Any]


def main() -> None:
    """Print the table of a part, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part", choices=("robot", "free", "limits"), required=True)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--pool", type=int, default=1000, help="cells with metrics")
    parser.add_argument("--initialisations", type=int, default=1)
    parser.add_argument("--most-queries", type=int, default=300, help="of the part free")
    parser.add_argument("--strategies", help="names, with commas; default: all")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    part = {"robot": with_metrics, "free": without_metrics, "limits": with_limits}[given.part]
    rows = part(given)
    given.out.write_text(json.dumps(rows, indent=1))


def validation(data: Path) -> CellTable:
    """1 minus the validation accuracy after 12 epochs."""
    percent = load_column(data / "nas" / "nb201.parquet", "val_acc_cifar10_ep12").figures
    return CellTable(1 - percent / 100)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % of the mean, by bootstrap; the value itself where all are equal."""
    if len(set(values)) == 1:
        return values[0], values[0]
    found = bootstrap((np.array(values),), np.mean, rng=0, method="percentile")
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def chosen(given: argparse.Namespace, names: Sequence[str]) -> list[str]:
    """The strategies that were asked for."""
    wanted = given.strategies.split(",") if given.strategies else names
    return [name for name in names if name in wanted]


# Part robot


class Ranked:
    """Goes down a ranking of the pool."""

    def __init__(self, genes: Genes, merit: Floats) -> None:
        self._order = genes[np.argsort(-merit, kind="stable")]

    def ask(self, problem: SearchProblem, history: Sequence[Observed]) -> list[Candidate]:
        """The next of the ranking."""
        return fresh(self._order, history, problem.n_next(history))


SPACE_GENES = np.concatenate(list(enumerated(SPACE)))


def pool_scores(given: argparse.Namespace) -> Scores:
    """Metrics of a seeded pool, on one batch of 64 CIFAR-10 images."""
    rng = np.random.default_rng(2024)
    genes = SPACE_GENES[np.sort(rng.choice(len(SPACE_GENES), given.pool, replace=False))]
    task = load_task(str(given.data / "cifar10"), seed=0, resolution=32)
    batch = task.train.evenly(64)
    x, y = to_tensor(batch.images, task.preprocessing), torch.from_numpy(batch.labels)
    cells = [Candidate(tuple(row)) for row in genes.tolist()]
    seeds = range(given.initialisations)
    return table_of(genes, score(cells, _built, x, y, seeds=seeds, folder=given.work))


def _built(candidate: Candidate, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return CellNetwork(candidate, 10).train()


def robots(scores: Scores) -> Iterator[tuple[str, Strategy, Scores]]:
    """RoBoT as published, each improvement alone, and together; with six and with all metrics."""
    six = [scores.names.index(name) for name in PUBLISHED_METRICS]
    few = Scores(scores.genes, PUBLISHED_METRICS, scores.values[:, six])
    yield "RoBoT as published, 6 metrics", RobotStrategy(), few
    yield "  ranks instead of extremes", RobotStrategy(by_rank), few
    yield "  equal weights first", RobotStrategy(begins_equal=True), few
    yield "  weights in 0..1", RobotStrategy(lowest_weight=0.0), few
    yield "  noise fitted", RobotStrategy(learns_noise=True), few
    yield "  ranks, weights in 0..1", RobotStrategy(by_rank, lowest_weight=0.0), few
    yield "  ranks, noise fitted", RobotStrategy(by_rank, learns_noise=True), few
    yield "robot, 6 metrics", STRATEGIES["robot"], few
    yield "all four, 6 metrics", ALL_FOUR, few
    yield "RoBoT as published, 10 metrics", RobotStrategy(), scores
    yield "  ranks, 10 metrics", RobotStrategy(by_rank), scores
    yield "robot, 10 metrics", STRATEGIES["robot"], scores
    yield "all four, 10 metrics", ALL_FOUR, scores
    equal = by_extremes(few.values).sum(axis=1)
    yield "equal weights, 6 metrics", Ranked(few.genes, equal), few
    for index, name in enumerate(scores.names):
        merit = np.nan_to_num(scores.values[:, index], nan=-np.inf)
        yield f"{name} alone", Ranked(scores.genes, merit), scores
    for name in ("random", "evolution", "local", "tpe", "gp", "bayes"):
        yield name, STRATEGIES[name], scores


def with_metrics(given: argparse.Namespace) -> Row:
    """The part robot."""
    whole, error = pool_scores(given), validation(given.data)
    path = given.data / "nas" / "nb201.parquet"
    tables = {name: load_column(path, f"test_acc_{name}") for name in TESTS}
    correlations = {
        metric: {name: _spearman(column, t.of(whole.genes)) for name, t in tables.items()}
        for metric, column in zip(whole.names, whole.values.T, strict=True)
    }
    for metric, found in correlations.items():
        print(f"Spearman with the test table  {metric:>10}  " + _of_each(found, "{:.3f}"))
    rows: dict[str, list[Row]] = {}
    with Progress().track(given.seeds, "searching") as update:
        for seed in range(given.seeds):
            half = _half(whole, seed)
            for name, strategy, known in robots(half):
                rows.setdefault(name, []).append(
                    _picked(strategy, known, error, tables, seed=seed, pool=half.genes)
                )
            update(seed + 1)
    for name, found_rows in rows.items():
        _print_picks(name, found_rows)
    return {"spearman": correlations, "rows": rows, "pool": len(whole.genes)}


def _half(scores: Scores, seed: int) -> Scores:
    """A random half of a pool: another search for each seed."""
    n = len(scores.genes)
    kept = np.sort(np.random.default_rng((seed, 1)).choice(n, n // 2, replace=False))
    return Scores(scores.genes[kept], scores.names, scores.values[kept])


def _picked(
    strategy: Strategy,
    known: Scores,
    error: CellTable,
    tables: dict[str, CellTable],
    *,
    seed: int,
    pool: Genes,
) -> Row:
    """Regrets in points to the best of the pool, and the rank of the pick in it."""
    # The pool as a wall, which every strategy knows before it asks.
    outside = CellTable(np.ones(len(error.figures)))
    outside.figures[np.ravel_multi_index(pool.T, SPACE.n_choices)] = 0.1
    problem = tabular_problem(error, outside, limit_s=0.5, n_evaluations=N_QUERIES, seed=seed)
    problem = replace(problem, scores=known)
    history = list(search(problem, strategy))
    best = problem.best(history)
    assert best is not None
    assert best.values is not None
    pick = np.array([best.candidate.genes])
    row: Row = {"queries": len(history)}
    row["validation"] = 100 * float(best.values[0] - error.of(pool).min())
    for task, table in tables.items():
        every, mine = table.of(pool), float(table.of(pick)[0])
        row[task] = {"regret": float(every.max() - mine), "rank": int((every > mine).sum()) + 1}
    return row


def _spearman(metric: Floats, test: Floats) -> float:
    """Cells without a value are last."""
    filled = np.where(np.isnan(metric), np.nanmin(metric) - 1, metric)
    return float(spearmanr(filled, test).statistic)


def _of_each(values: dict[str, float], form: str) -> str:
    return "  ".join(f"{name} {form.format(value)}" for name, value in values.items())


def _print_picks(name: str, rows: Sequence[Row]) -> None:
    seen = np.mean([row["validation"] for row in rows])
    for task in TESTS:
        regret = [row[task]["regret"] for row in rows]
        low, high = interval(regret)
        rank = np.median([row[task]["rank"] for row in rows])
        print(
            f"{name:>32}  {task:>8}: regret {np.mean(regret):.2f} ({low:.2f} to {high:.2f}), "
            f"worst seed {max(regret):.2f}, median rank {rank:.0f}; validation regret {seen:.2f}",
            flush=True,
        )


# Part free


def without_metrics(given: argparse.Namespace) -> Row:
    """Queries until the best cell is found."""
    error = validation(given.data)
    best = float(error.figures.min())
    names = [n for n in STRATEGIES if n not in {"exhaustive", *BY_SCORES}]
    rows = {}
    for name in chosen(given, names):
        population = 10 if name in ("simq", "simq-published") else 1
        problem = partial(
            tabular_problem, error, n_evaluations=given.most_queries, population=population
        )
        rows[name] = [
            _queries_to(best, problem(seed=seed), STRATEGIES[name]) for seed in range(given.seeds)
        ]
        found = np.array(rows[name], dtype=np.float64)
        missed = np.isnan(found).sum()
        middle = np.median(np.where(np.isnan(found), np.inf, found))
        print(
            f"{name:>16}: median {middle:.1f} queries, 90 % of seeds within "
            f"{np.quantile(np.where(np.isnan(found), np.inf, found), 0.9, method='higher'):.0f}; "
            f"not within {given.most_queries}: {missed} of {given.seeds}",
            flush=True,
        )
    n_cells = len(SPACE_GENES)
    print(f"{'random':>16}: median {(n_cells + 1) / 2:.0f}, by counting")
    return {"most_queries": given.most_queries, "queries": rows}


def _queries_to(best: float, problem: SearchProblem, strategy: Strategy) -> float:
    for index, entry in enumerate(search(problem, strategy), 1):
        if entry.values and entry.values[0] == best:
            return index
    return float("nan")


# Part limits


def with_limits(given: argparse.Namespace) -> Row:
    """Regret to the best cell inside a wall on latency."""
    error, cells = validation(given.data), given.data / "nas" / "nb201.parquet"
    names = [n for n in STRATEGIES if n not in {"exhaustive", *BY_SCORES}]
    rows = []
    for device, share in product(DEVICES, SHARES):
        table = load_column(cells, device, given.data / "latency" / "nb201.parquet")
        latency_s = CellTable(table.figures / 1000)
        low, high = latency_s.figures.min(), latency_s.figures.max()
        limit_s = float(low + share * (high - low))
        inside = latency_s.figures <= limit_s
        best = error.figures[inside].min()
        for name in chosen(given, names):
            regrets = [
                100 * (_best_error(error, latency_s, limit_s, STRATEGIES[name], seed) - best)
                for seed in range(given.seeds)
            ]
            low95, high95 = interval(regrets)
            rows.append({"device": device, "share": share, "strategy": name, "regret": regrets})
            print(
                f"{device} {share:.0%} ({inside.mean():.0%} of cells inside)  {name:>16}: regret "
                f"{np.mean(regrets):.2f} points ({low95:.2f} to {high95:.2f}), worst seed "
                f"{max(regrets):.2f}, exact {sum(r < 1e-9 for r in regrets)} of {given.seeds}",
                flush=True,
            )
    return {"queries": N_QUERIES, "rows": rows}


def _best_error(
    error: CellTable, latency_s: CellTable, limit_s: float, strategy: Strategy, seed: int
) -> float:
    problem = tabular_problem(
        error, latency_s, limit_s=limit_s, n_evaluations=N_QUERIES, seed=seed
    )
    best = problem.best(list(search(problem, strategy)))
    return float("inf") if best is None or best.values is None else best.values[0]


if __name__ == "__main__":
    main()
