"""Parquet files: written whole and ours, read within the byte budget, by pyarrow itself too."""

from pathlib import Path

import pytest

import hmrfit
from hmrfit.io.budget import TooLarge
from hmrfit.io.own_files import is_own, kind_of
from hmrfit.io.parquet import ROWS_AT_ONCE, ParquetWriter, is_parquet, read_metadata, read_rows

parquet = pytest.importorskip("pyarrow.parquet")

COLUMNS = {"id": "text", "x": "number", "points": "numbers", "good": "flag", "notes": "texts"}


def rows(count: int) -> list[dict]:
    return [
        {"id": str(i), "x": i / 3, "points": [i, 0.5], "good": i % 2 == 0, "notes": ["é"] * (i % 3)}
        for i in range(count)
    ]


def write(path: Path, count: int) -> None:
    with ParquetWriter(path, COLUMNS, {"made": "here"}) as table:
        for row in rows(count):
            table.add([row])


def test_round_trip_and_as_pyarrow_reads_it(tmp_path: Path) -> None:
    path, count = tmp_path / "a.parquet", 2 * ROWS_AT_ONCE + 3
    write(path, count)
    assert list(read_rows(path)) == rows(count) == parquet.read_table(path).to_pylist()
    assert list(read_rows(path, ["id", "absent"])) == [{"id": str(i)} for i in range(count)]
    assert read_metadata(path)["made"] == "here" and is_parquet(path)


def test_it_says_whose_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write(path, 3)
    assert kind_of(path) == "people" and is_own(path)
    write(path, 4)  # replaces its own
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(FileExistsError):
        write(path, 4)


def test_what_was_added_is_kept_when_a_run_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), ParquetWriter(tmp_path / "a.parquet", COLUMNS) as table:
        table.add(rows(2))
        raise KeyboardInterrupt
    assert list(read_rows(tmp_path / "a.parquet")) == rows(2)


def test_the_byte_budget_and_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write(path, 5000)
    with hmrfit.file_limits(gigabytes=0.001), pytest.raises(TooLarge):
        list(read_rows(path))
    data = path.read_bytes()
    for broken in (b"", b"PAR1", data[: len(data) // 2], data[:40] + bytes(400) + data[440:], b"x" * 100):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"damaged|Parquet"):
            list(read_rows(path))
