from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from edgekit.core.errors import InputError
from edgekit.core.images.decode import Unreadable
from edgekit.core.images.parquet import find_files, open_part


def _png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def _write(path: Path, columns: dict[str, list[object]], names: list[str] | None = None) -> Path:
    table = pa.table(columns)
    if names is not None:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        text = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": text})
    pq.write_table(table, path)
    return path


def _rows(n: int) -> list[object]:
    return [{"bytes": _png(index), "path": f"{index}.png"} for index in range(n)]


def test_rows_come_in_order_with_names_and_labels(tmp_path: Path) -> None:
    labels: list[object] = [0, 1, 0]
    path = _write(tmp_path / "a.parquet", {"image": _rows(3), "label": labels}, ["cat", "dog"])
    part = open_part((path,), None, None)
    assert (part.names, part.n_rows) == (("cat", "dog"), 3)
    rows = list(part.rows())
    assert [(row.name, row.label) for row in rows] == [
        ("a.parquet row 0 (0.png)", 0),
        ("a.parquet row 1 (1.png)", 1),
        ("a.parquet row 2 (2.png)", 0),
    ]
    assert rows[2].data == _png(2)


def test_rows_over_several_batches_and_files_keep_their_numbers(tmp_path: Path) -> None:
    files = tuple(
        _write(tmp_path / f"{name}.parquet", {"image": [_png(0)] * 300, "label": [0] * 300})
        for name in "ab"
    )
    rows = list(open_part(files, None, None).rows())
    assert (len(rows), rows[299].name, rows[300].name) == (
        600,
        "a.parquet row 299",
        "b.parquet row 0",
    )


def test_a_row_without_bytes_is_unreadable_and_its_path_is_not_followed(tmp_path: Path) -> None:
    images = [*_rows(1), None, {"bytes": None, "path": "/etc/hostname"}]
    path = _write(tmp_path / "a.parquet", {"image": images, "label": [0, 1, 1]})
    data = [row.data for row in open_part((path,), None, None).rows()]
    assert isinstance(data[1], Unreadable)
    assert isinstance(data[2], Unreadable)


def test_columns_are_found_by_kind_or_by_wish(tmp_path: Path) -> None:
    columns: dict[str, list[object]] = {"img": _rows(2), "fine": [0, 1], "coarse": [1, 1]}
    path = _write(tmp_path / "a.parquet", columns)
    part = open_part((path,), None, "coarse")
    assert (part.image_column, part.label_column, part.names) == ("img", "coarse", None)
    with pytest.raises(InputError, match="columns that fit: fine, coarse"):
        open_part((path,), None, None)
    with pytest.raises(InputError, match="'fine' is none; columns that fit: img"):
        open_part((path,), "fine", "coarse")


@pytest.mark.parametrize(("label", "bound"), [(-1, 1), (2, 1), (None, 1)])
def test_a_label_out_of_range_is_refused_by_row(
    tmp_path: Path, label: int | None, bound: int
) -> None:
    path = _write(tmp_path / "a.parquet", {"image": _rows(2), "label": [0, label]}, ["a", "b"])
    with pytest.raises(InputError, match=rf"0 to {bound}, a\.parquet row 1 has {label}"):
        list(open_part((path,), None, None).rows())


@pytest.mark.parametrize(
    "metadata", ["{", "[]", '{"info": {"features": {"label": {}}}}', "[" * 99999]
)
def test_odd_metadata_means_no_names(tmp_path: Path, metadata: str) -> None:
    table = pa.table({"image": _rows(1), "label": [0]})
    table = table.replace_schema_metadata({"huggingface": metadata})
    pq.write_table(table, tmp_path / "a.parquet")
    assert open_part((tmp_path / "a.parquet",), None, None).names is None


def test_files_that_are_no_parquet_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(InputError, match="must be a parquet file"):
        open_part((tmp_path / "a.parquet",), None, None)


def test_damaged_pages_are_an_input_error(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.parquet", {"image": _rows(50), "label": [0] * 50})
    data = bytearray(path.read_bytes())
    data[4:400] = b"\xff" * 396
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match="must be whole"):
        list(open_part((path,), None, None).rows())


def test_files_of_different_schemas_are_refused(tmp_path: Path) -> None:
    first = _write(tmp_path / "a.parquet", {"image": _rows(1), "label": [0]})
    second = _write(tmp_path / "b.parquet", {"image": _rows(1), "other": [0]})
    with pytest.raises(InputError, match=r"b\.parquet differs"):
        open_part((first, second), None, None)


def test_files_are_found_by_part(tmp_path: Path) -> None:
    for name in ("train-1.parquet", "train-0.parquet", "test-0.parquet", "other.parquet"):
        (tmp_path / name).touch()
    names = [[file.name for file in part] for part in find_files(tmp_path)]
    assert names == [["train-0.parquet", "train-1.parquet"], ["test-0.parquet"]]
    assert find_files(tmp_path / "other.parquet") == [(tmp_path / "other.parquet",)]
    with pytest.raises(InputError, match="is neither"):
        find_files(tmp_path / "absent")
