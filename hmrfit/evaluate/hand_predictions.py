"""Predicted hands as files: the public formats of FreiHAND, HO-3D and DexYCB, and our own, which every protocol reads.

    freihand   pred.json       [ joints N × (21, 3), vertices N × (V, 3) ]    metres of the camera; all samples in order
    ho3d       pred.json       the same in OpenGL's axes: y up, the hand at −z
    dexycb     results.txt     a line a sample: its number, then 63 numbers in millimetres
    ours       .npz            names (N,), sides (N,), joints (N, 21, 3), vertices (N, V, 3), done (N,), run

Vertices may be empty, or of another mesh than the truth's. The order of the points is the data set's.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hmrfit.datasets.hand_dataset import HandDataset
from hmrfit.datasets.ho3d import OPENGL
from hmrfit.evaluate.predictions import Json
from hmrfit.io.atomic import atomic_write, write_npz
from hmrfit.io.bounded import csv_rows, parse_json, read_npz, read_text
from hmrfit.io.budget import brief
from hmrfit.io.number_lists import read_matrices
from hmrfit.ops.check import check_shape
from hmrfit.ops.how_many import how_many

FORMAT = "hmrfit hand predictions 1"

PublicFormat = Literal["freihand", "ho3d", "dexycb"]

SUFFIXES: dict[PublicFormat, str] = {"freihand": ".pred.json", "ho3d": ".pred.json", "dexycb": ".results.txt"}
"""What the public file of a run is called, after the predictor's name."""

MILLIMETRES = 1000.0

LINE = 64
"""Numbers in a line of DexYCB's results."""


@dataclass(frozen=True, eq=False)
class HandPredictions:
    """N hands in a data set's rows and order; metres, OpenCV's camera frame. NaN where there is none."""

    joints: NDArray[np.float64]  # (N, 21, 3)
    vertices: NDArray[np.float64] | None = None  # (N, V, 3)

    def __post_init__(self) -> None:
        sizes = check_shape(self.joints, "N 21 3", "joints")
        if self.vertices is not None:
            check_shape(self.vertices, "N V 3", "vertices", sizes)

    def __len__(self) -> int:
        return len(self.joints)

    @property
    def done(self) -> NDArray[np.bool_]:
        """(N,) whether there is a prediction."""
        found: NDArray[np.bool_] = np.all(np.isfinite(self.joints), axis=(1, 2))
        return found


