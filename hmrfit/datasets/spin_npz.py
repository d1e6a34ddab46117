"""The npz files in which SPIN (Kolotouros et al., ICCV 2019) keeps its datasets: one row per person, read and written.

    imgname (N,) text        path of the image below the dataset's root
    center (N, 2)            middle of the person's square box, pixels
    scale (N,)               its side / 200 pixels
    part (N, 24, 3)          annotated keypoints of the set spin24: x, y, 0 or 1
    openpose (N, 25, 3)      detections of the set openpose25: x, y, confidence
    S (N, 24, 4)             3D joints of spin24 about the pelvis, metres, camera frame; 1 where known
    pose (N, 72), shape (N, 10), has_smpl (N,)       SMPL: rotation vectors, betas, whether to believe them
    gender (N,) 'm' or 'f';  maskname, partname (N,) text, the masks of LSP

The file's numbers stay as they are in a `SpinDataset`. Its keypoints have pixel centres at integers, as annotators
click them; `keypoints` adds the half pixel. Its boxes need none: SPIN's crop cuts from pixel ⌊center − side/2⌋ on.
"""

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.body.skeleton import SMPL
from hmrfit.camera import PIXEL_CENTER
from hmrfit.io.atomic import write_npz
from hmrfit.io.bounded import advising, npz_names, read_npy, read_npz
from hmrfit.io.budget import brief
from hmrfit.io.image import Crop
from hmrfit.keypoints import OPENPOSE25, SPIN24
from hmrfit.ops.check import did_you_mean
from hmrfit.ops.how_many import how_many
from hmrfit.types import BodyParams, Keypoints

BOX_UNIT = 200.0
"""Pixels: what a box's side is divided by."""

SHAPES: dict[str, tuple[int, ...]] = {
    "center": (2,),
    "scale": (),
    "part": (len(SPIN24), 3),
    "openpose": (len(OPENPOSE25), 3),
    "S": (len(SPIN24), 4),
    "pose": (SMPL.pose_size,),
    "shape": (10,),
    "has_smpl": (),
}
"""The number fields: the shape of one row."""

TEXTS = ("imgname", "gender", "maskname", "partname")
REQUIRED = ("imgname", "center", "scale")


@dataclass(frozen=True, eq=False)
class SpinDataset:
    """N people of a dataset, as the file has them. What a dataset does not know is None."""

    imgname: NDArray[np.str_]  # (N,)
    center: NDArray[np.float64]  # (N, 2) pixels
    scale: NDArray[np.float64]  # (N,) side / 200 pixels
    part: NDArray[np.float64] | None = None  # (N, 24, 3)
    openpose: NDArray[np.float64] | None = None  # (N, 25, 3)
    S: NDArray[np.float64] | None = None  # (N, 24, 4) metres
    pose: NDArray[np.float64] | None = None  # (N, 72) radians
    shape: NDArray[np.float64] | None = None  # (N, 10)
    has_smpl: NDArray[np.float64] | None = None  # (N,)
    gender: NDArray[np.str_] | None = None  # (N,)
    maskname: NDArray[np.str_] | None = None  # (N,)
    partname: NDArray[np.str_] | None = None  # (N,)

    def __post_init__(self) -> None:
        for name, value in self.known().items():
            object.__setattr__(self, name, _checked(name, value, len(self.imgname)))
        if (self.pose is None) != (self.shape is None):
            raise ValueError("`pose` and `shape` belong together: a body needs both. Give both, or neither.")

    def __len__(self) -> int:
        return len(self.imgname)

    def __getitem__(self, rows: Any) -> "SpinDataset":
        """The people chosen by a slice, indices or a mask."""
        rows = [rows] if isinstance(rows, int) else rows
        return replace(self, **{name: value[rows] for name, value in self.known().items()})

    def known(self) -> dict[str, NDArray]:
        """The fields that are not None, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def smpl_known(self) -> Tensor:
        """(N,) bool: whether the body parameters are the truth. As SPIN has it, all are where there is no flag."""
        if self.pose is None:
            return torch.zeros(len(self), dtype=torch.bool)
        flags = np.ones(len(self)) if self.has_smpl is None else self.has_smpl
        return torch.as_tensor(flags > 0)

    def keypoints(self) -> Keypoints:
        """The set spin49 (N, 49): detections, then annotations, in our pixels; confidence 0 for what is missing."""
        N = len(self)
        detected = np.zeros((N, len(OPENPOSE25), 3)) if self.openpose is None else self.openpose
        annotated = np.zeros((N, len(SPIN24), 3)) if self.part is None else self.part
        points = torch.as_tensor(np.concatenate([detected, annotated], 1))
        seen = points[..., 2:] > 0
        xy = torch.where(seen, points[..., :2] + PIXEL_CENTER, 0.0)
        return Keypoints(xy, torch.where(seen[..., 0], points[..., 2], 0.0), OPENPOSE25 + SPIN24)

    def joints(self) -> tuple[Tensor, Tensor]:
        """3D joints of the set spin24 (N, 24, 3), metres about the pelvis, and whether they are known (N, 24)."""
        S = torch.zeros(len(self), len(SPIN24), 4).double() if self.S is None else torch.as_tensor(self.S)
        known = S[..., 3] > 0
        return torch.where(known[..., None], S[..., :3], 0.0), known.to(S)

    def params(self) -> BodyParams:
        """SMPL's parameters of all N, at the origin; the rest pose for those that `smpl_known` leaves out."""
        known = self.smpl_known()[:, None].numpy()
        poses = np.zeros((len(self), SMPL.pose_size)) if self.pose is None else np.where(known, self.pose, 0)
        shapes = np.zeros((len(self), 10)) if self.shape is None else np.where(known, self.shape, 0)
        pose, betas = torch.as_tensor(poses), torch.as_tensor(shapes)
        return BodyParams.from_rotvecs(pose[:, :3], pose[:, 3:], betas, torch.zeros(len(self), 3).double())

    def crop(self, row: int, resolution: int = 224) -> Crop:
        """The person's square box."""
        x, y = map(float, self.center[row])
        return Crop((x, y), BOX_UNIT * float(self.scale[row]), resolution)


