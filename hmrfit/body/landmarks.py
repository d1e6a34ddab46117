"""Landmarks of a body: the named points that are not joints, each a sparse mixture of posed vertices.

A file may bring its own (`landmark_names`, `landmark_regressor`), as the free body does. For the 6,890 vertices of SMPL
the face, toes and heels are the vertices that the field uses, and the points that other data sets define by regressors
under their own licences are approximated from the joints until the user supplies those regressors.
"""

from collections.abc import Mapping, Sequence

import numpy as np

SMPL_VERTEX_COUNT = 6890

SMPL_VERTICES = {
    "nose": 332, "right_eye": 6260, "left_eye": 2800, "right_ear": 4071, "left_ear": 583,
    "left_big_toe": 3216, "left_small_toe": 3226, "left_heel": 3387,
    "right_big_toe": 6617, "right_small_toe": 6624, "right_heel": 6787, "head_top": 411,
}  # fmt: skip
"""Vertex numbers on SMPL's template, as the smplx package (and SMPLify, for the head top) uses them."""

JOINT_MIXTURES = {
    "neck_openpose": {"left_shoulder": 0.5, "right_shoulder": 0.5},
    "left_hip_coco": {"left_hip": 1.0},
    "right_hip_coco": {"right_hip": 1.0},
    "mid_hip_coco": {"left_hip": 0.5, "right_hip": 0.5},
    "left_hip_lsp": {"left_hip": 1.0},
    "right_hip_lsp": {"right_hip": 1.0},
    "neck_lsp": {"neck": 1.0},
    "pelvis_mpii": {"left_hip": 0.5, "right_hip": 0.5},
    "thorax_mpii": {"neck": 1.0},
    "pelvis_h36m": {"pelvis": 1.0},
    "left_hip_h36m": {"left_hip": 1.0},
    "right_hip_h36m": {"right_hip": 1.0},
    "spine_h36m": {"spine2": 1.0},
    "neck_h36m": {"neck": 1.0},
}
"""What to take for a set's own points on a body that does not define them: the nearest joints."""

Landmarks = tuple[tuple[str, ...], np.ndarray]


def landmarks_of(data: Mapping[str, np.ndarray], joint_names: Sequence[str]) -> Landmarks:
    """(names, regressor (K, V) on posed vertices) of an SMPL-format file.

    Rows sum to 1, to the last digit of float64 even where the file is float32, so that a landmark moves with its body.
    """
    if "landmark_names" in data:
        rows = np.asarray(data["landmark_regressor"], dtype=np.float64)
        return tuple(str(n) for n in data["landmark_names"]), rows / rows.sum(1, keepdims=True)
    names: list[str] = []
    rows: list[np.ndarray] = []
    count = len(data["v_template"])
    if count == SMPL_VERTEX_COUNT:
        names += SMPL_VERTICES
        rows += [_one_hot(vertex, count) for vertex in SMPL_VERTICES.values()]
    regressor = np.asarray(data["J_regressor"], dtype=np.float64)
    for name, mixture in JOINT_MIXTURES.items():
        if set(mixture) <= set(joint_names):
            names.append(name)
            rows.append(sum(share * regressor[list(joint_names).index(j)] for j, share in mixture.items()))
    if not rows:
        return (), np.zeros((0, count))
    return tuple(names), np.stack(rows) / np.sum(rows, axis=1, keepdims=True)


def _one_hot(index: int, count: int) -> np.ndarray:
    row = np.zeros(count)
    row[index] = 1.0
    return row
