"""Six body parts as Unite the People and SPIN label them, on any SMPL-format body.

    label(v) = argmax_p  Σ_{joints j of part p} w_vj        1 head, 2 torso, 3 right, 4 left arm, 5 right, 6 left leg

Right and left are the person's. Which joint is of which part, its skeleton says.
"""

from os import PathLike
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.body.skeleton import PART_NAMES
from hmrfit.body.smpl import SmplBody
from hmrfit.io.bounded import read_npy


def part_labels(body: SmplBody) -> Tensor:
    """(V,) 1 to 6: the body's own labels where its file has them, else by its skinning weights.

    Raises:
        ValueError: a body whose root joint is of no known part.
    """
    return body.part_labels if body.part_labels is not None else labels_by_weights(body)


def labels_by_weights(body: SmplBody) -> Tensor:
    """(V,) the part with the largest sum of skinning weights. Errors: see `part_labels`."""
    skeleton = body.skeleton
    if skeleton.part_of_joints[0] is None:
        raise ValueError(
            f"The body's root joint '{skeleton.root}' is of none of the six parts that are known by name. Give labels "
            "in a file, one of 1 to 6 for each vertex."
        )
    sums = [body.weights[:, list(skeleton.parts[part])].sum(1) for part in PART_NAMES]
    return torch.stack(sums, 1).argmax(1) + 1


def read_part_labels(path: str | PathLike[str], vertices: int) -> NDArray[np.int64]:
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
