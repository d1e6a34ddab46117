"""Parquet files through pyarrow, the one door to it; `pip install 'hmrfit[parquet]'`.

Read within the byte budget: what a file claims is counted before its pages are touched, and what they hold as they are
read. Written a group of rows at a time, so that memory stays flat.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hmrfit.io.bounded import check_regular
from hmrfit.io.budget import brief, check_bytes
from hmrfit.io.own_files import own_file

ROWS_AT_ONCE = 1000
"""Of a table, in one group."""

OF_A_VALUE = 64
"""Bytes of Python that one value of a column takes at most, beside its own."""

NEEDED = "Parquet files are read and written by pyarrow, which is not installed: pip install 'hmrfit[parquet]'."


def pyarrow() -> Any:
    """The package.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(NEEDED) from error
    return pyarrow


def arrow_schema(columns: Mapping[str, str], metadata: Mapping[str, str] | None = None) -> Any:
    """columns: name -> text, number, numbers, flag or texts."""
    pa = pyarrow()
    kinds = {
        "text": pa.string(),
        "number": pa.float64(),
        "numbers": pa.list_(pa.float64()),
        "flag": pa.bool_(),
        "texts": pa.list_(pa.string()),
    }
    return pa.schema([(name, kinds[kind]) for name, kind in columns.items()], metadata=dict(metadata or {}))


class ParquetWriter:
    """A table that grows row by row; at the end of the `with` block, however it ends, the file is there and whole."""

    def __init__(
        self, path: str | os.PathLike, columns: Mapping[str, str], metadata: Mapping[str, str] | None = None
    ) -> None:
        self.path, self.schema = Path(path), arrow_schema(columns, metadata)
        self.waiting: list[Mapping[str, Any]] = []

    def __enter__(self) -> Self:
        self._file = own_file(self.path, "people")
        self._writer = pyarrow().parquet.ParquetWriter(self._file.__enter__(), self.schema, compression="zstd")
        return self

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """More rows."""
        self.waiting += rows
        if len(self.waiting) >= ROWS_AT_ONCE:
            self._write()

    def _write(self) -> None:
        self._writer.write_table(pyarrow().Table.from_pylist(self.waiting, self.schema))
        self.waiting = []

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        from hmrfit.io.own_files import UNSIGNED

        if self.waiting:
            self._write()
        self._writer.add_key_value_metadata({"made_by": UNSIGNED.decode()})  # where the remark will stand
        self._writer.close()
        self._file.__exit__(None, None, None)


def read_metadata(path: str | os.PathLike) -> dict[str, str]:
    """What the table says of itself. Errors: those of `read_rows`."""
    with _opened(path) as file:
        found = file.schema_arrow.metadata or {}
    return {_text(key): _text(value) for key, value in found.items()}


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def read_rows(path: str | os.PathLike, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows, some at a time in memory.

    Args:
        columns: only these, those of them that are there.
    Raises:
        OSError: as the system says. TooLarge: more than the budget. ValueError: it is no Parquet file, or damaged.
        ImportError: pyarrow is not installed.
    """
    what, read = f"'{path}'", 0
    with _opened(path) as file:
        names = [n for n in file.schema_arrow.names if columns is None or n in columns]
        _check_claims(file.metadata, set(names), what)
        try:
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=names, use_threads=False):
                read += batch.nbytes
                check_bytes(read, what)
                yield from batch.to_pylist()
        except (pyarrow().ArrowException, OSError) as error:
            raise ValueError(f"{what} is damaged or cut off ({brief(str(error))}).") from None


def _opened(path: str | os.PathLike) -> Any:
    check_regular(path)
    try:
        return pyarrow().parquet.ParquetFile(os.fspath(path))
    except pyarrow().ArrowException as error:
        raise ValueError(f"'{path}' is no Parquet file, or damaged ({brief(str(error))}).") from None


def _check_claims(metadata: Any, names: set[str], what: str) -> None:
    """That what the columns are said to hold is within the budget."""
    claimed = 0
    for group in range(metadata.num_row_groups):
        for i in range(metadata.num_columns):
            column = metadata.row_group(group).column(i)
            if column.path_in_schema.split(".")[0] in names:
                claimed += max(column.total_uncompressed_size, 0) + OF_A_VALUE * max(column.num_values, 0)
    check_bytes(claimed, what)


def is_parquet(path: str | os.PathLike) -> bool:
    """Whether a file is one, by its first bytes."""
    with suppress(OSError), open(path, "rb") as file:
        return file.read(4) == b"PAR1"
    return False
