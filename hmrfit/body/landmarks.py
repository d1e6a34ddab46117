"""Landmarks of a body: the named points that are not joints, each a sparse mixture of posed vertices.

A file may bring its own (`landmark_names`, `landmark_regressor`), as the free body does. For the templates of SMPL and
SMPL-H, of SMPL-X and of MANO, known by their number of vertices, face, toes, heels and finger tips are the vertices
that the field uses. Points that other data sets define by regressors under their own licences are approximated from the
joints until the user supplies those regressors.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hmrfit.body.skeleton import MANO_LEFT, MANO_RIGHT, Skeleton
from hmrfit.keypoints import FINGER_JOINTS, FINGERS, SIDES, THUMB_JOINTS
from hmrfit.ops.check import did_you_mean

Landmarks = tuple[tuple[str, ...], NDArray[np.float64]]

SMPL_VERTEX_COUNT, SMPLX_VERTEX_COUNT, MANO_VERTEX_COUNT = 6890, 10475, 778


def _tips(side: str, *vertices: int) -> dict[str, int]:
    """The tips of thumb, index, middle, ring and little finger."""
    return {f"{side}{finger}_tip": vertex for finger, vertex in zip(FINGERS, vertices, strict=True)}


SMPL_VERTICES = {
    "nose": 332, "right_eye": 6260, "left_eye": 2800, "right_ear": 4071, "left_ear": 583,
    "left_big_toe": 3216, "left_small_toe": 3226, "left_heel": 3387,
    "right_big_toe": 6617, "right_small_toe": 6624, "right_heel": 6787, "head_top": 411,
    **_tips("left_", 2746, 2319, 2445, 2556, 2673), **_tips("right_", 6191, 5782, 5905, 6016, 6133),
}  # fmt: skip
"""Vertex numbers on the template of SMPL and SMPL-H, as the smplx package (and SMPLify, for the head top) has them."""

SMPLX_VERTICES = {
    "nose": 9120, "right_eye": 9929, "left_eye": 9448, "right_ear": 616, "left_ear": 6,
    "left_big_toe": 5770, "left_small_toe": 5780, "left_heel": 8846,
    "right_big_toe": 8463, "right_small_toe": 8474, "right_heel": 8635,
    **_tips("left_", 5361, 4933, 5058, 5169, 5286), **_tips("right_", 8079, 7669, 7794, 7905, 8022),
}  # fmt: skip
"""The same on SMPL-X's template, as the smplx package has them; the top of the head is the highest vertex."""

MANO_TIPS = {
    "smplx": (744, 320, 443, 554, 671),  # HaMeR too
    "manopth": (745, 317, 444, 556, 673),  # manotorch, obman_train, DexYCB
    "freihand": (744, 320, 443, 555, 672),
    "ho3d": (744, 333, 444, 555, 672),  # MobRecon, HandMesh, CMR
    "3dhand": (745, 333, 444, 555, 672),
}
"""The tips of thumb, index, middle, ring and little finger on either hand of MANO, by whose definition they are. They
differ by some millimetres, and a data set's numbers need its own."""

MANO_LEFT_TIPS = {"manopth": (745, 317, 445, 556, 673)}
"""Where the left hand has others."""

USUAL_TIPS = "smplx"

JOINT_MIXTURES = {
    **{f"{side}{joint}_coco": {f"{side}{joint}": 1.0} for side in SIDES for joint in ("shoulder", "knee")},
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


FINGER_KNUCKLES = {
    f"{side}{finger}_{joint}": f"{side}{finger}{k}"
    for side in SIDES
    for finger in FINGERS
    for k, joint in enumerate((THUMB_JOINTS if finger == "thumb" else FINGER_JOINTS)[:-1], start=1)
} | {f"{side}{root}": f"{side}wrist" for side in SIDES for root in ("hand_root", "wrist_mano")}
"""The keypoints of hands -> the joints of MANO's fingers that they are. A body with these joints has these points."""


def landmarks_of(data: Mapping[str, NDArray], skeleton: Skeleton) -> Landmarks:
    """(names, regressor (K, V) on posed vertices) of an SMPL-format file.

    Rows sum to 1, to the last digit of float64 even where the file is float32, so that a landmark moves with its body.
    """
    if "landmark_names" in data:
        own = np.asarray(data["landmark_regressor"], dtype=np.float64)
        return tuple(str(n) for n in data["landmark_names"]), own / own.sum(1, keepdims=True)
    count, regressor = len(data["v_template"]), np.asarray(data["J_regressor"], dtype=np.float64)
    rows = {name: _one_hot(vertex, count) for name, vertex in _vertices_of(data["v_template"], skeleton).items()}
    for name, mixture in JOINT_MIXTURES.items():
        if all(joint in skeleton for joint in mixture):
            parts = [share * regressor[skeleton.index(joint)] for joint, share in mixture.items()]
            rows[name] = np.sum(parts, axis=0)
    if not rows:
        return (), np.zeros((0, count))
    stacked = np.stack(list(rows.values()))
    return tuple(rows), stacked / stacked.sum(1, keepdims=True)


def _vertices_of(template: NDArray, skeleton: Skeleton) -> dict[str, int]:
    """Landmark -> vertex, of the templates that are known."""
    if len(template) == SMPL_VERTEX_COUNT and "head" in skeleton:
        return SMPL_VERTICES
    if len(template) == SMPLX_VERTEX_COUNT and "head" in skeleton:
        return SMPLX_VERTICES | {"head_top": int((template @ np.array(skeleton.up)).argmax())}
    if len(template) == MANO_VERTEX_COUNT and skeleton in (MANO_LEFT, MANO_RIGHT):
        return mano_tips(skeleton, USUAL_TIPS)
    return {}


def mano_tips(skeleton: Skeleton, definition: str) -> dict[str, int]:
    """Names of the five tips -> vertices of MANO's left or right template.

    Raises:
        ValueError: nobody of this name defines tips.
    """
    if definition not in MANO_TIPS:
        near = did_you_mean(definition, MANO_TIPS)
        raise ValueError(f"There is no definition of finger tips '{definition}'.{near} Known: {', '.join(MANO_TIPS)}.")
    left = skeleton == MANO_LEFT
    found = MANO_LEFT_TIPS.get(definition, MANO_TIPS[definition]) if left else MANO_TIPS[definition]
    return _tips("left_" if left else "right_", *found)


def _one_hot(index: int, count: int) -> NDArray[np.float64]:
    row = np.zeros(count)
    row[index] = 1.0
    return row
