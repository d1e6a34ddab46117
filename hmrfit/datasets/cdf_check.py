"""A file in NASA's Common Data Format, looked through before cdflib reads it: counts, index, packed parts.

    CDR -> GDR (how many variables, attributes) -> VDR (a variable) -> VXR (index of its records) -> VVR, CVVR (packed)

cdflib follows every pointer and every count as they stand, and unpacks whatever is packed. Version 3 has pointers of 8
bytes, version 2 of 4. Whole files that are packed are refused: Human3.6M's are not.
"""

import zlib
from contextlib import suppress
from pathlib import Path

from hmrfit.io.bounded import read_bytes
from hmrfit.io.budget import Meter

MOST_RECORDS = 100_000
"""Of any kind: variables, attributes, blocks of the index. A file of Human3.6M has some dozens."""

COPIES = 4
"""cdflib's bytes, its array, and ours in 64 bits."""

PIECE = 1 << 14
"""Bytes that are unpacked at a time: 16 MB at most."""

GZIP = b"\x1f\x8b\x08"


class _Reader:
    """The numbers of a file, by version."""

    def __init__(self, data: bytes) -> None:
        self.data, self.wide = data, 8 if data[:4] == b"\xcd\xf3\x00\x01" else 4

    def number(self, at: int, size: int = 4) -> int:
        if not 0 <= at <= len(self.data) - size:
            raise ValueError("it points outside of itself")
        return int.from_bytes(self.data[at : at + size], "big", signed=True)

    def pointer(self, at: int) -> int:
        return self.number(at, self.wide)


def check_cdf(path: Path) -> None:
    """That cdflib can read the file in the memory that is allowed, and comes to an end.

    Raises:
        TooLarge: more than the budget. ValueError: damaged.
    """
    data, meter = read_bytes(path), Meter(f"'{path}'")
    if data[:4] not in (b"\xcd\xf3\x00\x01", b"\xcd\xf2\x60\x02", b"\x00\x00\xff\xff") or data[4:8] != b"\0\0\xff\xff":
        raise ValueError("it is no CDF, or packed as a whole")
    reader = _Reader(data)
    wide = reader.wide
    gdr = reader.pointer(8 + wide + 4)
    after = gdr + wide + 4 + 4 * wide  # behind the heads of its lists and the file's end
    counts = [reader.number(after + 4 * i) for i in (0, 1, 4)]
    dimensions = reader.number(after + 12)
    if not all(0 <= count <= MOST_RECORDS for count in (*counts, dimensions)):
        raise ValueError(f"it counts {max(counts)} variables or attributes")
    heads = (reader.pointer(gdr + wide + 4), reader.pointer(gdr + 2 * wide + 4))
    for head, count in zip(heads, (counts[0], counts[2]), strict=True):
        _check_variables(reader, head, count, meter)
    _check_packed(data, meter)


def _check_variables(reader: _Reader, at: int, count: int, meter: Meter) -> None:
    """The variables of a list: records times the elements of one, and the index of each."""
    wide = reader.wide
    for _ in range(count):
        size, records = reader.pointer(at), reader.number(at + 2 * wide + 8)
        head = reader.pointer(at + 2 * wide + 12)
        if not 0 < size <= len(reader.data):
            raise ValueError("a variable's record has no size")
        meter.add(COPIES * 8 * max(records, 0))
        if records >= 0:
            _check_index(reader, head)
        at = reader.pointer(at + wide + 4)


def _check_index(reader: _Reader, head: int) -> None:
    """That the index of a variable's records is a tree: each block once, its counts those of its size."""
    waiting, seen, total = [head], set(), 0
    while waiting:
        at = waiting.pop()
        if at in seen:
            raise ValueError("an index in it refers to itself")
        seen.add(at)
        wide = reader.wide
        size, entries, used = reader.pointer(at), reader.number(at + 2 * wide + 4), reader.number(at + 2 * wide + 8)
        total += max(used, 0)
        if not 0 <= used <= entries <= size or total > MOST_RECORDS or len(seen) > MOST_RECORDS:
            raise ValueError("an index in it has more entries than bytes")
        offsets = at + 2 * wide + 12 + 8 * entries
        for i in range(used):
            block = reader.pointer(offsets + wide * i)
            if reader.number(block + wide) == 6:
                waiting.append(block)
        if (following := reader.pointer(at + wide + 4)) != 0:
            waiting.append(following)


def _check_packed(data: bytes, meter: Meter) -> None:
    """What every gzip stream in the file unpacks to."""
    view, at, count = memoryview(data), data.find(GZIP), 0
    while at >= 0:
        count += 1
        if count > MOST_RECORDS:
            raise ValueError(f"it has more than {MOST_RECORDS} packed parts")
        stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
        with suppress(zlib.error):  # where these three bytes began something else
            for begin in range(at, len(data), PIECE):
                meter.add(COPIES * len(stream.decompress(view[begin : begin + PIECE])))
                if stream.eof:
                    break
        at = data.find(GZIP, at + 3)
