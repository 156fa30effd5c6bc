"""How much faster several processes train a supernet than one with all threads.

    python -m tests.benchmarks.bench_trainers --data DATA/cifar10 --out trainers.json

The supernet of ``mbconv`` on the largest network and on the sandwich, in turns of one process with all threads and
``--trainers`` processes that share them, from the same weights. A time is that of the steps after the first few, on
images of the full side; the start of the processes is told apart, a run pays it once. The machine should be quiet.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from edgekit.core.progress import Progress
from edgekit.core.task import Task, load_task
from edgekit.search.mbconv.space import MBConvRecipe, MBConvSpace
from edgekit.search.mbconv.supernet import Supernet, sandwich_objective
from edgekit.training.loop import Objective, Step, TrainRecipe, train
from edgekit.training.ranks import Ranks, together

N_FIRST = 8
PARTS = {"largest": 0, "sandwich": 1}


@dataclass
class Timed:
    """An objective, and when each step began."""

    objective: Objective

    def __post_init__(self) -> None:
        self.began_s: list[float] = []

    def __call__(self, x: torch.Tensor, y: torch.Tensor, step: Step) -> float:
        """See ``Objective``."""
        self.began_s.append(time.monotonic())
        return self.objective(x, y, step)


def main() -> None:
    """Print the ratios, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--trainers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    task = load_task(given.data, seed=0, resolution=32)
    few = replace(task, train=task.train.evenly(64 * given.steps))
    rows = []
    for turn in range(given.rounds):
        for part in PARTS:
            for n in (1, given.trainers):
                start_s, step_s = steps(few, part, n)
                rows.append({"turn": turn, "part": part, "n": n, "step_s": step_s})
                print(f"{part}, {n}: {step_s:.3f} s a step, {start_s:.1f} s to start", flush=True)
    for part in PARTS:
        times = {
            n: [r["step_s"] for r in rows if (r["part"], r["n"]) == (part, n)]
            for n in (1, given.trainers)
        }
        ratios = np.array(times[1]) / np.array(times[given.trainers])
        print(
            f"{part}: {given.trainers} processes train {np.median(ratios):.2f} times as fast as "
            f"one ({ratios.min():.2f} to {ratios.max():.2f})"
        )
    given.out.write_text(json.dumps(rows, indent=1))


def steps(task: Task, part: str, n: int) -> tuple[float, float]:
    """Seconds until the first step, and of a step later."""
    began_s = time.monotonic()
    with together(n, partial(_helped, task, part)) as ranks:
        timed = _trained(task, part, ranks)
    step_s = (timed[-1] - timed[N_FIRST]) / (len(timed) - 1 - N_FIRST)
    return timed[0] - began_s, step_s


def _trained(task: Task, part: str, ranks: Ranks) -> list[float]:
    torch.manual_seed(0)
    net = Supernet(MBConvSpace(MBConvRecipe.for_task(32, 10)))
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    recipe = TrainRecipe(n_epochs=1, batch_size=64, learning_rate=0.1, small_share=0.0)
    timed = Timed(sandwich_objective(net, 0.05, PARTS[part]))
    quiet = Progress(quiet=True)
    train(net, timed, task, recipe, progress=quiet, label="", ranks=ranks)
    return timed.began_s


def _helped(task: Task, part: str, ranks: Ranks) -> None:
    _trained(task, part, ranks)


if __name__ == "__main__":
    main()
