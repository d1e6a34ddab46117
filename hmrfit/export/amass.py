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
from os import PathLike

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.body.skeleton import SMPL, SMPLH, SMPLX, Skeleton
from hmrfit.body.smpl import SmplBody
from hmrfit.export.person_motion import Z_UP, PersonMotion, check_suffix
from hmrfit.io.atomic import write_npz
from hmrfit.ops.how_many import how_many
from hmrfit.types import BodyParams

LAYOUTS = {skeleton.pose_size: skeleton for skeleton in (SMPL, SMPLH, SMPLX)}
"""The skeleton whose joints the columns of `poses` hold, by how many there are: 72, 156, 165."""

ADD_ONS_RATE = 30
"""Frames a second: what the Blender add-ons play, and the least they take."""

FRAMES_AT_ONCE = 32
"""How many frames' meshes are made at a time to find the floor."""


def write_amass(
    path: str | PathLike[str], person: PersonMotion, *, on_floor: bool = False, columns: int | None = None
) -> None:
    """Writes one person's motion, whole or not at all. Frames that are missing are interpolated.

    Args:
        path: ends in .npz. person: where its `up` is None the camera is taken as level, and the file says so.
        on_floor: moves the motion up or down until its lowest point is at z = 0; the camera's height is lost.
        columns: of `poses`, 72, 156 or 165; by default the body's own, and 156 for SMPL's, as AMASS has them.

    Raises:
        ValueError: says what was expected; nothing is written. OSError: see `atomic.atomic_write`.
    """
    check_suffix(path, ".npz")
    layout = _layout(columns, person.body.skeleton)
    person = person.even()
    params = person.in_world(Z_UP)
    if on_floor:
        params.transl[:, 2] -= _lowest(params, person.body)
    if len(params) > 1 and int(person.fps) < ADD_ONS_RATE:
        logging.getLogger("hmrfit").warning(
            "'%s' has %g frames a second; Blender add-ons refuse fewer than %d. save_motion(..., fps=%d) resamples.",
            path,
            person.fps,
            ADD_ONS_RATE,
            ADD_ONS_RATE,
        )
    write_npz(path, _arrays(params, person, layout))


def laid_out(poses: NDArray[np.float64], own: Skeleton, layout: Skeleton) -> NDArray[np.float64]:
    """(T, J, 3) of a body's own joints -> (T, columns) of another layout: joints of one name are carried over, the
    others of the layout are at rest."""
    columns = np.zeros((len(poses), len(layout), 3))
    shared = [name for name in layout.names if name in own]
    columns[:, [layout.index(name) for name in shared]] = poses[:, [own.index(name) for name in shared]]
    return columns.reshape(len(poses), layout.pose_size)


def _arrays(params: BodyParams, person: PersonMotion, layout: Skeleton) -> dict[str, NDArray]:
    """The table above."""
    own, rate = person.body.skeleton, person.fps
    poses = laid_out(torch.cat(params.to_rotvecs(), 1).unflatten(1, (-1, 3)).numpy(), own, layout)
    betas = params.betas[0].numpy()
    arrays = {
        "trans": params.transl.numpy(),
        "gender": np.array(person.gender),
        "mocap_framerate": np.array(rate),
        "mocap_frame_rate": np.array(rate),
        "mocap_time_length": np.array(len(poses) / rate),
        "betas": betas,
        "num_betas": np.array(len(betas)),
        "poses": poses,
        "surface_model_type": np.array(layout.surface),
        "body": np.array(person.body_name),
        "frame": np.array(f"world: +x the camera's right, +y ahead of it, +z up, metres; {person.level}"),
        "up_is_known": np.array(person.up is not None and person.up_std is None),
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
        raise ValueError(f"This body has {how_many(len(own), 'joints')}; motion files hold those of {known}.")
    if columns is None:
        return SMPLH if own == SMPL else own
    if columns not in LAYOUTS:
        known = ", ".join(f"{count} ({layout.surface})" for count, layout in LAYOUTS.items())
        raise ValueError(f"columns should be one of {known}, not {columns!r}.")
    return LAYOUTS[columns]


def _lowest(params: BodyParams, body: SmplBody) -> Tensor:
    """The least z of all frames' vertices, metres."""
    body = body.to("cpu", torch.float64)
    parts = [params[slice(i, i + FRAMES_AT_ONCE)] for i in range(0, len(params), FRAMES_AT_ONCE)]
    return torch.stack([body(part).mesh[..., 2].min() for part in parts]).min()
