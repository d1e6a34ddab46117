"""JSON files that hold nothing but lists of numbers in lists, read a matrix at a time.

    [ [[x, y, z], ...], [[x, y, z], ...], ... ]                    N matrices: FreiHAND's and HO-3D's annotations
    [ [matrix, matrix, ...], [matrix, matrix, ...] ]               their predictions: joints, then vertices

Such a file has a gigabyte where HO-3D's vertices are in it, and Python's lists would take six. Here only the text of
one matrix is a list at a time; what is kept are arrays of float64, and these are counted.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hmrfit.io.bounded import check_regular
from hmrfit.io.budget import Meter, brief

CHUNK = 1 << 22
"""Bytes read at a time."""

LONGEST_MATRIX = 1 << 24
"""Bytes of one matrix's text: 100,000 vertices."""

MOST_DEEP = 4
"""Lists of lists of rows of numbers."""

HEAD = 256
"""Bytes in which the first number is looked for."""

OVERHEAD = 200
"""Bytes of an array beside its numbers."""

OPEN, CLOSE = ord("["), ord("]")

NUMBERS = b"[]0123456789+-.eE, \t\r\n"
"""The characters of such a file."""


def read_matrices(path: str | os.PathLike) -> list[list[NDArray[np.float64]]]:
    """The matrices of a file: one list of all, or, where they are in lists themselves, each list of them.

    Raises:
        FileNotFoundError: there is no such file. TooLarge: more than the budget.
        ValueError: it is cut off, or holds something else than numbers in lists of equal length.
    """
    check_regular(path)
    what = f"'{path}'"
    meter, groups = Meter(what), [_Group()]
    for group, text in _matrices(Path(path), what):
        while len(groups) <= group:
            groups.append(_Group())
        if text:
            matrix = _matrix(text, what)
            meter.add(matrix.nbytes + OVERHEAD)
            groups[group].append(matrix)
    return [list(group) for group in groups]


class _Group(list[NDArray[np.float64]]):
    """The matrices of one list."""


def _matrix(text: bytes, what: str) -> NDArray[np.float64]:
    """The numbers of one matrix."""
    try:
        return np.array(json.loads(text), np.float64)
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise ValueError(f"{what} is no list of matrices of numbers ({brief(str(error))}).") from None


def _matrices(path: Path, what: str) -> Iterator[tuple[int, bytes]]:
    """(which list, text) of every matrix; without text for a list that begins.

    The first brackets say how deep the file is: "[[[[" is lists of matrices, "[[[" matrices. A matrix opens at depth
    D − 1 and closes to D − 2; what is open at the end of a chunk is read again with the next one.
    """
    rest, depth, group = b"", 0, 0
    with path.open("rb") as file:
        deepest = _deepest(file.read(HEAD), what)
        file.seek(0)
        while chunk := file.read(CHUNK):
            _check_characters(chunk, what)
            text = rest + chunk
            codes = np.frombuffer(text, np.uint8)
            at = np.flatnonzero((codes == OPEN) | (codes == CLOSE))
            steps = np.where(codes[at] == OPEN, 1, -1)
            depths = depth + np.cumsum(steps)
            if len(depths) and not 0 <= depths.min() <= depths.max() <= deepest:
                raise ValueError(f"{what} is no list of matrices: its lists are not equally deep.")
            starts = at[(steps > 0) & (depths == deepest - 1)].tolist()
            ends = at[(steps < 0) & (depths == deepest - 2)].tolist()
            closed = at[(steps < 0) & (depths == deepest - 3)] if deepest == MOST_DEEP else at[:0]
            for start, end in zip(starts, ends, strict=False):
                yield group + int(np.searchsorted(closed, start)), text[start : end + 1]
            group += len(closed)
            if len(starts) > len(ends):
                rest, depth = text[starts[len(ends)] :], deepest - 2
            else:
                rest, depth = b"", int(depths[-1]) if len(depths) else depth
            if len(rest) > LONGEST_MATRIX:
                raise ValueError(f"{what} holds no matrices: one of its lists is longer than {LONGEST_MATRIX} bytes.")
            if group:
                yield group - 1, b""
    if depth or rest:
        raise ValueError(f"{what} is cut off. Copy or write it again.")


def _check_characters(chunk: bytes, what: str) -> None:
    strange = chunk.translate(None, NUMBERS)
    if strange:
        raise ValueError(
            f"{what} should hold numbers in lists only, but has {brief(repr(strange[:20]))} in it. NaN is no number of "
            "JSON: leave the hand out, or write zeros."
        )


def _deepest(text: bytes, what: str) -> int:
    """How many lists open before the first number."""
    begin = text.translate(None, b" \t\r\n")[: MOST_DEEP + 1]
    deep = len(begin) - len(begin.lstrip(b"["))
    if deep not in (MOST_DEEP - 1, MOST_DEEP):
        raise ValueError(
            f"{what} should hold a list of matrices, or lists of them, but begins with {brief(repr(begin))}."
        )
    return deep
