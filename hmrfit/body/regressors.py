"""Joint regressors that others hand out: fixed mixtures of a body's vertices, X = R v, as `.npy` files (rows, V).

    h36m       J_regressor_h36m.npy (17, V), SPIN's: Human3.6M's joints, left leg first
    extra      J_regressor_extra.npy (9, V), SPIN's: what the sets spin24 and spin49 have beyond SMPL's joints
    cocoplus   (19, V), of HMR's body file: LSP's 14 and five points of the face

They belong to SMPL's 6,890 vertices and to their owners' terms. On other bodies their own named points stand in.
"""

import copy
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hmrfit.body.smpl import SmplBody
from hmrfit.io.bounded import read_npy
from hmrfit.keypoints import LSP14
from hmrfit.ops.check import check_finite, did_you_mean

REGRESSORS: dict[str, tuple[str, ...]] = {
    "h36m": (
        "pelvis_h36m", "left_hip_h36m", "left_knee", "left_ankle", "right_hip_h36m", "right_knee", "right_ankle",
        "spine_h36m", "neck_h36m", "jaw_h36m", "head_h36m", "left_shoulder_coco", "left_elbow", "left_wrist",
        "right_shoulder_coco", "right_elbow", "right_wrist",
    ),
    "extra": (
        "right_hip_lsp", "left_hip_lsp", "neck_lsp", "head_top", "pelvis_mpii", "thorax_mpii", "spine_h36m",
        "jaw_h36m", "head_h36m",
    ),
    "cocoplus": (*LSP14, "nose", "left_eye", "right_eye", "left_ear", "right_ear"),
}  # fmt: skip
"""What each row is."""


def read_regressor(kind: str, path: str | PathLike[str], vertices: int) -> Tensor:
    """The matrix (rows, V), float64.

    Raises:
        FileNotFoundError: no such file. ValueError: an unknown kind, damaged, NaN, or not this body's shape.
    """
    if kind not in REGRESSORS:
        raise ValueError(
            f"There is no kind of joint regressor '{kind}'.{did_you_mean(kind, REGRESSORS)} Known: "
            f"{', '.join(REGRESSORS)}."
        )
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no joint regressor '{path}'. SPIN's fetch_data.sh brings J_regressor_h36m.npy and "
            "J_regressor_extra.npy."
        )
    matrix = read_npy(path)
    expected = (len(REGRESSORS[kind]), vertices)
    if matrix.shape != expected or matrix.dtype.kind not in "fiu":
        raise ValueError(
            f"The joint regressor '{path}' should hold numbers of shape {expected}, a row for each joint of "
            f"'{kind}' and a column for each vertex of the body, but has {matrix.shape}. "
            "Give the file of this body, or leave it out: the body's own points then stand in."
        )
    check_finite(matrix, f"The joint regressor '{path}'")
    return torch.as_tensor(matrix.astype(np.float64))


def regressed_body(body: SmplBody, kind: str, matrix: Tensor) -> SmplBody:
    """The same body whose points of these names are the regressor's, the knees among them where it has knees."""
    names, own = REGRESSORS[kind], copy.copy(body)
    kept = [i for i, name in enumerate(body.landmark_names) if name not in names]
    own.landmark_names = (*names, *(body.landmark_names[i] for i in kept))
    own.landmark_regressor = torch.cat([matrix.to(body.v_template), body.landmark_regressor[kept]])
    return own
