"""The size that an image file claims, from its first bytes, before anything is decoded.

    check_claim(data, name)      width · height  <=  the megapixels,   width · height · bytes a pixel  <=  the gigabytes

A PNG of 124 KB can claim 1.4 gigapixels, and a decoder allocates what is claimed. Every format that OpenCV may
decode, and HEIC, is recognised here by its first bytes, as OpenCV does it; what is not recognised is not handed to a
decoder.
"""

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from hmrfit.io.budget import TooLarge, check_bytes, check_pixels
from hmrfit.io.heic import is_heic

MOST_SCANS = 1000
"""Of a progressive JPEG; each goes over the whole picture. Cameras and editors write ten."""

MOST_WORK = 2000e6
"""Pixels that are decoded of one file, those of every scan counted: some seconds."""

GIF_WORK = 64
"""OpenCV takes as long for a pixel of a GIF as for one in so many scans."""

PNM = re.compile(rb"P([1-6fF])" + rb"(?:\s|#[^\n]*\n)+(\d+)" * 2)
HDR = re.compile(rb"[-+]([XY])\s+(\d+)\s+[-+]([XY])\s+(\d+)")


@dataclass(frozen=True)
class Claim:
    """What a header says."""

    width: int  # pixels
    height: int
    each: int = 16  # bytes that one pixel takes while it is decoded and made RGB: four channels of 16 bits, and a copy
    work: int = 1  # how often the decoder goes over the whole picture


def check_claim(data: bytes, name: str) -> Claim | None:
    """The size that the file claims, checked; None where it begins like no image that is known here.

    Raises:
        TooLarge: more than the limits. ValueError: it begins like an image, but its header is damaged.
    """
    what = f"{name} cannot be decoded: it"
    if not any(starts(data) for starts, _ in FORMATS):
        return None
    claim = read_claim(data)
    if claim is None or claim.width < 1 or claim.height < 1:
        raise ValueError(f"{what} begins like an image, but its header is damaged or cut off. Copy it again.")
    check_pixels(claim.width, claim.height, what)
    check_bytes(claim.width * claim.height * claim.each + len(data), what)
    if claim.work > MOST_SCANS or claim.work * claim.width * claim.height > MOST_WORK:
        raise TooLarge(
            f"{what} would take too long to decode: {claim.width} × {claim.height} pixels, {claim.work} times over. "
            "Save it again as a plain JPEG or PNG."
        )
    return claim


def read_claim(data: bytes) -> Claim | None:
    """What the header says, unchecked; None where it begins like no image that is known here, or is damaged."""
    reader = next((read for starts, read in FORMATS if starts(data)), None)
    try:
        return None if reader is None else reader(data)
    except (struct.error, IndexError, ValueError, OverflowError):
        return None


def _jpeg(data: bytes) -> Claim | None:
    """The first frame header, found as libjpeg finds it: markers FF xx with a length, anything between them skipped."""
    claim, parts, slow = None, 0, False
    for marker, at in _segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and claim is None:
            height, width, parts = struct.unpack_from(">HHB", data, at + 5)
            claim, slow = Claim(width, height), marker & 3 == 2
        elif marker == 0xDA:
            several = claim is not None and (slow or data[at + 4] < parts)
            return replace(claim, work=_scans(data, at)) if claim is not None and several else claim
    return claim


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """(marker, where it stands) of a JPEG, up to the first scan or the end."""
    at = 2
    while (at := data.find(b"\xff", at)) >= 0 and at + 4 <= len(data):
        marker = data[at + 1]
        if marker in (0x00, 0xFF):  # a stuffed byte, or filling
            at += 1 if marker == 0xFF else 2
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
        elif marker == 0xD9:
            return
        else:
            yield marker, at
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]


MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""What ends a scan."""


def _scans(data: bytes, at: int) -> int:
    """How many scans follow one another from the first on."""
    count = 0
    while count <= MOST_SCANS and (found := MARKER.search(data, at)) and found[0] != b"\xff\xd9":
        count += found[0] == b"\xff\xda"
        at = found.end() + (int.from_bytes(data[found.end() : found.end() + 2], "big"))
    return count


def _png(data: bytes) -> Claim | None:
    """The header, and the frames of an animation, which may say other sizes."""
    if data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack_from(">II", data, 16)
    at = 8
    while at + 20 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if length > len(data):  # OpenCV makes room for it before it looks whether it is there
            return None
        if kind == b"fcTL":
            frame = struct.unpack_from(">II", data, at + 12)
            width, height = max(width, frame[0]), max(height, frame[1])
        at += 12 + length
    return Claim(width, height)


def _bmp(data: bytes) -> Claim:
    old = struct.unpack_from("<I", data, 14)[0] == 12
    width, height = struct.unpack_from("<HH" if old else "<ii", data, 18)
    return Claim(abs(width), abs(height))


def _gif(data: bytes) -> Claim:
    """The screen; a frame reaches at most 65,535 pixels beyond, so every frame's size counts too."""
    width, height = struct.unpack_from("<HH", data, 6)
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    while at + 10 < len(data) and data[at] in (0x21, 0x2C):
        if data[at] == 0x2C:
            left, top, wide, high = struct.unpack_from("<HHHH", data, at + 1)
            width, height = max(width, left + wide), max(height, top + high)
            at += 11 + (3 << (data[at + 9] & 7) + 1 if data[at + 9] & 0x80 else 0)
        else:
            at += 2
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
    return Claim(width, height, work=GIF_WORK)


def _webp(data: bytes) -> Claim | None:
    """The largest of the canvas and the pictures on it."""
    sizes = list(_webp_sizes(data, 12, len(data)))
    return _largest(sizes)


def _largest(sizes: Sequence[tuple[int, int]], each: int = 16) -> Claim | None:
    """The claim of the greatest width and the greatest height; None where there is no size."""
    return Claim(max(width for width, _ in sizes), max(height for _, height in sizes), each) if sizes else None


def _webp_sizes(data: bytes, at: int, end: int) -> Iterator[tuple[int, int]]:
    while at + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, at)
        body, at = at + 8, at + 8 + length + length % 2
        if kind in (b"VP8X", b"ANMF"):
            first = body + (4 if kind == b"VP8X" else 6)
            wide, high = (int.from_bytes(data[p : p + 3], "little") for p in (first, first + 3))
            yield 1 + wide, 1 + high
            if kind == b"ANMF":
                yield from _webp_sizes(data, body + 16, min(at, end)) if end == len(data) else ()
        elif kind == b"VP8L":
            bits = struct.unpack_from("<I", data, body + 1)[0]
            yield 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        elif kind == b"VP8 ":
            wide, high = struct.unpack_from("<HH", data, body + 6)
            yield wide & 0x3FFF, high & 0x3FFF


TIFF_WIDTH, TIFF_HEIGHT, TIFF_BITS, TIFF_SAMPLES, TIFF_TILE = 256, 257, 258, 277, (322, 323)
TIFF_TAGS = (TIFF_WIDTH, TIFF_HEIGHT, TIFF_BITS, TIFF_SAMPLES, *TIFF_TILE)
_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}


