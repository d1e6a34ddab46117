"""Texts, JSON, tables and arrays within the budget: what is legitimate is read as ever, the rest refused."""

import io
import json
import math
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hmrfit.io.bounded import (
    PythonObjects,
    csv_rows,
    decode,
    npz_names,
    parse_json,
    read_bytes,
    read_fields,
    read_json,
    read_npy,
    read_npz,
    read_numpy,
    read_text,
    words,
)
from hmrfit.io.budget import TooLarge, file_limits

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
)


@settings(max_examples=40)
@given(values)
def test_json_is_read_as_json_reads_it(value: Any) -> None:
    assert parse_json(json.dumps(value), "it") == json.loads(json.dumps(value))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"a": 1', "is not JSON, or it is cut off"),
        ("", "is not JSON"),
    ],
)
def test_json_that_no_program_wrote(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=rf"a\.json' .*{message}"):
        read_json(tmp_path / "a.json")


def test_a_number_that_no_program_can_use_is_infinite() -> None:
    """It is one value's fault, not the file's: a million digits are read at once, those of a double stay."""
    assert parse_json("1" * 1_000_000, "it") == math.inf
    assert parse_json("[1.5, -" + "7" * 301 + ", 12, 1e999]", "it") == [1.5, -math.inf, 12, math.inf]
    assert parse_json(str(10**300 - 1), "it") == 10**300 - 1


@pytest.mark.parametrize("part", ["[],", "{},", '"ab",', "1.5,", '{"a":1},', "[[[]]],", '"\U0001f600",'])
def test_json_is_counted_before_it_is_parsed(part: str) -> None:
    """The estimate is never below what the values really take, measured as memory that Python allocates."""
    import tracemalloc

    text = "[" + part * 20_000 + "1]"
    tracemalloc.start()
    try:
        value = json.loads(text)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(value) == 20_001
    with file_limits(gigabytes=taken / 0.5e9), pytest.raises(TooLarge, match="it would take"):
        parse_json(text, "it")
    with file_limits(gigabytes=10 * taken / 0.5e9):
        assert parse_json(text, "it") == value


def test_texts_in_the_encoding_they_say(tmp_path: Path) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        (tmp_path / "a.txt").write_bytes("x, Ä 7".encode(encoding))
        assert read_text(tmp_path / "a.txt") == "x, Ä 7"
    with pytest.raises(ValueError, match="is not a text"):
        decode(b"abc\xff", "it")
    with file_limits(gigabytes=1e-6), pytest.raises(TooLarge):
        decode(b"a" * 400, "it")


def test_texts_as_shells_and_spreadsheets_write_them() -> None:
    """UTF-16 without its mark; Latin-1 only where a table is expected, and no control characters in it."""
    assert decode("x, Ä 7".encode("utf-16-le"), "it") == decode("x, Ä 7".encode("utf-16-be"), "it") == "x, Ä 7"
    assert decode("Größe 7".encode("latin-1"), "it", latin=True) == "Größe 7"
    for data in (b"\xe4\x00\x01", b"\xff\xfe\x80\x81"):
        with pytest.raises(ValueError, match="is not a text"):
            decode(data, "it", latin=True)


def test_pipes_and_devices_are_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("pipe", "device"):
        with pytest.raises(ValueError, match=rf"{name}' is a {name}, not a file"):
            read_bytes(tmp_path / name)
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(FileNotFoundError, match="is a link to nothing"):
        read_bytes(tmp_path / "link")
    with pytest.raises(IsADirectoryError):
        read_bytes(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "nothing")


@given(st.text(alphabet="ab1. \n\t\r\x0b\x1c", max_size=40))
def test_words(text: str) -> None:
    assert words(text, "it") == text.split()


def test_tables() -> None:
    assert list(csv_rows("a, 1 ,\n\n , \nb;c,2\n", ",", "it")) == [["a", "1", ""], ["b;c", "2"]]
    with pytest.raises(ValueError, match="it is no table of numbers: line 2"):
        list(csv_rows("1,2\n" + "3" * 131_073 + ",4\n", ",", "it"))
    with file_limits(gigabytes=1e-4), pytest.raises(TooLarge):
        list(csv_rows("\n" * 10_000, ",", "it"))