def read_hand_predictions(
    path: str | PathLike, data: HandDataset, form: PublicFormat | None = None
) -> tuple[HandPredictions, Mapping[str, Json]]:
    """The predictions for a data set's hands, and what made them where the file says it.

    Args:
        form: the public format of this data set; .npz is always our own.
    Raises:
        FileNotFoundError: there is no such file. ValueError: it is damaged, of other samples, or of another format.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file of predictions '{path}'.")
    if path.suffix.lower() == ".npz":
        return _read_npz(path, data)
    if form is None:
        raise ValueError(f"'{path}': this data set has no public format of predictions. Give an .npz: names, joints.")
    if form == "dexycb":
        return _read_lines(path, data), {}
    found = _read_lists(path, len(data))
    return (_turned(found) if form == "ho3d" else found), {}


def write_hand_predictions(
    path: str | PathLike, predictions: HandPredictions, data: HandDataset, run: Mapping[str, Json]
) -> None:
    """Our own format, whole or not at all."""
    contents: dict[str, ArrayLike] = {
        "format": FORMAT,
        "names": data.names,
        "sides": data.side,
        "joints": predictions.joints,
        "done": predictions.done,
        "run": json.dumps(run),
    }
    if predictions.vertices is not None:
        contents["vertices"] = predictions.vertices
    write_npz(path, contents)


def write_public(
    path: str | PathLike, predictions: HandPredictions, data: HandDataset, form: PublicFormat, overwrite: bool = False
) -> None:
    """The file that the data set's own scorer reads.

    Raises:
        FileExistsError: there is another file of that name. ValueError: a hand has no prediction, which these formats
            cannot say.
    """
    if not predictions.done.all():
        raise ValueError(
            f"{int((~predictions.done).sum())} of {how_many(len(data), 'hands have', 'hand has')} no prediction, and "
            "the format "
            f"of {form} has "
            "no way to say so."
        )
    text = _lines(predictions, data) if form == "dexycb" else _lists(predictions, form)
    path = Path(path)
    if path.exists() and not overwrite:
        if path.stat().st_size == len(text) and path.read_text(encoding="utf-8") == text:
            return
        raise FileExistsError(f"'{path}' is there and holds something else. Move it away, or choose another folder.")
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _turned(found: HandPredictions) -> HandPredictions:
    """Between OpenGL's axes and OpenCV's."""
    return HandPredictions(found.joints * OPENGL, None if found.vertices is None else found.vertices * OPENGL)


def _lists(predictions: HandPredictions, form: PublicFormat) -> str:
    found = _turned(predictions) if form == "ho3d" else predictions
    vertices = [[]] * len(found) if found.vertices is None else found.vertices.tolist()
    return json.dumps([found.joints.tolist(), vertices])


def _lines(predictions: HandPredictions, data: HandDataset) -> str:
    rows = zip(data.names, MILLIMETRES * predictions.joints.reshape(-1, LINE - 1), strict=True)
    return "".join(f"{name},{','.join(map(repr, row.tolist()))}\n" for name, row in rows)


def _read_lists(path: Path, count: int) -> HandPredictions:
    """[joints, vertices] of all samples."""
    groups = read_matrices(path)
    if len(groups) != 2:
        raise ValueError(
            f"'{path}' holds {how_many(len(groups), 'lists')} of matrices; predictions are two: the "
            "joints of all samples, then their vertices."
        )
    for what, found in zip(("joints", "vertices"), groups, strict=True):
        if len(found) != count and (found or what == "joints"):
            raise ValueError(
                f"'{path}' holds {what} of {how_many(len(found), 'samples')}, but {count} are to be scored: all of "
                "them, in order."
            )
    joints, vertices = groups
    shapes = sorted({one.shape for one in joints} - {(21, 3)})
    if shapes:
        raise ValueError(f"'{path}': the joints of a sample should be (21, 3), but some are {shapes[0]}.")
    meshes = {one.shape for one in vertices}
    if len(meshes) > 1 or any(len(s) != 2 or s[1] != 3 for s in meshes if s != (0,)):
        raise ValueError(f"'{path}': the vertices should be of one mesh, (V, 3), but have {sorted(meshes)[:3]}.")
    none = not vertices or meshes == {(0,)}
    return HandPredictions(np.stack(joints), None if none else np.stack(vertices))


def _read_lines(path: Path, data: HandDataset) -> HandPredictions:
    """DexYCB's: samples that are not to be scored may be there too."""
    found: dict[str, list[float]] = {}
    for number, cells in enumerate(csv_rows(read_text(path), ",", f"'{path}'"), start=1):
        if len(cells) != LINE:
            raise ValueError(
                f"'{path}': line {number} has {how_many(len(cells), 'numbers')}, not {LINE}: a sample's and 63 more."
            )
        try:
            found[str(int(cells[0]))] = [float(cell) for cell in cells[1:]]
        except ValueError as error:
            raise ValueError(f"'{path}': line {number} holds something else than numbers ({error}).") from None
    missing = [name for name in data.names.tolist() if name not in found]
    if missing:
        raise ValueError(
            f"'{path}' has no line for {len(missing)} of {how_many(len(data), 'samples')}, such as {missing[0]}."
        )
    joints = np.array([found[name] for name in data.names.tolist()]) / MILLIMETRES
    return HandPredictions(joints.reshape(-1, 21, 3))


def _read_npz(path: Path, data: HandDataset) -> tuple[HandPredictions, Mapping[str, Json]]:
    found = read_npz(path)
    if "joints" not in found:
        raise ValueError(f"'{path}' has no array `joints` (N, 21, 3). It has {brief(', '.join(found)) or 'none'}.")
    numbers = {
        n: found[n].astype(np.float64) for n in ("joints", "vertices") if n in found and found[n].dtype.kind in "fiu"
    }
    if "joints" not in numbers:
        raise ValueError(f"`joints` of '{path}' should hold numbers, not {found['joints'].dtype}.")
    predictions = HandPredictions(numbers["joints"], numbers.get("vertices"))
    for name, own in (("names", data.names), ("sides", data.side)):
        given = found.get(name)
        if len(predictions) != len(data) or (given is not None and given.tolist() != own.tolist()):
            raise ValueError(
                f"'{path}' holds predictions for {how_many(len(predictions), 'hands')}, but these {len(data)} are to "
                "be scored, in "
                "their order: it is of another run, split or --limit."
            )
    run = parse_json(str(found["run"]), f"`run` of '{path}'") if "run" in found else {}
    return predictions, run if isinstance(run, dict) else {}
