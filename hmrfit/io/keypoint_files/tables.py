"""Tables as csv, tsv and txt: a keypoint a line, or a frame a line; DeepLabCut's and YOLO's own.

A heading says which column is which, in any order: a keypoint's name or number, x, y, confidence, frame, person; other
columns (z, presence) are left out. Without one the columns are [name,] x, y[, confidence].
"""

import csv
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hmrfit.camera import PIXEL_CENTER
from hmrfit.io.bounded import check_table, read_text
from hmrfit.io.keypoint_files.names import DeclaredSet, match_names
from hmrfit.io.keypoint_files.person import Found
from hmrfit.keypoints import COCO17, MEDIAPIPE33, sets_of_size
from hmrfit.ops.how_many import how_many

COLUMNS = {
    "name": ("name", "landmark", "landmarkname", "landmarkid", "landmarkindex", "keypoint", "keypoints", "keypointname",
             "keypointid", "bodypart", "joint", "jointname", "part", "label", "point"),
    "x": ("x", "px", "u", "xpx", "xpixel", "pixelx", "xcoord", "posx", "xpos", "xposition", "col", "column"),
    "y": ("y", "py", "v", "ypx", "ypixel", "pixely", "ycoord", "posy", "ypos", "yposition", "row"),
    "confidence": ("confidence", "conf", "score", "likelihood", "visibility", "visible", "prob", "probability", "c",
                   "p", "s"),
    "frame": ("frame", "frameid", "frameno", "framenumber", "frameindex", "image", "imageid", "imagename", "filename",
              "file", "img"),
    "person": ("person", "personid", "track", "trackid", "idx", "individual", "instance", "subject"),
}  # fmt: skip
"""Headings, in small letters without punctuation."""

AXIS = "x|y|z|v|c|p|s|conf|confidence|score|likelihood|visibility"
WIDE = re.compile(rf"(?P<name>.+?)[\W_]*(?P<axis>{AXIS})", re.IGNORECASE)
WIDE_FIRST = re.compile(rf"(?P<axis>{AXIS})(?:[\W_]+(?=\D)|[\W_]*(?=\d+$))(?P<name>.+)", re.IGNORECASE)
"""A heading of a table with one line a frame: a keypoint's name, and what the column holds, or the other way round."""

BLANKS = frozenset(("", "na", "n/a", "nan", "null", "none", "-", "<na>", "missing"))
"""What tables write in the place of a number that there is not, in small letters."""

NORMALISED = 2.0
"""MediaPipe's landmarks are fractions of the image; up to about this where the person reaches out of it."""

YOLO_BOX = 5
"""Numbers before the keypoints of a YOLO label: class, and the box's middle and size."""

MOST_SHOWN = 4
"""Words of a heading that an error message shows."""


Rows = list[list[str]]


@dataclass(frozen=True)
class TableFormat:
    """How one kind of table is recognised in the rows of a file, and read."""

    name: str
    recognises: Callable[[Rows], bool]
    read: Callable[[Rows, Path], Iterator[Found]]


def read_csv(path: Path) -> Iterator[Found]:
    """A table, by its heading."""
    return _read_table(path, TABLE_FORMATS)


def read_txt(path: Path) -> Iterator[Found]:
    """YOLO's label of an image, a person a line; or a table as in a csv. YOLO's of an image without people is empty."""
    return _read_table(path, TXT_FORMATS)


def _read_table(path: Path, formats: Sequence[TableFormat]) -> Iterator[Found]:
    rows = _rows(path)
    return next(form for form in formats if form.recognises(rows)).read(rows, path)


def _rows(path: Path) -> Rows:
    """The lines that are not empty, cut into cells: at semicolons, tabs, commas, or else at spaces.

    A line of separators alone is a missing keypoint, unless every keypoint has a name.
    """
    text = read_text(path, latin=True)
    check_table(text, "\n", f"'{path}'")
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and lines[0].lower().startswith("sep="):
        lines = lines[1:]
    between = next((mark for mark in ";\t," if any(mark in line for line in lines[:5])), " ")
    check_table(text, between, f"'{path}'")
    try:
        cells = csv.reader(lines, delimiter=between, skipinitialspace=True)
        rows = [[cell.strip() for cell in row] for row in cells]
        rows = [row for row in rows if any(row)] if all(map(_is_named, filter(any, rows))) else rows
    except csv.Error as error:
        raise ValueError(f"'{path}' is no table ({error}).") from error
    if between == " ":
        return [[cell for cell in row if cell] for row in rows]
    return [[_with_point(cell) for cell in row] for row in rows] if between in ";\t" else rows


