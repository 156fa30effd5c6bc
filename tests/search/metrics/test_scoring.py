"""Metrics of many candidates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.core.progress import Progress
from edgekit.search.metrics.scoring import METRICS, METRICS_FILE, metrics_of, score
from edgekit.search.nb201.network import CellNetwork
from edgekit.search.nb201.space import NB201Space

SPACE, QUIET = NB201Space(), Progress(quiet=True)
CELLS = [Candidate(tuple(row)) for row in SPACE.sample(4, np.random.default_rng(0)).tolist()]


def build(candidate: Candidate, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return CellNetwork(candidate, 10, n_cells=1, width=8)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 3, 16, 16, generator=generator)
    return x, torch.randint(0, 10, (8,), generator=generator)


def test_every_metric_of_a_working_cell_has_a_value_and_the_largest_the_most_work() -> None:
    x, y = batch()
    large = metrics_of(build(SPACE.largest(), 0), x, y, 0)
    small = metrics_of(build(Candidate((1,) * 6), 0), x, y, 0)
    assert set(large) == set(METRICS)
    assert np.isfinite(list(large.values())).all()
    assert all(large[name] > small[name] for name in ("macs", "params", "synflow", "zen", "snip"))


def test_a_dead_cell_has_none() -> None:
    x, y = batch()
    dead = metrics_of(build(Candidate((0,) * 6), 0), x, y, 0)
    assert dead["synflow"] == 0


def test_scores_are_means_over_initialisations() -> None:
    x, y = batch()
    one, two, both = (
        score(CELLS, build, x, y, seeds=seeds, progress=QUIET).values
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
    np.testing.assert_array_equal(again.values[:3], first.values)
    assert again.genes.tolist() == [list(c.genes) for c in CELLS]
    with pytest.raises(InputError, match="metrics go on with the seeds"):
        score(CELLS, counted, x, y, seeds=(0, 1), folder=tmp_path, progress=QUIET)
    path = tmp_path / METRICS_FILE
    path.write_text(path.read_text().replace(CELLS[0].text, "x").replace("[", "{", 1))
    with pytest.raises(InputError):
        score(CELLS, counted, x, y, folder=tmp_path, progress=QUIET)
