"""The text of a file as people's tools encode it: UTF-8, UTF-16 (PowerShell, Excel), Latin-1 (older spreadsheets)."""

import codecs
from pathlib import Path

from hmrfit.io.bounded import read_bytes
from hmrfit.io.budget import check_bytes

WIDE = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


def decoded(data: bytes, what: str, latin: bool = False) -> str:
    """A file's bytes as text, without its byte order mark.

    Args:
        latin: what is no UTF-8 may be Latin-1: tables, whose numbers are the same in both.
    Raises:
        ValueError: it is no text.
    """
    check_bytes(5 * len(data), what)  # the bytes, and a text of which one rare character makes all four bytes wide
    encoding = WIDE.get(data[:2]) or _wide_without_mark(data) or "utf-8-sig"
    try:
        text = data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        text = data.decode("latin-1") if latin and encoding == "utf-8-sig" else ""
        if not text or any(ord(c) < 32 and c not in "\t\r\n\f" for c in text):
            raise ValueError(f"{what} is not a text file ({error}).") from error
        encoding = "latin-1"
    if encoding != "utf-8-sig" and not any(c in "0123456789" for c in text):
        raise ValueError(f"{what} is not a text file, although its name says so.")
    return text


def _wide_without_mark(data: bytes) -> str | None:
    """UTF-16 without its mark: every other byte of plain text is 0."""
    head = data[:64]
    if len(head) < 4 or len(head) % 2:
        return None
    if not any(head[0::2]) or not any(head[1::2]):
        return "utf-16-be" if not any(head[0::2]) else "utf-16-le"
    return None


def text_of(path: Path, latin: bool = False) -> str:
    """A file's text; see `decoded`."""
    return decoded(read_bytes(path), f"'{path}'", latin)
