"""The report of `hmrfit fit`: a table on the screen and index.html, both from a few numbers a photograph.

A run may have a hundred thousand photographs, so only those numbers stay in memory: the page's sections lie in a
temporary file, and the table keeps the lines that it can show.
"""

import tempfile
import time
from array import array
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hmrfit.cli.outputs import PAGE, Outputs
from hmrfit.fitting.focal import WRONG, FocalSensitivity
from hmrfit.io.own_files import own_file
from hmrfit.io.printable import printable
from hmrfit.ops.how_many import how_many
from hmrfit.render import MESHES
from hmrfit.report.page import Entry, page_frame, section
from hmrfit.report.result_page import LEGEND, MOST_WARNINGS, WORST_FIT
from hmrfit.report.viewer import VIEWER, view_html
from hmrfit.result import FitResult
from hmrfit.result_text import shortened, warning_lines

MOST_LINES = 60
"""Of the table on the screen; a longer table begins with the photographs that need attention."""

PAGE_ROWS = 300
"""Photographs on one page: a browser opens it at once, whatever the length of the run."""

CHUNK = 1 << 20

PAGE_EVERY, PAGE_FRACTION = 1.0, 0.05
"""Seconds between two pages of a run, and the largest fraction of its time that writing them may take."""

LONGEST_NAME = 48
"""Characters of a photograph's name in the table; the page has the whole."""

FAILED = 1e9
"""The rank of a photograph without a result, before all others."""

Cells = tuple[str, str, str, str]
Row = tuple[Cells, tuple[str, ...]]
"""A line of the table, and what stands beneath it."""


@dataclass(frozen=True)
class Line:
    """One photograph of a run, for the table and the page."""

    image: str
    name: str  # of its files, without suffix
    people: tuple[float, ...] = ()  # reprojection of each, a fraction of the box
    focal_effect: tuple[tuple[float, float], ...] = ()  # of each: depth, mean of the joints, metres
    state: str = ""
    notes: tuple[str, ...] = ()  # people left out and warnings, whole sentences, as many as there is room for
    entry: Entry | None = None
    skipped: bool = False  # was there already
    error: str = ""
    nobody: bool = False  # no people are in it, which is no error
    rows: tuple[Mapping[str, Any], ...] = ()  # of the table of people, where one is asked for

    @classmethod
    def of(cls, image: str, name: str, result: FitResult, outputs: Outputs, skipped: bool = False) -> "Line":
        """The line of a result, with links to the files that are there."""
        effect = result.focal_moves
        moved = () if effect is None else zip(effect.depth.tolist(), effect.joints[:, 1:].mean(1).tolist(), strict=True)
        early = int((result.fit.status == 0).sum())
        state = "converged" if not early else f"{early} of {len(result)} stopped at the last step"
        return cls(
            image,
            name,
            tuple(result.reprojection_error.tolist()),
            tuple(moved),
            state + (", from before" if skipped else ""),
            tuple(_notes(result)),
            _entry(image, name, result, outputs),
            skipped,
        )

    @property
    def done(self) -> bool:
        """Whether there is a result."""
        return self.entry is not None

    def facts(self, outputs: Outputs) -> dict[str, Any]:
        """For `--json`; reprojection errors are fractions of each person's box."""
        state = "nobody" if self.nobody else "done" if self.done else "failed"
        return {
            "image": self.image,
            "state": state,
            "people": len(self.people),
            "reprojection_error": self.people,
            "result": str(outputs.file(self.name, ".npz")) if self.done else None,
            "from_before": self.skipped,
            "remarks": self.notes,
            "error": self.error or None,
        }

    @property
    def cells(self) -> Cells:
        """Photograph, people, reprojection, remark; safe to show."""
        name = printable(self.image)
        name = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 13]}…{name[-12:]}"
        if self.nobody:
            return name, "0", "-", printable(self.state)
        if not self.done:
            return name, "-", "-", printable(f"FAILED: {self.error}")
        percent = " ".join(f"{100 * error:.1f}" for error in self.people)
        return name, str(len(self.people)), percent, printable(self.state)

    @property
    def needs_attention(self) -> bool:
        """Whether the photograph failed or has warnings."""
        return not (self.done or self.nobody) or bool(self.notes)


def _notes(result: FitResult) -> list[str]:
    absent = [f"person {who} is left out: {reason}" for who, reason in result.left_out.items()]
    return shortened([*absent, *warning_lines(result.warnings, result.rows, result.names)], 4, PAGE)


def _entry(image: str, name: str, result: FitResult, outputs: Outputs) -> Entry:
    files = {"result": outputs.file(name, ".npz"), "overlay": outputs.file(name, ".jpg")}
    files |= {f"mesh ({suffix})": outputs.file(name, f".{suffix}") for suffix in MESHES}
    links = {label: outputs.address(file) for label, file in files.items() if file.is_file()}
    small = outputs.thumbnail(name)
    pictures = {"photograph, from the right, from behind": outputs.address(small)} if small.is_file() else {}
    full = {caption: links["overlay"] for caption in pictures if "overlay" in links}
    file = outputs.view(name)
    view = view_html(outputs.address(file)) if file.is_file() else None
    return replace(result.entry(pictures), title=image, links=links, view=view, full=full)


