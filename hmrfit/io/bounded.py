"""Files of others, read within the budget and without running anything: bytes, text, JSON, tables, numpy's arrays.

    text    Σ over what it can become (lists, dictionaries, numbers, strings)  <=  the budget     before it is parsed
    arrays  Σ count · (itemsize + 8)                                           <=  the budget     from their headers

Python's objects take up to thirty times the bytes that name them ("[]," is a list of 72 bytes in three). Numbers of an
array become float64 or int64 when they are used: 8. A header's size must be what the file really holds: a zip of 5 MB
can unpack to 5 GB, and a header of 80 bytes can name any shape. Pipes and devices are refused. Every function raises
ValueError with a sentence that begins with the file's name.
"""

import csv
import io
import json
import math
import mmap
import os
import re
import stat
import tokenize
import zipfile
import zlib
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from hmrfit.io.budget import MOST, Meter, TooLarge, brief, check_bytes, uncollected
from hmrfit.ops.how_many import how_many

T = TypeVar("T")

NUMBER, SLOT, STRING, LIST, DICT, PAIR = 32, 9, 64, 104, 200, 80
"""Bytes of CPython's objects, at most: a number, its place in a list, a short string, a list, a dictionary, a pair."""

LONGEST_NUMBER = 300
"""Digits. A float has at most 309 before its point."""

_TOO_LONG = b"0" * (LONGEST_NUMBER + 1)
_DIGITS = bytes.maketrans(b"123456789", b"000000000")