arrays = hnp.arrays(
    st.sampled_from([np.int8, np.uint32, ">i8", np.float16, ">f4", np.float64, bool, "S3", "U2", "c8"]),
    hnp.array_shapes(min_dims=0, min_side=0, max_side=4),
)


@given(st.dictionaries(st.sampled_from("abcd"), arrays), st.booleans())
def test_an_npz_is_read_as_numpy_reads_it(made: dict[str, np.ndarray], packed: bool) -> None:
    file = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(file, **made)
    found = read_npz(file.getvalue(), what="it")
    assert found.keys() == made.keys()
    for name, array in made.items():
        assert found[name].shape == array.shape and found[name].dtype == array.dtype.newbyteorder("=")
        assert found[name].tobytes() == array.astype(array.dtype.newbyteorder("=")).tobytes()


def header(shape: tuple, descr: str = "<f8") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    "raw",
    [
        header((10**12, 3)) + bytes(100),
        header((10**400,)),
        header((-3,)),
        header((3,), "<U536870911"),
        header((3,), "<f8,<f4") + bytes(36),
        header((2, 2)) + bytes(31),
        b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000,
        b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"-" * 9000,
        b"\x93NUMPY\x09\x00" + bytes(100),
        b"\x93NUM",
        b"",
        b"hello",
    ],
)
def test_headers_that_lie(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(raw)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", raw)
    for read, name in ((read_npy, "a.npy"), (read_numpy, "a.npy"), (read_npz, "a.npz"), (read_numpy, "a.npz")):
        with pytest.raises(ValueError, match=rf"{name}' (is damaged|would take)"):
            read(tmp_path / name)


def test_zeros_that_are_packed_a_thousand_times_are_not_unpacked(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(400_000), b=np.zeros(400_000), c=np.zeros(3))
    assert (tmp_path / "a.npz").stat().st_size < 10_000
    with file_limits(gigabytes=0.013):
        assert len(read_npz(tmp_path / "a.npz", ("c",))["c"]) == 3
        assert len(read_npz(tmp_path / "a.npz", ("a",))["a"]) == 400_000
        with pytest.raises(TooLarge, match=r"a\.npz' would take"):
            read_npz(tmp_path / "a.npz")


def test_what_numpy_does_not_write(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, a=np.array([None]), b=np.zeros(2))
    with pytest.raises(PythonObjects, match="Python objects in 'a', which could run code"):
        read_npz(path)
    assert list(read_npz(path, skip_objects=True)) == ["b"] and npz_names(path) == ["a", "b"]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.npy", header((1,)) + bytes(8))
    with pytest.raises(ValueError, match="packed in a way that numpy does not write"):
        read_npz(path)
    path.write_bytes(b"PK\x01\x02" * 30_000)
    with pytest.raises(TooLarge, match="members"):
        read_npz(path)


def test_fields_are_numbers_and_there(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.ones(2), b=np.array("x"))
    assert read_fields(tmp_path / "a.npz", ("a",))[0].tolist() == [1, 1]
    with pytest.raises(ValueError, match="has no array `c`"):
        read_fields(tmp_path / "a.npz", ("a", "c"))
    with pytest.raises(ValueError, match=r"`b` of .* should hold numbers"):
        read_fields(tmp_path / "a.npz", ("b",))


@given(position=st.integers(0, 2000), value=st.integers(0, 255), cut=st.booleans())
def test_a_changed_byte_is_a_value_error_or_nothing(position: int, value: int, cut: bool) -> None:
    file = io.BytesIO()
    np.savez_compressed(file, a=np.arange(20.0), b=np.array("text"), c=np.zeros((3, 0), np.int8))
    raw = bytearray(file.getvalue())
    raw[position % len(raw)] = value
    try:
        read_npz(bytes(raw[: position % len(raw)] if cut else raw), what="it")
    except ValueError as error:
        assert type(error) in (ValueError, TooLarge, PythonObjects) and str(error).startswith("it ")
