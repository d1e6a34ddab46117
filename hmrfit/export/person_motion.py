"""What a motion file is made of: one person in T frames, their times, which way is up, and through which camera.

The bodies are in the camera's frame (x right, y down, z ahead). Files are in a world that stands upright: the level
frame of `ops.level`, turned so that the axis which a format calls up points up,

    y up   (x, y, z) -> (x, −y, −z)     the camera is at the origin and looks along −z      glTF, BVH, .smpl
    z up   (x, y, z) -> (x,  z, −y)     the camera is at the origin and looks along +y      AMASS

A body is turned about its pelvis, see `body.rigid`. Formats with a rate but no times have no gaps: `even` fills them,
turns along the shortest way and positions along straight lines.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hmrfit.body.gender import GENDERS
from hmrfit.body.rigid import turned
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.ops.check import check_finite
from hmrfit.ops.level import level_rotation, unit_up, upright_in_words
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.ops.skinning import forward_kinematics
from hmrfit.types import BodyParams

Y_UP = ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0))
Z_UP = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0))
"""Rows of the rotation from the level frame to a world with y or with z up."""

SAME_TIME = 1e-3
"""Of a frame: times this near to whole frames are on them."""


@dataclass(frozen=True)
class PersonMotion:
    """One person's motion as `FitResult.motion` gives it, and as all writers of motion files take it.

    Raises:
        ValueError: no frame, numbers that are not finite, times that do not ascend, betas that differ.
    """

    params: BodyParams  # (T,) camera frame, the same betas in every frame
    body: SmplBody
    fps: float  # frames a second; of one frame, the rate that files state
    times: ArrayLike | None = None  # (T,) seconds; by default one frame after the other from 0
    name: str = "person_0"
    up: ArrayLike | None = None  # (3,) in the camera frame; None: the camera is taken as level
    gender: str = "neutral"
    body_name: str = ""
    camera: Camera | None = None  # (1,) or (T,), the first one counts
    floor: float | None = None  # its height in the world, metres, where it is known
    up_std: float | None = None  # degrees, where up is an estimate

    def __post_init__(self) -> None:
        check_motion(self.params)
        checked_rate(self.fps, "fps")
        check_gender(self.gender)
        times = np.arange(len(self.params)) / self.fps if self.times is None else np.asarray(self.times, np.float64)
        if times.shape != (len(self.params),) or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
            raise ValueError(
                f"times should be {len(self.params)} ascending seconds, one for each frame, not {times.tolist()[:5]}."
            )
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "up", None if self.up is None else unit_up(self.up).numpy())

    def __len__(self) -> int:
        return len(self.params)

    @property
    def seconds(self) -> NDArray[np.float64]:
        """(T,) `times`."""
        return np.asarray(self.times)

    @cached_property
    def rest_vertices(self) -> Tensor:
        """(V, 3) of the person's own shape at rest, without pose correctives; metres, float64, on the CPU."""
        betas = self.params.betas[0].detach().cpu().double()
        shapes = self.body.shapedirs[..., : len(betas)].detach().cpu().double()
        return self.body.v_template.detach().cpu().double() + shapes @ betas

    @cached_property
    def rest_joints(self) -> Tensor:
        """(J, 3) of the same."""
        return self.body.J_regressor.detach().cpu().double() @ self.rest_vertices

    @property
    def level(self) -> str:
        """Whether it is known which way is up, in words."""
        return upright_in_words("bodies", self.up is not None, self.up_std)

    def world_rotation(self, axes: ArrayLike = Y_UP) -> Tensor:
        """(3, 3) from the camera frame to the world whose axes are `Y_UP` or `Z_UP`, float64."""
        return torch.tensor(axes, dtype=torch.float64) @ level_rotation(self.up)

    def in_world(self, axes: ArrayLike = Y_UP) -> BodyParams:
        """(T,) bodies in the world whose axes are `Y_UP` or `Z_UP`; float64, on the CPU."""
        return in_frame(self.params, self.body, self.world_rotation(axes))

    def even(self, fps: float | None = None) -> "PersonMotion":
        """The same motion with all frames 1/fps apart, by default at its own rate, from its first frame on; itself
        where they are already."""
        rate = self.fps if fps is None else checked_rate(fps, "fps")
        start, span = self.seconds[0], self.seconds[-1] - self.seconds[0]
        steps = (self.seconds - start) * rate
        if len(self) == 1 or np.abs(steps - np.arange(len(self))).max() < SAME_TIME:
            return replace(self, fps=rate)
        # the last frame counts as reached in spite of rounding
        at = start + np.minimum(np.arange(int(span * rate + SAME_TIME) + 1) / rate, span)
        return replace(self, params=interpolated(self.params, self.seconds, at), fps=rate, times=at)


