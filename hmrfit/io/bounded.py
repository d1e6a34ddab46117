"""Files of others, read within the budget: bytes, text, JSON, tables, lists of words. No pipe, no device.

    memory  <=  Σ over what the text can become: lists, dictionaries, numbers, strings         counted in the text first

Python's objects take up to thirty times the bytes that name them ("[]," is a list of 72 bytes in three), so a text is
counted before it is parsed. Every function raises ValueError with a sentence that begins with the file's name.
"""

import csv
import io
import json
import math
import os
import re
import stat
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hmrfit.io.budget import TooLarge, brief, check_bytes, uncollected

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


def check_regular(path: str | os.PathLike) -> int:
    """The size of a regular file, bytes. A pipe would wait for a writer, a device has no end.

    Raises:
        FileNotFoundError, IsADirectoryError: as the system says. ValueError: a pipe, a device or a socket.
    """
    found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(f"'{path}' is a folder. Give the name of a file in it.")
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"'{path}' is a pipe, a device or a socket, not a file. Copy its contents into a file first.")
    return found.st_size


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


def read_text(path: str | os.PathLike) -> str:
    """A text in UTF-8, or in what its first bytes say. Errors: those of `read_bytes`, and ValueError: no text."""
    return decode(read_bytes(path), f"'{path}'")


def decode(data: bytes, what: str) -> str:
    """Bytes -> text; see `read_text`. what: the file, the beginning of an error message."""
    encoding = next((name for mark, name in BOMS if data.startswith(mark)), "utf-8")
    check_bytes(len(data) + _text_bytes(data), what)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{what} is not a text in {encoding.upper()} (byte {error.start} is none).") from None
    if text and encoding in ("utf-16", "utf-32") and not _PLAIN.search(text):
        raise ValueError(f"{what} is not a text: it begins as one in {encoding.upper()}, but holds no letter.")
    return text


_PLAIN = re.compile(r"[ -~]")


def _text_bytes(data: bytes) -> int:
    """What the text takes in memory: one rare character makes all of them four bytes wide."""
    return len(data) if data.isascii() else 4 * len(data)


def read_json(path: str | os.PathLike) -> Any:
    """The values of a JSON file. Errors: those of `read_text` and `parse_json`."""
    return parse_json(read_text(path), f"'{path}'")


def parse_json(text: str | bytes, what: str) -> Any:
    """The values of a JSON text, of whatever its lists and dictionaries hold. A whole number that no program can use is
    infinite, as JSON's 1e999 is: it is for the reader to say whose number is broken.

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


__all__ = [
    "TooLarge",
    "check_regular",
    "check_table",
    "csv_rows",
    "decode",
    "parse_json",
    "read_bytes",
    "read_json",
    "read_text",
    "words",
]
