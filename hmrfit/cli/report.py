"""What `hmrfit fit` says at the end: a table on the screen, and index.html."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hmrfit.fitting.focal import FocalSensitivity
from hmrfit.render.page import Entry, write_page
from hmrfit.result import FitResult
from hmrfit.result_text import shortened, warning_lines

MOST_LINES = 60
"""Of the table on the screen; beyond it, those that want looking at come first."""

MESHES = ("glb", "obj", "ply")


@dataclass(frozen=True)
class Line:
    """One photograph of a run."""

    image: str
    name: str  # of its files, without suffix
    result: FitResult | None = None
    skipped: bool = False  # was there already
    error: str = ""

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """Photograph, people, reprojection, what to say about it."""
        if self.result is None:
            return self.image, "-", "-", f"FAILED: {self.error}"
        shares = " ".join(f"{100 * error:.1f}" for error in self.result.reprojection_error)
        return self.image, str(len(self.result)), shares, self.state

    @property
    def state(self) -> str:
        """Whether the solver came to an end, and whether it ran now."""
        early = sum(code == 0 for code in self.result.status_code.tolist())
        end = "converged" if not early else f"{early} of {len(self.result)} stopped at the last step"
        return end + (", from before" if self.skipped else "")

    @property
    def notes(self) -> list[str]:
        """The warnings, whole sentences, each with whom it is about; as many as there is room for."""
        if self.result is None:
            return []
        return shortened(warning_lines(self.result.warnings, self.result.rows, self.result.names), 4, "index.html")

    @property
    def wants_looking_at(self) -> bool:
        return self.result is None or any(self.result.warnings)


def print_table(lines: Sequence[Line]) -> None:
    """One line per photograph, its warnings beneath, and the medians."""
    shown = sorted(lines, key=lambda line: not line.wants_looking_at) if len(lines) > MOST_LINES else lines
    head = (("photograph", "people", "reprojection, % of the box", ""), [])
    rows = [head] + [(line.cells, line.notes) for line in shown[:MOST_LINES]]
    widths = [max(len(cells[i]) for cells, _ in rows) for i in range(3)]
    for cells, notes in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=False)), cells[3]]).rstrip())
        for note in notes:
            print(note)
    if len(lines) > MOST_LINES:
        print(f"... and {len(lines) - MOST_LINES} more, in index.html")
    print(summary(lines))


def summary(lines: Sequence[Line]) -> str:
    """People, median reprojection, what a longer focal length would do to whom it was not told of, failures."""
    results = [line.result for line in lines if line.result is not None]
    errors = np.concatenate([[], *(result.reprojection_error for result in results)])
    failed = sum(line.result is None for line in lines)
    said = f"{len(errors)} people"
    if len(errors):
        said += f", median reprojection {100 * np.median(errors):.2f} % of the box, worst {100 * errors.max():.2f} %"
    effects = [result.focal_moves for result in results if result.focal_moves is not None]
    if effects:
        effect = FocalSensitivity.cat(effects)
        said += f"; were the focal length of the {len(effect.depth)} whose is not known 20 % longer: {effect.said()}"
    return said + (f"; {failed} photographs could not be used" if failed else "")


def write_index(folder: Path, lines: Sequence[Line]) -> None:
    """index.html: thumbnails, numbers, links to what was written."""
    entries = [_entry(folder, line) for line in lines]
    write_page(folder / "index.html", entries, "hmrfit: fitted photographs", summary(lines))


def _entry(folder: Path, line: Line) -> Entry:
    if line.result is None:
        return Entry(line.image, rows=[{"notes": line.error}])
    files = {"result": f"{line.name}.npz", "overlay": f"{line.name}.jpg"}
    files |= {f"mesh ({suffix})": f"{line.name}.{suffix}" for suffix in MESHES}
    links = {label: file for label, file in files.items() if (folder / file).is_file()}
    small = f"thumbnails/{line.name}.jpg"
    pictures = {"photograph, from the right, from behind": small} if (folder / small).is_file() else {}
    return replace(line.result.entry(pictures), title=line.image, links=links)
