"""Accuracies and latencies of all cells, as files that others measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.search.nb201.space import EDGES, OPERATIONS, NB201Space
from edgekit.search.protocol.problem import Floats, Objective, SearchProblem, Values
from edgekit.search.space import Genes

N_CELLS = len(OPERATIONS) ** len(EDGES)
_MOST_BYTES = 64_000_000


@dataclass(frozen=True, slots=True, eq=False)
class CellTable:
    """One column of a file: a figure of each of the 15,625 cells.

    Attributes:
        figures: ``(15625,)`` float64 by the rank of the genes.
    """

    figures: Floats

    def of(self, genes: Genes) -> Floats:
        """Figures ``(n,)`` of cells ``(n, 6)``."""
        return np.asarray(self.figures[np.ravel_multi_index(genes.T, NB201Space.n_choices)])


def load_column(cells: Path, column: str, figures: Path | None = None) -> CellTable:
    """One column of figures.

    Args:
        cells: parquet file with a row per cell: ``arch_index``, and the operation of each edge in
            ``op_0_1`` .. ``op_2_3``.
        column: its name.
        figures: parquet file that has the column beside ``arch_index``; None for the first one.

    Raises:
        InputError: a file is missing, too large, or not such a table of all cells.
    """
    names = ["arch_index", *(f"op_{a}_{b}" for a, b in EDGES)]
    known = _read(cells, names)
    try:
        genes = np.array([[OPERATIONS.index(v) for v in known[n].to_pylist()] for n in names[1:]])
    except ValueError as error:
        raise InputError(
            f"an operation is one of {', '.join(OPERATIONS)}, {cells}: {error}"
        ) from error
    place = np.full(N_CELLS, -1)
    place[known["arch_index"].to_numpy()] = np.ravel_multi_index(
        tuple(genes), NB201Space.n_choices
    )
    found = _read(figures or cells, ["arch_index", column])
    result = np.full(N_CELLS, np.nan)
    result[place[found["arch_index"].to_numpy()]] = found[column].to_numpy()
    if np.isnan(result).any():
        raise InputError(
            f"{column} needs a figure for each of {N_CELLS} cells, {figures or cells} has "
            f"{np.isfinite(result).sum()}; take the whole table"
        )
    return CellTable(result)


def _read(path: Path, columns: list[str]) -> pa.Table:
    if not path.is_file():
        raise InputError(
            f"a table of cells is a parquet file, {path} is not there; check the path"
        )
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(
            f"a table of cells has at most {_MOST_BYTES} bytes, {path} has "
            f"{path.stat().st_size}; take one column of it"
        )
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} must be a parquet file: {error}; check the path") from error
    missing = [name for name in columns if name not in table.column_names]
    if missing or len(table) != N_CELLS:
        raise InputError(
            f"a table of cells has {N_CELLS} rows and {', '.join(columns)}, {path} has "
            f"{len(table)} and lacks {', '.join(missing) or 'none'}; take the whole table"
        )
    index = np.sort(table["arch_index"].to_numpy())
    if not np.array_equal(index, np.arange(N_CELLS)):
        raise InputError(f"arch_index must be 0..{N_CELLS - 1} once each, {path} has others")
    return table.select(columns)


def tabular_problem(
    error: CellTable,
    latency_s: CellTable | None = None,
    *,
    limit_s: float = np.inf,
    n_evaluations: int,
    population: int = 1,
    seed: int = 0,
) -> SearchProblem:
    """A search on tables: the error is told when it is asked for, the latency is known before.

    Args:
        error: to be small, such as 1 minus the accuracy after 12 epochs.
        latency_s: of a device; None for a search by the error alone.
        limit_s: wall on that.
        n_evaluations: cells that may be asked for, above 0.
        population: cells a strategy may ask for at once, above 0.
        seed: of every random choice.
    """
    tables = [error] if latency_s is None else [error, latency_s]

    def costs(genes: Genes) -> Floats:
        known = [table.of(genes) for table in tables[1:]]
        return np.stack([np.full(len(genes), np.nan), *known], axis=1)

    objectives = [Objective("error"), Objective("latency_s", limit_s)][: len(tables)]
    return SearchProblem(
        NB201Space(),
        tuple(objectives),
        costs,
        _looked_up(tables),
        n_evaluations,
        population,
        seed,
    )


def _looked_up(tables: list[CellTable]) -> Callable[[Candidate], Values]:
    def evaluate(candidate: Candidate) -> Values:
        genes = np.array([candidate.genes])
        return tuple(float(table.of(genes)[0]) for table in tables)

    return evaluate
