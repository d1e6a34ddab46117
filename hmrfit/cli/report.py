"""What `hmrfit fit` says: a table on the screen and index.html, both from a few numbers a photograph.

A run may be of a hundred thousand photographs, so nothing of a result stays in memory but those numbers: the page's
sections lie in a temporary file, and the table keeps the lines that it can show.
"""

import shutil
import tempfile
import time
from array import array
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from hmrfit.cli.outputs import MESHES, PAGE, Outputs
from hmrfit.fitting.focal import WRONG, FocalSensitivity
from hmrfit.io.own_files import own_file
from hmrfit.io.printable import printable
from hmrfit.report.page import Entry, page_frame, section
from hmrfit.result import FitResult
from hmrfit.result_text import shortened, warning_lines

MOST_LINES = 60
"""Of the table on the screen; beyond it, those that want looking at come first."""

PAGE_EVERY, PAGE_SHARE = 1.0, 0.05
"""Seconds between two pages of a run that goes on, and the most of its time that writing them may take."""

LONGEST_NAME = 48
"""Characters of a photograph's name in the table; the page has the whole."""

Cells = tuple[str, str, str, str]
Row = tuple[Cells, tuple[str, ...]]
"""A line of the table, and what stands beneath it."""


@dataclass(frozen=True)
class Line:
    """One photograph of a run: what the table and the page say of it."""

    image: str
    name: str  # of its files, without suffix
    people: tuple[float, ...] = ()  # reprojection of each, a share of the box
    focal_effect: tuple[tuple[float, float], ...] = ()  # of each: depth, mean of the joints, metres
    state: str = ""
    notes: tuple[str, ...] = ()  # who was left out and the warnings, whole sentences, as many as there is room for
    entry: Entry | None = None
    skipped: bool = False  # was there already
    error: str = ""

    @classmethod
    def of(cls, image: str, name: str, result: FitResult, outputs: Outputs, skipped: bool = False) -> "Line":
        """What is said of a result, with links to the files that are there."""
        effect = result.focal_moves
        moved = () if effect is None else zip(effect.depth.tolist(), effect.joints[:, 1:].mean(1).tolist(), strict=True)
        early = sum(code == 0 for code in result.status_code.tolist())
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

    @property
    def cells(self) -> Cells:
        """Photograph, people, reprojection, what to say about it; safe to show."""
        name = printable(self.image)
        name = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 13]}…{name[-12:]}"
        if not self.done:
            return name, "-", "-", printable(f"FAILED: {self.error}")
        shares = " ".join(f"{100 * error:.1f}" for error in self.people)
        return name, str(len(self.people)), shares, printable(self.state)

    @property
    def wants_looking_at(self) -> bool:
        """Whether it failed or has warnings."""
        return not self.done or bool(self.notes)


def _notes(result: FitResult) -> list[str]:
    absent = [f"person {who} is left out: {reason}" for who, reason in result.left_out.items()]
    return shortened([*absent, *warning_lines(result.warnings, result.rows, result.names)], 4, PAGE)


def _entry(image: str, name: str, result: FitResult, outputs: Outputs) -> Entry:
    files = {"result": outputs.file(name, ".npz"), "overlay": outputs.file(name, ".jpg")}
    files |= {f"mesh ({suffix})": outputs.file(name, f".{suffix}") for suffix in MESHES}
    links = {label: outputs.address(file) for label, file in files.items() if file.is_file()}
    small = outputs.thumbnail(name)
    pictures = {"photograph, from the right, from behind": outputs.address(small)} if small.is_file() else {}
    return replace(result.entry(pictures), title=image, links=links)


