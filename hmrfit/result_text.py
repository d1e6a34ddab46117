"""The text of `print(result)`, on one screen: people or frames, reprojection, focal length, acceptance, warnings."""

import textwrap
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hmrfit.io.printable import printable
from hmrfit.ops.how_many import how_many, singular

Rows = Literal["people", "frames"]
"""The rows of a result are the people of one photograph, or the frames of one person."""

WIDTH = 100
"""Columns of a line."""

FEW = 4
"""Up to so many people are listed; of more, the median and the worst are given."""

MOST_WARNINGS, MOST_LINES = 8, 15
"""Different warnings that are printed, and the lines they take together; the others are counted."""

MOST_RANGES = 4
"""Ranges of row numbers in front of one warning."""


def described(rows: Rows, ids: Sequence[str], fps: float | None) -> str:
    """ "1 person", "12 people", "1800 frames at 30 a second (60 s)", "frame 57"."""
    count = len(ids)
    if rows == "people":
        return how_many(count, rows)
    if count == 1:
        return f"frame {ids[0]}"
    return how_many(count, rows) + ("" if fps is None else f" at {fps:.4g} a second ({count / fps:.3g} s)")


def reprojection(errors: NDArray[np.float64], rows: Rows, ids: Sequence[str]) -> str:
    """The error of each person, or the median and the worst; rows without keypoints are counted.

    Args:
        errors: (N,) fractions of the box, NaN for a row without keypoints. ids: the rows' names.
    """
    seen = np.flatnonzero(~np.isnan(errors))
    blank = len(errors) - len(seen)
    one = singular(rows)
    without = f"{how_many(blank, rows)} without keypoints" if blank else ""
    if not len(seen):
        return without
    percent = [f"{100 * errors[i]:.1f} %" for i in seen]
    if len(percent) == 1 or (len(percent) <= FEW and rows == "people"):
        text = " and ".join(filter(None, [", ".join(percent[:-1]), percent[-1]])) + " of the box"
    else:
        worst = seen[int(np.argmax(errors[seen]))]
        middle = 100 * np.median(errors[seen])
        text = f"median {middle:.1f} % of the box, worst {100 * errors[worst]:.1f} % ({one} {ids[worst]})"
    return text + (f"; {without}" + (", filled in" if rows == "frames" else "") if blank else "")


def acceptance(accepted: Sequence[bool] | None, reasons: Sequence[str], rows: Rows, ids: Sequence[str]) -> str:
    """How many fits are accepted, and why the others are not.

    Args:
        accepted: (N,); None where the fit had no single start to compare with. reasons: (N,) sentences.
    """
    if accepted is None:
        return "not tested (there is no single start to compare with)"
    rejected = [[reason] if not taken else [] for taken, reason in zip(accepted, reasons, strict=True)]
    lines = warning_lines(rejected, rows, ids)
    return "; ".join([f"{int(np.sum(accepted))} of {len(accepted)}", *lines])


def warning_lines(warnings: Sequence[Sequence[str]], rows: Rows, ids: Sequence[str]) -> list[str]:
    """ "person 0: ...", each warning once, after the names of all rows that have it."""
    about: dict[str, list[int]] = {}
    for i, of_one in enumerate(warnings):
        for warning in dict.fromkeys(of_one):
            about.setdefault(warning, []).append(i)
    return [
        f"{singular(rows) if len(which) == 1 else rows} {_ranges([ids[i] for i in which])}: {warning}"
        for warning, which in about.items()
    ]


def shortened(lines: Sequence[str], indent: int, where: str = "result.warnings") -> list[str]:
    """Lines of warnings, wrapped, as many as there is room for, and the number of the others."""
    shown: list[str] = []
    for i, line in enumerate(lines):
        wrapped = _wrapped(line, indent)
        if i and (i == MOST_WARNINGS or len(shown) + len(wrapped) > MOST_LINES):
            return [*shown, *_wrapped(f"... and {len(lines) - i} more, in {where}", indent)]
        shown += wrapped[:MOST_LINES]
    return shown


def summary(title: str, facts: Sequence[tuple[str, str]], warnings: Sequence[str]) -> str:
    """A head line, facts by name, and lines of warnings, wrapped; at most one screen."""
    lines = [title]
    for name, fact in facts:
        lines += _wrapped(f"{name}: {fact}", 2)[:3]
    lines += ["  warnings:" if warnings else "  warnings: none", *shortened(warnings, 4)]
    return "\n".join(map(printable, lines))


def joined(ids: Sequence[str], count: int) -> list[str]:
    """The names of N rows: their ids where all have one, else numbers."""
    return list(ids) if len(ids) == count else [str(i) for i in range(count)]


def _wrapped(text: str, indent: int) -> list[str]:
    space = " " * indent
    return textwrap.wrap(text, WIDTH, initial_indent=space, subsequent_indent=space + "  ", break_on_hyphens=False)


def _ranges(ids: Sequence[str]) -> str:
    """Names, as ranges where they are consecutive numbers: "0-57, 60"."""
    parts: list[list[str]] = []
    for name in ids:
        if parts and _follows(parts[-1][-1], name):
            parts[-1].append(name)
        else:
            parts.append([name])
    ranges = [part[0] if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts]
    if len(ranges) > MOST_RANGES:
        ranges = [*ranges[:MOST_RANGES], f"... ({len(ids)} in all)"]
    return ", ".join(ranges)


def _follows(a: str, b: str) -> bool:
    return a.isdecimal() and b.isdecimal() and int(b) == int(a) + 1
