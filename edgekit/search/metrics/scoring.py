"""Metrics of many candidates: computed once, averaged over initialisations, kept in a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.core.files import read_json, write_json
from edgekit.core.progress import Progress
from edgekit.search.metrics.activations import jacob_cov, naswot, zen
from edgekit.search.metrics.gradients import gradient_metrics, synflow
from edgekit.search.problem import Scores

METRICS = (
    "grad_norm",
    "snip",
    "grasp",
    "fisher",
    "synflow",
    "jacob_cov",
    "naswot",
    "zen",
    "macs",
    "params",
)
METRICS_FILE = "metrics.json"
_KIND, _SCHEMA = "edgekit-metrics", 1
_SAVE_EVERY = 50

Build = Callable[[Candidate, int], nn.Module]
"""A network of a candidate in training mode, its weights drawn anew by the seed."""


def metrics_of(net: nn.Module, x: torch.Tensor, y: torch.Tensor, seed: int) -> dict[str, float]:
    """Every metric of one network, NaN where it has no value.

    Args:
        net: in training mode, at its initialisation; its batch-norm statistics are changed.
        x: ``(batch, channels, height, width)`` float32, at least two images.
        y: ``(batch,)`` int64.
        seed: of what ``zen`` draws.

    Returns:
        By the names of ``METRICS``: MACs of one image, the others without a unit.
    """
    generator = torch.Generator().manual_seed(seed)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(x[:2])
    found = {
        "macs": counter.get_total_flops() / 4,
        "params": float(sum(p.numel() for p in net.parameters())),
        "synflow": synflow(net, x),
        "zen": zen(net, x[: len(x) // 4 or 2], generator),
        "naswot": naswot(net, x),
        "jacob_cov": jacob_cov(net, x),
        **gradient_metrics(net, x, y),
    }
    return {name: value if np.isfinite(value) else float("nan") for name, value in found.items()}


def score(
    candidates: Sequence[Candidate],
    build: Build,
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    seeds: Iterable[int] = (0,),
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Metrics of candidates, the mean over some initialisations.

    Args:
        candidates: distinct.
        build: makes their networks.
        x: a batch of training images, the same for all.
        y: its labels.
        seeds: of the initialisations, one pass each.
        folder: where they are kept, to go on from; None keeps nothing.
        progress: how to show it; None for stderr.

    Raises:
        InputError: the folder holds metrics of something else.
    """
    progress, seeds = progress or Progress(), tuple(seeds)
    known = _load(folder, seeds)
    missing = [c for c in candidates if c.text not in known]
    with progress.track(len(candidates), "scoring", n_start=len(candidates) - len(missing)) as up:
        for index, candidate in enumerate(missing, 1):
            known[candidate.text] = _mean([_one(build, candidate, x, y, s) for s in seeds])
            if folder and (index % _SAVE_EVERY == 0 or index == len(missing)):
                _save(folder, seeds, known)
            up(len(candidates) - len(missing) + index, "")
    values = np.array([[known[c.text][name] for name in METRICS] for c in candidates])
    return Scores(np.array([c.genes for c in candidates]), METRICS, values)


def _one(
    build: Build, candidate: Candidate, x: torch.Tensor, y: torch.Tensor, seed: int
) -> dict[str, float]:
    net = build(candidate, seed).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return metrics_of(net, x.contiguous(memory_format=torch.channels_last), y, seed)


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of each metric over the initialisations that have it."""
    return {name: _finite_mean([row[name] for row in rows]) for name in METRICS}


def _finite_mean(values: Sequence[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")


def _save(folder: Path, seeds: tuple[int, ...], known: Mapping[str, Mapping[str, float]]) -> None:
    rows = {
        text: [None if np.isnan(row[name]) else row[name] for name in METRICS]
        for text, row in known.items()
    }
    document = {"seeds": list(seeds), "metrics": list(METRICS), "candidates": rows}
    write_json(folder / METRICS_FILE, _KIND, _SCHEMA, document)


def _load(folder: Path | None, seeds: tuple[int, ...]) -> dict[str, dict[str, float]]:
    path = folder / METRICS_FILE if folder else None
    if path is None or not path.is_file():
        return {}
    document = read_json(path, _KIND, _SCHEMA)
    if document.get("seeds") != list(seeds) or document.get("metrics") != list(METRICS):
        raise InputError(
            f"metrics go on with the seeds {list(seeds)} and {', '.join(METRICS)}, {path} has "
            f"others; delete it to compute them again"
        )
    rows = document.get("candidates")
    try:
        assert isinstance(rows, dict)
        return {
            text: {
                name: float("nan") if value is None else float(value)
                for name, value in zip(METRICS, row, strict=True)
            }
            for text, row in rows.items()
        }
    except (AssertionError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} needs a list of figures per candidate; delete it to compute them again"
        ) from error