class Report:
    """Takes a run's lines as they come; its memory is a few numbers a person."""

    def __init__(self, outputs: Outputs, planned: int | None = None) -> None:
        self.outputs, self.planned = outputs, planned
        self.count = self.failed = 0
        self.errors, self.depth, self.joints = array("d"), array("d"), array("d")
        self.first: list[tuple[bool, Row]] = []  # (whether it wants looking at, the line), in order
        self.flagged: list[Row] = []
        self._sections = tempfile.TemporaryFile()  # noqa: SIM115  it has no name, so nothing is left of it
        self._due = 0.0

    def add(self, line: Line) -> None:
        """One line more. Once in a while the page is written, so that a killed run leaves one."""
        self.count += 1
        self.failed += not line.done
        self.errors.extend(line.people)
        for depth, joints in line.focal_effect:
            self.depth.append(depth)
            self.joints.append(joints)
        if len(self.first) < MOST_LINES:
            self.first.append((line.wants_looking_at, (line.cells, line.notes)))
        if line.wants_looking_at and len(self.flagged) < MOST_LINES:
            self.flagged.append((line.cells, line.notes))
        entry = line.entry or Entry(line.image, rows=[{"notes": line.error}])
        self._sections.seek(0, 2)
        self._sections.write(section(entry).encode() + b"\n")
        if time.monotonic() >= self._due:
            with suppress(OSError):  # said at the end, if it is still so then
                self.write_page()

    @property
    def done(self) -> int:
        """Photographs that have a result."""
        return self.count - self.failed

    def write_page(self) -> Path:
        """index.html: thumbnails, numbers, links to what was written. Raises OSError, see `own_file`."""
        began = time.monotonic()
        path = self.outputs.folder / self.outputs.page
        left = "" if self.planned in (None, self.count) else f"; {self.planned - self.count} photographs are to come"
        head, end = page_frame("hmrfit: fitted photographs", self.summary() + left)
        with own_file(path, "page") as temporary, temporary.open("wb") as file:
            file.write(head.encode())
            self._sections.seek(0)
            shutil.copyfileobj(self._sections, file)
            file.write(end.encode())
        now = time.monotonic()
        self._due = now + max(PAGE_EVERY, (now - began) / PAGE_SHARE)
        return path

    def print_table(self) -> None:
        """One line per photograph, its warnings beneath, and the medians."""
        calm = [row for flagged, row in self.first if not flagged]
        shown = [row for _, row in self.first] if self.count <= MOST_LINES else [*self.flagged, *calm]
        head: Row = (("photograph", "people", "reprojection, % of the box", ""), ())
        rows = [head, *shown[:MOST_LINES]]
        widths = [max(len(cells[i]) for cells, _ in rows) for i in range(3)]
        for cells, notes in rows:
            print(
                "  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=False)), cells[3]]).rstrip()
            )
            for note in notes:
                print(printable(note))
        if self.count > MOST_LINES:
            print(f"... and {self.count - MOST_LINES} more, in {self.outputs.page}")
        print(self.summary())

    def summary(self) -> str:
        """People, median reprojection, what a longer focal length would do where it is not known, failures."""
        errors = np.asarray(self.errors)
        said = f"{len(errors)} people"
        if len(errors):
            median, worst = 100 * np.median(errors), 100 * errors.max()
            said += f", median reprojection {median:.2f} % of the box, worst {worst:.2f} %"
        if len(self.depth):
            said += f"; were the focal length of the {len(self.depth)} whose is not known 20 % longer: {self._moved()}"
        return said + (f"; {self.failed} photographs could not be used" if self.failed else "")

    def _moved(self) -> str:
        depth, mean = (torch.from_numpy(np.array(values)) for values in (self.depth, self.joints))
        return FocalSensitivity(WRONG, depth, mean[:, None].expand(-1, 2), mean.new_zeros(len(mean), 2, 3)).said()


def print_table(lines: Iterable[Line]) -> None:
    """The table of a finished run."""
    _report_of(lines).print_table()


def summary(lines: Iterable[Line]) -> str:
    """Its last line."""
    return _report_of(lines).summary()


def write_index(folder: Path, lines: Sequence[Line]) -> None:
    """Its page."""
    _report_of(lines, Outputs(folder, page=PAGE)).write_page()


def _report_of(lines: Iterable[Line], outputs: Outputs | None = None) -> Report:
    report = Report(outputs or Outputs(Path()))
    report._due = float("inf")
    for line in lines:
        report.add(line)
    return report
