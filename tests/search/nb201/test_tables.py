"""Figures that others measured, joined to our genes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.search.nb201.space import EDGES, OPERATIONS, NB201Space
from edgekit.search.nb201.tables import N_CELLS, CellTable, load_column, tabular_problem
from edgekit.search.protocol.loop import search
from edgekit.search.protocol.pool import enumerated
from edgekit.search.strategies.exhaustive import ExhaustiveStrategy

SPACE = NB201Space()
ALL = np.concatenate(list(enumerated(SPACE)))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of all cells in an order of its own; the figure of a cell is its rank."""
    path = tmp_path_factory.mktemp("cells") / "cells.parquet"
    order = np.random.default_rng(0).permutation(N_CELLS)
    columns = {
        f"op_{a}_{b}": [OPERATIONS[g] for g in ALL[order, i]] for i, (a, b) in enumerate(EDGES)
    }
    pq.write_table(pa.table({"arch_index": np.arange(N_CELLS), "rank": order, **columns}), path)
    return path


def test_a_figure_is_found_by_genes_whatever_the_order_of_rows(written: Path) -> None:
    assert (load_column(written, "rank").of(ALL) == np.arange(N_CELLS)).all()


def test_figures_may_lie_in_a_file_of_their_own(written: Path, tmp_path: Path) -> None:
    index = np.arange(N_CELLS)[::-1]
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"arch_index": index, "ms": index / 2}), other)
    rank = load_column(written, "rank").figures.astype(int)
    found = load_column(written, "ms", other).figures
    order = pq.read_table(written)["rank"].to_numpy()
    assert (found[order] == np.arange(N_CELLS) / 2).all()
    assert (np.sort(rank) == np.arange(N_CELLS)).all()


def test_what_is_no_table_of_all_cells_is_refused(written: Path, tmp_path: Path) -> None:
    table, path = pq.read_table(written), tmp_path / "t.parquet"
    with pytest.raises(InputError, match="is not there"):
        load_column(path, "rank")
    path.write_text("rows")
    with pytest.raises(InputError, match="must be a parquet file"):
        load_column(path, "rank")
    pq.write_table(table.slice(1), path)
    with pytest.raises(InputError, match="has 15625 rows"):
        load_column(path, "rank")
    with pytest.raises(InputError, match="lacks nothing"):
        load_column(written, "nothing")
    pq.write_table(table.set_column(0, "arch_index", pa.array(np.zeros(N_CELLS, int))), path)
    with pytest.raises(InputError, match="arch_index must be"):
        load_column(path, "rank")
    strange = table.set_column(2, "op_0_1", pa.array(["conv"] * N_CELLS))
    pq.write_table(strange, path)
    with pytest.raises(InputError, match="an operation is one of none"):
        load_column(path, "rank")


def test_the_problem_knows_latencies_before_and_tells_errors_when_asked() -> None:
    error, latency_s = (CellTable(np.random.default_rng(i).random(N_CELLS)) for i in (0, 1))
    problem = tabular_problem(error, latency_s, limit_s=0.3, n_evaluations=6_000, population=500)
    history = list(search(problem, ExhaustiveStrategy()))
    inside = latency_s.figures <= 0.3
    assert len(history) == 6_000 > inside.sum()
    best = problem.best(history)
    assert best is not None
    assert best.values == (
        error.figures[inside].min(),
        latency_s.of(np.array([best.candidate.genes]))[0],
    )
    alone = tabular_problem(error, n_evaluations=1)
    assert alone.evaluate(Candidate((0,) * 6)) == (error.figures[0],)


def test_the_data_folder_has_the_published_best_cells(cells_path: Path) -> None:
    for column, best in (
        ("test_acc_cifar10", 94.37),
        ("test_acc_cifar100", 73.51),
    ):
        assert load_column(cells_path, column).figures.max() == pytest.approx(best, abs=0.01)


def test_accuracies_follow_the_size(cells_path: Path) -> None:
    """The join holds: by a wrong order of rows they would not."""
    macs, top1 = (
        load_column(cells_path, f"{name}_cifar10").of(ALL) for name in ("macs", "test_acc")
    )
    assert spearmanr(macs, top1).statistic == pytest.approx(0.751, abs=0.001)
