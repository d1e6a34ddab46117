"""Exponential-map text of the CMU skeleton: 117 comma-separated columns, root position and 38 rotation triplets.

The triplets follow the node order of the MotionBuilder BVH (end sites hold zeros), in the row-vector convention, so the
column rotation of a bone is exp(-triplet). Its root has to be repaired: it was composed as Rz Rx Ry from Euler numbers
that mean Rz Ry Rx. Taking it apart as ZXY and putting the same numbers together as ZYX gives the true one back.
"""

import numpy as np
from scipy.spatial.transform import Rotation

from hmrfit.io.budget import check_bytes
from hmrfit.motion import cmu
from hmrfit.motion.motion import FRAME_BYTES, Motion
from hmrfit.motion.rest import driven_mask, local_from_ideal

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


def parse_expmap(text: str) -> np.ndarray:
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


def bone_rotations(values: np.ndarray) -> dict[str, np.ndarray]:
    """Global rotations of the bones, name -> (T, 3, 3), the root repaired."""
    glob: list[np.ndarray] = []
    for i, (_, parent) in enumerate(NODES):
        local = Rotation.from_rotvec(-values[:, 3 + 3 * i : 6 + 3 * i])
        local = (repair_root(local) if parent < 0 else local).as_matrix()
        glob.append(local if parent < 0 else glob[parent] @ local)
    return {name: rotation for (name, _), rotation in zip(NODES, glob, strict=True) if name != "_"}


def motion_from_expmap(text: str, name: str = "", skip: int = 1, fps: float = 120.0) -> Motion:
    """An exponential-map file's text as a Motion. Row 0 is a T-pose and is dropped; the rate is not in the file."""
    values = parse_expmap(text)
    check_bytes((FRAME_BYTES + 3 * 72 * len(NODES)) * len(values), "Exponential-map text: it")
    if skip >= len(values):
        raise ValueError(f"Exponential-map text: {len(values)} rows, of which the first {skip} are no motion.")
    ideal = cmu.ideal_from_cmu(bone_rotations(values[skip:]))
    transl = values[skip:, :3] * cmu.UNIT
    return Motion(local_from_ideal(ideal), transl, fps, driven_mask(ideal), name=name, source="cmu_expmap")
