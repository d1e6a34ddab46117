"""The motion of one person as an npz that readers of AMASS take: its keys, its world, its columns.

    trans (T, 3) metres   poses (T, 72 | 156 | 165) rotation vectors   betas (S,)   gender   surface_model_type
    mocap_framerate = mocap_frame_rate, frames a second   mocap_time_length = T / rate, seconds   num_betas
    body, frame, up_is_known                                                 for people; no reader asks for them

    columns of poses     72 SMPL     root 3, body 63, left and right hand 3 each
                        156 SMPL-H   root 3, body 63, left and right fingers 45 each
                        165 SMPL-X   root 3, body 63, jaw 3, eyes 6, left and right fingers 45 each
                                     (also as root_orient, pose_body, pose_jaw, pose_eye, pose_hand)

What a body has no joints for is at rest (zero): SMPL's two hand joints are no finger joints, so 156 and 165 leave them
out. The world has z up. From the level frame of `ops.level` (x right, y down, z ahead) that is

    (x, y, z) -> (x, z, −y),

so the camera is the origin and looks along +y; a person who faces it faces −y. `trans` is such that the pelvis is at
J0(beta) + trans, as SMPL has it. The files of readers that were looked at ask for: all five keys and one float for each
of `betas` (Blender add-ons of SMPL-X and of Meshcapade; these take `int(rate)` and refuse less than 30), `gender` as
text, `betas[None]` (1, S), fingers in the columns 66:156 (aitviewer), T = round(rate × mocap_time_length) (MOYO).
"""

import logging
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation, Slerp
from torch import Tensor

from hmrfit.body.gender import GENDERS
from hmrfit.body.rigid import turned
from hmrfit.body.skeleton import SMPL, SMPLH, SMPLX, Skeleton
from hmrfit.body.smpl import SmplBody
from hmrfit.io.atomic import write_npz
from hmrfit.ops.check import check_finite
from hmrfit.ops.level import level_rotation
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams

LAYOUTS = {skeleton.pose_size: skeleton for skeleton in (SMPL, SMPLH, SMPLX)}
"""The skeleton whose joints the columns of `poses` hold, by how many there are: 72, 156, 165."""

ADD_ONS_RATE = 30
"""Frames a second: what the Blender add-ons play, and the least they take. A still has no rate; it is written with
this one, at which its one frame loads everywhere."""

LEVEL_TO_Z_UP = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]], dtype=torch.float64)

FRAMES_AT_ONCE = 32
"""How many frames' meshes are made at a time to find the floor."""


def write_amass(
    path: str | PathLike,
    params: BodyParams,
    body: SmplBody,
    fps: float,
    *,
    up: ArrayLike | None = None,
    gender: str = "neutral",
    body_name: str = "",
    columns: int | None = None,
    resample: float | None = None,
    on_floor: bool = False,
) -> None:
    """Writes one person's motion, whole or not at all.

    Args:
        path: ends in .npz.
        params: (T,) camera frame, the same betas in every frame. body: theirs.
        fps: frames a second of `params`; of a single frame, the rate that is written.
        up: (3,) in the camera frame; None takes the camera as level, and the file says so.
        columns: of `poses`, 72, 156 or 165; by default the body's own, and 156 for SMPL's, as AMASS has them.
        resample: another rate, to which the motion is interpolated.
        on_floor: moves the motion up or down until its lowest point is at z = 0; the camera's height is lost.

    Raises:
        ValueError: says what was expected; nothing is written. OSError: see `atomic.atomic_write`.
    """
    if Path(path).suffix != ".npz":
        raise ValueError(f"A motion is saved as .npz; '{path}' ends otherwise. Choose a name such as walk.npz.")
    if gender not in GENDERS:
        raise ValueError(f"gender should be one of {', '.join(GENDERS)}, not {gender!r}.")
    layout = _layout(columns, body.skeleton)
    rate = _rate(fps, "fps")
    _check(params)
    params = in_z_up_world(params, body, up)
    if resample is not None:
        resample = _rate(resample, "the rate to resample to")
        params, rate = resampled(params, rate, resample), resample
    if on_floor:
        params = replace(params, transl=params.transl - _lowest(params, body) * LEVEL_TO_Z_UP.new_tensor([0, 0, 1]))
    if len(params) > 1 and int(rate) < ADD_ONS_RATE:
        logging.getLogger("hmrfit").warning(
            "'%s' has %g frames a second; Blender add-ons refuse fewer than %d. save_motion(..., fps=%d) resamples.",
            path,
            rate,
            ADD_ONS_RATE,
            ADD_ONS_RATE,
        )
    write_npz(path, _arrays(params, body.skeleton, rate, layout, gender, body_name, up is not None))


def in_z_up_world(params: BodyParams, body: SmplBody, up: ArrayLike | None = None) -> BodyParams:
    """Bodies of the camera frame in the world with z up (see above): Q R for the root, Q(J0 + t) − J0 for transl."""
    Q = LEVEL_TO_Z_UP @ level_rotation(up)
    params = params.to("cpu", torch.float64)
    pelvis, shapes = (part.detach().cpu().double() for part in (body.rest_joints[0], body.joint_shapes[0]))
    return turned(params, pelvis, shapes[:, : params.betas.shape[1]], Q, torch.zeros(3, dtype=torch.float64))


