"""Search networks for scikit-learn's digits under limits, stage by stage from Python.

    python examples/search_digits.py --profile build/profile --out build/digits

Stopped with Ctrl-C, the same command goes on.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import edgekit as ek
from edgekit.core.units import format_duration, format_size
from edgekit.effort import QUICK


def main() -> None:
    """Print the measured front and the best network inside the limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", type=Path, default=Path("build/profile"))
    parser.add_argument("--out", type=Path, default=Path("build/digits"))
    parser.add_argument("--max-latency", default="2ms")
    parser.add_argument("--images", type=int, default=QUICK.supernet_images, help="to train on")
    parser.add_argument("--evaluations", type=int, default=QUICK.n_evaluations)
    parser.add_argument("--table-networks", type=int, default=QUICK.n_table_networks)
    arguments = parser.parse_args()

    task = ek.Task.digits()
    profile = ek.profile_target("local", arguments.profile, quick=True)
    space = ek.space("mbconv", resolution=32, n_classes=len(task.labels), narrow=True)
    effort = replace(
        QUICK,
        supernet_images=arguments.images,
        n_evaluations=arguments.evaluations,
        n_table_networks=arguments.table_networks,
    )
    run = ek.run_search(
        space,
        task,
        profile,
        out=arguments.out,
        limits=ek.Limits.of(latency=arguments.max_latency),
        effort=effort,
        data="digits",
        profile_folder=str(arguments.profile),
    )
    print(f"{len(run.measured)} of {space.n_candidates:.2g} networks measured; the front:")
    for entry in run.front():
        predicted = run.table.predicted(entry.candidate)
        print(
            f"{entry.accuracy.top1:7.1%} on validation"
            f"{format_duration(entry.latency.p50_s):>10} measured"
            f"{format_duration(predicted.latency_s):>10} predicted"
            f"{format_size(entry.size_bytes):>8}  {entry.candidate.text}"
        )
    print(f"best inside {run.settings.limits.describe()}: {run.best().candidate.text}")


if __name__ == "__main__":
    main()
