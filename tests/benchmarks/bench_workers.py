"""Searches with one and with two workers: the same trials, in less time; and one whose worker is killed.

    python -m tests.benchmarks.bench_workers --data DATA/cifar10 --profile NAME --work build/workers --out workers.json

Each candidate of ``mbconv`` is trained alone on some images, judged and measured; strategy ``random``, no limits, so that
what is asked does not follow from measured latencies, which are never twice the same. Trials are compared by genes,
accuracy and size, in their order. The seconds of a search are all of it but the lowering of blocks, which only the first
does; the start of the workers is in them. One after the other in turns: the machine should be quiet.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil

from edgekit.core.progress import Progress
from edgekit.core.task import Task, load_task
from edgekit.devices.profile import DeviceProfile
from edgekit.devices.shipped import profile_folder
from edgekit.effort import FULL
from edgekit.search.mbconv.costs import BLOCKS_FILE
from edgekit.search.run import Run
from edgekit.search.workers import Staff
from edgekit.spaces import space
from edgekit.workflow import run_search

KILLED = "2, one killed"


def main() -> None:
    """Print a row per search, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--profile", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=10_000, help="each candidate learns from")
    parser.add_argument("--evaluations", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    task = load_task(given.data, seed=0, resolution=32)
    task = replace(task, train=task.train.evenly(given.images))
    given.work.mkdir(parents=True, exist_ok=True)
    rows = []
    for turn in range(given.rounds):
        if not turn:
            searched(given, task, "0")  # lowers the blocks
        for name in ("0", "1", "2", KILLED):
            run, seconds = searched(given, task, name)
            trials = [(e.candidate.text, e.accuracy.top1, e.size_bytes) for e in run.measured]
            rows.append({"turn": turn, "workers": name, "seconds": seconds, "trials": trials})
            print(f"{name:>14} workers: {seconds:.0f} s for {len(trials)} trials", flush=True)
    of_one = [row for row in rows if row["workers"] == "1"]
    for name in ("0", "2", KILLED):
        others = [row for row in rows if row["workers"] == name]
        pairs = list(zip(of_one, others, strict=True))
        same = all(one["trials"] == other["trials"] for one, other in pairs)
        ratios = [one["seconds"] / other["seconds"] for one, other in pairs]
        print(
            f"{name:>14} against 1: {np.median(ratios):.2f} times as fast "
            f"({min(ratios):.2f} to {max(ratios):.2f}), trials {'equal' if same else 'differ'}"
        )
    given.out.write_text(json.dumps(rows, indent=1))


def searched(given: argparse.Namespace, task: Task, name: str) -> tuple[Run, float]:
    """A search from nothing, and how long it took."""
    folder = given.work / name.replace(", ", "-").replace(" ", "-")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    kernels = given.work / BLOCKS_FILE
    if kernels.is_file():
        shutil.copyfile(kernels, folder / BLOCKS_FILE)
    effort = replace(
        FULL,
        supernet_images=0,
        query_images=given.images,
        n_evaluations=given.evaluations,
        population=given.evaluations // 2,
        n_table_networks=0,
    )
    stop = threading.Event()
    killer = threading.Thread(target=_kill_one, args=(stop,))
    if name == KILLED:
        killer.start()
    start_s = time.monotonic()
    try:
        run = run_search(
            space("mbconv", resolution=32, n_classes=10),
            task,
            DeviceProfile.load(profile_folder(Path(given.profile))),
            out=folder,
            strategy="random",
            effort=effort,
            staff=Staff(int(name[0])),
            progress=Progress(),
        )
    finally:
        stop.set()
    shutil.copyfile(folder / BLOCKS_FILE, kernels)
    return run, time.monotonic() - start_s


def _kill_one(stop: threading.Event) -> None:
    """Kill a worker ten seconds after the first was seen."""
    seen = 0.0
    while not stop.wait(0.2):
        own = psutil.Process().children()
        workers = [p for p in own if "spawn_main" in " ".join(p.cmdline())]
        seen += 0.2 if workers else 0.0
        if seen > 10:
            workers[0].kill()
            return


if __name__ == "__main__":
    main()
