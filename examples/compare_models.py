"""Which of two ONNX networks is faster on this machine, and by how much?

    python examples/compare_models.py mine.onnx other.onnx --target 'local?threads=2'

Both take turns, block by block, so that whatever else the machine does hits both alike.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import edgekit as ek
from edgekit.core.units import format_duration
from edgekit.devices.measuring.measure import compare_models, measure_models


def main() -> None:
    """Print both latencies and their ratio, each with a 95 % interval."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--target", default="local", help="local or local?threads=N")
    parser.add_argument("--pairs", type=int, default=30)
    arguments = parser.parse_args()

    target = ek.Target(arguments.target)
    models = {"first": arguments.first, "second": arguments.second}
    for name, figure in measure_models(models, target).items():
        low, high = map(format_duration, figure.interval_s)
        print(f"{name}: p50 {format_duration(figure.p50_s)} ({low} to {high}),", end=" ")
        print(f"p90 {format_duration(figure.p90_s)}: {models[name]}")
    found = compare_models(arguments.first, arguments.second, target, n_pairs=arguments.pairs)
    least, most = found.interval
    verdict = "they differ" if found.differs else "no difference can be told"
    print(f"first takes {found.ratio:.2f} times as long ({least:.2f} to {most:.2f}): {verdict}")


if __name__ == "__main__":
    main()
