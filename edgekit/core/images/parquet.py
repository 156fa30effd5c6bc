"""Images in parquet files laid out as Hugging Face's ``datasets`` does: a struct of bytes and path, and a label."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.errors import InputError
from edgekit.core.images.decode import Unreadable
from edgekit.core.images.gather import Encoded

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = 1024
_MAX_CLASSES = 100_000


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
                    for batch in file.iter_batches(_BATCH, columns=columns):
                        yield from self._encoded(path, n_before, batch)
                        n_before += batch.num_rows
            except (pa.ArrowException, OSError) as error:
                raise InputError(
                    f"parquet files must be whole, {path} is damaged: {error}"
                ) from error

    def _encoded(self, path: Path, n_before: int, batch: pa.RecordBatch) -> Iterator[Encoded]:
        names, data = _names_and_bytes(batch.column(self.image_column))
        limit = _MAX_CLASSES if self.names is None else len(self.names)
        labels = batch.column(self.label_column).to_pylist()
        for offset, (name, encoded, label) in enumerate(zip(names, data, labels, strict=True)):
            row = f"{path.name} row {n_before + offset}"
            if label is None or not 0 <= label < limit:
                raise InputError(
                    f"labels in {self.label_column!r} are from 0 to {limit - 1}, {row} has {label}"
                )
            yield Encoded(
                f"{row} ({name})" if name else row, encoded or Unreadable("no image bytes"), label
            )


def find_parts(path: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Training and test files: ``train-*.parquet`` and ``test-*.parquet`` of a folder, or one file and none.

    Raises:
        InputError: nothing of the kind is there.
    """
    if path.is_file():
        return (path,), ()
    train, test = (tuple(sorted(path.glob(f"{part}-*.parquet"))) for part in ("train", "test"))
    if not train:
        raise InputError(
            f"a parquet file or a folder with train-*.parquet is needed, {path} is neither; check the path"
        )
    return train, test


def open_part(
    files: tuple[Path, ...], image_column: str | None, label_column: str | None
) -> ParquetPart:
    """Check the schema of the files and find the columns; decodes nothing.

    Raises:
        InputError: not parquet, different schemas, or no single image or label column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schemas, n_rows = [], 0
    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                schemas.append(file.schema_arrow)
                n_rows += file.metadata.num_rows
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"a parquet file is needed, {path} cannot be read as one: {error}"
            ) from error
        if not schemas[0].equals(schemas[-1]):
            raise InputError(
                f"all parts of a data set need one schema, {path} differs from {files[0]}"
            )
    image = _column(schemas[0], image_column, "image", _is_image)
    label = _column(schemas[0], label_column, "label", pa.types.is_integer)
    return ParquetPart(files, image, label, _class_names(schemas[0], label), n_rows)


def _is_image(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _is_image(kind.field(index).type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _column(schema: pa.Schema, wanted: str | None, kind: str, fits: object) -> str:
    """The wanted column, else the one called like its kind, else the only one that fits."""
    assert callable(fits)
    fitting = [name for name, type_ in zip(schema.names, schema.types, strict=True) if fits(type_)]
    if wanted is None and kind in fitting:
        return kind
    if wanted in fitting:
        return wanted
    if wanted is None and len(fitting) == 1:
        return fitting[0]
    found = (
        f"asked for {wanted!r}"
        if wanted is not None
        else "there is more than one choice"
        if fitting
        else "none"
    )
    raise InputError(
        f"one {kind} column is needed, {found}; fitting columns: {', '.join(fitting) or 'none'}, "
        f"all columns: {', '.join(schema.names)}"
    )


def _class_names(schema: pa.Schema, label_column: str) -> tuple[str, ...] | None:
    """Class names from the ``huggingface`` entry of the schema; None when it has none."""
    try:
        document = json.loads((schema.metadata or {})[b"huggingface"])
        names = document["info"]["features"][label_column]["names"]
    except (KeyError, ValueError, TypeError):
        return None
    return tuple(str(name) for name in names) if isinstance(names, list) and names else None


def _names_and_bytes(column: pa.Array) -> tuple[list[str | None], list[bytes | None]]:
    import pyarrow as pa

    if not pa.types.is_struct(column.type):
        return [None] * len(column), column.to_pylist()
    fields = {
        field.name: values for field, values in zip(column.type, column.flatten(), strict=True)
    }
    names = fields["path"].to_pylist() if "path" in fields else [None] * len(column)
    return names, fields["bytes"].to_pylist()
