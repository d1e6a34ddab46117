"""Hands of a data set with their truth, one row a hand, in the form that all readers of hands bring them to.

    joints (N, 21, 3)    metres, in the frame of OpenCV's camera (x right, y down, z forward), in the set's own order
    K (N, 3, 3)          pixels, centres at integers, as all of these data sets have them
    valid (N, 21)        which of the points are known
    vertices (N, V, 3)   of the truth's own mesh, where there is one

FreiHAND, DexYCB and RHD are in this frame; HO-3D has OpenGL's (y up, the hand at −z), which differs by diag(1, −1, −1);
InterHand2.6M has millimetres of a world with a camera in it. What a reader does about it stands in its own file.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmrfit.camera import PIXEL_CENTER
from hmrfit.hand_keypoints import HAND_SETS, HAND_SIDES
from hmrfit.ops.check import check_shape

Numbers = NDArray[np.float64]

SHAPES = {
    "names": "N",
    "side": "N",
    "joints": "N 21 3",
    "valid": "N 21",
    "K": "N 3 3",
    "size": "N 2",
    "picture": "N",
    "group": "N",
    "image": "N",
    "vertices": "N V 3",
    "keypoints": "N 21 3",
}
"""Of the arrays."""


@dataclass(frozen=True, eq=False)
class HandDataset:
    """N hands. Two of one person in one picture are two rows of the same `picture`."""

    root: Path
    order: str  # of the 21 points, one of hand_keypoints.HAND_SETS
    names: NDArray[np.str_]  # (N,) what the data set calls the sample
    side: NDArray[np.str_]  # (N,) "left" or "right"
    joints: Numbers  # (N, 21, 3) metres
    valid: NDArray[np.bool_]  # (N, 21)
    K: Numbers  # (N, 3, 3); NaN where the camera is unknown
    size: NDArray[np.int64]  # (N, 2) width, height, pixels
    picture: NDArray[np.int64]  # (N,) equal for hands of one picture
    group: NDArray[np.str_]  # (N,) for tables: a sequence, or "single" and "interacting"
    image: NDArray[np.str_] | None = None  # (N,) below the root
    vertices: Numbers | None = None  # (N, V, 3) metres
    keypoints: Numbers | None = None  # (N, 21, 3) x, y, confidence in our pixels; else the joints are projected

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {}
        for name, pattern in SHAPES.items():
            value = getattr(self, name)
            if value is not None:
                sizes = check_shape(value, pattern, name, sizes)
        if self.order not in HAND_SETS:
            raise ValueError(f"order should be one of {', '.join(HAND_SETS)}, not '{self.order}'.")
        others = sorted(set(self.side.tolist()) - set(HAND_SIDES))
        if others:
            raise ValueError(f"side should hold 'left' and 'right' only, not '{others[0]}'.")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: slice | Sequence[int] | NDArray[np.int64] | NDArray[np.bool_]) -> "HandDataset":
        """The hands chosen by a slice, indices or a mask."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        chosen: dict[str, Any] = {n: v[rows] for n, v in values.items() if isinstance(v, np.ndarray)}
        return replace(self, **chosen)

    @property
    def keypoints_2d(self) -> Numbers:
        """(N, 21, 3) x, y, confidence in our pixels: those of the file, else the valid joints as the camera sees them;
        confidence 0 where neither is known."""
        if self.keypoints is not None:
            return self.keypoints
        with np.errstate(invalid="ignore", divide="ignore"):
            seen = np.einsum("nij,nkj->nki", self.K, self.joints)
            xy = seen[..., :2] / seen[..., 2:] + PIXEL_CENTER
        known = self.valid & np.isfinite(xy).all(-1) & (seen[..., 2] > 0)
        xy = np.where(known[..., None], xy, 0.0)
        return np.concatenate([xy, known[..., None].astype(np.float64)], -1)
