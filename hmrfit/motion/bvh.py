"""BVH text: a tree of joints with offsets, then rows of channel values; and the skeletons that such files hold.

For joint j with channels c1 c2 c3 (in the order of the file) the local rotation is R_c1 R_c2 R_c3, degrees,
intrinsic, and G_j = G_parent R_j. Which SMPL joint a bone is, and how its rest differs from the ideal T-pose, is a
matter of the skeleton: a `Dialect`, recognised by the names of its joints.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hmrfit.body.skeleton import SMPL, SMPLH
from hmrfit.io.bounded import words
from hmrfit.io.budget import check_bytes
from hmrfit.motion import cmu
from hmrfit.motion.motion import FRAME_BYTES, Z_UP_TO_Y_UP, Motion
from hmrfit.motion.rest import driven_mask, halfway, local_from_ideal, rest_bend, turn
from hmrfit.ops.how_many import how_many

_ROTATIONS = {"xrotation": "X", "yrotation": "Y", "zrotation": "Z"}
_POSITIONS = {"xposition": 0, "yposition": 1, "zposition": 2}
_MAX_JOINTS = 1000
MATRIX = 72
"""Bytes of a rotation matrix."""


@dataclass(frozen=True)
class Bvh:
    """A parsed file. J joints without the end sites, T frames."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    """Index of each joint's parent, -1 at the root."""
    offsets: NDArray[np.float64]
    """(J, 3) in the unit of the file."""
    channels: tuple[tuple[str, ...], ...]
    """Lower-case channel names of each joint."""
    values: NDArray[np.float64]
    """(T, C) all channels, joints in order."""
    frame_time: float

    def columns(self, joint: int) -> slice:
        start = sum(len(c) for c in self.channels[:joint])
        return slice(start, start + len(self.channels[joint]))

    def local_rotation(self, joint: int) -> NDArray[np.float64]:
        """(T, 3, 3)."""
        block = self.values[:, self.columns(joint)]
        turns = [i for i, c in enumerate(self.channels[joint]) if c in _ROTATIONS]
        if not turns:
            return np.broadcast_to(np.eye(3), (len(block), 3, 3))
        order = "".join(_ROTATIONS[self.channels[joint][i]] for i in turns)
        return Rotation.from_euler(order, block[:, turns], degrees=True).as_matrix()

    def global_rotations(self, wanted: set[str] | None = None) -> dict[str, NDArray[np.float64]]:
        """name -> (T, 3, 3), for the wanted joints (all without `wanted`) and those above them."""
        glob: dict[str, NDArray[np.float64]] = {}
        needed = self._with_ancestors(set(self.names) if wanted is None else wanted)
        check_bytes(3 * MATRIX * len(self.values) * len(needed), "BVH: its skeleton")
        for j, (name, parent) in enumerate(zip(self.names, self.parents, strict=True)):
            if name in needed:
                local = self.local_rotation(j)
                glob[name] = local if parent < 0 else glob[self.names[parent]] @ local
        return glob

    def _with_ancestors(self, wanted: set[str]) -> set[str]:
        needed = set()
        for name in wanted:
            j = self.names.index(name)
            while j >= 0:
                needed.add(self.names[j])
                j = self.parents[j]
        return needed

    def root_position(self) -> NDArray[np.float64]:
        """(T, 3) in the unit of the file: the offset of the root plus its position channels."""
        position = np.tile(self.offsets[0], (len(self.values), 1))
        block = self.values[:, self.columns(0)]
        for i, channel in enumerate(self.channels[0]):
            if channel in _POSITIONS:
                position[:, _POSITIONS[channel]] += block[:, i]
        return position

    def joint_positions(self) -> NDArray[np.float64]:
        """(T, J, 3) by the file's own forward kinematics, in its unit."""
        glob = self.global_rotations()
        positions = np.empty((len(self.values), len(self.names), 3))
        for j, parent in enumerate(self.parents):
            if parent < 0:
                positions[:, j] = self.root_position()
            else:
                positions[:, j] = positions[:, parent] + glob[self.names[parent]] @ self.offsets[j]
        return positions


class _Tokens:
    """The words of the hierarchy, handed out one by one; the end of the text is a ValueError, not an IndexError."""

    def __init__(self, words: list[str]) -> None:
        self.words, self.at = words, 0

    def next(self) -> str:
        if self.at >= len(self.words):
            raise ValueError("BVH: the hierarchy ends in the middle. The file is truncated; copy it again.")
        self.at += 1
        return self.words[self.at - 1]

    def expect(self, word: str) -> None:
        got = self.next()
        if got.lower() != word.lower():
            raise ValueError(f"BVH: expected '{word}', found '{got[:40]}' (word {self.at} of the file).")

    def number(self) -> float:
        word = self.next()
        try:
            return float(word)
        except ValueError:
            raise ValueError(f"BVH: expected a number, found '{word[:40]}' (word {self.at} of the file).") from None


