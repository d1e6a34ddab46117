"""Six body parts as Unite the People and SPIN label them, on any SMPL-format body.

    label(v) = argmax_p  Σ_{joints j of part p} w_vj        1 head, 2 torso, 3 right, 4 left arm, 5 right, 6 left leg

Neck and collars are torso, shoulders down to the fingers arm, hips down to the toes leg; right and left are the
person's. A joint beyond SMPL's (fingers, jaw, eyes) belongs to its parent's part.
"""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.body.smpl import SmplBody
from hmrfit.io.bounded_arrays import read_npy
from hmrfit.keypoints import SMPL24

PART_NAMES = ("head", "torso", "right_arm", "left_arm", "right_leg", "left_leg")
_ARM, _LEG = ("shoulder", "elbow", "wrist", "hand"), ("hip", "knee", "ankle", "foot")
_TRUNK = ("pelvis", "spine1", "spine2", "spine3", "neck", "collar")

SHARED_JOINTS = 22
"""Of SMPL, SMPL-H and SMPL-X: all but the hands, in one order."""


def part_labels(body: SmplBody) -> Tensor:
    """(V,) 1 to 6: the body's own labels where its file has them, else by its skinning weights.

    Raises:
        ValueError: a body without SMPL's joints, such as a hand.
    """
    return body.part_labels if body.part_labels is not None else labels_by_weights(body)


def labels_by_weights(body: SmplBody) -> Tensor:
    """(V,) the part with the largest sum of skinning weights. Errors: see `part_labels`."""
    names = list(body.joint_names)
    if names[0] != SMPL24[0] and len(names) >= SHARED_JOINTS:  # a file that does not name them
        names[:SHARED_JOINTS] = SMPL24[:SHARED_JOINTS]
    parts = _parts_of_joints(names, body.parents)
    sums = torch.stack([body.weights[:, parts == k].sum(1) for k in range(1, len(PART_NAMES) + 1)], 1)
    return sums.argmax(1) + 1


def _parts_of_joints(names: Sequence[str], parents: Sequence[int]) -> Tensor:
    """(J,) 1 to 6."""
    parts: list[int] = []
    for name, parent in zip(names, parents, strict=True):
        part = part_of_joint(name) or (parts[parent] if parent >= 0 else None)
        if part is None:
            raise ValueError(
                f"The body's root joint is '{name}', not '{SMPL24[0]}', so its six parts are unknown. Give labels in a "
                "file, one of 1 to 6 for each vertex."
            )
        parts.append(part)
    return torch.tensor(parts)


def part_of_joint(name: str) -> int | None:
    """1 to 6 of one of SMPL's joints; None for any other name."""
    side, _, plain = name.rpartition("_")
    if plain in _ARM:
        return 3 if side == "right" else 4
    if plain in _LEG:
        return 5 if side == "right" else 6
    if plain in _TRUNK:
        return 2
    return 1 if plain == "head" else None


def read_part_labels(path: str | PathLike, vertices: int) -> NDArray[np.int64]:
    """(V,) labels 1 to 6 of a `.npy` file.

    Raises:
        FileNotFoundError: no such file. ValueError: damaged, of another body, or other labels.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file of part labels '{path}'.")
    labels = read_npy(path)
    if labels.shape != (vertices,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"'{path}' should hold {vertices} whole numbers, one for each vertex of the body, but has "
            f"{labels.shape} of {labels.dtype}."
        )
    if labels.min() < 1 or labels.max() > len(PART_NAMES):
        raise ValueError(
            f"The labels in '{path}' should lie in 1 to {len(PART_NAMES)} ({', '.join(PART_NAMES)}), but go from "
            f"{labels.min()} to {labels.max()}."
        )
    return labels.astype(np.int64)