class FolderReport:
    """Takes a run's lines as they come; its memory is a few numbers a person."""

    def __init__(self, outputs: Outputs, planned: int | None = None) -> None:
        self.outputs, self.planned = outputs, planned
        self.count = self.failed = self.nobody = 0
        self.errors, self.depth, self.joints = array("d"), array("d"), array("d")
        self.first: list[tuple[bool, Row]] = []  # (whether it needs attention, the line), in order
        self.flagged: list[Row] = []
        self._sections = tempfile.TemporaryFile()  # noqa: SIM115  it has no name, so nothing stays behind
        self._begins, self._written = array("q", [0]), 0  # where each page's sections begin; how many pages are final
        self._due = 0.0

    def add(self, line: Line) -> None:
        """Adds a line. Once in a while the page is written, so that a killed run leaves one."""
        self.count += 1
        self.nobody += line.nobody
        self.failed += not (line.done or line.nobody)
        self.errors.extend(line.people)
        for depth, joints in line.focal_effect:
            self.depth.append(depth)
            self.joints.append(joints)
        if len(self.first) < MOST_LINES:
            self.first.append((line.needs_attention, (line.cells, line.notes)))
        if line.needs_attention and len(self.flagged) < MOST_LINES:
            self.flagged.append((line.cells, line.notes))
        failed = {MOST_WARNINGS: FAILED, WORST_FIT: FAILED} if line.error else {}
        entry = line.entry or Entry(line.image, warnings=[line.error or line.state], ranks=failed)
        at = self._sections.seek(0, 2)
        if self.count > PAGE_ROWS * len(self._begins):
            self._begins.append(at)
        self._sections.write(section(entry).encode() + b"\n")
        if time.monotonic() >= self._due:
            with suppress(OSError):  # the last page of the run raises it, if it is still so then
                self.write_page()

    @property
    def done(self) -> int:
        """Photographs that have a result."""
        return self.count - self.failed - self.nobody

    def write_page(self) -> Path:
        """index.html: thumbnails, numbers, links to what was written; after `PAGE_ROWS` photographs it goes on in
        index-2.html and so on. A page that is full is written once. Raises OSError, see `own_file`."""
        began = time.monotonic()
        count = len(self._begins)
        for number in range(1, count + 1):
            if number in (1, count) or number > self._written:
                self._write_page(number, count)
        self._written = count - 1
        now = time.monotonic()
        self._due = now + max(PAGE_EVERY, (now - began) / PAGE_FRACTION)
        return self.outputs.numbered(1)

    def _write_page(self, number: int, count: int) -> None:
        missing = 0 if self.planned is None else self.planned - self.count
        text = self.summary() + (
            f"; {how_many(missing, 'photographs are', 'photograph is')} to come" if missing else ""
        )
        title = "hmrfit: fitted photographs" + (f", page {number} of {count}" if count > 1 else "")
        head, end = page_frame(title, f"{text}. {LEGEND}", (self.outputs.folder / VIEWER).is_file())
        begin = self._begins[number - 1]
        stop = self._begins[number] if number < count else self._sections.seek(0, 2)
        with own_file(self.outputs.numbered(number), "page") as temporary, temporary.open("wb") as file:
            file.write(head.encode() + self._navigation(number, count))
            self._sections.seek(begin)
            while begin < stop and (part := self._sections.read(min(CHUNK, stop - begin))):
                file.write(part)
                begin += len(part)
            file.write(self._navigation(number, count) + end.encode())

    def _navigation(self, number: int, count: int) -> bytes:
        """Links to the other pages: on the first one to all, on others to the first and to those beside it."""
        if count == 1:
            return b""
        others = range(1, count + 1) if number == 1 else sorted({1, number - 1, number, min(number + 1, count)})
        links = [f"<a href='{self.outputs.numbered(n).name}'>{n}</a>" if n != number else str(n) for n in others]
        return f"<p>Pages: {' '.join(links)}</p>\n".encode()

    def print_table(self) -> None:
        """One line per photograph, its warnings beneath, and the medians."""
        calm = [row for flagged, row in self.first if not flagged]
        shown = [row for _, row in self.first] if self.count <= MOST_LINES else [*self.flagged, *calm]
        head: Row = (("photograph", "people", "reprojection, % of the box", ""), ())
        rows = [head, *shown[:MOST_LINES]]
        widths = [max(len(cells[i]) for cells, _ in rows) for i in range(3)]
        for cells, notes in rows:
            aligned = [cell.ljust(width) for cell, width in zip(cells, widths, strict=False)]
            print("  ".join([*aligned, cells[3]]).rstrip())
            for note in notes:
                print(printable(note))
        if self.count > MOST_LINES:
            print(f"... and {self.count - MOST_LINES} more, in {self.outputs.page}")
        print(self.summary())

    def facts(self) -> dict[str, Any]:
        """All of the run for `--json`."""
        return {
            "photographs": self.planned if self.planned is not None else self.count,
            "done": self.done,
            "failed": self.failed,
            "nobody": self.nobody,
            "people": len(self.errors),
            "median_reprojection_error": float(np.median(self.errors)) if len(self.errors) else None,
        }

    def summary(self) -> str:
        """People, median reprojection, the effect of a longer focal length where it is not known, failures."""
        errors = np.asarray(self.errors)
        text = how_many(len(errors), "people")
        if len(errors):
            median, worst = 100 * np.median(errors), 100 * errors.max()
            text += f", median reprojection {median:.2f} % of the box, worst {worst:.2f} %"
        if len(self.depth):
            text += f"; with a focal length 20 % longer, for the {len(self.depth)} whose is not known: {self._moved()}"
        text += f"; {how_many(self.nobody, 'photographs show', 'photograph shows')} nobody" if self.nobody else ""
        return text + (f"; {how_many(self.failed, 'photographs')} could not be used" if self.failed else "")

    def _moved(self) -> str:
        depth, mean = (torch.from_numpy(np.array(values)) for values in (self.depth, self.joints))
        return FocalSensitivity(WRONG, depth, mean[:, None].expand(-1, 2), mean.new_zeros(len(mean), 2, 3)).summary()
