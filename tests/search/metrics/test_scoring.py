"""Metrics of many candidates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.core.precision import Precision
from edgekit.core.progress import Progress
from edgekit.search.mbconv.space import MBConvSpace
from edgekit.search.metrics.scoring import (
    INT8_QUIET,
    METRICS,
    METRICS_FILE,
    ArchitectureMetrics,
    metrics_of,
    score,
    table_of,
    with_precisions,
)
from edgekit.search.nb201.network import CellNetwork
from edgekit.search.nb201.space import NB201Space
from edgekit.search.space import with_precision
from tests.search.synthetic import TINY

SPACE, QUIET = NB201Space(), Progress(quiet=True)
GENES = SPACE.sample(4, np.random.default_rng(0))
CELLS = [Candidate(tuple(row)) for row in GENES.tolist()]


def build(candidate: Candidate, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return CellNetwork(candidate, 10, n_cells=1, width=8)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 3, 16, 16, generator=generator)
    return x, torch.randint(0, 10, (8,), generator=generator)


def test_every_metric_of_a_working_cell_has_a_value_and_the_largest_the_most_work() -> None:
    x, y = batch()
    large = metrics_of(build(SPACE.largest(), 0), x, y, 0).values
    small = metrics_of(build(Candidate((1,) * 6), 0), x, y, 0).values
    assert set(large) == set(METRICS)
    for name in ("macs", "params", "synflow", "zen", "snip"):
        assert (large[name] or 0) > (small[name] or 0)
    assert None not in large.values()


def test_a_dead_cell_has_none() -> None:
    x, y = batch()
    dead = metrics_of(build(Candidate((0,) * 6), 0), x, y, 0).values
    assert dead["synflow"] == 0
    assert dead["naswot"] is None


def test_scores_are_means_over_initialisations() -> None:
    x, y = batch()
    one, two, both = (
        table_of(GENES, score(CELLS, build, x, y, seeds=seeds, progress=QUIET)).values
        for seeds in ((1,), (2,), (1, 2))
    )
    finite = np.isfinite(one) & np.isfinite(two)
    np.testing.assert_allclose(both[finite], ((one + two) / 2)[finite], rtol=1e-6)
    assert (one != two)[finite].any()


def test_what_was_scored_is_not_scored_again(tmp_path: Path) -> None:
    x, y = batch()
    built: list[Candidate] = []

    def counted(candidate: Candidate, seed: int) -> nn.Module:
        built.append(candidate)
        return build(candidate, seed)

    first = score(CELLS[:3], counted, x, y, folder=tmp_path, progress=QUIET)
    again = score(CELLS, counted, x, y, folder=tmp_path, progress=QUIET)
    assert built == CELLS
    assert again[:3] == first
    with pytest.raises(InputError, match="metrics go on with the seeds"):
        score(CELLS, counted, x, y, seeds=(0, 1), folder=tmp_path, progress=QUIET)
    path = tmp_path / METRICS_FILE
    path.write_text(path.read_text().replace('"zen"', '"zen2"', 1))
    with pytest.raises(InputError):
        score(CELLS, counted, x, y, folder=tmp_path, progress=QUIET)


def test_int8_is_quiet_where_the_noisy_blocks_stay_in_float32() -> None:
    space = MBConvSpace(TINY)
    noise = {"stem.conv.weight": 1.0, "blocks.b00.expand.weight": 2.0, "head.conv.weight": 4.0}
    metrics = ArchitectureMetrics(dict.fromkeys(METRICS, 1.0), noise)
    paths = {"stem": "stem", "blocks.b00": "b00", "head": "head"}
    rows = [space.largest()]
    for block in ("stem", "b00", "head"):
        rows.append(with_precision(space, space.largest(), block, Precision.INT8))
    genes = np.array([candidate.genes for candidate in rows])
    scores = with_precisions(space, genes, [metrics] * 4, paths)
    assert scores.names == (*METRICS, INT8_QUIET)
    quiet = scores.values[:, -1]
    np.testing.assert_allclose(quiet[1:], -np.log([1, 2, 4]))
    assert quiet[0] > quiet[1]
