"""How many stock models become a space without an edit?

    python -m tests.benchmarks.bench_coverage --out coverage.json

The list of ``tests.benchmarks.zoo``. Each model is made elastic; its largest choice is compared with the source, then
the smallest and four random choices are run, extracted, exported to ONNX, run in ONNX Runtime and compared with torch,
and weighed on disk. A model passes when all of that holds. Printed beside it: groups, branches, the share of the
parameters that the smallest choice keeps, and the operations that were taken for boundaries.
"""  # noqa: E501

from __future__ import annotations

import argparse
import logging
import random
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from torch import nn

from edgekit.core.files import write_json
from edgekit.search.elastic.network import Choice, ElasticNetwork
from tests.benchmarks.zoo import stock

N_CHOICES = 5
EXACT, IN_RUNTIME = 1e-5, 1e-3
Row = dict[str, Any]


def judge(net: nn.Module, example: torch.Tensor, seed: int) -> Row:
    """What holds of one model; raises what edgekit or torch raise."""
    started = time.perf_counter()
    elastic = ElasticNetwork(net, example)
    structure, rng = elastic.structure, random.Random(seed)
    row: Row = {
        "analysed_s": time.perf_counter() - started,
        "n_groups": len(structure.groups),
        "n_branches": len(structure.branches),
        "boundaries": dict(structure.boundaries),
    }
    choices = [elastic.smallest]
    choices += [_drawn(elastic, rng) for _ in range(N_CHOICES - 1)]
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        row["largest_off_by"] = _off_by(elastic(example), net(example))
        source_bytes = _exported(net, example, Path(folder) / "source.onnx").stat().st_size
        extracted_off, runtime_off, shares = [], [], []
        for index, choice in enumerate(choices):
            elastic.choice = choice
            small = elastic.extract(choice)
            answer = small(example)
            extracted_off.append(_off_by(answer, elastic(example)))
            path = _exported(small, example, Path(folder) / f"{index}.onnx")
            session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
            (found,) = session.run(None, {session.get_inputs()[0].name: example.numpy()})
            runtime_off.append(_off_by(torch.from_numpy(np.asarray(found)), answer))
            shares.append(path.stat().st_size / source_bytes)
    row |= {
        "extracted_off_by": max(extracted_off),
        "runtime_off_by": max(runtime_off),
        "smallest_share": shares[0],
        "largest_share": max(shares),
    }
    sound = max(row["largest_off_by"], row["extracted_off_by"]) <= EXACT
    row["passes"] = sound and row["runtime_off_by"] <= IN_RUNTIME and row["largest_share"] < 1
    return row


def _drawn(elastic: ElasticNetwork, rng: random.Random) -> Choice:
    """Half to all of the channels, but at least one group or branch smaller; some branches out."""
    structure = elastic.structure
    widths = tuple(rng.randint((g.n_channels + 1) // 2, g.n_channels) for g in structure.groups)
    skipped = frozenset(b.exit for b in structure.branches if rng.random() < 0.25)
    drawn = Choice(widths, skipped)
    return _drawn(elastic, rng) if drawn == elastic.largest else drawn


def _off_by(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference, relative to the largest answer."""
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12))


def _exported(net: nn.Module, example: torch.Tensor, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (example,), path, dynamo=True, external_data=False, verbose=False)
    return path


def main() -> None:
    """Print a row per model, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", nargs="*", help="only these")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    rows: list[Row] = []
    print(
        f"{'model':<30}{'kind':<12}{'groups':>7}{'out':>5}{'analysed':>9}{'source':>9}"
        f"{'torch':>9}{'runtime':>9}{'on disk':>13}"
    )
    for name, kind, make in stock():
        if options.models and name not in options.models:
            continue
        row: Row = {"model": name, "kind": kind, "passes": False}
        try:
            net, example = make()
            row |= judge(net, example, seed=len(rows))
            print(
                f"{name:<30}{kind:<12}{row['n_groups']:7}{row['n_branches']:5}"
                f"{row['analysed_s']:8.1f}s{row['largest_off_by']:9.0e}"
                f"{row['extracted_off_by']:9.0e}{row['runtime_off_by']:9.0e}"
                f"{row['smallest_share']:6.0%} to {row['largest_share']:.0%}"
                f"{'' if row['passes'] else '  FAILS'} {row['boundaries'] or ''}",
                flush=True,
            )
        except Exception as error:
            row["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
            print(f"{name:<30}{kind:<12}  FAILS  {row['error']}", flush=True)
        rows.append(row)
        write_json(options.out, "bench-coverage", 1, {"models": rows})
    for kind in ("CNN", "transformer"):
        own = [row for row in rows if row["kind"] == kind]
        print(f"{kind}: {sum(row['passes'] for row in own)} of {len(own)} pass")


if __name__ == "__main__":
    main()
