"""numpy's files, read within the budget and without running anything: npy, and npz with all or some of its arrays.

    Σ over the arrays  count · (itemsize + 8)  <=  the budget          from their headers, before anything is unpacked

8: numbers become float64 or int64 when they are used. A header's size must be what the file really holds: a zip of
5 MB can unpack to 5 GB, and a header of 80 bytes can name any shape.
"""

import io
import math
import mmap
import os
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from hmrfit.io.bounded import check_regular
from hmrfit.io.budget import MOST, Meter, TooLarge, brief, check_bytes

KINDS = "biufcSU"
"""Of numpy's types: numbers and text. Anything else is made of Python objects, or is of no use to any reader here."""

MOST_MEMBERS = 20_000
"""Arrays in one npz; the largest networks have hundreds."""

TEXT = 100
"""Bytes of a str of Python beside its characters, and of its place in a list."""

DEFLATE = 1033
"""How many times its bytes a deflated member can have at most."""

CHUNK = 1 << 22

DAMAGE = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, TypeError, KeyError, IndexError, AttributeError,
    SyntaxError, RecursionError, MemoryError, NotImplementedError, RuntimeError, OverflowError, tokenize.TokenError,
)  # fmt: skip
"""What zipfile and numpy raise for damaged files: numpy parses the header as Python's syntax."""


class PythonObjects(ValueError):
    """An array of Python objects: loading it could run code."""


def read_npz(
    path: str | os.PathLike | bytes,
    names: Collection[str] | None = None,
    skip_objects: bool = False,
    what: str | None = None,
) -> dict[str, NDArray]:
    """The arrays of an npz by name, in the machine's byte order.

    Args:
        path: the file, or its bytes. what: it, the beginning of an error message; by default the path.
        names: only these, those of them that are there.
        skip_objects: leave out arrays of Python objects instead of refusing the file.
    Raises:
        OSError: as the system says. TooLarge: more than the budget.
        PythonObjects: it holds an array of them. ValueError: damaged, cut off, or no npz.
    """
    what = what or f"'{path}'"
    with _opened(path, what) as file:
        return _guarded(lambda: _members(file, names, skip_objects, what), what)


def read_fields(path: str | os.PathLike, names: Sequence[str]) -> list[NDArray]:
    """These arrays of numbers of an npz, in this order. Errors: those of `read_npz`; ValueError: one is missing."""
    found = read_npz(path, names)
    for name in names:
        if name not in found:
            raise ValueError(f"'{path}' has no array `{name}`. Needed are {', '.join(names)}.")
        if found[name].dtype.kind not in "fiu":
            raise ValueError(f"`{name}` of '{path}' should hold numbers, not {found[name].dtype}.")
    return [found[name] for name in names]


def npz_names(path: str | os.PathLike) -> list[str]:
    """The names of an npz's arrays. Errors: those of `read_npz`."""
    what = f"'{path}'"
    with _opened(path, what) as file:
        return _guarded(lambda: _names(file, what), what)


def read_npy(path: str | os.PathLike) -> NDArray:
    """The one array of an npy. Errors: those of `read_npz`."""
    what = f"'{path}'"
    size = check_regular(path)
    with Path(path).open("rb") as file:
        if file.read(1) == b"\x80":
            raise PythonObjects(f"{what} holds Python objects, which could run code: they are never unpickled.")
        file.seek(0)
        return _guarded(lambda: _array(file, *_header(file, what), size - file.tell(), Meter(what)), what)


def read_numpy(path: str | os.PathLike) -> NDArray | dict[str, NDArray]:
    """An npy's array or an npz's arrays, whichever the file is. Errors: those of `read_npz`."""
    check_regular(path)
    with Path(path).open("rb") as file:
        start = file.read(4)
    return read_npz(path) if start in (b"PK\x03\x04", b"PK\x05\x06") else read_npy(path)


def _opened(path: str | os.PathLike | bytes, what: str) -> BinaryIO:
    if isinstance(path, bytes):
        return io.BytesIO(path)
    check_regular(path)
    return Path(path).open("rb")


def _guarded(read, what: str):
    """Whatever is raised for damaged files, as a sentence about the file."""
    try:
        return read()
    except (TooLarge, PythonObjects):
        raise
    except DAMAGE as error:
        raise ValueError(f"{what} is damaged or cut off ({_reason(error)}).") from None


