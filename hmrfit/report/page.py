"""Pages: one .html file with pictures and numbers, which any browser shows without another file.

Pictures are embedded (arrays, charts) or linked (names of files beside the page).
"""

import base64
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

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1500px; padding: 0 1rem; color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .3rem; }
section { border-top: 1px solid #ddd; } p { margin: .3rem 0; color: #555; }
figure { display: inline-block; margin: .4rem .6rem .4rem 0; vertical-align: top; max-width: 100%; }
figcaption { font-size: 12px; color: #777; } svg { max-width: 100%; height: auto; }
img { max-width: 100%; border-radius: 4px; display: block; }
table { border-collapse: collapse; margin: .5rem 0; font-variant-numeric: tabular-nums; }
td, th { text-align: left; padding: .15rem .9rem .15rem 0; vertical-align: top; font-size: 14px; }
th { color: #777; font-weight: 500; } .notes { color: #a33; }
"""


@dataclass(frozen=True)
class Entry:
    """One section of a page: pictures, a table, a text and links."""

    title: str
    pictures: Mapping[str, Image | Svg | str] = field(default_factory=dict)  # by caption; str: a file beside the page
    rows: Sequence[Mapping[str, str]] = ()  # the lines of a table, by heading
    text: str = ""
    links: Mapping[str, str] = field(default_factory=dict)  # label -> file beside the page


def write_page(path: str | PathLike, entries: Sequence[Entry], title: str, text: str = "") -> None:
    """Writes the page, whole or not at all. Raises OSError, see `atomic.atomic_write`."""
    head, end = page_frame(title, text)
    with atomic_write(path) as temporary:
        temporary.write_text(head + "\n".join(map(section, entries)) + end, encoding="utf-8")


def page_frame(title: str, text: str = "") -> tuple[str, str]:
    """The HTML before and after the sections of a page."""
    return (
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{_text(title)}</title>"
        f"<meta name='viewport' content='width=device-width'><style>{STYLE}</style></head>\n"
        f"<body><h1>{_text(title)}</h1><p>{_text(text)}</p>\n"
    ), "\n</body></html>\n"


def section(entry: Entry) -> str:
    """An entry as HTML."""
    links = " · ".join(f"<a href='{_url(file)}'>{_text(label)}</a>" for label, file in entry.links.items())
    pictures = "".join(_figure(caption, picture) for caption, picture in entry.pictures.items())
    return (
        f"<section><h2>{_text(entry.title)}</h2><p>{_text(entry.text)} {links}</p>{pictures}"
        f"{_table(entry.rows)}</section>"
    )


def _text(text: str) -> str:
    """Text as HTML, safe in quotes too; invisible characters and bytes that are no character as escapes."""
    return escape(printable(text, keep="\n\t"), quote=True)


def _figure(caption: str, picture: Image | Svg | str) -> str:
    if isinstance(picture, Svg):
        return f"<figure>{picture}<figcaption>{_text(caption)}</figcaption></figure>"
    source = _url(picture) if isinstance(picture, str) else _embedded(picture)
    return (
        f"<figure><img loading='lazy' src='{source}' alt='{_text(caption)}'>"
        f"<figcaption>{_text(caption)}</figcaption></figure>"
    )


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    if not rows:
        return ""
    names = list(dict.fromkeys(name for row in rows for name in row))  # of every row: some have more than the first
    head = "".join(f"<th>{_text(name)}</th>" for name in names)
    lines = (
        "".join(f"<td class='{_text(name)}'>{_text(str(row.get(name, '')))}</td>" for name in names) for row in rows
    )
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _url(file: str) -> str:
    """A relative file name as an address."""
    return quote(os.fsencode(file))


def _embedded(picture: Image) -> str:
    """A picture as a data address, JPEG."""
    encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()


def thumbnail(picture: Image, height: int = 320) -> Image:
    """The picture reduced to at most this height."""
    ratio = min(1.0, height / picture.shape[0])
    size = max(1, round(picture.shape[1] * ratio)), max(1, round(picture.shape[0] * ratio))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
