"""Parquet files as Hugging Face's ``datasets`` writes them: an image struct and a label."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.errors import InputError
from edgekit.core.images.decode import Unreadable
from edgekit.core.images.gather import N_LOOKED_AT, Encoded

if TYPE_CHECKING:
    import pyarrow as pa

MAX_CLASSES = 100_000
_BATCH_ROWS = 256


@dataclass(frozen=True, slots=True)
class ParquetPart:
    """One part of a data set: files of one schema, read in order.

    Attributes:
        files: the files, sorted.
        image_column: column that holds the encoded images.
        label_column: column that holds the class indices.
        names: class names from the files' own metadata; None without such.
        n_rows: rows of all files.
    """

    files: tuple[Path, ...]
    image_column: str
    label_column: str
    names: tuple[str, ...] | None
    n_rows: int

    def rows(self) -> Iterator[Encoded]:
        """The images in file order, one batch of rows in memory at a time.

        Raises:
            InputError: damaged pages, or labels out of range.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = [self.image_column, self.label_column]
        for path in self.files:
            n_before = 0
            try:
                with pq.ParquetFile(path) as file:
                    for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
                        yield from self._encoded(path, n_before, batch)
                        n_before += batch.num_rows
            except (pa.ArrowException, OSError) as error:
                raise InputError(f"parquet files must be whole, {path} is not: {error}") from error

    def first_rows(self) -> list[Encoded]:
        """The first images, enough to judge their size."""
        return list(itertools.islice(self.rows(), N_LOOKED_AT))

    def _encoded(self, path: Path, n_before: int, batch: pa.RecordBatch) -> Iterator[Encoded]:
        names, images = _names_and_bytes(batch.column(self.image_column))
        n_labels = MAX_CLASSES if self.names is None else len(self.names)
        labels = batch.column(self.label_column).to_pylist()
        for offset, (name, data, label) in enumerate(zip(names, images, labels, strict=True)):
            row = f"{path.name} row {n_before + offset}"
            if label is None or not 0 <= label < n_labels:
                raise InputError(
                    f"labels in column {self.label_column!r} are from 0 to {n_labels - 1}, "
                    f"{row} has {label}; use a labelled part"
                )
            full_name = f"{row} ({name})" if name else row
            yield Encoded(full_name, data or Unreadable("no image bytes"), label)


def find_files(path: Path) -> list[tuple[Path, ...]]:
    """Files of the training part, then of the test part where there is one; or one file alone.

    Raises:
        InputError: nothing of the kind is there.
    """
    if path.is_file():
        return [(path,)]
    parts = [tuple(sorted(path.glob(f"{part}-*.parquet"))) for part in ("train", "test")]
    if not parts[0]:
        raise InputError(
            f"a parquet file or a folder with train-*.parquet is needed, {path} is neither"
        )
    return [files for files in parts if files]


def open_part(
    files: tuple[Path, ...], image_column: str | None, label_column: str | None
) -> ParquetPart:
    """Check the schema of the files and find the columns; decodes nothing.

    Raises:
        InputError: not parquet, different schemas, or no single image or label column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schemas: list[pa.Schema] = []
    n_rows = 0
    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                schemas.append(file.schema_arrow)
                n_rows += file.metadata.num_rows
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path} must be a parquet file, it is not: {error}") from error
        if not schemas[0].equals(schemas[-1]):
            raise InputError(f"the files need one schema, {path} differs from {files[0]}")
    image = _column(schemas[0], image_column, "image", _holds_images)
    label = _column(schemas[0], label_column, "label", _holds_labels)
    return ParquetPart(files, image, label, _class_names(schemas[0], label), n_rows)


def _holds_images(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if isinstance(kind, pa.StructType):
        index = kind.get_field_index("bytes")
        return index >= 0 and _holds_images(kind.field(index).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _holds_labels(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind))


def _column(
    schema: pa.Schema, wanted: str | None, usual: str, fits: Callable[[pa.DataType], bool]
) -> str:
    """The wanted column; without a wish the one with the usual name, or the only one that fits."""
    fitting = [str(field.name) for field in schema if fits(field.type)]
    if wanted is None and usual not in fitting and len(fitting) == 1:
        return fitting[0]
    name = usual if wanted is None else wanted
    if name in fitting:
        return name
    raise InputError(
        f"one {usual} column is needed, {name!r} is none; columns that fit: "
        f"{', '.join(fitting) or 'none'}, all columns: {', '.join(schema.names)}"
    )


def _class_names(schema: pa.Schema, label_column: str) -> tuple[str, ...] | None:
    """Class names from the ``huggingface`` entry of the schema; None when it has none."""
    try:
        document = json.loads((schema.metadata or {})[b"huggingface"])
        names = document["info"]["features"][label_column]["names"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return None
    return tuple(str(name) for name in names) if isinstance(names, list) and names else None


def _names_and_bytes(column: pa.Array) -> tuple[list[str | None], list[bytes | None]]:
    import pyarrow as pa

    if not isinstance(column, pa.StructArray):
        return [None] * len(column), column.to_pylist()
    fields = dict(zip((field.name for field in column.type), column.flatten(), strict=True))
    names = fields["path"].to_pylist() if "path" in fields else [None] * len(column)
    return names, fields["bytes"].to_pylist()
