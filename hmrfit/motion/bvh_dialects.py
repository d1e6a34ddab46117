"""Which skeleton a BVH file holds, recognised by its joint names, and its rotations relative to the ideal T-pose."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from hmrfit.io.budget import check_bytes
from hmrfit.motion import cmu
from hmrfit.motion.bvh import Bvh, parse_bvh
from hmrfit.motion.motion import FRAME_BYTES, Z_UP_TO_Y_UP, Motion
from hmrfit.motion.rest import driven_mask, halfway, local_from_ideal, turn

Bones = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Dialect:
    """One BVH skeleton."""

    name: str
    bones: frozenset[str]
    """Bones that the converter reads; a file that has them all speaks the dialect."""
    ideal: Callable[[Bones], dict[str, np.ndarray]]
    """Global bone rotations (T, 3, 3) -> H of the SMPL joints."""
    metres: float
    """Metres per unit of length."""
    skip: int
    """Leading frames that are no motion (an inserted T-pose)."""
    guessed: frozenset[str] = frozenset()
    """SMPL joints that the converter sets but the source does not really drive."""
    world: np.ndarray | None = None
    """Rotation of the file's world to y up, facing +z; None where it is that already."""


_SIDES = (("left", 1.0), ("right", -1.0))


def _ideal_from_max(bones: Bones) -> dict[str, np.ndarray]:
    """3dsMax-friendly: CMU's rest but with hanging arms, so Rz(-+90) brings them up first."""
    renamed = {"Hips": "Hips", "LowerBack": "lowerback", "Spine": "Chest", "Spine1": "Chest2", "Head": "Head"}
    parts = {"UpLeg": "Hip", "Leg": "Knee", "Foot": "Ankle", "ToeBase": "Toe"}
    renamed |= {f"{s}{part}": f"{s}{own}" for s in ("Left", "Right") for part, own in parts.items()}
    out = {cmu_name: bones[own] for cmu_name, own in renamed.items()}
    for side, sign, hand in (("Left", 1.0, "LFingers"), ("Right", -1.0, "RFingers")):
        raised = turn("z", -90.0 * sign)
        for part, own in (("Arm", f"{side}Shoulder"), ("ForeArm", f"{side}Elbow"), ("FingerBase", hand)):
            out[side + part] = bones[own] @ raised
    return cmu.ideal_from_cmu(out)


def _ideal_from_daz(bones: Bones) -> dict[str, np.ndarray]:
    """DAZ-friendly: a MotionBuilder retarget onto a bent rest, G_cmu = G_daz C with C calibrated on 05_11 and 05_20.

    Toes and wrist flexion are not there (the hand carries the pronation of the forearm only).
    """
    spine1 = halfway(bones["hip"], bones["abdomen"])
    out = {"Hips": bones["hip"], "LowerBack": spine1, "Spine": bones["abdomen"], "Spine1": bones["chest"]}
    out["Head"] = bones["head"] @ turn("x", 16.0)
    for (_, sign), side, own in zip(_SIDES, ("Left", "Right"), ("l", "r"), strict=True):
        arm = turn("z", -8.0 * sign)
        leg = turn("x", 3.5) @ turn("z", -20.5 * sign)
        out |= {f"{side}Arm": bones[own + "Shldr"] @ arm, f"{side}ForeArm": bones[own + "ForeArm"] @ arm}
        out[f"{side}FingerBase"] = bones[own + "Hand"] @ arm
        out |= {f"{side}UpLeg": bones[own + "Thigh"] @ leg, f"{side}Leg": bones[own + "Shin"] @ leg}
        out[f"{side}Foot"] = bones[own + "Foot"] @ turn("z", -21.0 * sign)
    return cmu.ideal_from_cmu(out)


_FAIR_PARTS = {
    "collar": "Shoulder", "shoulder": "Arm", "elbow": "ForeArm", "wrist": "Hand",
    "hip": "UpLeg", "knee": "Leg", "ankle": "Foot", "foot": "ToeBase",
}  # fmt: skip