def _checked(name: str, value: Any, count: int) -> NDArray:
    """A field as text or float64 of its shape (N, ...)."""
    array = np.asarray(value)
    expected = (count, *SHAPES.get(name, ()))
    if name in TEXTS:
        array = np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array
        good, words = array.dtype.kind == "U" or (array.size == 0 and array.dtype.kind == "f"), "text"
        array = array.astype(np.str_) if good else array
    else:
        good, words = array.dtype.kind in "fiub", "numbers"
    if name == "has_smpl" and array.shape == (count, 1):
        array = array[:, 0]
    if not good or array.shape != expected:
        raise ValueError(
            f"The field `{name}` should hold {words} of shape {expected} for {how_many(count, 'people')}, but has "
            f"{array.shape} of {array.dtype}."
        )
    return array if name in TEXTS else array.astype(np.float64)


def damaged_rows(dataset: SpinDataset) -> dict[str, NDArray[np.bool_]]:
    """Field -> (N,) bool: the people whose numbers in it are damaged. NaN and infinity count only where they would be
    read."""
    wrong: dict[str, NDArray[np.bool_]] = {
        "center": ~np.all(np.isfinite(dataset.center), axis=1),
        "scale": ~(np.isfinite(dataset.scale) & (dataset.scale > 0)),
    }
    for name in ("part", "openpose", "S"):
        value = getattr(dataset, name)
        if value is not None:
            confidence = value[..., -1]
            lost = (confidence > 0) & ~np.isfinite(value).all(-1)
            wrong[name] = (lost | ~np.isfinite(confidence)).any(1)
    believed = dataset.smpl_known().numpy()
    for name in ("pose", "shape"):
        value = getattr(dataset, name)
        if value is not None:
            wrong[name] = believed & ~np.all(np.isfinite(value), axis=1)
    return {name: rows for name, rows in wrong.items() if rows.any()}


def read_spin_npz(path: str | os.PathLike, drop_damaged: bool = False) -> SpinDataset:
    """A file in SPIN's format. Fields that the format does not have are left out.

    Args:
        drop_damaged: leave out people with NaN, or a box without size, instead of refusing the file.
    Raises:
        FileNotFoundError: no such file. ValueError: damaged, another format, or numbers that are none.
    """
    dataset = SpinDataset(**_fields(Path(path)))
    wrong = damaged_rows(dataset)
    if wrong and not drop_damaged:
        said = "; ".join(f"`{name}` of {rows.sum()}, first row {rows.argmax()}" for name, rows in wrong.items())
        raise ValueError(
            f"'{path}' has people with NaN, infinite numbers or boxes without size: {said}. Write the file again, or "
            "read it with drop_damaged=True, which leaves them out."
        )
    return dataset[~np.any(list(wrong.values()), axis=0)] if wrong else dataset


def _fields(path: Path) -> dict[str, NDArray]:
    """The format's own fields of a file."""
    if not path.exists():
        raise FileNotFoundError(
            f"There is no '{path}'. hmrfit.datasets writes such files from the datasets' own downloads; SPIN's are "
            "in its dataset_extras."
        )
    with advising("Copy or write it again.", "Save the field as numbers or fixed-length text."):
        names, arrays = npz_names(path), read_npz(path, (*TEXTS, *SHAPES))
    _check_names(path, set(names))
    return arrays


def _check_names(path: Path, names: set[str]) -> None:
    for name in REQUIRED:
        if name not in names:
            raise ValueError(
                f"'{path}' has no field `{name}`, so it is not in SPIN's format.{did_you_mean(name, names)} It has "
                f"{brief(', '.join(sorted(names)), 300) or 'none'}; needed are {', '.join(REQUIRED)}."
            )


def write_spin_npz(path: str | os.PathLike, dataset: SpinDataset) -> None:
    """Writes SPIN's format, whole or not at all. The same numbers come back.

    Raises:
        ValueError: people with NaN or boxes without size (`damaged_rows` says which). OSError: see `atomic_write`.
    """
    if wrong := damaged_rows(dataset):
        raise ValueError(
            f"Some people have NaN, infinite numbers or boxes without size in {', '.join(wrong)}; damaged_rows says "
            "which. Nothing was written."
        )
    write_npz(path, dataset.known())


def read_static_fits(path: str | os.PathLike, dataset: SpinDataset) -> SpinDataset:
    """The dataset with SPIN's `static_fits`, (N, 82) = 72 pose + 10 betas in its rows' order. They are no truth.

    Raises:
        FileNotFoundError: no such file. ValueError: the fits of another file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no '{path}'. SPIN's fits are <name>_fits.npy in its static_fits folder.")
    fits = read_npy(path)
    if fits.dtype.kind not in "fiu" or fits.shape != (len(dataset), 82):
        raise ValueError(
            f"'{path}' should hold ({len(dataset)}, 82), one row of 72 pose and 10 betas for each person, but has "
            f"{fits.shape}: the fits of another file?"
        )
    return replace(dataset, pose=fits[:, : SMPL.pose_size], shape=fits[:, SMPL.pose_size :])
