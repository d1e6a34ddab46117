"""DeepMimic humanoid text: JSON with rows of 44 numbers.

    dt | root position 3, quaternion 4 | chest 4 | neck 4 | r_hip 4 | r_knee 1 | r_ankle 4 | r_shoulder 4 | r_elbow 1
       | l_hip 4 | l_knee 1 | l_ankle 4 | l_shoulder 4 | l_elbow 1

Quaternions w x y z; metres; y up, facing +x, right at +z; arms and legs hang straight at rest. Knees and elbows turn
about their local +z by a scalar (a flexed knee is negative, a flexed elbow positive). Into our world:
x = -z', y = y', z = x' (M G M^T), and the arms come up by Rz(-90) left, Rz(+90) right.

The dialect `cmu_jump` (CMU trials in this form, from arpspoof/Jump) needs two repairs, exact against the originals:
its elbows bend about an axis that dropped CMU's tilt of 30 degrees, and its ankles are written in the frame of CMU's
spread legs: v_file = Rz(+20) v left, Rz(-20) v right. Its chest is the lower back alone and its neck the upper neck
alone, so only spine1 counts as driven on the trunk.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hmrfit.io.bounded import parse_json
from hmrfit.io.budget import TooLarge, check_bytes
from hmrfit.motion import cmu
from hmrfit.motion.motion import FRAME_BYTES, Motion
from hmrfit.motion.rest import driven_mask, halfway, local_from_ideal, turn

_LAYOUT = (
    ("dt", 1), ("position", 3), ("root", 4), ("chest", 4), ("neck", 4), ("right_hip", 4), ("right_knee", 1),
    ("right_ankle", 4), ("right_shoulder", 4), ("right_elbow", 1), ("left_hip", 4), ("left_knee", 1),
    ("left_ankle", 4), ("left_shoulder", 4), ("left_elbow", 1),
)  # fmt: skip
N_COLUMNS = sum(width for _, width in _LAYOUT)
_PARENT_OF = {
    "root": None, "chest": "root", "neck": "chest", "hip": "root", "knee": "hip", "ankle": "knee",
    "shoulder": "chest", "elbow": "shoulder",
}  # fmt: skip
WORLD = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
_SIDES = (("left", 1.0), ("right", -1.0))


def parse_deepmimic(text: str) -> dict[str, NDArray[np.float64]]:
    """name -> (T, width) numbers.

    Raises:
        ValueError: no JSON with `Frames`, rows of another length, or something that is not a finite number.
    """
    try:
        content = parse_json(text, "it")
        rows = content["Frames"]
        widths = {len(row) for row in rows}
        if widths == {N_COLUMNS}:
            check_bytes(FRAME_BYTES * len(rows) + len(text), "DeepMimic text: it")
        values = np.array(rows, dtype=float)
    except TooLarge:
        raise
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(
            f"DeepMimic text: expected JSON with 'Frames', rows of {N_COLUMNS} numbers; {str(error)[:80]}"
        ) from None
    if widths != {N_COLUMNS} or values.ndim != 2:
        raise ValueError(f"DeepMimic text: expected rows of {N_COLUMNS} numbers, found {sorted(widths)[:4] or 'none'}.")
    if not np.isfinite(values).all() or not (values[:, 0] >= 0).all():
        raise ValueError("DeepMimic text: it holds NaN, infinite numbers or negative time steps.")
    edges = np.cumsum([width for _, width in _LAYOUT])[:-1]
    return dict(zip([name for name, _ in _LAYOUT], np.split(values, edges, axis=1), strict=True))


def _matrices(numbers: NDArray[np.float64], hinge_axis: NDArray[np.float64]) -> NDArray[np.float64]:
    if numbers.shape[1] == 1:
        return Rotation.from_rotvec(numbers * hinge_axis).as_matrix()
    if (np.linalg.norm(numbers, axis=1) < 1e-6).any():
        raise ValueError("DeepMimic text: a quaternion is zero. The file is damaged.")
    return Rotation.from_quat(numbers[:, [1, 2, 3, 0]]).as_matrix()


def bone_rotations(columns: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Global rotations in the file's own world by its own kinematics, name -> (T, 3, 3)."""
    glob: dict[str, NDArray[np.float64]] = {}
    for name in ("root", "chest", "neck", *(f"{s}_{p}" for s, _ in _SIDES for p in list(_PARENT_OF)[3:])):
        side, _, part = name.rpartition("_")
        parent = _PARENT_OF[part]
        local = _matrices(columns[name], np.array([0.0, 0.0, 1.0]))
        if parent is None:
            glob[name] = local
        else:
            glob[name] = glob[f"{side}_{parent}" if f"{side}_{parent}" in columns else parent] @ local
    return glob


def _ideal(bones: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """H of the SMPL joints; the chest is cut in thirds over the spine, the neck in halves over neck and head."""
    world = {name: WORLD @ rotation @ WORLD.T for name, rotation in bones.items()}
    ideal = {"pelvis": world["root"], "spine3": world["chest"], "head": world["neck"]}
    ideal["spine1"] = halfway(world["root"], world["chest"], 1 / 3)
    ideal["spine2"] = halfway(world["root"], world["chest"], 2 / 3)
    ideal["neck"] = halfway(world["chest"], world["neck"])
    for side, sign in _SIDES:
        ideal |= {f"{side}_{part}": world[f"{side}_{part}"] for part in ("hip", "knee", "ankle")}
        for part in ("shoulder", "elbow"):
            ideal[f"{side}_{part}"] = world[f"{side}_{part}"] @ turn("z", -90.0 * sign)
    return ideal


def _ideal_cmu_jump(
    columns: dict[str, NDArray[np.float64]], bones: dict[str, NDArray[np.float64]]
) -> dict[str, NDArray[np.float64]]:
    """The same with the repairs: elbow axis, ankle frame, trunk on spine1."""
    ideal = _ideal(bones)
    twist = turn("x", cmu.ARM_TWIST)
    for side, sign in _SIDES:
        spread = turn("z", sign * cmu.LEG_SPREAD)
        ankle = WORLD @ _matrices(columns[f"{side}_ankle"], np.zeros(3)) @ WORLD.T
        ideal[f"{side}_ankle"] = ideal[f"{side}_knee"] @ (spread.T @ ankle @ spread)
        ideal[f"{side}_shoulder"] = ideal[f"{side}_shoulder"] @ twist
        flexion = Rotation.from_rotvec(columns[f"{side}_elbow"] * [0.0, -sign, 0.0]).as_matrix()
        ideal[f"{side}_elbow"] = ideal[f"{side}_shoulder"] @ flexion
    ideal["spine1"] = ideal.pop("spine3")
    for joint in ("spine2", "neck", "head"):
        ideal.pop(joint)
    return ideal


def motion_from_deepmimic(text: str, name: str = "", cmu_jump: bool = False) -> Motion:
    """A DeepMimic file's text as a Motion.

    Args:
        cmu_jump: the file is a CMU trial in DeepMimic's form (arpspoof/Jump): repair it. The files look the same, so
            the text does not show it.
    """
    columns = parse_deepmimic(text)
    bones = bone_rotations(columns)
    ideal = _ideal_cmu_jump(columns, bones) if cmu_jump else _ideal(bones)
    steps = columns["dt"][:, 0]
    step = float(np.median(steps[steps > 0])) if (steps > 0).any() else 1.0 / 30.0
    source = "cmu_jump" if cmu_jump else "deepmimic"
    return Motion(
        local_from_ideal(ideal), columns["position"] @ WORLD.T, 1.0 / step, driven_mask(ideal), name=name, source=source
    )
