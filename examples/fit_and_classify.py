"""Fit a network for your own images, then classify with the bundle's runner alone.

    python examples/fit_and_classify.py ./flowers rose.jpg tulip.jpg --out build/flowers

The folder ./flowers holds a folder of images per class. The runner needs onnxruntime, numpy and
Pillow: copy the bundle to where it is used.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import edgekit as ek
from edgekit.effort import FULL, QUICK


def main() -> None:
    """Print the proof, then what the runner sees in the images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("build/fitted"))
    parser.add_argument("--profile", type=Path, help="folder of a profile; default: make one")
    parser.add_argument("--max-latency", default="15ms")
    parser.add_argument("--max-size", default="4MB")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--evaluations", type=int)
    parser.add_argument("--epochs", type=int, help="of the supernet and of the chosen network")
    arguments = parser.parse_args()

    task = ek.Task.from_folder(arguments.data)
    effort = QUICK if arguments.quick else FULL
    if arguments.evaluations is not None:
        effort = replace(effort, n_evaluations=arguments.evaluations)
    if arguments.epochs is not None:
        n = arguments.epochs * len(task.train)
        effort = replace(effort, supernet_images=n, finetune_images=n)
    fitted = ek.fit(
        task,
        arguments.out,
        limits=ek.Limits.of(arguments.max_latency, arguments.max_size),
        effort=effort,
        quick_profile=arguments.quick,
        profile=arguments.profile,
        data=str(arguments.data),
    )
    accuracy = fitted.proof.accuracy
    print(f"{fitted.bundle.model_path}: {fitted.proof.limits.describe()} kept when measured;")
    print(f"{accuracy.n_correct} of {accuracy.n_images} test images right")
    runner = fitted.bundle.folder / "runner.py"
    subprocess.run([sys.executable, runner, *arguments.images], check=True)


if __name__ == "__main__":
    main()