BOMS = (
    (BOM_UTF8, "utf-8-sig"), (BOM_UTF32_LE, "utf-32"), (BOM_UTF32_BE, "utf-32"), (BOM_UTF16_LE, "utf-16"),
    (BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
"""How a text begins that says its own encoding; the longer marks first."""

IRREGULAR = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)
"""What a name can stand for instead of a file: reading it may never end."""


def check_regular(path: str | os.PathLike, expected: str = "a file") -> int:
    """The size of a regular file, bytes. A pipe would wait for a writer, a device has no end.

    Args:
        expected: what it should be, for the error messages.
    Raises:
        FileNotFoundError: there is none, or a link to none. IsADirectoryError: a folder. OSError: as the system says.
        ValueError: a pipe, a device or a socket.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        if os.path.islink(path):
            raise FileNotFoundError(f"'{path}' is a link to nothing.") from None
        raise
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(f"'{path}' is a folder, not {expected}. Give the name of a file in it.")
    other = next((said for is_one, said in IRREGULAR if is_one(found.st_mode)), None)
    if other is not None:
        raise ValueError(f"'{path}' is {other}, not {expected}. Copy its contents into a file first.")
    return found.st_size


def refuse_url(path: str | os.PathLike, expected: str) -> None:
    """That a path is none of the web. `Path` has made one slash of two.

    Raises:
        ValueError: says what to do.
    """
    if found := re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/", str(path)):
        address = str(path) if "://" in str(path) else str(path).replace(":/", "://", 1)
        raise ValueError(
            f"'{address}' is a URL ({found[1]}), and hmrfit reads files of this computer only. Download it first, and "
            f"give the path of {expected}."
        )


def read_bytes(path: str | os.PathLike, factor: float = 1.0) -> bytes:
    """The whole of a regular file.

    Args:
        factor: what the reader makes of it, times the file's size; the file's own bytes are counted beside it.
    Raises:
        OSError: as the system says. ValueError: no regular file. TooLarge: more than the budget.
    """
    size = check_regular(path)
    check_bytes(int((1 + factor) * size), f"'{path}'")
    with Path(path).open("rb") as file:
        return file.read(size)


def read_text(path: str | os.PathLike, latin: bool = False) -> str:
    """The text of a file, see `decode`. Errors: those of `read_bytes` and `decode`."""
    return decode(read_bytes(path), f"'{path}'", latin)


def decode(data: bytes, what: str, latin: bool = False) -> str:
    """Bytes -> text without its mark, in UTF-8 or in what its first bytes say: PowerShell and Excel write UTF-16.

    Args:
        what: the file, the beginning of an error message.
        latin: what is no UTF-8 may be Latin-1, as older spreadsheets write tables: numbers are the same in both.
    Raises:
        TooLarge: more than the budget. ValueError: it is no text.
    """
    check_bytes(len(data) + _text_bytes(data), what)
    encoding = next((name for mark, name in BOMS if data.startswith(mark)), None) or _wide_without_mark(data) or "utf-8"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        text = data.decode("latin-1") if latin and encoding == "utf-8" else ""
        if not text or _CONTROL.search(text):
            said = f"byte {error.start} is none"
            raise ValueError(f"{what} is not a text in {encoding.upper()} ({said}).") from None
    if text and not encoding.startswith("utf-8") and not _PLAIN.search(text):
        raise ValueError(f"{what} is not a text: it begins as one in {encoding.upper()}, but holds no letter.")
    return text


_PLAIN = re.compile(r"[ -~]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f]")


def _wide_without_mark(data: bytes) -> str | None:
    """UTF-16 without its mark: every other byte of plain text is 0."""
    head = data[:64]
    if len(head) < 4 or len(head) % 2:
        return None
    if not any(head[0::2]) or not any(head[1::2]):
        return "utf-16-be" if not any(head[0::2]) else "utf-16-le"
    return None


def _text_bytes(data: bytes) -> int:
    """What the text takes in memory: one rare character makes all of them four bytes wide."""
    return len(data) if data.isascii() else 4 * len(data)


def read_json(path: str | os.PathLike) -> Any:
    """The values of a JSON file. Errors: those of `read_text` and `parse_json`."""
    return parse_json(read_text(path), f"'{path}'")


def parse_json(text: str | bytes, what: str) -> Any:
    """The values of a JSON text, of whatever its lists and dictionaries hold. A whole number that no program can use is
    infinite, as JSON's 1e999 is: the reader of the values says which one is broken.

    Raises:
        TooLarge: its values would take more than the budget.
        ValueError: it is no JSON, or is nested too deeply.
    """
    text = decode(text, what) if isinstance(text, bytes) else text
    check_bytes(_json_bytes(text), what)
    long = _TOO_LONG in text.encode("utf-8", "replace").translate(_DIGITS)
    try:
        with uncollected(len(text)):
            return json.loads(text, parse_int=_whole if long else None)
    except RecursionError:
        raise ValueError(f"{what} is not JSON that a program wrote: it is nested too deeply.") from None
    except ValueError as error:
        raise ValueError(f"{what} is not JSON, or it is cut off ({brief(str(error))}).") from None


def _whole(digits: str) -> int | float:
    """A whole number; infinite where it is longer than any float, and Python would not read it."""
    if len(digits) <= LONGEST_NUMBER:
        return int(digits)
    return -math.inf if digits.startswith("-") else math.inf


def _json_bytes(text: str) -> int:
    """What `json.loads` can take at most, the text included."""
    values, lists, dicts = text.count(","), text.count("["), text.count("{")
    strings, pairs, width = text.count('"') // 2, text.count(":"), 1 if text.isascii() else 4
    empty = text.count("[]") + text.count("{}")
    numbers = values + 1 - empty  # elements are one more than commas in all that is not empty; the rest are containers
    return int(
        2 * width * len(text)
        + max(numbers - strings, 0) * NUMBER
        + values * SLOT
        + strings * STRING
        + lists * LIST
        + dicts * DICT
        + pairs * PAIR
    )


def words(text: str, what: str) -> list[str]:
    """`text.split()`, counted first."""
    between = sum(map(text.count, _BETWEEN)) if text.isascii() else len(text) // 2
    check_bytes(2 * len(text) + (between + 1) * (STRING + SLOT + NUMBER), what)
    return text.split()


_BETWEEN = " \n\t\r\x0b\x0c\x1c\x1d\x1e\x1f"
"""The characters of ASCII at which `str.split` splits."""


def check_table(text: str, between: str, what: str) -> None:
    """That the cells of a table, and its lines, are within the budget."""
    lines = text.count("\n") + text.count("\r") + 1
    check_bytes(2 * len(text) + (text.count(between) + lines) * (STRING + SLOT) + lines * LIST, what)


def csv_rows(text: str, between: str, what: str) -> Iterator[list[str]]:
    """The rows of a table that are not empty, each cell without the spaces around it.

    Args:
        between: the character between two cells.
    Raises:
        TooLarge: see above. ValueError: a cell longer than Python's csv reader takes, or a character that is none.
    """
    check_table(text, between, what)
    reader = csv.reader(io.StringIO(text), delimiter=between)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield cells
    except csv.Error as error:
        raise ValueError(f"{what} is no table of numbers: line {reader.line_num}, {brief(str(error))}.") from None


# ---- numpy's files

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
    what = what or ("the bytes" if isinstance(path, bytes) else f"'{path}'")
    with _opened(path) as file:
        return _guarded(lambda: _members(file, names, skip_objects, what), what)


@contextmanager
def advising(damaged: str, objects: str | None = None) -> Iterator[None]:
    """Within the block, what is wrong with a file is followed by what to do about it.

    Args:
        damaged: a sentence for files that cannot be read. objects: one for arrays of Python objects.
    """
    try:
        yield
    except TooLarge:
        raise
    except PythonObjects as error:
        raise ValueError(f"{error} {objects or damaged}") from None
    except ValueError as error:
        raise ValueError(f"{error} {damaged}") from None


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
    with _opened(path) as file:
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


def _opened(path: str | os.PathLike | bytes) -> IO[bytes]:
    if isinstance(path, bytes):
        return io.BytesIO(path)
    check_regular(path)
    return Path(path).open("rb")


def _guarded(read: Callable[[], T], what: str) -> T:
    """Whatever is raised for damaged files, as a sentence about the file."""
    try:
        return read()
    except (TooLarge, PythonObjects):
        raise
    except DAMAGE as error:
        raise ValueError(f"{what} is damaged or cut off ({_reason(error)}).") from None


def _reason(error: BaseException) -> str:
    return brief(str(error)) or type(error).__name__


def _members(file: IO[bytes], names: Collection[str] | None, skip_objects: bool, what: str) -> dict[str, NDArray]:
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


def _names(file: IO[bytes], what: str) -> list[str]:
    check_directory(file, what)
    with zipfile.ZipFile(file) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def check_directory(file: IO[bytes], what: str) -> None:
    """That a zip lists no more members than `MOST_MEMBERS`: zipfile takes some 700 bytes for each of 50 in the file."""
    data = file.getvalue() if isinstance(file, io.BytesIO) else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
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


def _header(file: IO[bytes], what: str, where: str = "") -> tuple[tuple[int, ...], bool, np.dtype]:
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


def _array(
    file: IO[bytes], shape: tuple[int, ...], fortran: bool, dtype: np.dtype, there: int, meter: Meter
) -> NDArray:
    """The numbers behind the header, of which the file says that `there` bytes are left."""
    size = math.prod(shape) * dtype.itemsize
    if size > there:
        raise ValueError(f"an array of {min(size, MOST)} bytes is announced, but {max(there, 0)} are there")
    meter.add(_cost(shape, dtype))
    raw, at = np.empty(size, np.uint8), 0
    while at < size:
        chunk = file.read(min(CHUNK, size - at))
        if not chunk:
            raise ValueError(f"it ends {how_many(size - at, 'bytes')} too early")
        raw[at : at + len(chunk)] = np.frombuffer(chunk, np.uint8)
        at += len(chunk)
    if not dtype.itemsize:
        return np.zeros(shape, dtype)
    array = raw.view(dtype).reshape(shape, order="F" if fortran else "C")
    return array if dtype.isnative else array.astype(dtype.newbyteorder("="))