def parse_bvh(text: str) -> Bvh:
    """Parse a BVH file's text.

    Raises:
        ValueError: the text is no BVH, is truncated, or its motion does not have the frames and channels it announces.
    """
    if "HIERARCHY" not in text[:1000].upper():
        raise ValueError("This is no BVH: it does not open with HIERARCHY.")
    head, found, tail = text.partition("MOTION")
    if not found:
        raise ValueError("BVH: there is no MOTION section. The file is truncated; copy it again.")
    names, parents, offsets, channels = _parse_hierarchy(_Tokens(words(head, "BVH: its hierarchy")))
    values, frame_time = _parse_motion(tail, sum(len(c) for c in channels))
    return Bvh(tuple(names), tuple(parents), np.array(offsets), tuple(channels), values, frame_time)


def _parse_hierarchy(tokens: _Tokens) -> tuple[list[str], list[int], list[list[float]], list[tuple[str, ...]]]:
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[tuple[str, ...]] = []
    stack: list[int] = []  # joints that are open; -1 stands for an end site
    tokens.expect("HIERARCHY")
    while tokens.at < len(tokens.words):
        word = tokens.next().upper()
        if word in ("ROOT", "JOINT"):
            if (word == "ROOT") != (not names):
                raise ValueError("BVH: expected exactly one ROOT, before every JOINT (one person a file).")
            parents.append(stack[-1] if stack else -1)
            names.append(tokens.next())
            offsets.append([0.0, 0.0, 0.0])
            channels.append(())
            tokens.expect("{")
            stack.append(len(names) - 1)
        elif word == "END":
            tokens.expect("Site")
            tokens.expect("{")
            stack.append(-1)
        elif word == "OFFSET":
            offset = [tokens.number() for _ in range(3)]
            if stack and stack[-1] >= 0:
                offsets[stack[-1]] = offset
        elif word == "CHANNELS":
            channels[_open_joint(stack)] = _parse_channels(tokens)
        elif word == "}" and stack:
            stack.pop()
        else:
            raise ValueError(f"BVH: unexpected word '{word[:40]}' in the hierarchy (word {tokens.at}).")
        if len(names) > _MAX_JOINTS:
            raise ValueError(f"BVH: more than {_MAX_JOINTS} joints; that is no human skeleton.")
    _check_tree(names, stack)
    return names, parents, offsets, channels


def _open_joint(stack: list[int]) -> int:
    if not stack or stack[-1] < 0:
        raise ValueError("BVH: CHANNELS outside a joint.")
    return stack[-1]


def _parse_channels(tokens: _Tokens) -> tuple[str, ...]:
    count = tokens.number()
    if count not in range(13):
        raise ValueError(f"BVH: a joint has {count:g} channels; expected 0 to 12.")
    channels = tuple(tokens.next().lower() for _ in range(int(count)))
    unknown = [c for c in channels if c not in _ROTATIONS and c not in _POSITIONS]
    if unknown:
        raise ValueError(f"BVH: unknown channel '{unknown[0][:40]}'. Known: X, Y, Z position and rotation.")
    return channels


def _check_tree(names: list[str], stack: list[int]) -> None:
    if not names:
        raise ValueError("BVH: there is no ROOT in the hierarchy.")
    if stack:
        raise ValueError("BVH: the hierarchy has unclosed braces. The file is truncated; copy it again.")
    twice = {n for n in names if names.count(n) > 1}
    if twice:
        raise ValueError(f"BVH: the joint name '{min(twice)}' stands twice in the hierarchy.")


def _parse_motion(text: str, n_channels: int) -> tuple[NDArray[np.float64], float]:
    found = words(text, "BVH: its motion")
    try:
        start = found.index("Time:")
        n_frames, frame_time = int(found[found.index("Frames:") + 1]), float(found[start + 1])
        values = np.array(found[start + 2 :], dtype=float)
    except (ValueError, IndexError) as error:
        raise ValueError(f"BVH: the MOTION section cannot be read ({str(error)[:80]}).") from None
    if n_frames < 1 or not frame_time > 0:
        raise ValueError(
            f"BVH: {how_many(n_frames, 'frames')} of {frame_time} s announced; expected at least one, of a time > 0."
        )
    if not n_channels:
        raise ValueError("BVH: no joint has a channel, so nothing moves.")
    if len(values) != n_frames * n_channels:
        raise ValueError(
            f"BVH: {how_many(n_frames, 'frames')} of {how_many(n_channels, 'channels')} announced, that is "
            f"{how_many(n_frames * n_channels, 'numbers')}; "
            f"{len(values)} found. The file is truncated or damaged; copy it again."
        )
    if not np.isfinite(values).all():
        raise ValueError("BVH: the motion holds NaN or infinite numbers.")
    return values.reshape(n_frames, n_channels), frame_time