def lowest_point(
    person: PersonMotion,
    world: BodyParams,
    weights: NDArray[np.float64] | None = None,
    rest: Tensor | None = None,
) -> float:
    """The least y of the person's mesh in all frames, without pose correctives, metres.

        y' = Σ_b w_b (G_b[1] · (v − J_b) + y_b)        only the middle row of every G

    Args:
        world: (T,) y up. weights: (V, J), by default the body's own. rest: (V, 3), by default the person's own shape.
    """
    places, rest = person.rest_joints, person.rest_vertices if rest is None else rest
    turns, joints = forward_kinematics(world.rotations, places, person.body.parents)
    rows = turns[:, :, 1]  # (T, J, 3)
    heights = joints[..., 1] - (rows * places).sum(-1) + world.transl[:, 1:2]
    W = person.body.weights.detach().cpu().double() if weights is None else torch.tensor(weights)
    frames = torch.cat([rows, heights[..., None]], -1).split(FRAMES_AT_ONCE)
    lowest = [((b := W @ part)[..., :3] * rest).sum(-1).add(b[..., 3]).min() for part in frames]
    return float(torch.stack(lowest).min())


FRAMES_AT_ONCE = 32
"""How many frames' meshes are made at a time."""


def in_frame(params: BodyParams, body: SmplBody, rotation: Tensor, shift: ArrayLike = (0.0, 0.0, 0.0)) -> BodyParams:
    """Bodies after x -> R x + shift, float64 on the CPU: Q R for the root, Q(J0 + t) − J0 for transl."""
    params = params.to("cpu", torch.float64)
    pelvis, shapes = (part.detach().cpu().double() for part in (body.rest_joints[0], body.joint_shapes[0]))
    return turned(
        params, pelvis, shapes[:, : params.betas.shape[1]], rotation, torch.as_tensor(shift, dtype=torch.float64)
    )


def interpolated(params: BodyParams, seconds: NDArray[np.float64], at: NDArray[np.float64]) -> BodyParams:
    """The bodies of times (T,) at other times between the first and the last of them."""
    from scipy.spatial.transform import Rotation, Slerp  # 0.1 s to import, which fits of photographs do without

    params = params.to("cpu", torch.float64)
    turns = params.rotations.numpy()
    poses = [Slerp(seconds, Rotation.from_matrix(turns[:, j]))(at).as_rotvec() for j in range(turns.shape[1])]
    transl = np.stack([np.interp(at, seconds, params.transl[:, k].numpy()) for k in range(3)], 1)
    rotations = rotvec_to_matrix(torch.tensor(np.stack(poses, 1)))
    betas = params.betas[:1].expand(len(at), -1).contiguous()
    return BodyParams(rotations[:, 0], rotations[:, 1:], betas, torch.tensor(transl))


def frame_times(numbers: Sequence[str], fps: float) -> NDArray[np.float64]:
    """(T,) seconds of frames with these numbers, frame 0 at 0. The smallest step that all numbers share is one frame,
    so every second frame of a sequence at half its rate keeps its time; where these are no ascending numbers, the
    frames follow each other from 0."""
    even = np.arange(len(numbers), dtype=np.float64)
    if not all(text.isdecimal() for text in numbers):
        return even / fps
    counted = np.array([int(text) for text in numbers], np.float64)
    steps = np.diff(counted)
    if not len(steps) or (steps <= 0).any():
        return even / fps
    return counted / np.gcd.reduce(steps.astype(np.int64)) / fps


def checked_rate(value: float, name: str) -> float:
    """Frames a second. Raises ValueError: it is none."""
    try:
        rate = float(value)
    except (TypeError, ValueError):
        rate = np.nan
    if not (np.isfinite(rate) and rate > 0):
        raise ValueError(f"{name} should be frames a second, a number above 0, not {value!r}.")
    return rate


def check_suffix(path: str | PathLike[str], suffix: str) -> None:
    """Raises ValueError: a file of this format ends otherwise."""
    if Path(path).suffix.lower() != suffix:
        raise ValueError(f"This motion is saved as {suffix}; '{path}' ends otherwise. Choose a name like walk{suffix}.")


def check_gender(gender: str) -> None:
    """Raises ValueError: it is no gender of a body's."""
    if gender not in GENDERS:
        raise ValueError(f"gender should be one of {', '.join(GENDERS)}, not {gender!r}.")


def check_motion(params: BodyParams) -> None:
    """That it is one person's motion, and finite. Raises ValueError: says what it is instead."""
    if not len(params):
        raise ValueError("There is no frame to write.")
    for name in ("global_orient", "body_pose", "betas", "transl"):
        check_finite(getattr(params, name), name)
    if (params.betas != params.betas[:1]).any():
        raise ValueError(
            "A motion file has one shape, but the frames differ in betas. Frames of one person come from fit_sequence; "
            "several people are written one by one."
        )
