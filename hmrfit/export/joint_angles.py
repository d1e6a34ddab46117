"""Clinical joint angles of a moving body, as OpenSim's .mot and .sto or as .csv: degrees, and metres of the pelvis.

Segment axes follow the ISB (Wu 2002, 2005): X ahead, Y up, Z to the person's right. With M from the body's own axes
(x left, y up, z ahead) a joint's rotation is  R = M R_joint Mᵀ,  left joints mirrored (Z -> −Z), so that both sides
have the same signs. Zero is the body's rest pose; of the arms, hanging, palms to the thighs (the rest pose's arms
turned down by 90° about X). R is taken apart in the order of turns about moving axes:

    pelvis      in the world, Y X Z      rotation (to the left +), list (right side down +), tilt (backwards +)
                as Baker (2001) has it: tilt and list do not depend on where the person faces
    hip         thigh in pelvis, Z X Y   flexion +, adduction +, internal rotation +
    knee        shank in thigh, Z X Y    flexion + (the other turns are small, and left out)
    ankle       foot in shank, Z X Y     dorsiflexion +; subtalar: inversion + (its X)
    lumbar      chest in pelvis, Z X Y   extension +, bending to the right +, rotation to the left +
    neck        head in chest, Z X Y     the same
    shoulder    upper arm in chest, Y X Y    plane of elevation (0 to the side, 90 ahead), elevation (0 hanging),
                axial rotation (internal +); near 0 of elevation plane and rotation are not determined, only their sum
    elbow       forearm in upper arm, Z X Y  flexion +; pronation + (its Y)

The joints are those of the body model: a chest of three spine joints, a shoulder with its collarbone, a foot that is
one segment up to the ankle. Names and signs are those of OpenSim's Rajagopal (2016) model where it has such a
coordinate; its pelvis is taken apart in another order (tilt first), so drive models by the .trc and inverse kinematics.
`time` is the motion's own, as in the .trc.
"""

import warnings
from collections.abc import Callable
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hmrfit.export.person_motion import PersonMotion, lowest_point
from hmrfit.io.atomic import atomic_write

Floats = NDArray[np.float64]

TO_ISB = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
MIRROR = np.diag([1.0, 1.0, -1.0])

ARM_DOWN = Rotation.from_euler("X", 90, degrees=True).as_matrix()
"""Of the right arm, from stretched to the side (Z) to hanging (−Y)."""

LIMB_JOINTS = ("hip", "knee", "ankle", "collar", "shoulder", "elbow")
TRUNK_JOINTS = ("pelvis", "neck", "head", "spine1", "spine2", "spine3")
NEEDED = (*TRUNK_JOINTS, *(f"{side}_{joint}" for side in ("left", "right") for joint in LIMB_JOINTS))

SUFFIXES = (".mot", ".sto", ".csv")


def write_joint_angles(path: str | PathLike[str], person: PersonMotion, *, on_floor: bool = False) -> None:
    """Writes one person's joint angles, whole or not at all, at the motion's own times. Frames that are missing are
    interpolated.

    Args:
        path: ends in .mot, .sto or .csv. on_floor: the pelvis' height is that over the motion's lowest point.

    Raises:
        ValueError: says what was expected; nothing is written. OSError: see `atomic.atomic_write`.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"Joint angles are saved as {', '.join(SUFFIXES)}; '{path}' ends otherwise.")
    person = person.even()
    table = joint_angles(person)
    if on_floor:
        table["pelvis_ty"] = table["pelvis_ty"] - lowest_point(person, person.in_world())
    columns = {"time": person.seconds, **table}
    between = "," if suffix == ".csv" else "\t"
    lines = [] if suffix == ".csv" else _header(Path(path).stem, len(person), len(columns))
    lines.append(between.join(columns))
    lines += [between.join(f"{value:.6f}" for value in row) for row in zip(*columns.values(), strict=True)]
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _header(name: str, rows: int, columns: int) -> list[str]:
    """Of OpenSim's motion and storage files."""
    return [name, "version=1", f"nRows={rows}", f"nColumns={columns}", "inDegrees=yes", "endheader"]


