"""Measures in the environment this process runs in: a JSON job in, JSON lines out.

    python -m edgekit.devices.measuring.worker JOB

The job is a JSON file as ``elsewhere`` writes it. Every line on standard output is one object:
``{"progress": [done, total]}``, and at last ``{"result": ...}`` or ``{"error": {...}}``. Libraries
of providers that print go to standard error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgekit.core.errors import EdgekitError
from edgekit.core.streams import keep_stdout
from edgekit.core.target import Target
from edgekit.devices.measuring.interleave import RawBlock
from edgekit.devices.measuring.litert import LiteRtModel, is_tflite
from edgekit.devices.measuring.measure import compare_models, measure_models, resident
from edgekit.devices.measuring.placement import placed_nodes
from edgekit.devices.measuring.session import open_session, random_inputs


def main(job: Path) -> int:
    """Do one job; the exit code is 0, or that of the error."""
    keep_stdout()
    try:
        document = json.loads(job.read_text("utf-8"))
        _say({"result": _JOBS[document["job"]](document)})
    except EdgekitError as error:
        _say({"error": {"type": type(error).__name__, "message": str(error)}})
        return error.exit_code
    return 0


def _measure(job: dict[str, Any]) -> object:
    raw: list[RawBlock] = []
    figures = measure_models(
        {name: Path(path) for name, path in job["models"].items()},
        _target(job),
        progress=lambda done, total: _say({"progress": [done, total]}),
        raw=raw,
        **job["settings"],
    )
    blocks = [{**asdict(block), "durations_s": block.durations_s.tolist()} for block in raw]
    return {"figures": {name: asdict(f) for name, f in figures.items()}, "blocks": blocks}


def _compare(job: dict[str, Any]) -> object:
    return asdict(compare_models(Path(job["a"]), Path(job["b"]), _target(job), **job["settings"]))


def _place(job: dict[str, Any]) -> object:
    return [asdict(node) for node in placed_nodes(Path(job["model"]), _target(job))]


def _answers(job: dict[str, Any]) -> object:
    """Outputs for the fixed random inputs of a seed, as nested lists.

    Of a TFLite file with XNNPACK or without it, as ``delegate`` says.
    """
    target, path = _target(job), Path(job["model"])
    if is_tflite(path):
        opened = LiteRtModel(path, target.n_threads, job["seed"], delegate=job["delegate"])
        return [output.tolist() for output in opened.answers()]
    session = open_session(path, n_threads=target.n_threads, ep=target.ep)
    outputs = session.run(None, random_inputs(session, job["seed"]))
    return [output.tolist() for output in outputs]


def _memory(job: dict[str, Any]) -> object:
    """Bytes that loading and running adds at the peak; None where the system does not say."""
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    target = _target(job)
    try:
        reset.write_text("5")  # the peak starts again at what is resident now
        before = _status_bytes(status, "VmHWM")
        model = resident("model", Path(job["model"]), target, block_s=0)
        for _ in range(3):
            model.item.run()
        return _status_bytes(status, "VmHWM") - before
    except OSError:
        return None


def _status_bytes(path: Path, key: str) -> int:
    line = next(line for line in path.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def _target(job: dict[str, Any]) -> Target:
    return Target(job["target"], bool(job["require"]))


def _say(line: dict[str, object]) -> None:
    print(json.dumps(line), flush=True)


_JOBS: dict[str, Callable[[dict[str, Any]], object]] = {
    "measure": _measure,
    "compare": _compare,
    "place": _place,
    "answers": _answers,
    "memory": _memory,
}

if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
