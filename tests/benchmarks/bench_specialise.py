"""Networks searched for two really different targets: does each win at home?

    python -m tests.benchmarks.bench_specialise --data DATA --work build/special --out special.json \
        --profile NAME --other 'local?ep=openvino'

DATA holds ``cifar10/`` and ``weights/``. The pretrained ResNet-20 is a space; one search for both targets measures every
candidate on each. Where there is no profile of the other target, the first is carried over to it. For each floor of
accuracy (points under the best candidate; validation split, weights as adapted) the fastest candidate on each target is
taken, and these are measured again, side by side, on both: a 2x2 table for each floor.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from edgekit.core.candidate import Candidate
from edgekit.core.limits import Limits
from edgekit.core.target import Target
from edgekit.core.task import Task
from edgekit.devices.measuring.measure import LONG_PATIENCE_S, measure_models
from edgekit.devices.profile import DeviceProfile
from edgekit.devices.shipped import profile_folder
from edgekit.effort import FULL_MODULE
from edgekit.search.run import Run
from edgekit.spaces import space
from edgekit.workflow import profile_target, run_search_on_devices

ROOT = Path(__file__).parents[2]
FLOORS = (0.01, 0.03, 0.06)
Row = dict[str, Any]


def main() -> None:
    """Search, measure the winners, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--profile", type=Path, required=True, help="folder or shipped name")
    parser.add_argument("--other", required=True, help="target")
    parser.add_argument("--evaluations", type=int, default=48)
    parser.add_argument("--adapt-epochs", type=float, default=1.0)
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT / "examples"))
    import fit_cifar_resnet as example

    weights = given.data / "weights" / "cifar10_resnet20.safetensors"
    task = Task.from_parquet(given.data / "cifar10", resolution=32)
    task = task.normalised(example.MEAN, example.STD)
    first = profile_folder(given.profile)
    profiles = {
        "home": DeviceProfile.load(first),
        "other": profile_target(given.other, given.work / "profile", known=[first]),
    }
    effort = replace(
        FULL_MODULE,
        supernet_images=round(given.adapt_epochs * len(task.train)),
        n_evaluations=given.evaluations,
        population=8,
        n_finalists=0,
    )
    found = run_search_on_devices(
        space(example.pretrained(weights), torch.zeros(2, 3, 32, 32)),
        task,
        profiles,
        out=given.work / "runs",
        limits=dict.fromkeys(profiles, Limits()),
        effort=effort,
    )
    rows = tables(found.runs)
    given.out.write_text(json.dumps(rows, indent=1))


def tables(runs: Mapping[str, Run]) -> list[Row]:
    """For each floor who was chosen where, and what each takes on both targets."""
    rows = []
    for floor in FLOORS:
        least = max(e.accuracy.top1 for e in next(iter(runs.values())).measured) - floor
        chosen = {
            name: min(
                (e for e in run.measured if e.accuracy.top1 >= least),
                key=lambda e: e.latency.p50_s,
            )
            for name, run in runs.items()
        }
        print(f"at least {least:.1%} on validation")
        measured = {
            place: side_by_side(runs[place], {n: e.candidate for n, e in chosen.items()})
            for place in runs
        }
        for name, entry in chosen.items():
            cells = "   ".join(
                f"on {place} {1e6 * figures[name]:.0f} us" for place, figures in measured.items()
            )
            print(f"    chosen for {name:>5}: {entry.accuracy.top1:.1%}   {cells}", flush=True)
        for place, figures in measured.items():
            others = [figures[n] / figures[place] for n in figures if n != place]
            print(f"    on {place}: the other's choice takes {max(others):.2f} times as long")
        texts = {n: e.candidate.text for n, e in chosen.items()}
        rows.append({"floor": least, "chosen": texts, "p50_s": measured})
    return rows


def side_by_side(run: Run, chosen: Mapping[str, Candidate]) -> dict[str, float]:
    """p50 in seconds on the target of a run, interleaved in one session."""
    models = {name: run.networks.model(candidate) for name, candidate in chosen.items()}
    settings = run.settings
    figures = measure_models(
        models,
        Target(settings.target),
        patience_s=LONG_PATIENCE_S,
        known_fast_s=settings.reference_fast_s,
    )
    return {name: figure.p50_s for name, figure in figures.items()}


if __name__ == "__main__":
    main()
