"""Points of a moving body as a .trc, the marker file that OpenSim, Mokka and Pose2Sim read: text, tabs between.

    PathFileType  4  (X/Y/Z)  walk.trc
    DataRate  CameraRate  NumFrames  NumMarkers  Units  OrigDataRate  OrigDataStartFrame  OrigNumFrames
    60  60  100  25  m  60  1  100
    Frame#  Time  Nose      Neck      ...        a name over each three columns
                  X1 Y1 Z1  X2 Y2 Z2  ...
    (empty line)
    1  0.00000  x y z  x y z ...                 seconds; metres or millimetres

y is up (see `person_motion`). The points are the body's own, of the keypoint set that is asked for; those of
openpose25, the default, have the names that OpenPose and Pose2Sim's OpenSim models give them. They are where a
detector would see the joint, not on the skin.

Time is that of the motion's own clock, of a video the seconds from its begin: OpenSim's tools go by this column, and
people of one video, forces and muscle signals recorded with it share it. The frame of time t is rate · t + 1.
"""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from hmrfit.export.person_motion import PersonMotion, check_suffix, lowest_point
from hmrfit.io.atomic import atomic_write
from hmrfit.keypoints import OPENPOSE25, resolve_set

UNITS = {"m": 1.0, "mm": 1000.0}

OPENPOSE_LABELS = (
    "Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist", "CHip", "RHip", "RKnee",
    "RAnkle", "LHip", "LKnee", "LAnkle", "REye", "LEye", "REar", "LEar", "LBigToe", "LSmallToe", "LHeel", "RBigToe",
    "RSmallToe", "RHeel",
)  # fmt: skip
"""Of openpose25's points, in their order."""

LABELS = dict(zip(OPENPOSE25, OPENPOSE_LABELS, strict=True))

FIRST_FRAME = 1
"""Frames are counted from 1, at time 0; those of motions that begin before it from their first one."""


def write_trc(
    path: str | PathLike[str],
    person: PersonMotion,
    *,
    on_floor: bool = False,
    unit: str = "m",
    points: str | Sequence[str] = "openpose25",
) -> None:
    """Writes one person's points, whole or not at all, at the motion's own times. Frames that are missing are
    interpolated.

    Args:
        path: ends in .trc. on_floor: moves the motion up or down until the mesh's lowest point is at y = 0.
        unit: "m" or "mm"; the file says which. points: a keypoint set's name, or names of points that the body defines.

    Raises:
        ValueError: says what was expected; nothing is written. OSError: see `atomic.atomic_write`.
    """
    check_suffix(path, ".trc")
    if unit not in UNITS:
        raise ValueError(f"unit should be m or mm, not {unit!r}.")
    names = resolve_set(points)
    missing = [name for name in names if not person.body.has_point(name)]
    if missing:
        raise ValueError(f"points: this body defines no point '{missing[0]}'. Give a set that it has, or names.")
    person = person.even()
    world = person.in_world()
    xyz = person.body.to("cpu", world.transl.dtype).points(names).pose(world).points.numpy().copy()
    if on_floor:
        xyz[..., 1] -= lowest_point(person, world)
    labels = [LABELS.get(name, name) for name in names]
    rate, T = f"{person.fps:.6g}", len(person)
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{Path(path).name}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{rate}\t{rate}\t{T}\t{len(names)}\t{unit}\t{rate}\t{FIRST_FRAME}\t{T}",
        "Frame#\tTime\t" + "\t\t\t".join(labels) + "\t\t",
        "\t\t" + "\t".join(f"{axis}{i + 1}" for i in range(len(names)) for axis in "XYZ"),
        "",
    ]
    first = FIRST_FRAME + max(0, round(person.seconds[0] * person.fps))
    row = "%d\t%.6f\t" + "\t".join(["%.6f" if unit == "m" else "%.3f"] * (3 * len(names)))
    values = (UNITS[unit] * xyz).reshape(T, -1)
    for t, (time, of_frame) in enumerate(zip(person.seconds, values, strict=True)):
        lines.append(row % (first + t, time, *np.round(of_frame, 9)))
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