def _tiff(data: bytes) -> Claim | None:
    """The first directory: sides, bits and samples; a tile may be larger than the picture, and is decoded whole."""
    order, big = "<" if data[:2] == b"II" else ">", data[2:4] in (b"+\0", b"\0+")
    start = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    count = struct.unpack_from(order + ("Q" if big else "H"), data, start)[0]
    first, step, inside = start + (8 if big else 2), 20 if big else 12, 8 if big else 4
    tags: dict[int, list[int]] = {}
    for i in range(min(count, 65_535)):
        tag, kind = struct.unpack_from(order + "HH", data, first + step * i)
        if tag not in TIFF_TAGS or kind not in _NUMBERS:
            continue
        values = struct.unpack_from(order + ("Q" if big else "I"), data, first + step * i + 4)[0]
        form, at = _NUMBERS[kind], first + step * i + 4 + inside
        if values * struct.calcsize(order + form) > inside:
            at = struct.unpack_from(order + ("Q" if big else "I"), data, at)[0]
        tags[tag] = list(struct.unpack_from(f"{order}{min(values, 16)}{form}", data, at))
    greatest = {tag: max(tags.get(tag, [0])) for tag in TIFF_TAGS}
    if not greatest[TIFF_WIDTH] or not greatest[TIFF_HEIGHT]:
        return None
    width, height = (
        max(greatest[TIFF_WIDTH], greatest[TIFF_TILE[0]]),
        max(greatest[TIFF_HEIGHT], greatest[TIFF_TILE[1]]),
    )
    each = 2 * max(greatest[TIFF_SAMPLES], 1) * -(-max(greatest[TIFF_BITS], 8) // 8)
    return Claim(width, height, max(each, 16))


def _pnm(data: bytes) -> Claim | None:
    if data[:2] == b"P7":
        said = dict(re.findall(rb"\b(WIDTH|HEIGHT|DEPTH)\s+(\d{1,20})", data[:4096]))
        width, height, depth = (int(said.get(key, b"0")) for key in (b"WIDTH", b"HEIGHT", b"DEPTH"))
        return Claim(width, height, max(16, 4 * depth))
    found = PNM.match(data[:4096])
    return Claim(int(found[2]), int(found[3]), 32 if found[1] in b"fF" else 16) if found else None


def _hdr(data: bytes) -> Claim | None:
    found = HDR.search(data[:65_536])
    if not found:
        return None
    sides = {found[1]: int(found[2]), found[3]: int(found[4])}
    return Claim(sides.get(b"X", 0), sides.get(b"Y", 0), 32)


def _sun(data: bytes) -> Claim:
    return Claim(*struct.unpack_from(">II", data, 4))


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, begin, end) of the outermost boxes of a JPEG 2000, AVIF or HEIC file."""
    at = 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        head = 16 if length == 1 else 8
        length = struct.unpack_from(">Q", data, at + 8)[0] if length == 1 else length or len(data) - at
        yield kind, at + head, min(at + length, len(data))
        at += max(length, head)


def _jpeg2000(data: bytes) -> Claim | None:
    """The codestream's SIZ: the picture's far corner, and how many components each pixel has."""
    starts = [0] if data[:1] == b"\xff" else [begin for kind, begin, _ in _boxes(data) if kind == b"jp2c"]
    sizes = [struct.unpack_from(">II", data, at + 8) for at in starts]
    if not sizes or any(data[at : at + 4] != b"\xff\x4f\xff\x51" for at in starts):
        return None
    parts = max(struct.unpack_from(">H", data, at + 40)[0] for at in starts)
    return _largest(sizes, 4 + 6 * parts)


def _heif(data: bytes) -> Claim | None:
    """AVIF and HEIC: the largest of all sizes that the items say; a picture of tiles is an item, too."""
    sizes = []
    for kind, begin, end in _boxes(data):
        if kind in (b"meta", b"moov"):
            at = begin
            while (at := data.find(b"ispe", at, end)) >= 0 and at + 16 <= len(data):
                sizes.append(struct.unpack_from(">II", data, at + 8))
                at += 4
    return _largest(sizes, 24)


def _begins(*marks: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(marks)


FORMATS = (
    (_begins(b"\xff\xd8\xff"), _jpeg),
    (_begins(b"\x89PNG\r\n\x1a\n"), _png),
    (_begins(b"BM"), _bmp),
    (_begins(b"GIF87a", b"GIF89a"), _gif),
    (lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP", _webp),
    (_begins(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _tiff),
    (lambda data: data[:1] == b"P" and data[1:2] in b"1234567fF" and data[2:3].isspace(), _pnm),
    (_begins(b"#?RADIANCE", b"#?RGBE"), _hdr),
    (_begins(b"\x59\xa6\x6a\x95"), _sun),
    (_begins(b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"), _jpeg2000),
    (lambda data: data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis"), _heif),
    (is_heic, _heif),
)
"""(how a file begins, what reads its size)."""