# ---- skeletons

Bones = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Dialect:
    """One BVH skeleton."""

    name: str
    bones: frozenset[str]
    """Bones that the converter reads; a file that has them all speaks the dialect."""
    ideal: Callable[[Bones], dict[str, NDArray[np.float64]]]
    """Global bone rotations (T, 3, 3) -> H of the SMPL joints."""
    metres: float | None
    """Metres per unit of length; None: metres or centimetres, which the length of the legs says."""
    skip: int
    """Leading frames that are no motion (an inserted T-pose)."""
    guessed: frozenset[str] = frozenset()
    """SMPL joints that the converter sets but the source does not really drive."""
    world: NDArray[np.float64] | None = None
    """Rotation of the file's world to y up, facing +z; None where it is that already."""


_SIDES = (("left", 1.0), ("right", -1.0))


def _ideal_from_max(bones: Bones) -> dict[str, NDArray[np.float64]]:
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


def _ideal_from_daz(bones: Bones) -> dict[str, NDArray[np.float64]]:
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


def _ideal_from_fair(bones: Bones) -> dict[str, NDArray[np.float64]]:
    """AnimatedDrawings: a plain T-pose; three of its four spine bones are taken."""
    ideal = {"pelvis": bones["Hips"], "spine1": bones["Spine"], "spine2": bones["Spine1"], "spine3": bones["Spine3"]}
    ideal |= {"neck": bones["Neck"], "head": bones["Head"]}
    for joint, bone in _FAIR_PARTS.items():
        ideal |= {f"left_{joint}": bones[f"Left{bone}"], f"right_{joint}": bones[f"Right{bone}"]}
    return ideal


def _ideal_from_smpl(bones: Bones) -> dict[str, NDArray[np.float64]]:
    """SMPL's own joints, which `hmrfit.export.bvh` and others write: G = H B, see `motion.rest`."""
    return {name: rotation @ rest_bend(name).T for name, rotation in bones.items()}


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
    Dialect("smpl", frozenset(SMPL.names), _ideal_from_smpl, None, 0),
    Dialect("smplh", frozenset(SMPL.names[j] for j in SMPLH.body_joints), _ideal_from_smpl, None, 0),
)  # fmt: skip
"""Every BVH skeleton that is known, tried in this order. Fingers and face of SMPL-H and SMPL-X are left out."""

LONGEST_LEG = 3.0
"""Of people in metres; longer ones are in centimetres."""


def recognise(bvh: Bvh) -> Dialect:
    """The dialect whose bones the file has.

    Raises:
        ValueError: none fits; the error names the nearest and the bones that are missing.
    """
    for dialect in DIALECTS:
        if dialect.bones <= set(bvh.names):
            return dialect
    near = min(DIALECTS, key=lambda d: len(d.bones - set(bvh.names)) / len(d.bones))
    missing = sorted(near.bones - set(bvh.names))
    alike = get_close_matches(missing[0], bvh.names, n=1)
    raise ValueError(
        f"BVH: unknown skeleton (root '{bvh.names[0]}', {how_many(len(bvh.names), 'joints')}). Known: "
        f"{', '.join(d.name for d in DIALECTS)}. Nearest is {near.name}, but '{missing[0]}' is missing"
        + (f" (there is '{alike[0]}')" if alike else "")
        + f"{f' and {len(missing) - 1} more' if len(missing) > 1 else ''}. "
        "Rename the joints, or add a Dialect to hmrfit/motion/bvh.py."
    )


def _metres(dialect: Dialect, bvh: Bvh) -> float:
    """Metres per unit of length of a file."""
    if dialect.metres is not None:
        return dialect.metres
    leg = sum(np.linalg.norm(bvh.offsets[bvh.names.index(name)]) for name in ("left_knee", "left_ankle"))
    return 1.0 if leg < LONGEST_LEG else 0.01


def _to_world(dialect: Dialect, ideal: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
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
        raise ValueError(
            f"BVH: {how_many(len(bvh.values), 'frames')}, of which the first {first} are no motion; none is left."
        )
    return Motion(
        local_from_ideal(ideal)[first:],
        (bvh.root_position() @ world.T)[first:] * _metres(dialect, bvh),
        fps or 1.0 / bvh.frame_time,
        driven_mask(ideal) & ~driven_mask(dialect.guessed),
        name=name,
        source=dialect.name,
    )
