"""The formats in which a person's motion is written, one row each, chosen by the file's suffix."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypedDict

from hmrfit.export.amass import write_amass
from hmrfit.export.bvh import write_bvh
from hmrfit.export.glb import write_glb
from hmrfit.export.joint_angles import SUFFIXES as JOINT_ANGLES
from hmrfit.export.joint_angles import write_joint_angles
from hmrfit.export.person_motion import PersonMotion
from hmrfit.export.smpl_codec import write_smpl
from hmrfit.export.trc import write_trc
from hmrfit.ops.check import did_you_mean


class MotionOptions(TypedDict, total=False):
    """What a format can be asked for. None, or nothing, stands for its default."""

    columns: int | None
    """Of .npz: of `poses`, 156 (SMPL-H, the default for a body of 24 joints, as AMASS has it), 165 (SMPL-X) or 72."""
    influences: int | None
    """Of .glb: how many joints move a vertex, 4 or 8."""
    material: str | None
    """Of .glb: "clay" or "skin"."""
    correctives: bool | None
    """Of .glb: whether pose correctives are baked as morph targets."""
    unit: str | None
    """Of .bvh: "m" or "cm"; of .trc: "m" or "mm"."""
    points: str | Sequence[str] | None
    """Of .trc: a keypoint set, or names of points that the body defines."""
    order: str | None
    """Of .bvh: of the Euler angles, "ZXY", "ZYX", ..."""


@dataclass(frozen=True)
class MotionFormat:
    """How one format is written. `write(path, person, on_floor=..., **options)`."""

    write: Callable[..., None]
    what: str
    options: tuple[str, ...] = ()


def _glb_of_one(path: str | PathLike[str], person: PersonMotion, **options: Any) -> None:
    write_glb(path, [person], **options)


MOTION_FILES = {
    ".npz": MotionFormat(write_amass, "AMASS", ("columns",)),
    ".glb": MotionFormat(_glb_of_one, "skinned and animated mesh", ("influences", "material", "correctives")),
    ".bvh": MotionFormat(write_bvh, "skeleton and angles", ("unit", "order")),
    ".smpl": MotionFormat(write_smpl, "Meshcapade's codec"),
    ".trc": MotionFormat(write_trc, "OpenSim's markers", ("unit", "points")),
    **dict.fromkeys(JOINT_ANGLES, MotionFormat(write_joint_angles, "joint angles")),
}
"""Suffix -> format. Another format is one more row."""


def write_motion(path: str | PathLike[str], person: PersonMotion, *, on_floor: bool = False, **options: Any) -> None:
    """Writes one person's motion in the format of the file's suffix, whole or not at all.

    Args:
        on_floor: moves everything up or down until the lowest point of the motion is at height 0.
        options: see `MotionOptions`.

    Raises:
        ValueError: a suffix that is none of `MOTION_FILES`, or an option that its format does not take.
        OSError: see `atomic.atomic_write`.
    """
    form = motion_format(path)
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in form.options:
            takers = [suffix for suffix, other in MOTION_FILES.items() if name in other.options]
            known = f"{name}= is an option of {' and '.join(takers)}" if takers else f"There is no option {name}="
            taken = f"takes {', '.join(f'{option}=' for option in form.options)}" if form.options else "takes none"
            raise ValueError(f"{known}; {Path(path).suffix} {taken}.")
    form.write(path, person, on_floor=on_floor, **given)


def motion_format(path: str | PathLike[str]) -> MotionFormat:
    """The format of a file's suffix. Raises ValueError: names all suffixes."""
    suffix = Path(path).suffix.lower()
    if suffix not in MOTION_FILES:
        known = ", ".join(f"{name} ({form.what})" for name, form in MOTION_FILES.items())
        raise ValueError(
            f"A motion is saved as {known}; '{path}' ends otherwise.{did_you_mean(suffix, MOTION_FILES)} "
            "Choose a name such as walk.glb."
        )
    return MOTION_FILES[suffix]
