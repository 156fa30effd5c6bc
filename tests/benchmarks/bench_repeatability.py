"""Does the same model get the same figure in fresh processes, alone and beside busy neighbours?

    python -m tests.benchmarks.bench_repeatability --out repeatability.json

Five networks in fp32 and in int8 (those of ``bench_label_floor``), each process one session. The first process keeps
the machine's fast state, as a profile does; the others wait for it. Beside the label: mean, median and 5 % quantile
over all runs of a process, marked or not, which is what a plain timing loop gives. A process that refuses ("too
noisy") is counted apart: a refusal is an answer, another number is not.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.errors import TooNoisy
from edgekit.core.files import write_json
from edgekit.core.target import Target
from edgekit.devices.measuring.estimators import fast_state_s
from edgekit.devices.measuring.interleave import RawBlock
from edgekit.devices.measuring.measure import measure_models
from tests.benchmarks.bench_label_floor import models

N_PROCESSES = 10
N_NEIGHBOURS = (0, 2)
PATIENCE_S = 60.0
ESTIMATORS = ("label", "p50", "mean of all", "median of all", "p5 of all")
_BUSY = "while True: pass"


def session(n_threads: int, seed: int, known_fast_s: list[float]) -> dict[str, Any]:
    """Figures of one process by estimator and network, in seconds, or why there are none."""
    raw: list[RawBlock] = []
    started = time.perf_counter()
    chosen = {name: model for name, model in models().items() if int(name.split("/")[0]) < 5}
    try:
        figures = measure_models(
            chosen,
            Target(f"local?threads={n_threads}"),
            seed=seed,
            patience_s=PATIENCE_S,
            known_fast_s=known_fast_s,
            raw=raw,
        )
    except TooNoisy as error:
        figures, refusal = {}, str(error)
    else:
        refusal = ""
    runs = {n: np.concatenate([b.durations_s for b in raw if b.model == n]) for n in chosen}
    return {
        "label": {name: figure.label_s for name, figure in figures.items()},
        "p50": {name: figure.p50_s for name, figure in figures.items()},
        "mean of all": {name: float(values.mean()) for name, values in runs.items()},
        "median of all": {name: float(np.median(values)) for name, values in runs.items()},
        "p5 of all": {name: float(np.quantile(values, 0.05)) for name, values in runs.items()},
        "fast_state_s": fast_state_s(np.array([block.reference_s for block in raw])).tolist(),
        "marked_share": float(np.mean([block.marked for block in raw])),
        "wall_s": time.perf_counter() - started,
        "refusal": refusal,
    }


def variation(sessions: list[dict[str, Any]], estimator: str) -> dict[str, float]:
    """Coefficient of variation over processes: mean over the networks, and the worst."""
    rows = [s[estimator] for s in sessions if s[estimator]]
    if len(rows) < 2:
        return {"n": len(rows), "mean": float("nan"), "worst": float("nan")}
    values = np.array([list(row.values()) for row in rows])
    found = values.std(axis=0, ddof=1) / values.mean(axis=0)
    return {"n": len(rows), "mean": float(found.mean()), "worst": float(found.max())}


@contextmanager
def busy(n_neighbours: int) -> Iterator[None]:
    """So many processes that compute without end."""
    running = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(n_neighbours)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def main() -> None:
    """Measure and print; with --worker, one session as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON file for all figures")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(session(**json.loads(arguments.worker))))
        return
    known: list[float] = _in_process(arguments.threads, 0, [])["fast_state_s"]
    results: dict[str, Any] = {"n_threads": arguments.threads, "n_cores": os.cpu_count()}
    for n_neighbours in N_NEIGHBOURS:
        with busy(n_neighbours):
            sessions = [
                _in_process(arguments.threads, seed, known) for seed in range(1, N_PROCESSES + 1)
            ]
        rows = {name: variation(sessions, name) for name in ESTIMATORS}
        n_refused = sum(bool(s["refusal"]) for s in sessions)
        marked = np.mean([s["marked_share"] for s in sessions])
        print(
            f"{n_neighbours} busy neighbours: {n_refused} of {N_PROCESSES} processes refused, "
            f"{marked:.0%} of the blocks marked"
        )
        for name, row in rows.items():
            print(
                f"  {name:<14} CoV {row['mean']:.1%} (worst network {row['worst']:.1%}), "
                f"{row['n']:.0f} processes"
            )
        results[f"{n_neighbours} neighbours"] = {"sessions": sessions, "variation": rows}
    if arguments.out:
        write_json(arguments.out, "repeatability", 1, results)


def _in_process(n_threads: int, seed: int, known_fast_s: list[float]) -> dict[str, Any]:
    settings = {"n_threads": n_threads, "seed": seed, "known_fast_s": known_fast_s}
    command = [sys.executable, "-m", "tests.benchmarks.bench_repeatability"]
    command += ["--worker", json.dumps(settings)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
