"""The tables of the optional data folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.search.nb201.tables import CellTable, load_column


@pytest.fixture(scope="session")
def cells_path(data_dir: Path) -> Path:
    """All cells and their accuracies."""
    return data_dir / "nas" / "nb201.parquet"


@pytest.fixture(scope="session")
def validation(cells_path: Path) -> CellTable:
    """1 minus the validation accuracy on CIFAR-10 after 12 epochs."""
    percent = load_column(cells_path, "val_acc_cifar10_ep12").figures
    return CellTable(1 - percent / 100)
