"""The up direction, estimated where it is not given: most people stand on their feet, and most cameras are held level.

    p(u) ∝ p_camera(u) · Π_i [ (1 − ε) κ/2π exp(κ (d_i · u − 1)) + ε/4π ]^w_i

u points up in the camera frame; d_i from the feet to the neck of body i, 1/κ the variance of its angle to what points
up; ε of all bodies lie, climb or stand on their hands. p_camera is of the angles by which cameras are held: pitch about
10 degrees down, roll about 0, both with long tails. The people of one photograph count each (w = 1), the frames of a
sequence as `FRAMES` at most: who leans in one frame still does in the next.

The answer is the mean of p over a grid, and how far p is spread about it. The fit does not use it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hmrfit.fitting.terms.up import POINTS, standing_axis
from hmrfit.ops.check import did_you_mean
from hmrfit.ops.level import unit_up, up_of_angles

LIKELY: Final = "likely"
"""For `up=`: what this module finds."""

UpLike = ArrayLike | Literal["likely"] | None
"""(3,) that points up in the camera frame; "likely" for the estimate; None: not known."""

LEANING, ASTRAY = math.radians(7.5), 0.2
"""1/√κ and ε, of bodies as they come out of the fit. Chosen with the camera's below on fits of 600 people of validation
motion before cameras of three ranges of pitch; around the best ones the mean error changes by 0.1 degrees."""

PITCH, ANY_PITCH, ROLL, ANY_ROLL = (10.0, 25.0), (10.0, 45.0), (0.0, 5.0), (0.0, 25.0)
"""Mean and standard deviation, degrees, positive where the camera looks down; and those of the tails."""

TAILS = 0.2, 0.15
"""How much of p_camera has the longer ones, of pitch and of roll."""

FRAMES = 4.0
"""Of 16 clips the error was then 4.5 degrees (root mean square), and 4.9 was said."""

SURE = 20.0
"""Degrees. Beyond it, the estimate is not taken: somebody lies, or hangs upside down. Of the same people before cameras
that look 10 degrees up to 35 down, those of 15 to 20 were 18 degrees off and a level camera 15; before steeper ones 8
and 53; beyond 20 degrees it gains nothing before the former."""

STEP = 2.0
"""Degrees, of the grid."""


@dataclass(frozen=True)
class LikelyUp:
    """up: (3,) of length 1, points up in the camera frame. std: degrees, how far off it may be."""

    up: NDArray[np.float64]
    std: float

    @property
    def is_sure(self) -> bool:
        """Whether it is better than to take the camera as level."""
        return self.std <= SURE


class Bodies(Protocol):
    """What `FitResult` has of the people of a photograph, or of one person in the frames of a camera."""

    @property
    def joint_names(self) -> Sequence[str]: ...

    @property
    def is_sequence(self) -> bool: ...

    @property
    def camera_moves(self) -> bool: ...

    @property
    def joints(self) -> NDArray[np.float64]: ...


def checked_up(up: UpLike, joint_names: Sequence[str] = POINTS) -> UpLike:
    """Before any work: (3,) of length 1, "likely", or None.

    Args:
        joint_names: of the bodies by which it is to be estimated.

    Raises:
        ValueError, TypeError: another word, an estimate by bodies without feet or a neck, or those of `unit_up`.
    """
    if up is None or not isinstance(up, str):
        return up if up is None else unit_up(up)
    if up != LIKELY:
        raise ValueError(f'up should be three numbers or "{LIKELY}", not {up!r}.{did_you_mean(up, [LIKELY])}')
    if not set(POINTS) <= set(joint_names):
        raise ValueError(
            f'up="{LIKELY}" is estimated by how bodies stand, from their feet to their necks; a hand does not show it. '
            "Leave up out, or give three numbers that point up in the camera frame."
        )
    return up


def refuse_in_world(up: object) -> None:
    """Raises ValueError: "likely" is asked for where cameras are known in a world."""
    if isinstance(up, str) and up == LIKELY:
        raise ValueError(
            f'up="{LIKELY}" is about one camera whose place is not known. Here a world is given: leave up out, or give '
            "three numbers that point up in it."
        )


def likely_up_of(results: Sequence[Bodies]) -> LikelyUp | None:
    """The estimate by all bodies before one camera that stands still; None where none of them has feet and a neck."""
    axes, weights = [], []
    for result in results:
        if set(POINTS) <= set(result.joint_names) and not result.camera_moves:
            places = [result.joint_names.index(name) for name in POINTS]
            axes.append(standing_axis(torch.tensor(result.joints[:, places]))[0])
            count = len(axes[-1])
            weights.append(of_frames(count) if result.is_sequence else torch.ones(count, dtype=torch.float64))
    return likely_up(torch.cat(axes), torch.cat(weights)) if sum(map(len, axes)) else None


def likely_up(axes: Tensor, weights: Tensor | None = None) -> LikelyUp:
    """The estimate.

    Args:
        axes: (N, 3) of length 1, from the feet to the neck of N bodies before one camera. weights: (N,), default 1.
    """
    up, log_prior = _grid()
    kappa = LEANING**-2
    standing = math.log((1 - ASTRAY) * kappa / (2 * math.pi)) + kappa * (axes @ up.T - 1)
    each = torch.logaddexp(standing, torch.full_like(standing, math.log(ASTRAY / (4 * math.pi))))
    together = each.sum(0) if weights is None else (weights[:, None] * each).sum(0)
    mean = (together + log_prior).softmax(0) @ up
    length = float(mean.norm())
    return LikelyUp((mean / length).numpy(), math.degrees(math.sqrt(max(2 * (1 - length), 0.0))))


def of_frames(count: int) -> Tensor:
    """(count,) weights of the frames of one sequence."""
    return torch.full((count,), min(1.0, FRAMES / max(count, 1)), dtype=torch.float64)


@lru_cache(maxsize=1)
def _grid() -> tuple[Tensor, Tensor]:
    """(directions (n, 3), log p_camera (n,) of each cell)."""
    pitch = torch.arange(-88.0, 88.0 + STEP, STEP, dtype=torch.float64)
    roll = torch.arange(-60.0, 60.0 + STEP, STEP, dtype=torch.float64)
    pitch, roll = (angle.flatten() for angle in torch.meshgrid(pitch, roll, indexing="ij"))
    p = _mixed(pitch, PITCH, ANY_PITCH, TAILS[0]) * _mixed(roll, ROLL, ANY_ROLL, TAILS[1])
    return up_of_angles(pitch, roll), (p * torch.cos(torch.deg2rad(pitch))).log()


def _mixed(x: Tensor, narrow: tuple[float, float], wide: tuple[float, float], tail: float) -> Tensor:
    """Density of a mixture of two normal distributions."""
    (m, s), (n, t) = narrow, wide
    bell = lambda mean, std: torch.exp(-0.5 * ((x - mean) / std).square()) / std  # noqa: E731
    return (1 - tail) * bell(m, s) + tail * bell(n, t)
