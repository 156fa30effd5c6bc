"""Predict how long an ONNX network takes on this machine, then measure it.

    python examples/predict_latency.py model.onnx

The first run profiles the machine into build/profile: up to twenty minutes, two with --quick.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import edgekit as ek
from edgekit.core.units import format_duration
from edgekit.devices.measuring.measure import measure_models
from edgekit.devices.networks.lowering import lower


def main() -> None:
    """Print the prediction with its interval beside the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--profile", type=Path, default=Path("build/profile"))
    parser.add_argument("--target", default="local", help="local or local?threads=N")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()

    target = ek.Target(arguments.target)
    profile = ek.profile_target(target, arguments.profile, quick=arguments.quick)
    model = arguments.model.read_bytes()
    kernels = [placed.kernel for placed in lower(model, n_threads=target.n_threads)]
    predicted = profile.predictor.predict(kernels)
    low, high = map(format_duration, predicted.interval_s)
    print(f"{len(kernels)} kernels; predicted {format_duration(predicted.latency_s)}", end=" ")
    print(f"({low} to {high}), costs unknown for: {', '.join(predicted.unknown_ops) or 'none'}")

    measured = measure_models({"model": model}, target)["model"]
    low, high = map(format_duration, measured.interval_s)
    print(f"measured {format_duration(measured.p50_s)} ({low} to {high}) in", end=" ")
    print(f"{measured.conditions.n_runs} runs, {format_duration(measured.label_s)} undisturbed")


if __name__ == "__main__":
    main()