def _with_point(cell: str) -> str:
    """A decimal comma becomes a point; it cannot be anything else where commas do not separate cells."""
    return cell.replace(",", ".") if re.fullmatch(r"[-+]?\d*,\d+([eE][-+]?\d+)?", cell) else cell


def _is_named(row: Sequence[str]) -> bool:
    return not all(map(_is_number, row))


def _is_number(cell: str) -> bool:
    try:
        _number(cell)
    except ValueError:
        return False
    return True


def _number(cell: str) -> float:
    return math.nan if cell.lower() in BLANKS else float(cell)


def _numbers(rows: Sequence[Sequence[str]], path: Path) -> np.ndarray:
    try:
        return np.array([[_number(cell) for cell in row] for row in rows], np.float64)
    except ValueError as error:
        raise ValueError(f"'{path}': expected x, y and confidence as numbers in each line ({error}).") from error


def _heading(rows: Rows) -> list[str]:
    """The first line, where it holds no number; else nothing."""
    return rows[0] if rows and not any(map(_is_number, rows[0])) else []


def _plain(rows: Rows, path: Path) -> Iterator[Found]:
    """[number or name,] x, y[, confidence] a line; or a person a line, all numbers of each."""
    if heading := _heading(rows):
        said = ", ".join(heading[:MOST_SHOWN]) + ", ..." * (len(heading) > MOST_SHOWN)
        if len(rows) > 1 and not heading[0].startswith("#"):
            raise ValueError(
                f"'{path}': the heading '{said}' does not say which columns are x and y. Call them x, y, confidence "
                "and name (or nose_x, nose_y, nose_confidence, ... for a line a frame), or leave the heading out."
            )
        rows = rows[1:]
    named = bool(rows) and not _is_number(rows[0][0])
    names = [row[0] for row in rows] if named else None
    points = _numbers([row[named:] for row in rows], path)
    if points.ndim != 2:
        raise ValueError(f"'{path}' holds no keypoints. Expected a line x, y, confidence for each.")
    if _counted(points) and points.shape[1] == 4:
        points = points[:, 1:]
    if points.shape[1] in (2, 3):
        yield Found(points, names, f"'{path}'", shift=0.0, kept=True)
        return
    each = next((n for n in (3, 2) if points.shape[1] % n == 0 and sets_of_size(points.shape[1] // n)), None)
    if named or each is None:
        raise ValueError(
            f"'{path}' has the shape {points.shape}; expected (K, 3) with x, y, confidence, or (K, 2) with x, y; other "
            "columns need a heading that names them."
        )
    for i, row in enumerate(points):
        yield Found(row.reshape(-1, each), None, f"'{path}', line {i + 1}", str(i), shift=0.0, kept=True)


def _counted(points: np.ndarray) -> bool:
    """Whether the first column only counts the lines, from 0 or 1 on."""
    first, count = points[:, 0], np.arange(len(points))
    return len(points) > 1 and any(np.array_equal(first, count + start) for start in (0, 1))


def _columns(heading: Sequence[str]) -> dict[str, int]:
    """What is in which column, as far as the heading says it."""
    plain = [re.sub(r"[\W_]+", "", cell.lower()) for cell in heading]
    found = {}
    for what, words in COLUMNS.items():
        places = [plain.index(word) for word in words if word in plain]
        if places:
            found[what] = places[0]
    for what in ("x", "y", "confidence"):  # "keypoint x", where no other column is an x
        apart = [{word.lower() for word in re.split(r"[\W_]+", cell)} for cell in heading]
        places = [at for at, words in enumerate(apart) if words & set(COLUMNS[what])]
        if what not in found and len(places) == 1:
            found[what] = places[0]
    return found


def _is_headed(rows: Rows) -> bool:
    return {"x", "y"} <= set(_columns(_heading(rows)))


def _headed(rows: Rows, path: Path) -> Iterator[Found]:
    """A keypoint a line, in the columns that the heading names; of several frames and people, too."""
    columns, rows = _columns(_heading(rows)), rows[1:]
    if not rows:
        raise ValueError(f"'{path}' holds no keypoints. Expected a line x, y, confidence for each.")
    if any(len(row) <= max(columns.values()) for row in rows):
        raise ValueError(f"'{path}': expected x, y and confidence as numbers in each line (some lines are shorter).")
    cell = {what: [row[at] for row in rows] for what, at in columns.items()}
    blank = [""] * len(rows)
    groups: dict[tuple[str, str], list[int]] = {}
    for i, key in enumerate(zip(cell.get("frame", blank), cell.get("person", blank), strict=True)):
        groups.setdefault(key, []).append(i)
    values = _numbers(
        [list(v) for v in zip(*(cell[w] for w in ("x", "y", "confidence") if w in cell), strict=True)], path
    )
    frames = {frame for frame, _ in groups}
    for j, ((frame, person), lines) in enumerate(groups.items()):
        names = [cell["name"][i] for i in lines] if "name" in cell else None
        lines, names = _in_order(lines, names, path)
        image = frame if frame and (len(frames) > 1 or not _is_number(frame)) else None
        yield from _landmarks(values[lines], names, path, person or str(j), image, person or None)


def _in_order(lines: list[int], names: list[str] | None, path: Path) -> tuple[list[int], list[str] | None]:
    """Where keypoints are numbered, their lines in the numbers' order, without names."""
    if names is None or not all(name.isdecimal() for name in names):
        return lines, names
    numbers = [int(name) for name in names]
    if sorted(numbers) not in (list(range(len(numbers))), list(range(1, len(numbers) + 1))):
        raise ValueError(f"'{path}': the keypoints' numbers should be 0 to {len(numbers) - 1}, each once in a frame.")
    return [line for _, line in sorted(zip(numbers, lines, strict=True))], None


def _landmarks(
    points: np.ndarray, names: DeclaredSet, path: Path, person: str, image: str | None, track: str | None
) -> Iterator[Found]:
    """One person of a table with a heading; MediaPipe's 33 landmarks may be fractions of the image."""
    mediapipe = len(points) == len(MEDIAPIPE33) and bool(np.nanmax(np.abs(points[:, :2]), initial=0) <= NORMALISED)
    if names and mediapipe:
        mediapipe = sorted(filter(None, match_names(names, f"'{path}'"))) == sorted(MEDIAPIPE33)
    declared = "mediapipe33" if mediapipe and names is None else names
    what = f"'{path}'" + (f", frame {image}" if image else "") + (f", person {person}" if track else "")
    yield Found(points, declared, what, person, 0.0, mediapipe, image=image, track=track, kept=True)


def _wide_columns(heading: Sequence[str]) -> dict[str, list[int]]:
    """Of a table with a line a frame: name -> its columns of x, y and confidence; empty where it is no such table."""
    found: dict[str, dict[str, int]] = {}
    own = {heading[at] for what, at in _columns(heading).items() if what in ("frame", "person")}
    first = all(cell in own or WIDE_FIRST.fullmatch(cell) for cell in heading)
    for at, cell in enumerate(heading):
        if matched := (WIDE_FIRST if first else WIDE).fullmatch(cell):
            axis = matched["axis"].lower() if matched["axis"].lower() in "xyz" else "confidence"
            found.setdefault(matched["name"], {}).setdefault(axis, at)
    whole = {name: at for name, at in found.items() if "x" in at and "y" in at}
    if len(whole) < 3:
        return {}
    scored = all("confidence" in at for at in whole.values())
    return {name: [at["x"], at["y"], *([at["confidence"]] if scored else [])] for name, at in whole.items()}


def _wide(rows: Rows, path: Path) -> Iterator[Found]:
    """A frame (or a person) a line."""
    wide, columns, rows = _wide_columns(_heading(rows)), _columns(_heading(rows)), rows[1:]
    for i, row in enumerate(rows):
        if len(row) <= max(at for places in wide.values() for at in places):
            raise ValueError(f"'{path}': line {i + 1} has {how_many(len(row), 'cells')}, fewer than the heading.")
        points = _numbers([[row[at] for at in places] for places in wide.values()], path)
        frame = row[columns["frame"]] if "frame" in columns else str(i)
        person = row[columns["person"]] if "person" in columns else None
        image = frame if len(rows) > 1 or not _is_number(frame) else None
        yield from _landmarks(points, list(wide), path, person or str(i), image, person)


def _is_deeplabcut(rows: Rows) -> bool:
    return any(row[0].lower() == "bodyparts" for row in rows[:4])


def _deeplabcut(rows: Rows, path: Path) -> Iterator[Found]:
    """DeepLabCut's csv: headings scorer, [individuals,] bodyparts, coords; then a frame a line."""
    headings = {row[0].lower(): row for row in rows[:4] if row[0].lower() in ("individuals", "bodyparts", "coords")}
    if "coords" not in headings:
        raise ValueError(f"'{path}' looks like DeepLabCut's table, but has no line 'coords'.")
    parts, axes = headings["bodyparts"], headings["coords"]
    individuals = headings.get("individuals", [""] * len(parts))
    places: dict[str, dict[str, dict[str, int]]] = {}
    for at in range(1, len(axes)):
        if axes[at].lower() in ("x", "y", "likelihood"):
            places.setdefault(individuals[at], {}).setdefault(parts[at], {})[axes[at].lower()] = at
    first = next(i for i, row in enumerate(rows) if row[0].lower() == "coords") + 1
    frames = rows[first:]
    for row in frames:
        image = row[0] if len(frames) > 1 or not _is_number(row[0]) else None
        for j, (individual, points) in enumerate(places.items()):
            cells = [[row[at[axis]] for axis in ("x", "y", "likelihood") if axis in at] for at in points.values()]
            what = f"'{path}', frame {row[0]}" + (f", {individual}" if individual else "")
            yield Found(
                _numbers(cells, path), list(points), what, individual or str(j), image=image, track=individual or None
            )


def _is_yolo(rows: Rows) -> bool:
    """Lines of a box and keypoints, or no line; boxes alone (5 numbers, 6 with a score) may stand beside them."""
    whole = [len(row) > YOLO_BOX + 5 for row in rows]
    numbers = all(map(_is_number, (cell for row in rows for cell in row)))
    return not rows or (numbers and any(whole) and all(w or _is_box(row) for w, row in zip(whole, rows, strict=True)))


def _is_box(row: Sequence[str]) -> bool:
    return len(row) in (YOLO_BOX, YOLO_BOX + 1)


def _yolo(rows: Rows, path: Path) -> Iterator[Found]:
    """class, box (middle, size), then x, y, visibility of each keypoint, fractions of the image; a score, a track."""
    for i, row in enumerate(rows):
        if _is_box(row):
            continue  # a detection without keypoints
        values = np.array([_number(cell) for cell in row])
        x, y, w, h = values[1:YOLO_BOX]
        points, more = _yolo_points(values[YOLO_BOX:])
        track = f"{more[-1]:g}" if len(more) == 2 else None
        declared = "coco17" if len(points) == 17 else None
        box = (x - w / 2, y - h / 2, w, h) if np.isfinite([x, y, w, h]).all() else None
        yield Found(points, declared, f"'{path}', line {i + 1}", str(i), PIXEL_CENTER, True, box=box, track=track)


def _yolo_points(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (K, 3), or (K, 2) where visibility is not written, and what follows them: a score, a track."""
    coco = 3 * len(COCO17)
    more = len(values) % 3 if len(values) % 2 or len(values) % 3 == 0 else len(values) - coco
    if more in (0, 1, 2):
        return values[: len(values) - more].reshape(-1, 3), values[len(values) - more :]
    return values.reshape(-1, 2), values[:0]


TABLE_FORMATS = (
    TableFormat("DeepLabCut", _is_deeplabcut, _deeplabcut),
    TableFormat("a keypoint a line, with a heading", _is_headed, _headed),
    TableFormat("a frame a line, with a heading", lambda rows: bool(_wide_columns(_heading(rows))), _wide),
    TableFormat("a keypoint a line", lambda rows: True, _plain),
)
"""The first that recognises a table reads it."""

TXT_FORMATS = (TableFormat("YOLO labels", _is_yolo, _yolo), *TABLE_FORMATS)
"""The same for .txt, where YOLO writes its labels without a heading."""
