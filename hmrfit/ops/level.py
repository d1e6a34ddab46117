"""Which way is up, in the camera frame, and the level frame that stands upright there.

    camera frame  x right, y down, z forward  --L-->  level frame  x right, y straight down, z ahead, horizontal

    L has the rows  y × z,  y = −up,  z = (e_z − (e_z · up) up) normalised

so "ahead" is the direction in which the camera looks, along the ground. A camera that looks almost straight up or down
has no such direction; there L is the smallest turn that carries `up` to −e_y, which puts the top of a picture taken
from above ahead. Unknown: the camera is taken as level, and L is the identity.
"""

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

LEVEL_CAMERA = (0.0, -1.0, 0.0)
"""Up in the frame of a camera that is held level."""

STEEP = 0.1
"""Length of the horizontal part of the viewing direction (about 6 degrees from the vertical) below which it says
nothing."""


def unit_up(up: ArrayLike | Tensor, name: str = "up") -> Tensor:
    """Any three numbers that point up -> (3,) of length 1, float64, a copy.

    Raises:
        TypeError, ValueError: these are no three finite numbers, or they have no length.
    """
    if isinstance(up, Tensor):
        up = up.detach().cpu().numpy()
    try:
        values = np.array(up, np.float64)
    except (TypeError, ValueError):
        raise TypeError(
            f"{name} should be three numbers, a vector that points up such as (0, -1, 0), not {up!r}."
        ) from None
    if values.shape != (3,):
        raise ValueError(f"{name} should be three numbers, a vector that points up, but has the shape {values.shape}.")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} should be three finite numbers, but is {values.tolist()}.")
    largest = np.abs(values).max()
    if not largest > 0:
        raise ValueError(f"{name} should point up, but (0, 0, 0) has no direction. A level camera's is (0, -1, 0).")
    values = values / largest  # neither overflows nor vanishes when it is squared
    return torch.tensor(values / np.linalg.norm(values))


def up_of_angles(pitch: Tensor, roll: Tensor) -> Tensor:
    """Degrees (...) by which a camera looks down and is turned clockwise -> (..., 3), what points up in its frame: one
    that looks down sees up lean away from it, one turned clockwise sees it turn counterclockwise."""
    down, turn = torch.deg2rad(pitch), torch.deg2rad(roll)
    return torch.stack([-down.cos() * turn.sin(), -down.cos() * turn.cos(), -down.sin()], -1)


def level_rotation(up: ArrayLike | Tensor | None) -> Tensor:
    """L (3, 3), float64: vectors of the camera frame -> of the level frame. The identity where `up` is None."""
    eye = torch.eye(3, dtype=torch.float64)
    if up is None:
        return eye
    up = unit_up(up)
    ahead = eye[2] - up[2] * up
    if ahead.norm() < STEEP:
        return _smallest_turn(up, -eye[1])
    ahead = ahead / ahead.norm()
    down = -up
    return torch.stack([torch.linalg.cross(down, ahead), down, ahead])


def _smallest_turn(start: Tensor, end: Tensor) -> Tensor:
    """(3, 3), the rotation that carries one unit vector to another that is not opposite to it."""
    axis = torch.linalg.cross(start, end)
    x, y, z = axis.tolist()
    skew = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=torch.float64)
    return torch.eye(3, dtype=torch.float64) + skew + skew @ skew / (1 + start @ end)


def up_in_words(known: bool, std: float | None = None) -> str:
    """What is known of up. std: degrees, where it is an estimate."""
    if not known:
        return "not known"
    return "given" if std is None else f"an estimate, ± {std:.0f}°"


def upright_in_words(what: str, known: bool, std: float | None = None) -> str:
    """How things stand that are shown or written by what points up, without the full stop: "bodies stand upright by the
    given up direction". what: in the plural."""
    if not known:
        return (
            f"{what} take the camera as level, since what points up is {up_in_words(known)} (up=): one that looks up "
            "or down tilts them"
        )
    said = up_in_words(known, std)
    if std is None:
        return f"{what} stand upright by the {said} up direction"
    return f"{what} stand upright by {said}, as most people stand and cameras are held"