def resampled(params: BodyParams, fps: float, rate: float) -> BodyParams:
    """The same motion at another rate, from its first frame for as long as it lasts: turns along the shortest way,
    positions along straight lines."""
    T = len(params)
    if T < 2 or rate == fps:
        return params
    seconds = np.arange(T) / fps
    # the last frame counts as reached in spite of rounding
    at = np.minimum(np.arange(int((T - 1) * rate / fps + 1e-9) + 1) / rate, seconds[-1])
    turns = params.rotations.numpy()
    poses = [Slerp(seconds, Rotation.from_matrix(turns[:, j]))(at).as_rotvec() for j in range(turns.shape[1])]
    transl = np.stack([np.interp(at, seconds, params.transl[:, k].numpy()) for k in range(3)], 1)
    rotations = rotvec_to_matrix(torch.tensor(np.stack(poses, 1)))
    betas = params.betas[:1].expand(len(at), -1).contiguous()
    return BodyParams(rotations[:, 0], rotations[:, 1:], betas, torch.tensor(transl))


def laid_out(poses: NDArray[np.float64], own: Skeleton, layout: Skeleton) -> NDArray[np.float64]:
    """(T, J, 3) of a body's own joints -> (T, columns) of another layout: joints of one name are carried over, the
    others of the layout are at rest."""
    columns = np.zeros((len(poses), len(layout), 3))
    shared = [name for name in layout.names if name in own]
    columns[:, [layout.index(name) for name in shared]] = poses[:, [own.index(name) for name in shared]]
    return columns.reshape(len(poses), layout.pose_size)


def _arrays(
    params: BodyParams, own: Skeleton, rate: float, layout: Skeleton, gender: str, body_name: str, up_is_known: bool
) -> dict[str, NDArray]:
    """The table above."""
    poses = laid_out(torch.cat(params.to_rotvecs(), 1).unflatten(1, (-1, 3)).numpy(), own, layout)
    betas = params.betas[0].numpy()
    level = "up was given" if up_is_known else "the camera was taken as level, up was not given"
    arrays = {
        "trans": params.transl.numpy(),
        "gender": np.array(gender),
        "mocap_framerate": np.array(rate),
        "mocap_frame_rate": np.array(rate),
        "mocap_time_length": np.array(len(poses) / rate),
        "betas": betas,
        "num_betas": np.array(len(betas)),
        "poses": poses,
        "surface_model_type": np.array(layout.surface),
        "body": np.array(body_name),
        "frame": np.array(f"world: +x the camera's right, +y ahead of it, +z up, metres; {level}"),
        "up_is_known": np.array(up_is_known),
    }
    if layout == SMPLX:
        names = ("root_orient", "pose_body", "pose_jaw", "pose_eye", "pose_hand")
        starts = [3 * layout.index(joint) for joint in ("left_hip", "jaw", "left_eye_joint", "left_index1")]
        arrays |= dict(zip(names, np.split(poses, starts, 1), strict=True))
    return arrays


def _layout(columns: int | None, own: Skeleton) -> Skeleton:
    """The layout of so many columns; of None the body's own, SMPL-H's for SMPL (no file of AMASS has 72 columns)."""
    if own not in LAYOUTS.values():
        known = ", ".join(f"{layout.kind} ({len(layout)})" for layout in LAYOUTS.values())
        raise ValueError(f"This body has {len(own)} joints; motion files hold those of {known}.")
    if columns is None:
        return SMPLH if own == SMPL else own
    if columns not in LAYOUTS:
        known = ", ".join(f"{count} ({layout.surface})" for count, layout in LAYOUTS.items())
        raise ValueError(f"columns should be one of {known}, not {columns!r}.")
    return LAYOUTS[columns]


def _rate(value: float, name: str) -> float:
    try:
        rate = float(value)
    except (TypeError, ValueError):
        rate = np.nan
    if not (np.isfinite(rate) and rate > 0):
        raise ValueError(f"{name} should be frames a second, a number above 0, not {value!r}.")
    return rate


def _check(params: BodyParams) -> None:
    """That it is one person's motion, and finite."""
    if not len(params):
        raise ValueError("There is no frame to write.")
    for name in ("global_orient", "body_pose", "betas", "transl"):
        check_finite(getattr(params, name), name)
    if (params.betas != params.betas[:1]).any():
        raise ValueError(
            "A motion file has one shape, but the frames differ in betas. Frames of one person come from fit_sequence; "
            "several people are written one by one."
        )


def _lowest(params: BodyParams, body: SmplBody) -> Tensor:
    """The least z of all frames' vertices, metres."""
    body = body.to("cpu", torch.float64)
    parts = [params[slice(i, i + FRAMES_AT_ONCE)] for i in range(0, len(params), FRAMES_AT_ONCE)]
    return torch.stack([body(part).mesh[..., 2].min() for part in parts]).min()
