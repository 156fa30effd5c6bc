"""The floor: how well two independent measurements of the same networks agree.

    python tests/benchmarks/bench_label_floor.py --threads 1 2 --out floor.json

No predictor can be better than this. Twenty small MBConv networks (ten in fp32, the same ten in int8) are measured
twice, each time in a process and with a seed of its own, one thread count per process.
``--gap-s 3600`` puts an hour between the two. The second session waits for the fast state of the
first, as a search does for that of its profile.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
from scipy.stats import kendalltau

from edgekit.core.files import write_json
from edgekit.core.target import Target
from edgekit.devices.measuring.estimators import fast_state_s
from edgekit.devices.measuring.interleave import RawBlock
from edgekit.devices.measuring.measure import measure_models
from edgekit.devices.measuring.telemetry import load_1min, pressure_avg10
from edgekit.devices.networks.graph import GraphBuilder
from edgekit.devices.networks.qdq import insert_qdq, tensors_to_calibrate

N_NETWORKS = 10
STAGES = ((24, 2), (40, 2), (80, 2), (96, 1))


def network(seed: int) -> onnx.ModelProto:
    """A random MBConv network: 32 to 96 pixels, kernels 3 to 7, expansion 3 or 6."""
    rng = np.random.default_rng(seed)
    size = int(rng.choice([32, 64, 96]))
    net = GraphBuilder(f"mbconv{seed}", (1, 3, size, size), seed=seed)
    with net.block("stem"):
        x = net.conv(net.input, 16, 3, stride=2 if size > 32 else 1, act="relu6")
    for stage, (channels, stride) in enumerate(STAGES):
        for index in range(int(rng.integers(1, 4))):
            with net.block(f"stage{stage}_{index}"):
                x = _mbconv(net, x, channels, stride if index == 0 else 1, rng)
    with net.block("head"):
        x = net.conv(x, 160, 1, act="relu6")
        x = net.linear(net.flatten(net.global_pool(x)), 10)
    return net.build(x)


def _mbconv(
    net: GraphBuilder, x: str, channels: int, stride: int, rng: np.random.Generator
) -> str:
    before = net.shape(x)[1]
    hidden, kernel = before * int(rng.choice([3, 6])), int(rng.choice([3, 5, 7]))
    y = net.conv(x, hidden, 1, act="relu6")
    y = net.conv(y, hidden, kernel, stride=stride, groups=hidden, act="relu6")
    y = net.conv(y, channels, 1)
    return net.add(x, y) if stride == 1 and before == channels else y


def quantised(model: onnx.ModelProto) -> onnx.ModelProto:
    """All nodes in int8; the ranges are made up, as only the time matters here."""
    nodes = [node.name for node in model.graph.node]
    ranges = {
        tensor: (0.0, 6.0) if tensor.endswith("_act") else (-3.0, 3.0)
        for tensor in tensors_to_calibrate(model, nodes)
    }
    return insert_qdq(model, nodes, ranges)


def models() -> dict[str, onnx.ModelProto]:
    """Twenty models by name."""
    floats = {f"{seed}/fp32": network(seed) for seed in range(N_NETWORKS)}
    ints = {name.replace("fp32", "int8"): quantised(model) for name, model in floats.items()}
    return {**floats, **ints}


def measure(
    n_threads: int, seed: int, n_passes: int, block_s: float, known_fast_s: list[float]
) -> dict[str, object]:
    """One session: labels and medians in seconds by model, and what the machine was like."""
    raw: list[RawBlock] = []
    start = time.perf_counter()
    pressure, load = pressure_avg10(), load_1min()
    found = measure_models(
        models(),
        Target(f"local?threads={n_threads}"),
        n_passes=n_passes,
        block_s=block_s,
        seed=seed,
        known_fast_s=known_fast_s,
        raw=raw,
    )
    return {
        "label_s": {name: measured.label_s for name, measured in found.items()},
        "p50_s": {name: measured.p50_s for name, measured in found.items()},
        "fast_state_s": fast_state_s(np.array([block.reference_s for block in raw])).tolist(),
        "wall_s": time.perf_counter() - start,
        "pressure_before": pressure,
        "load_before": load,
        "load_after": load_1min(),
        "n_blocks": len(raw),
        "n_marked": sum(block.marked for block in raw),
        "reference_ratio": next(iter(found.values())).conditions.reference_ratio,
    }


def agreement(a: dict[str, float], b: dict[str, float]) -> dict[str, float]:
    """How far the second session is from the first, network by network."""
    first, second = (np.array([session[name] for name in a]) for session in (a, b))
    error = np.abs(second / first - 1)
    return {
        "mape": float(error.mean()),
        "p50": float(np.median(error)),
        "p90": float(np.quantile(error, 0.9)),
        "worst": float(error.max()),
        "within_5": float((error <= 0.05).mean()),
        "within_10": float((error <= 0.10).mean()),
        "tau": float(kendalltau(first, second).statistic),
        "bias": float((second / first - 1).mean()),
    }


def _in_process(
    arguments: argparse.Namespace, n_threads: int, seed: int, known_fast_s: list[float]
) -> dict[str, object]:
    options = ("--passes", str(arguments.passes), "--block-ms", str(arguments.block_ms))
    worker = ("--worker", str(n_threads), str(seed), json.dumps(known_fast_s))
    command = [sys.executable, __file__, *options, *worker]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def _print_row(name: str, row: dict[str, float]) -> None:
    percent = ("mape", "p50", "p90", "worst", "bias", "within_5", "within_10")
    shown = "  ".join(f"{key} {row[key]:+.2%}" for key in percent)
    print(f"{name:16} {shown}  tau {row['tau']:.4f}")


def main() -> None:
    """Measure and print; with --worker, one session as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--passes", type=int, default=14)
    parser.add_argument("--block-ms", type=float, default=30.0)
    parser.add_argument("--gap-s", type=float, default=0.0, help="pause between two sessions")
    parser.add_argument("--out", type=Path, help="JSON file for all figures")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        n_threads, seed, known = (json.loads(text) for text in arguments.worker)
        block_s = arguments.block_ms / 1e3
        print(json.dumps(measure(n_threads, seed, arguments.passes, block_s, known)))
        return
    results: dict[str, object] = {}
    firsts = {n: _in_process(arguments, n, 0, []) for n in arguments.threads}
    time.sleep(arguments.gap_s)
    for n_threads, first in firsts.items():
        second = _in_process(arguments, n_threads, 1, first["fast_state_s"])
        sessions = [first, second]
        for session in sessions:
            print(
                f"{n_threads} thread(s): {session['wall_s']:.1f} s, pressure "
                f"{session['pressure_before']:.0%}, load {session['load_before']:.1f} to "
                f"{session['load_after']:.1f}, {session['n_marked']} of {session['n_blocks']} "
                f"blocks marked, reference up to {session['reference_ratio']:.2f} times"
            )
        rows = {key: agreement(*(s[key] for s in sessions)) for key in ("label_s", "p50_s")}
        for key, row in rows.items():
            _print_row(f"  {key}", row)
        results[str(n_threads)] = {"sessions": sessions, "agreement": rows}
    if arguments.out:
        write_json(arguments.out, "label-floor", 1, {"threads": results})


if __name__ == "__main__":
    main()
