"""Metrics of many architectures: computed once, a mean over initialisations, kept in a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.core.files import read_json, write_json
from edgekit.core.precision import Precision
from edgekit.core.progress import Progress
from edgekit.search.metrics.activations import jacob_cov, naswot, zen
from edgekit.search.metrics.gradients import gradient_metrics, synflow
from edgekit.search.protocol.problem import Scores
from edgekit.search.space import PRECISIONS, Genes, SearchSpace

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
INT8_QUIET = "int8_quiet"
METRICS_FILE = "metrics.json"
_KIND, _SCHEMA = "edgekit-metrics", 1
_SAVE_EVERY = 50

Build = Callable[[Candidate, int], nn.Module]
"""A network of a candidate in training mode, its weights drawn anew by the seed."""


@dataclass(frozen=True, slots=True)
class ArchitectureMetrics:
    """Metrics of one architecture.

    Attributes:
        values: by the names of ``METRICS``, None where one has no value: MACs of one image, the
            others without a unit.
        int8_noise: what rounding a layer to int8 adds to the loss, by the name of its weight.
    """

    values: dict[str, float | None]
    int8_noise: dict[str, float]


def metrics_of(net: nn.Module, x: torch.Tensor, y: torch.Tensor, seed: int) -> ArchitectureMetrics:
    """Every metric of one network.

    Args:
        net: in training mode, at its initialisation; its batch-norm statistics are changed.
        x: ``(batch, channels, height, width)`` float32, at least two images.
        y: ``(batch,)`` int64.
        seed: of what ``zen`` draws.
    """
    generator = torch.Generator().manual_seed(seed)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(x[:2])
    gradients = gradient_metrics(net, x, y)
    found = {
        "macs": counter.get_total_flops() / 4,
        "params": float(sum(p.numel() for p in net.parameters())),
        "synflow": synflow(net, x),
        "zen": zen(net, x[: max(2, len(x) // 4)], generator),
        "naswot": naswot(net, x),
        "jacob_cov": jacob_cov(net, x),
        **gradients.values,
    }
    values = {name: found[name] if np.isfinite(found[name]) else None for name in METRICS}
    return ArchitectureMetrics(values, gradients.int8_noise)


def score(
    candidates: Sequence[Candidate],
    build: Build,
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    seeds: Iterable[int] = (0,),
    folder: Path | None = None,
    progress: Progress | None = None,
) -> list[ArchitectureMetrics]:
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
    n_known = len(candidates) - len(missing)
    with progress.track(len(candidates), "scoring", n_start=n_known) as update:
        for index, candidate in enumerate(missing, 1):
            known[candidate.text] = _mean([_one(build, candidate, x, y, s) for s in seeds])
            if folder and (index % _SAVE_EVERY == 0 or index == len(missing)):
                _save(folder, seeds, known)
            update(n_known + index, "")
    return [known[candidate.text] for candidate in candidates]


def table_of(genes: Genes, metrics: Sequence[ArchitectureMetrics]) -> Scores:
    """Metrics of architectures as a table.

    Args:
        genes: ``(n, genes)`` canonical genes.
        metrics: of each row.
    """
    rows = [[m.values[name] for name in METRICS] for m in metrics]
    return Scores(genes, METRICS, np.array(rows, dtype=np.float64))


def with_precisions(
    space: SearchSpace,
    genes: Genes,
    metrics: Sequence[ArchitectureMetrics],
    paths: Mapping[str, str],
) -> Scores:
    """Metrics of candidates: those of the architecture, and how quiet its int8 is.

    ``int8_quiet`` is minus the logarithm of the summed noise of the layers in int8: higher is
    better, as for the other metrics.

    Args:
        space: says which genes are precisions.
        genes: ``(n, genes)`` canonical genes.
        metrics: of the architecture of each row.
        paths: block of the space by the path of its module, which its weights lie under.
    """
    scores = table_of(genes, metrics)
    noise = [_noise(space, row, m, paths) for row, m in zip(genes, metrics, strict=True)]
    least = min((value for value in noise if value > 0), default=1.0)
    quiet = -np.log(np.maximum(noise, least / 2))
    return Scores(genes, (*METRICS, INT8_QUIET), np.column_stack([scores.values, quiet]))


def _noise(
    space: SearchSpace, row: Genes, metrics: ArchitectureMetrics, paths: Mapping[str, str]
) -> float:
    precisions = dict(zip(space.blocks, row[space.n_architecture :].tolist(), strict=True))
    prefixes = tuple(
        f"{path}."
        for path, block in paths.items()
        if PRECISIONS[precisions[block]] is Precision.INT8
    )
    return sum(v for name, v in metrics.int8_noise.items() if name.startswith(prefixes))


def _one(
    build: Build, candidate: Candidate, x: torch.Tensor, y: torch.Tensor, seed: int
) -> ArchitectureMetrics:
    net = build(candidate, seed).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return metrics_of(net, x.contiguous(memory_format=torch.channels_last), y, seed)


def _mean(rows: Sequence[ArchitectureMetrics]) -> ArchitectureMetrics:
    """Of each metric over the initialisations that have it."""
    values = {name: _known_mean([row.values[name] for row in rows]) for name in METRICS}
    noise = {
        name: float(np.mean([row.int8_noise.get(name, 0.0) for row in rows]))
        for name in rows[0].int8_noise
    }
    return ArchitectureMetrics(values, noise)


def _known_mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _save(folder: Path, seeds: tuple[int, ...], known: Mapping[str, ArchitectureMetrics]) -> None:
    rows = {text: asdict(metrics) for text, metrics in known.items()}
    document = {"seeds": list(seeds), "candidates": rows}
    write_json(folder / METRICS_FILE, _KIND, _SCHEMA, document)


_ROWS = TypeAdapter(dict[str, ArchitectureMetrics])


def _load(folder: Path | None, seeds: tuple[int, ...]) -> dict[str, ArchitectureMetrics]:
    path = folder / METRICS_FILE if folder else None
    if path is None or not path.is_file():
        return {}
    document = read_json(path, _KIND, _SCHEMA)
    if document.get("seeds") != list(seeds):
        raise InputError(
            f"metrics go on with the seeds {list(seeds)}, {path} has {document.get('seeds')}; "
            "delete it to compute them again"
        )
    try:
        rows = _ROWS.validate_python(document.get("candidates"))
    except ValidationError as error:
        raise InputError(
            f"{path} needs metrics of each candidate; delete it to compute them again"
        ) from error
    if any(set(row.values) != set(METRICS) for row in rows.values()):
        raise InputError(
            f"{path} needs the metrics {', '.join(METRICS)}; delete it to compute them again"
        )
    return rows
