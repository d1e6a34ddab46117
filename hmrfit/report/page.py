"""Pages: one .html file with pictures and numbers, which any browser shows, on a phone too, in light and dark.

Pictures are embedded (arrays, charts) or linked (names of files beside the page). A page with a 3D view has viewer.js
beside it (`hmrfit.report.viewer`); without it everything else is shown.
"""

import base64
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from os import PathLike
from urllib.parse import quote

import numpy as np

from hmrfit.io.atomic import atomic_write
from hmrfit.io.image import Image
from hmrfit.io.opencv import cv2
from hmrfit.io.printable import printable
from hmrfit.report.charts import Svg
from hmrfit.report.page_parts import SCRIPT, STYLE


class Html(str):
    """A part of a page that is HTML already."""


@dataclass(frozen=True)
class Entry:
    """One section of a page: pictures, a 3D view, a table, a text and links."""

    title: str
    pictures: Mapping[str, Image | Svg | str] = field(default_factory=dict)  # by caption; str: a file beside the page
    rows: Sequence[Mapping[str, str]] = ()  # the lines of a table, by heading
    text: str = ""
    links: Mapping[str, str] = field(default_factory=dict)  # label -> file beside the page
    view: Html | None = None  # a 3D view, see `hmrfit.report.viewer`
    full: Mapping[str, str] = field(default_factory=dict)  # caption -> the file that a click on the picture opens
    ranks: Mapping[str, float] = field(default_factory=dict)  # "worst fit" -> a number, larger for what comes first
    warnings: Sequence[str] = ()  # sentences, shown above everything else


def write_page(path: str | PathLike, entries: Sequence[Entry], title: str, text: str = "") -> None:
    """Writes the page, whole or not at all. Raises OSError, see `atomic.atomic_write`."""
    head, end = page_frame(title, text, any(entry.view is not None for entry in entries))
    with atomic_write(path) as temporary:
        temporary.write_text(head + "\n".join(map(section, entries)) + end, encoding="utf-8")


def page_frame(title: str, text: str = "", viewer: bool = False) -> tuple[str, str]:
    """The HTML before and after the sections of a page. viewer: whether a section has a 3D view."""
    scripts = f"<script data-of=page>{SCRIPT}</script>" + ("<script src='viewer.js'></script>" if viewer else "")
    return (
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{_text(title)}</title>"
        f"<meta name='viewport' content='width=device-width'><style>{STYLE}</style></head>\n"
        f"<body><h1>{_text(title)}</h1><p>{_text(text)}</p>\n"
    ), f"\n{scripts}</body></html>\n"


def section(entry: Entry) -> str:
    """An entry as HTML."""
    links = " · ".join(f"<a href='{_url(file)}'>{_text(label)}</a>" for label, file in entry.links.items())
    pictures = "".join(
        _figure(caption, picture, entry.full.get(caption)) for caption, picture in entry.pictures.items()
    )
    ranks = f" data-ranks='{_text(json.dumps(dict(entry.ranks)))}'" if entry.ranks else ""
    warnings = "".join(f"<li>{_text(warning)}</li>" for warning in entry.warnings)
    return (
        f"<section><h2{ranks}>{_text(entry.title)}</h2>{f'<ul class=warnings>{warnings}</ul>' if warnings else ''}"
        f"<p>{_text(entry.text)}</p>{f'<p class=links>Files: {links}</p>' if links else ''}{entry.view or ''}"
        f"{pictures}{_table(entry.rows)}</section>"
    )


def _text(text: str) -> str:
    """Text as HTML, safe in quotes too; invisible characters and bytes that are no character as escapes."""
    return escape(printable(text, keep="\n\t"), quote=True)


def _figure(caption: str, picture: Image | Svg | str, full: str | None) -> str:
    if isinstance(picture, Svg):
        return f"<figure class=chart>{picture}<figcaption>{_text(caption)}</figcaption></figure>"
    source = _url(picture) if isinstance(picture, str) else embedded(picture)
    drawn = f"<img loading='lazy' src='{source}' alt='{_text(caption)}'>"
    if full is not None:
        drawn = f"<a href='{_url(full)}' title='the full picture'>{drawn}</a>"
    return f"<figure>{drawn}<figcaption>{_text(caption)}</figcaption></figure>"


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    """On a phone, where the columns do not fit, each cell stands under its heading (`data-of`)."""
    if not rows:
        return ""
    names = list(dict.fromkeys(name for row in rows for name in row))  # of every row: some have more than the first
    head = "".join(f"<th>{_text(name)}</th>" for name in names)
    lines = ("".join(_cell(name, str(row.get(name, ""))) for name in names) for row in rows)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _cell(name: str, text: str) -> str:
    return f"<td class='{_text(name)}' data-of='{_text(name)}'>{_text(text)}</td>"


def _url(file: str) -> str:
    """A relative file name as an address."""
    return quote(os.fsencode(file))


def embedded(picture: Image, quality: int = 90) -> str:
    """A picture as a data address, JPEG."""
    encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()


def thumbnail(picture: Image, height: int = 320) -> Image:
    """The picture reduced to at most this height."""
    return _scaled(picture, min(1.0, height / picture.shape[0]))


def reduced(picture: Image, side: int) -> Image:
    """The picture with no side longer than this."""
    return _scaled(picture, min(1.0, side / max(picture.shape[:2])))


def _scaled(picture: Image, ratio: float) -> Image:
    size = max(1, round(picture.shape[1] * ratio)), max(1, round(picture.shape[0] * ratio))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
