"""Files that carry a remark that hmrfit wrote them, so that nothing else is ever overwritten.

A file of ours holds, where its format has room for a remark, the text

    made by hmrfit: KIND, sha256 D            D = sha256 of KIND and the file without the remark

It stays ours when it is moved, copied or renamed, with no list beside it that could be lost; once it is edited, D
is another one or the remark is gone, and the file is the user's. KIND says what it is: a "drawing" is no photograph.

    format     where the remark stands
    jpg        a comment segment, after the JFIF header            png    a tEXt chunk, after the header
    npz        the comment of the zip archive                      html, md, obj, js    the last line, a comment
    ply        a comment, after the format's line                  glb, json        a last key, "extras" or "made_by"
    mp4        a box of type "free", the last one
"""

import hashlib
import os
import re
import stat
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hmrfit.io.atomic import atomic_write
from hmrfit.io.bounded import read_npz

REMARK = re.compile(rb"made by hmrfit: ([a-z]+), sha256 ([0-9a-f]{64})")
NEAR_AN_END = 1024
"""Bytes at a file's begin and end in which the remark is looked for."""

CHUNK = 1 << 20

LONGEST_LIST = 5
"""Of file names in one error message."""


def _as_it_is(data: bytes, _: int) -> bytes:
    return data


@dataclass(frozen=True)
class Place:
    """Where and how a format holds a remark. `prepared` updates the fields that hold lengths."""

    position: Callable[[bytes], int]
    wrapped: Callable[[bytes], bytes]
    prepared: Callable[[bytes, int], bytes] = _as_it_is


def _after_jfif(data: bytes) -> int:
    return 4 + int.from_bytes(data[4:6], "big") if data[2:4] == b"\xff\xe0" else 2


def _png_chunk(text: bytes) -> bytes:
    content = b"tEXtComment\0" + text
    return struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))


def _zip_comment(data: bytes, length: int) -> bytes:
    """The archive's last record ends in the comment's length, and numpy's archives have none."""
    if data[-22:-18] != b"PK\5\6" or data[-2:] != b"\0\0":
        raise ValueError("This is no zip archive without a comment.")
    return data[:-2] + struct.pack("<H", length)


def _glb_lengths(data: bytes, length: int) -> bytes:
    whole, json_length = struct.unpack_from("<I", data, 8)[0] + length, struct.unpack_from("<I", data, 12)[0] + length
    return data[:8] + struct.pack("<II", whole, json_length) + data[16:]


def _glb_key(text: bytes) -> bytes:
    """Padded to the format's multiple of four."""
    key = b',"extras":{"made_by":"' + text + b'"}'
    return key + b" " * (-len(key) % 4)


def _glb_json_end(data: bytes) -> int:
    """Of the closing brace. The JSON chunk's length may be that before or after the key is in."""
    length = struct.unpack_from("<I", data, 12)[0]
    return data.rindex(b"}", 20, 20 + length)


def _mp4_box(text: bytes) -> bytes:
    return struct.pack(">I", len(text) + 8) + b"free" + text


UNSIGNED = b"made by hmrfit: " + b"?" * (len("people, sha256 ") + 64)
"""What a Parquet file holds until its remark is known: its footer knows how long that is. Only "people" fits."""


def _without_room(data: bytes, _: int) -> bytes:
    at = data.rindex(UNSIGNED)
    return data[:at] + data[at + len(UNSIGNED) :]


