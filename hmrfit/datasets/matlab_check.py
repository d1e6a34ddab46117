"""A MATLAB file up to version 7, walked before SciPy reads it: how much it unpacks to, and how deeply it is nested.

    element = type, bytes, contents          type 15: zlib's, of one element; type 14: a matrix
    matrix  = flags, dimensions, name, and for a cell or a struct one matrix for each of its elements (and fields)

SciPy goes down into a cell by recursion in C, which 5000 cells in one another end by killing the process, and unpacks
whatever is packed. So the contents are walked first, without recursion: every length has to be that of what is there.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from hmrfit.io.bounded import read_bytes
from hmrfit.io.budget import Meter
from hmrfit.ops.how_many import how_many

MATRIX, PACKED = 14, 15
CELL, STRUCT, OBJECT, FUNCTION, OPAQUE = 1, 2, 3, 16, 17
HEADER = 128

MOST_DEPTH = 50
"""Cells and structs in one another; MPII's annotation has 8."""

OBJECTS = 6
"""How many times the bytes of an element SciPy's objects for it take: an empty matrix of 56 bytes is one of 300."""


def check_matlab(path: Path) -> None:
    """That SciPy can read the file in the memory that is allowed, without going down without end.

    Raises:
        TooLarge: more than the budget. ValueError: lengths that contradict one another, or nested too deeply.
    """
    data = read_bytes(path, factor=OBJECTS)
    if data[124:128] in (b"\0\x02IM", b"\x02\0MI"):
        return  # of version 7.3, which SciPy refuses by itself
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None or not data.startswith(b"MATLAB 5.0"):
        raise ValueError("it is no MATLAB file of version 5 to 7")
    meter = Meter(f"'{path}'")
    meter.add(len(data))
    for kind, at, end in _elements(data, HEADER, len(data), order, aligned=False):
        if kind == PACKED:
            unpacked = _unpacked(data[at:end], meter)
            _walk(unpacked, 0, len(unpacked), order)
            meter.free(len(unpacked))
        else:
            meter.add(OBJECTS * (end - at))
            _walk(data, at - 8, end, order)


def _unpacked(packed: bytes, meter: Meter) -> bytes:
    """The contents, counted before they are made."""
    room = (meter.allowed - meter.taken) // (1 + OBJECTS)
    stream = zlib.decompressobj()
    try:
        found = stream.decompress(packed, max(room, 0) + 1)
    except zlib.error as error:
        raise ValueError(f"a packed part of it is damaged ({error})") from None
    meter.add((1 + OBJECTS) * len(found))
    return found


def _elements(data: bytes, at: int, end: int, order: str, aligned: bool = True) -> Iterator[tuple[int, int, int]]:
    """(type, begin, end) of the elements between two places."""
    while at + 8 <= end:
        kind, size = struct.unpack_from(order + "II", data, at)
        if kind >> 16:  # a small one: up to four bytes beside its type
            kind, size, begin = kind & 0xFFFF, kind >> 16, at + 4
            after = at + 8
            if size > 4:
                raise ValueError(f"an element of {how_many(size, 'bytes')} at {at} is said to be small")
        else:
            begin = at + 8
            after = begin + (-(-size // 8) * 8 if aligned and kind != PACKED else size)
        if begin + size > end:
            raise ValueError(f"an element at {at} is longer than what holds it")
        yield kind, begin, begin + size
        at = after


def _walk(data: bytes, at: int, end: int, order: str) -> None:
    """Every matrix between two places, the inner ones too.

    Raises:
        ValueError: nested too deeply; a cell or struct with another number of elements than its dimensions say.
    """
    waiting = [(at, end, 0)]
    while waiting:
        at, end, depth = waiting.pop()
        if depth > MOST_DEPTH:
            raise ValueError(f"its cells are nested deeper than {MOST_DEPTH}")
        for kind, begin, stop in _elements(data, at, end, order):
            if kind == MATRIX and stop > begin:
                inner = _inside(data, begin, stop, order)
                waiting += [(*place, depth + 1) for place in inner]


def _inside(data: bytes, begin: int, end: int, order: str) -> list[tuple[int, int]]:
    """Where the matrices of a cell or struct stand; none for another matrix."""
    kind = struct.unpack_from(order + "I", data, begin + 8)[0] & 0xFF
    if kind in (FUNCTION, OPAQUE):
        raise ValueError("it holds a function or an object of MATLAB's own")
    if kind not in (CELL, STRUCT, OBJECT):
        return []
    parts = list(_elements(data, begin, end, order))
    dimensions = struct.unpack_from(f"{order}{(parts[1][2] - parts[1][1]) // 4}i", data, parts[1][1])
    expected, inner = math.prod(dimensions), [part for part in parts if part[0] == MATRIX]
    if kind != CELL:
        lengths, names = parts[3 + (kind == OBJECT)], parts[4 + (kind == OBJECT)]
        length = struct.unpack_from(order + "i", data, lengths[1])[0]
        expected *= (names[2] - names[1]) // max(length, 1)
    if min(dimensions, default=0) < 0 or len(inner) != expected:
        raise ValueError(f"a cell or struct in it holds {how_many(len(inner), 'matrices')}, but says {expected}")
    return [(part[1] - 8, part[2]) for part in inner]
