"""The CMU skeleton as its BVH and exponential-map conversions share it.

Rest: arms along +-x, palms down, legs spread by 20 degrees, feet flat, face +z. What has to be undone to reach the
ideal T-pose (all constants measured, degrees):

* legs: Rz(+20) left, Rz(-20) right, after every bone below the pelvis;
* upper arm and forearm: Rx(-30), not the hand. CMU's elbow is a pure hinge about (0, -.866, .5) left,
  (0, .866, -.5) right, so the elbow crease faces forward and 30 degrees up at rest; SMPL's faces forward;
* head: Rx(-12), the mean pitch of CMU's zero head over walking and standing (people differ by +-10);
* neck: the equal half of the way from the upper spine to the head.

CMU's clavicles hold no information (identically 0 in these files) and its fingers are constant.

Exponential-map text of the CMU skeleton: 117 comma-separated columns, root position and 38 rotation triplets.

The triplets follow the node order of the MotionBuilder BVH (end sites hold zeros), in the row-vector convention, so the
column rotation of a bone is exp(-triplet). Its root has to be repaired: it was composed as Rz Rx Ry from Euler numbers
that mean Rz Ry Rx. Taking it apart as ZXY and putting the same numbers together as ZYX gives back the true one.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hmrfit.io.budget import check_bytes
from hmrfit.motion.motion import FRAME_BYTES, Motion
from hmrfit.motion.rest import driven_mask, halfway, local_from_ideal, turn
from hmrfit.ops.how_many import how_many

UNIT = 0.0254 / 0.45
"""Metres per unit of length: CMU scales inches by 0.45."""
LEG_SPREAD, ARM_TWIST, HEAD_PITCH = 20.0, -30.0, -12.0

_SIDES = (("left", "Left", 1.0), ("right", "Right", -1.0))
_LEG = (("hip", "UpLeg"), ("knee", "Leg"), ("ankle", "Foot"), ("foot", "ToeBase"))
_ARM = (("shoulder", "Arm"), ("elbow", "ForeArm"))
_HAND = ("wrist", "FingerBase")  # its rotation holds the wrist's and the hand's

BONES = frozenset(
    ["Hips", "LowerBack", "Spine", "Spine1", "Head"]
    + [f"{side}{bone}" for _, side, _ in _SIDES for _, bone in (*_LEG, *_ARM, _HAND)]
)
"""The bones that are read, by their MotionBuilder names."""


def ideal_from_cmu(bones: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """H of the SMPL joints from the global rotations of the CMU bones (MotionBuilder names), each (T, 3, 3).

    Toes and fingers may be missing; the wrist is then missing too.
    """
    ideal = {"pelvis": bones["Hips"], "spine1": bones["LowerBack"], "spine2": bones["Spine"]}
    ideal["spine3"] = bones["Spine1"]
    ideal["head"] = bones["Head"] @ turn("x", HEAD_PITCH)
    ideal["neck"] = halfway(ideal["spine3"], ideal["head"])
    for side, prefix, sign in _SIDES:
        rests = [(pair, turn("z", sign * LEG_SPREAD)) for pair in _LEG]
        rests += [(pair, turn("x", ARM_TWIST)) for pair in _ARM] + [(_HAND, np.eye(3))]
        for (joint, bone), rest in rests:
            if prefix + bone in bones:
                ideal[f"{side}_{joint}"] = bones[prefix + bone] @ rest
    return ideal


# ---- exponential-map text

_TREE = """
Hips(LHipJoint(LeftUpLeg(LeftLeg(LeftFoot(LeftToeBase(_)))))
RHipJoint(RightUpLeg(RightLeg(RightFoot(RightToeBase(_)))))
LowerBack(Spine(Spine1(Neck(Neck1(Head(_)))
LeftShoulder(LeftArm(LeftForeArm(LeftHand(LeftFingerBase(LeftHandIndex1(_))LThumb(_)))))
RightShoulder(RightArm(RightForeArm(RightHand(RightFingerBase(RightHandIndex1(_))RThumb(_))))))))))
"""


def _nodes(tree: str) -> list[tuple[str, int]]:
    """(name, parent) of every node in file order, from the nested brackets."""
    nodes, stack, word = [], [-1], ""
    for letter in tree + "\n":
        if letter.isalnum() or letter == "_":
            word += letter
            continue
        if word:
            nodes.append((word, stack[-1]))
            word = ""
        if letter == "(":
            stack.append(len(nodes) - 1)
        elif letter == ")":
            stack.pop()
    return nodes


NODES = _nodes(_TREE)
N_COLUMNS = 3 + 3 * len(NODES)


NUMBER = 90
"""Bytes of a number on its way: its text, its place in a list, its value, and its part of a rotation matrix."""


def repair_root(rotation: Rotation) -> Rotation:
    """Undo the wrong order of the root's Euler angles."""
    z, x, y = rotation.as_euler("ZXY").T
    return Rotation.from_euler("ZYX", np.stack([z, y, x], axis=1))


def parse_expmap(text: str) -> NDArray[np.float64]:
    """(T, 117) numbers.

    Raises:
        ValueError: a row has another number of columns, or something is not a finite number.
    """
    check_bytes(NUMBER * (text.count(",") + 3 * text.count("\n")) + 4 * len(text), "Exponential-map text: it")
    rows = [line for line in text.splitlines() if line.strip()]
    widths = {line.count(",") + 1 for line in rows}
    if widths != {N_COLUMNS}:
        raise ValueError(
            f"Exponential-map text: expected {N_COLUMNS} comma-separated columns in every row, found "
            f"{', '.join(map(str, sorted(widths)[:4])) or 'no rows'}. The file is truncated or of another kind."
        )
    try:
        values = np.array(",".join(rows).split(","), dtype=float).reshape(len(rows), N_COLUMNS)
    except ValueError as error:
        raise ValueError(f"Exponential-map text: {str(error)[:80]}.") from None
    if not np.isfinite(values).all():
        raise ValueError("Exponential-map text: it holds NaN or infinite numbers.")
    return values


def bone_rotations(values: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Global rotations of the bones, name -> (T, 3, 3), the root repaired."""
    glob: list[NDArray[np.float64]] = []
    for i, (_, parent) in enumerate(NODES):
        local = Rotation.from_rotvec(-values[:, 3 + 3 * i : 6 + 3 * i])
        local = (repair_root(local) if parent < 0 else local).as_matrix()
        glob.append(local if parent < 0 else glob[parent] @ local)
    return {name: rotation for (name, _), rotation in zip(NODES, glob, strict=True) if name != "_"}


def motion_from_expmap(text: str, name: str = "", skip: int | None = None, fps: float | None = None) -> Motion:
    """An exponential-map file's text as a Motion.

    Args:
        skip: leading rows to drop; by default row 0, which is a T-pose.
        fps: frames a second, which the file does not say; by default CMU's 120.
    """
    skip, fps = (1 if skip is None else skip), (fps or 120.0)
    values = parse_expmap(text)
    check_bytes((FRAME_BYTES + 3 * 72 * len(NODES)) * len(values), "Exponential-map text: it")
    if skip >= len(values):
        raise ValueError(
            f"Exponential-map text: {how_many(len(values), 'rows')}, of which the first {skip} are no motion."
        )
    ideal = ideal_from_cmu(bone_rotations(values[skip:]))
    transl = values[skip:, :3] * UNIT
    return Motion(local_from_ideal(ideal), transl, fps, driven_mask(ideal), name=name, source="cmu_expmap")