def _reason(error: BaseException) -> str:
    return brief(str(error)) or type(error).__name__


def _members(file: BinaryIO, names: Collection[str] | None, skip_objects: bool, what: str) -> dict[str, NDArray]:
    check_directory(file, what)
    meter, arrays = Meter(what), {}
    with zipfile.ZipFile(file) as archive:
        every = {m.filename.removesuffix(".npy"): m for m in archive.infolist() if m.filename.endswith(".npy")}
        wanted = {name: member for name, member in every.items() if names is None or name in names}
        for member in wanted.values():
            _check_member(member)
        check_bytes(sum(member.file_size for member in wanted.values()), what)
        for name, member in wanted.items():
            with archive.open(member) as opened:
                try:
                    header = _header(opened, what, f" in '{brief(name)}'")
                except PythonObjects:
                    if skip_objects:
                        continue
                    raise
                arrays[name] = _array(opened, *header, member.file_size - opened.tell(), meter)
    return arrays


def _names(file: BinaryIO, what: str) -> list[str]:
    check_directory(file, what)
    with zipfile.ZipFile(file) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def check_directory(file: BinaryIO, what: str) -> None:
    """That a zip lists no more members than `MOST_MEMBERS`: zipfile takes some 700 bytes for each of 50 in the file."""
    data = file.getbuffer() if isinstance(file, io.BytesIO) else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        data = bytes(data) if isinstance(data, memoryview) else data
        at, count = data.find(b"PK\x01\x02"), 0
        while at >= 0 and count <= MOST_MEMBERS:
            at, count = data.find(b"PK\x01\x02", at + 4), count + 1
        if count > MOST_MEMBERS:
            raise TooLarge(
                f"{what} lists more than {MOST_MEMBERS} members; no file of arrays does. It was not unpacked."
            )
    finally:
        if isinstance(data, mmap.mmap):
            data.close()


def _check_member(member: zipfile.ZipInfo) -> None:
    """Stored or deflated, as numpy writes: the other methods take memory of their own, as much as the file says."""
    most = DEFLATE * (member.compress_size + 1) if member.compress_type else member.compress_size
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.flag_bits & 1:
        raise ValueError(f"'{brief(member.filename)}' in it is packed in a way that numpy does not write")
    if member.file_size > most:
        raise ValueError(
            f"'{brief(member.filename)}' in it is said to have {member.file_size} bytes, at most {most} are there"
        )


def _header(file: BinaryIO, what: str, where: str = "") -> tuple[tuple[int, ...], bool, np.dtype]:
    """What stands before the numbers, by numpy's own parser, which reads headers of up to 10,000 bytes."""
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise PythonObjects(f"{what} holds Python objects{where}, which could run code: they are never unpickled.")
    if dtype.kind not in KINDS or dtype.subdtype is not None:
        raise ValueError(f"an array{where} has the type {brief(str(dtype))}; plain numbers and text are read")
    if any(n < 0 for n in shape):
        raise ValueError(f"an array{where} has the shape {brief(str(shape))}")
    return shape, fortran, dtype


def _cost(shape: tuple[int, ...], dtype: np.dtype) -> int:
    """Bytes of the array and of what is made of it: a text becomes a str and its characters wider, a number 8 bytes."""
    more = TEXT + 4 * dtype.itemsize if dtype.kind in "SU" else max(8, dtype.itemsize)
    return math.prod(shape) * (dtype.itemsize + more)


def _array(file: BinaryIO, shape: tuple[int, ...], fortran: bool, dtype: np.dtype, there: int, meter: Meter) -> NDArray:
    """The numbers behind the header, of which the file says that `there` bytes are left."""
    size = math.prod(shape) * dtype.itemsize
    if size > there:
        raise ValueError(f"an array of {min(size, MOST)} bytes is announced, but {max(there, 0)} are there")
    meter.add(_cost(shape, dtype))
    raw = np.empty(size, np.uint8)
    view, at = memoryview(raw), 0
    while at < size:
        count = file.readinto(view[at : at + CHUNK])
        if not count:
            raise ValueError(f"it ends {size - at} bytes too early")
        at += count
    if not dtype.itemsize:
        return np.zeros(shape, dtype)
    array = raw.view(dtype).reshape(shape, order="F" if fortran else "C")
    return array if dtype.isnative else array.astype(dtype.newbyteorder("="))