_LAST_LINE = Place(len, lambda text: b"<!-- " + text + b" -->\n")
PLACES = {
    ".jpg": Place(_after_jfif, lambda text: b"\xff\xfe" + struct.pack(">H", len(text) + 2) + text),
    ".png": Place(lambda data: 33, _png_chunk),
    ".npz": Place(len, lambda text: text, _zip_comment),
    ".smpl": Place(len, lambda text: text, _zip_comment),
    ".html": _LAST_LINE,
    ".md": _LAST_LINE,
    ".obj": Place(len, lambda text: b"# " + text + b"\n"),
    ".js": Place(len, lambda text: b"// " + text + b"\n"),
    ".ply": Place(lambda data: data.index(b"\n", data.index(b"\n") + 1) + 1, lambda text: b"comment " + text + b"\n"),
    ".glb": Place(_glb_json_end, _glb_key, _glb_lengths),
    ".mp4": Place(len, _mp4_box),
    ".parquet": Place(lambda data: data.rindex(UNSIGNED), lambda text: text, _without_room),
    ".json": Place(lambda data: data.rindex(b"}"), lambda text: b', "made_by": "' + text + b'"'),
}
"""By suffix."""


def with_remark(data: bytes, suffix: str, kind: str) -> bytes:
    """A file's bytes with the remark in them. suffix: one of `PLACES`; kind: lower-case letters."""
    place = PLACES[suffix.lower()]
    position, length = place.position(data), len(place.wrapped(_text(kind, "0" * 64)))
    data = place.prepared(data, length)
    remark = place.wrapped(_text(kind, _digest(kind.encode(), data)))
    return data[:position] + remark + data[position:]


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _text(kind: str, digest: str) -> bytes:
    return f"made by hmrfit: {kind}, sha256 {digest}".encode()


def kind_of(path: str | os.PathLike) -> str | None:
    """The kind that a file of ours says it is, edited or not; None for any other file. Reads its ends only."""
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        with path.open("rb") as file:
            begin = file.read(NEAR_AN_END)
            ends = [begin, _tail(file, os.fstat(file.fileno()).st_size)]
            if begin[:4] == b"glTF" and len(begin) >= 20:
                ends.append(_tail(file, 20 + struct.unpack_from("<I", begin, 12)[0]))
            if begin[:4] == b"PAR1":
                ends.append(_parquet_footer(file, ends[1]))
    except OSError:
        return None
    found = next((match for match in map(REMARK.search, ends) if match), None)
    return None if found is None else found[1].decode()


def _parquet_footer(file: BinaryIO, tail: bytes) -> bytes:
    """The metadata of a Parquet file, whose last eight bytes are its length and PAR1."""
    length = struct.unpack_from("<I", tail, len(tail) - 8)[0] if len(tail) >= 8 and tail.endswith(b"PAR1") else 0
    file.seek(-min(length + 8, file.seek(0, os.SEEK_END)), os.SEEK_END)
    return file.read(min(length, CHUNK))


def _tail(file: BinaryIO, end: int) -> bytes:
    """The last bytes before `end`."""
    file.seek(max(0, end - NEAR_AN_END))
    return file.read(min(end, NEAR_AN_END))


def is_own(path: str | os.PathLike) -> bool:
    """Whether the file is one of ours as it was written, or a result of ours that is cut off; a link is the user's."""
    path = Path(path)
    if path.is_symlink() or not path.is_file():
        return False
    if is_cut_off(path):
        return True
    return kind_of(path) is not None and _is_unchanged(path)


def _is_unchanged(path: Path) -> bool:
    place = PLACES.get(path.suffix.lower())
    if place is None:
        return False
    if place.position is len and place.prepared is _as_it_is:
        with path.open("rb") as file:
            end = os.fstat(file.fileno()).st_size
            tail = _tail(file, end)
            match = REMARK.search(tail)
            if match is None or not tail.endswith(remark := place.wrapped(match[0])):
                return False
            return _streamed(match[1], file, end - len(remark)) == match[2].decode()
    data = path.read_bytes()
    for match in REMARK.finditer(data):
        remark = place.wrapped(match[0])
        position = data.find(remark)
        if position >= 0:
            return _digest(match[1], data[:position], data[position + len(remark) :]) == match[2].decode()
    return False