def _ideal_from_fair(bones: Bones) -> dict[str, np.ndarray]:
    """AnimatedDrawings: a plain T-pose; three of its four spine bones are taken."""
    ideal = {"pelvis": bones["Hips"], "spine1": bones["Spine"], "spine2": bones["Spine1"], "spine3": bones["Spine3"]}
    ideal |= {"neck": bones["Neck"], "head": bones["Head"]}
    for joint, bone in _FAIR_PARTS.items():
        ideal |= {f"left_{joint}": bones[f"Left{bone}"], f"right_{joint}": bones[f"Right{bone}"]}
    return ideal


_DAZ_PARTS = ("Shldr", "ForeArm", "Hand", "Thigh", "Shin", "Foot")
_MAX_PARTS = ("Hip", "Knee", "Ankle", "Toe", "Shoulder", "Elbow")

DIALECTS = (
    Dialect(
        "animdraw_fair1",
        frozenset(["Hips", "Spine", "Spine1", "Spine3", "Neck", "Head"])
        | {s + p for s in ("Left", "Right") for p in _FAIR_PARTS.values()},
        _ideal_from_fair, 0.039, 1, world=Z_UP_TO_Y_UP,  # the unit is not known: 0.039 makes a leg of 0.85 m
    ),
    Dialect("cmu_motionbuilder", cmu.BONES, cmu.ideal_from_cmu, cmu.UNIT, 1),
    Dialect(
        "cmu_daz",
        frozenset(["hip", "abdomen", "chest", "head"]) | {s + p for s in "lr" for p in _DAZ_PARTS},
        _ideal_from_daz, 0.01, 0, frozenset(["left_wrist", "right_wrist"]),
    ),
    Dialect(
        "cmu_3dsmax",
        frozenset(["Hips", "lowerback", "Chest", "Chest2", "Head", "LFingers", "RFingers"])
        | {s + p for s in ("Left", "Right") for p in _MAX_PARTS},
        _ideal_from_max, cmu.UNIT, 0,
    ),
)  # fmt: skip
"""Every BVH skeleton that is known, tried in this order."""


def recognise(bvh: Bvh) -> Dialect:
    """The dialect whose bones the file has.

    Raises:
        ValueError: none fits; the letter names the nearest and the bones that are missing.
    """
    for dialect in DIALECTS:
        if dialect.bones <= set(bvh.names):
            return dialect
    near = min(DIALECTS, key=lambda d: len(d.bones - set(bvh.names)) / len(d.bones))
    missing = sorted(near.bones - set(bvh.names))
    alike = get_close_matches(missing[0], bvh.names, n=1)
    raise ValueError(
        f"BVH: unknown skeleton (root '{bvh.names[0]}', {len(bvh.names)} joints). Known: "
        f"{', '.join(d.name for d in DIALECTS)}. Nearest is {near.name}, but '{missing[0]}' is missing"
        + (f" (there is '{alike[0]}')" if alike else "")
        + f"{f' and {len(missing) - 1} more' if len(missing) > 1 else ''}. "
        "Rename the joints, or add a Dialect to hmrfit/motion/bvh_dialects.py."
    )


def _to_world(dialect: Dialect, ideal: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same rotations in a world with y up: M G M^T, since rest and world turn together."""
    if dialect.world is None:
        return ideal
    return {name: dialect.world @ rotation @ dialect.world.T for name, rotation in ideal.items()}


def motion_from_bvh(text: str, name: str = "", skip: int | None = None, fps: float | None = None) -> Motion:
    """A BVH file's text as a Motion.

    Args:
        skip: leading frames to drop; None for the dialect's own number (an inserted T-pose).
        fps: the true rate where the header is known to be wrong.
    """
    bvh = parse_bvh(text)
    check_bytes(FRAME_BYTES * len(bvh.values), "BVH: its motion")
    dialect = recognise(bvh)
    ideal = _to_world(dialect, dialect.ideal(bvh.global_rotations(set(dialect.bones))))
    world = np.eye(3) if dialect.world is None else dialect.world
    first = dialect.skip if skip is None else skip
    if first >= len(bvh.values):
        raise ValueError(f"BVH: {len(bvh.values)} frames, of which the first {first} are no motion; none is left.")
    return Motion(
        local_from_ideal(ideal)[first:],
        (bvh.root_position() @ world.T)[first:] * dialect.metres,
        fps or 1.0 / bvh.frame_time,
        driven_mask(ideal) & ~driven_mask(dialect.guessed),
        name=name,
        source=dialect.name,
    )