def joint_angles(person: PersonMotion) -> dict[str, Floats]:
    """Name -> (T,) degrees, without jumps of 360; `pelvis_tx` and its like metres in the world with y up.

    Raises:
        ValueError: the body lacks a joint that this takes.
    """
    skeleton = person.body.skeleton
    missing = [name for name in NEEDED if name not in skeleton]
    if missing:
        raise ValueError(f"Joint angles are those of a whole body; this one has no joint '{missing[0]}'.")
    world = person.in_world()
    rotations = world.rotations.numpy()
    of = lambda name: TO_ISB @ rotations[:, skeleton.index(name)] @ TO_ISB.T  # noqa: E731
    pelvis = rotations[:, 0] @ TO_ISB.T
    found: dict[str, Floats] = {}
    rotation, tilt_side, tilt = _euler("YXZ", pelvis)
    found |= {"pelvis_tilt": tilt, "pelvis_list": tilt_side, "pelvis_rotation": rotation}
    place = person.body.points((skeleton.names[0],)).pose(world).joints[:, 0].numpy()
    found |= {f"pelvis_t{axis}": place[:, i] for i, axis in enumerate("xyz")}
    for side in ("right", "left"):
        found |= _limbs(side, of)
    trunk = _euler("ZXY", of("spine1") @ of("spine2") @ of("spine3"))
    found |= dict(zip(("lumbar_extension", "lumbar_bending", "lumbar_rotation"), trunk, strict=True))
    head = _euler("ZXY", of("neck") @ of("head"))
    return found | dict(zip(("neck_extension", "neck_bending", "neck_rotation"), head, strict=True))


def _limbs(side: str, of_joint: Callable[[str], Floats]) -> dict[str, Floats]:
    """The angles of a leg and an arm."""
    s = side[0]
    of = lambda name: _right(side, of_joint(f"{side}_{name}"))  # noqa: E731
    hip, knee, ankle = (_euler("ZXY", of(name)) for name in ("hip", "knee", "ankle"))
    found = {
        f"hip_flexion_{s}": hip[0],
        f"hip_adduction_{s}": hip[1],
        f"hip_rotation_{s}": hip[2],
        f"knee_angle_{s}": -knee[0],
        f"ankle_angle_{s}": ankle[0],
        f"subtalar_angle_{s}": ankle[1],
    }
    arm = of("collar") @ of("shoulder") @ ARM_DOWN.T
    plane, elevation, axial = _euler("YXY", arm)  # R = Ry(plane) Rx(e) Ry(axial), and Rx(e) = Ry(180) Rx(-e) Ry(-180)
    elbow = _euler("ZXY", ARM_DOWN @ of("elbow") @ ARM_DOWN.T)
    return found | {
        f"shoulder_plane_{s}": _near_zero(plane + 180),
        f"shoulder_elevation_{s}": elevation,
        f"shoulder_rotation_{s}": _near_zero(axial - 180),
        f"elbow_flex_{s}": elbow[0],
        f"pro_sup_{s}": elbow[2],
    }


def _right(side: str, rotation: Floats) -> Floats:
    """A left joint's rotation as the right one's in a mirror."""
    return MIRROR @ rotation @ MIRROR if side == "left" else rotation


def _euler(order: str, rotation: Floats) -> tuple[Floats, Floats, Floats]:
    """Degrees of the turns about moving axes, each without jumps from frame to frame."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # gimbal lock: one of two angles is set to 0, their sum is right
        angles = Rotation.from_matrix(rotation).as_euler(order, degrees=True)
    first, second, third = np.unwrap(angles, axis=0, period=360).T
    return first, second, third


def _near_zero(degrees: Floats) -> Floats:
    """Whole turns taken off, so that the first is in (−180, 180]."""
    return degrees - 360 * np.ceil((degrees[:1] - 180) / 360)