def _streamed(kind: bytes, file: BinaryIO, length: int) -> str:
    """The digest of a file's first bytes, which may be many."""
    digest = hashlib.sha256(kind)
    file.seek(0)
    while length > 0 and (chunk := file.read(min(length, CHUNK))):
        digest.update(chunk)
        length -= len(chunk)
    return digest.hexdigest()


def _add_remark(path: Path, suffix: str, kind: str) -> None:
    """Into a file that was just written, where its format has room for it."""
    place = PLACES.get(suffix.lower())
    if place is None:
        return
    if place.position is len and place.prepared is _as_it_is:
        with path.open("r+b") as file:
            digest = _streamed(kind.encode(), file, file.seek(0, os.SEEK_END))
            file.seek(0, os.SEEK_END)
            file.write(place.wrapped(_text(kind, digest)))
    else:
        path.write_bytes(with_remark(path.read_bytes(), suffix, kind))


def is_cut_off(path: str | os.PathLike) -> bool:
    """Whether it is the beginning of one of our npz files: `format` is their first array, and the end is missing."""
    path = Path(path)
    if path.suffix.lower() != ".npz" or first_array(path) != "format":
        return False
    with path.open("rb") as file:
        return b"PK\5\6" not in _tail(file, os.fstat(file.fileno()).st_size)


def first_array(npz: str | os.PathLike) -> str:
    """The name of the array that a npz begins with; "" for any other file."""
    with open(npz, "rb") as file:
        begin = file.read(NEAR_AN_END)
    if begin[:4] != b"PK\3\4" or len(begin) < 30:
        return ""
    length = int.from_bytes(begin[26:28], "little")
    return begin[30 : 30 + length].decode(errors="replace").removesuffix(".npy")


def holds_our_format(npz: str | os.PathLike) -> bool:
    """Whether a npz is a result or predictions of hmrfit, written by a command or saved from Python."""
    if first_array(npz) != "format":
        return False
    try:
        return str(read_npz(npz, ("format",))["format"]).startswith("hmrfit ")
    except (OSError, ValueError, KeyError):  # it is damaged, or larger than what is read
        return False


def check_own(path: str | os.PathLike) -> None:
    """That nothing stands there but a file of ours as it was written.

    Raises:
        FileExistsError: something else does.
    """
    if os.path.lexists(path) and not is_own(path):
        changed = " It was changed since hmrfit wrote it." if kind_of(path) else ""
        raise FileExistsError(
            f"'{path}' is not hmrfit's, so it is not overwritten.{changed} Move it away, or choose another folder."
        )


def refuse_others(paths: Iterable[str | os.PathLike]) -> None:
    """That nothing of the user's stands where something is to be written; asked before any work. Reads the ends of
    files only.

    Raises:
        FileExistsError: names what is in the way.
    """
    others = [path for path in paths if os.path.lexists(path) and _is_others(Path(path))]
    if others:
        names = ", ".join(f"'{path}'" for path in others[:LONGEST_LIST])
        more = f" and {len(others) - LONGEST_LIST} more" if len(others) > LONGEST_LIST else ""
        raise FileExistsError(
            f"hmrfit would write where there is something that it did not write itself: {names}{more}. Choose another "
            "folder with --out, or move them away."
        )


def _is_others(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return True
    return kind_of(path) is None and not is_cut_off(path)


@contextmanager
def own_file(path: str | os.PathLike, kind: str) -> Iterator[Path]:
    """As `atomic.atomic_write`, for a file that says it is ours and replaces only such a one.

    Raises:
        FileExistsError: something else stands there. OSError: see `atomic.atomic_write`.
    """
    path = Path(path)
    check_own(path)
    with atomic_write(path) as temporary:
        yield temporary
        _add_remark(temporary, path.suffix, kind)
        check_own(path)  # again: it may have been put there meanwhile


def remove_own(path: str | os.PathLike) -> bool:
    """Deletes a file if it is ours; whether it did."""
    if not is_own(path):
        return False
    Path(path).unlink(missing_ok=True)
    return True
