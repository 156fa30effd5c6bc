"""No silent fallback: which provider runs each node, and whether it answers as the CPU does.

    python -m tests.benchmarks.bench_placement --out placement.json [--models FOLDER]

Takes the nine networks inside the onnx wheel, the ONNX files of a folder, ten networks of edgekit
(fp32, int8 and mixed), and one with an operator that QNN and OpenVINO have not, to every provider
that is usable here, and the TFLite files of that folder to LiteRT. Prints nodes per provider, the
largest difference to the CPU provider (of a TFLite file, to LiteRT without its delegate) relative
to the largest answer, and what ``--require-ep`` says. Emulated providers are marked;
nothing is timed.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgekit.core.errors import EdgekitError, VerificationFailed
from edgekit.core.target import Target
from edgekit.devices.measuring.elsewhere import run_job
from edgekit.devices.measuring.litert import LITERT, is_tflite
from edgekit.devices.measuring.placement import placed_nodes, refuse_strays
from edgekit.devices.predicting.plan import PlannedNetwork
from edgekit.devices.providers.discovery import find_providers
from tests.devices.real import with_an_odd_node

OWN = (
    ("mobilenet_v2", "fp32"),
    ("mobilenet_v2", "int8"),
    ("mobilenet_v2", "mixed"),
    ("mbconv_random", "fp32"),
    ("mbconv_random", "int8"),
    ("resnet20", "fp32"),
    ("resnet20", "int8"),
    ("squeezenet", "fp32"),
    ("squeezenet", "int8"),
    ("resnet_random", "mixed"),
)
SUFFIXES = (".onnx", ".tflite")
Row = dict[str, Any]


def main() -> None:
    """Print a row per model and provider, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", type=Path)
    arguments = parser.parse_args()
    usable = [found for found in find_providers() if found.usable]
    print(f"{'model':<28}{'provider':<11}{'nodes':<26}{'off by':>10}  required")
    rows: list[Row] = []
    for name, model in models(arguments.models):
        reference = _answers(model, "cpu", delegate=False)
        for found in usable:
            if (found.provider.short == LITERT) != is_tflite(model):
                continue
            row = {"model": name, "ep": found.provider.short, "emulated": found.emulated}
            rows.append({**row, **_row(model, found.provider.short, reference)})
            _print(rows[-1])
            arguments.out.write_text(json.dumps(rows, indent=1))


def models(folder: Path | None) -> Iterator[tuple[str, onnx.ModelProto | Path]]:
    """Name and model; the wheel's networks and the folder's files are given as files."""
    light = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    files = sorted(light.glob("*.onnx"))
    files += sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES) if folder else []
    yield from ((path.name, path) for path in files)
    for family, precision in OWN:
        network = PlannedNetwork(family, precision, 32, 0.5, 8, 0, False)
        yield f"{family} {precision}", network.model()
    yield "one odd node (Hardmax)", with_an_odd_node("Hardmax")


def _row(model: onnx.ModelProto | Path, ep: str, reference: list[np.ndarray] | str) -> Row:
    target = Target(f"local?ep={ep}", require=True)
    try:
        nodes = placed_nodes(model, target)
    except EdgekitError as error:
        return {"error": str(error)}
    row: Row = {"nodes": dict(Counter(node.provider for node in nodes)), "required": "kept"}
    try:
        refuse_strays(model, target, nodes)
    except VerificationFailed as error:
        row["required"] = str(error)
    answers = _answers(model, ep)
    if isinstance(answers, str) or isinstance(reference, str):
        return {**row, "error": answers if isinstance(answers, str) else reference}
    differences = [
        float(np.abs(a - b).max() / max(float(np.abs(b).max()), 1e-12))
        for a, b in zip(answers, reference, strict=True)
    ]
    return {**row, "off_by": max(differences)}


def _answers(
    model: onnx.ModelProto | Path, ep: str, *, delegate: bool = True
) -> list[np.ndarray] | str:
    try:
        found: Any = run_job(
            {"job": "answers", "seed": 0, "delegate": delegate},
            {"model": model},
            Target(f"local?ep={ep}"),
        )
    except EdgekitError as error:
        return str(error)
    return [np.array(output, dtype=np.float64) for output in found]


def _print(row: Row) -> None:
    ep = row["ep"] + "*" * row["emulated"]
    nodes = ", ".join(
        f"{n} {name.removesuffix('ExecutionProvider')}" for name, n in row.get("nodes", {}).items()
    )
    off_by = f"{row['off_by']:.1e}" if "off_by" in row else "-"
    said = row.get("error") or row["required"]
    print(f"{row['model']:<28}{ep:<11}{nodes:<26}{off_by:>10}  {said}", flush=True)


if __name__ == "__main__":
    main()
