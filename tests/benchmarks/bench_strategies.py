"""What each strategy finds with the same number of evaluations, on one trained supernet.

    python -m tests.benchmarks.bench_strategies --run build/fit/run --data cifar10 --out strategies.json

Accuracy of a candidate: on the validation split, weights inherited from the supernet of the run, int8 simulated.
Latency and size: predicted by the run's cost table, so that any number of seeds sees the same machine. Limits are
shares of the predicted latency of the largest sub-network in fp32. Printed is the top-1 of the best candidate inside
the limits after each population: mean over the seeds, and the least.
"""  # noqa: E501

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.candidate import Candidate
from edgekit.core.files import write_json
from edgekit.core.limits import Limits
from edgekit.core.precision import FULL_WEIGHT_MAX
from edgekit.core.task import load_task
from edgekit.search.evaluate import MAX_VALIDATION
from edgekit.search.protocol.loop import search
from edgekit.search.protocol.problem import Observed, SearchProblem, Values
from edgekit.search.run import Run, problem_of
from edgekit.search.strategies import BY_SCORES, STRATEGIES, strategy_named
from edgekit.workflow import resume_search

SHARES = (0.36, 0.6, 0.8)


class Oracle:
    """Accuracy from the supernet, kept by candidate; latency and size from the table."""

    def __init__(self, run: Run, data: str) -> None:
        self.run, self.task = run, load_task(data, seed=run.settings.seed)
        self.validation = self.task.validation.evenly(MAX_VALIDATION)
        self.known: dict[Candidate, float] = {}

    def __call__(self, candidate: Candidate) -> Values:
        """Error, predicted latency in s, predicted size in bytes."""
        run, task = self.run, self.task
        if candidate not in self.known:
            net = run.networks.extract(candidate)
            ready = run.networks.prepared(net, candidate, task, FULL_WEIGHT_MAX)
            accuracy = ready.accuracy(self.validation, task.preprocessing, "validation")
            self.known[candidate] = 1 - accuracy.top1
        genes = np.array([candidate.genes])
        latency_s, size_bytes = run.table.latencies_s(genes)[0], run.table.sizes_bytes(genes)[0]
        return self.known[candidate], float(latency_s), float(size_bytes)


def trace(strategy: str, problem: SearchProblem) -> list[float]:
    """Best top-1 inside the limits after each population, 0 where nothing is inside yet."""
    history: list[Observed] = []
    best: list[float] = []
    for entry in search(problem, strategy_named(strategy)):
        history.append(entry)
        if len(history) % problem.population == 0:
            found = problem.best(history)
            best.append(1 - found.values[0] if found and found.values else 0.0)
    return best


def main() -> None:
    """Search with every strategy and seed, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="finished search run")
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--max-size", default="1.2MB")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    run = resume_search(arguments.run, load_task(arguments.data, seed=0))
    oracle = Oracle(run, arguments.data)
    largest_s = oracle(run.space.largest())[1]
    settings = run.settings
    rows: list[dict[str, Any]] = []
    for share in SHARES:
        limits = replace(Limits.of(size=arguments.max_size), latency_s=share * largest_s)
        for strategy in [n for n in STRATEGIES if n not in {"exhaustive", *BY_SCORES}]:
            traces = []
            for seed in range(arguments.seeds):
                problem = problem_of(
                    run.space,
                    run.table,
                    limits,
                    oracle,
                    n_evaluations=settings.n_evaluations,
                    population=settings.population,
                    seed=seed,
                )
                traces.append(trace(strategy, problem))
            rows.append({"share": share, "strategy": strategy, "traces": traces})
            means = " ".join(f"{100 * v:6.2f}" for v in np.mean(traces, axis=0))
            print(
                f"{share:.2f} of the largest  {strategy:<15} mean after each population {means}"
                f"  least {100 * min(t[-1] for t in traces):.2f} %  ({arguments.seeds} seeds)",
                flush=True,
            )
    write_json(arguments.out, "edgekit-bench-strategies", 1, {"rows": rows})


if __name__ == "__main__":
    main()
