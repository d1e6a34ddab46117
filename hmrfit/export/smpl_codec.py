"""A .smpl file: Meshcapade's codec, an npz of these arrays and no others (its reader refuses unknown ones).

    codecVersion  smplVersion  gender  frameCount       whole numbers (int32); 0 SMPL, 1 SMPL-H, 2 SMPL-X
    frameRate                                           frames a second (float32)
    shapeParameters (S,)  bodyTranslation (T, 3)        betas; metres, the pelvis is at J0(beta) + translation
    bodyPose (T, 24 | 22, 3)                            rotation vectors of the body's joints, the root first
    headPose (T, 3, 3)  leftHandPose (T, 15, 3)  rightHandPose (T, 15, 3)       of bodies that have these joints

y up, +z towards the camera: the world of glTF, in whose scenes (.mcs) these files are put.
"""

from os import PathLike

import numpy as np
import torch
from numpy.typing import NDArray

from hmrfit.body.skeleton import SMPL, SMPLH, SMPLX, Skeleton
from hmrfit.export.person_motion import PersonMotion, check_suffix, lowest_point
from hmrfit.io.atomic import write_npz
from hmrfit.ops.how_many import how_many

CODEC_VERSION = 2
VERSIONS = {SMPL.kind: 0, SMPLH.kind: 1, SMPLX.kind: 2}
GENDER_NUMBERS = {"neutral": 0, "male": 1, "female": 2}


def write_smpl(path: str | PathLike[str], person: PersonMotion, *, on_floor: bool = False) -> None:
    """Writes one person's motion, whole or not at all. Frames that are missing are interpolated.

    Args:
        path: ends in .smpl.
        on_floor: moves the motion up or down until the mesh's lowest point is at y = 0.

    Raises:
        ValueError: says what was expected; nothing is written. OSError: see `atomic.atomic_write`.
    """
    check_suffix(path, ".smpl")
    skeleton = person.body.skeleton
    if skeleton.kind not in VERSIONS:
        known = ", ".join(f"{kind.kind} ({len(kind)})" for kind in (SMPL, SMPLH, SMPLX))
        raise ValueError(f"This body has {how_many(len(skeleton), 'joints')}; .smpl files hold those of {known}.")
    person = person.even()
    world = person.in_world()
    transl = world.transl.numpy().copy()
    if on_floor:
        transl[:, 1] -= lowest_point(person, world)
    poses = torch.cat(world.to_rotvecs(), 1).unflatten(1, (-1, 3)).numpy()
    whole = {
        "codecVersion": CODEC_VERSION,
        "smplVersion": VERSIONS[skeleton.kind],
        "gender": GENDER_NUMBERS[person.gender],
        "frameCount": len(person),
    }
    arrays: dict[str, NDArray] = {name: np.array(value, np.int32) for name, value in whole.items()}
    arrays |= {
        "frameRate": np.array(person.fps, np.float32),
        "shapeParameters": world.betas[0].numpy().astype(np.float32),
        "bodyTranslation": transl.astype(np.float32),
    }
    arrays |= {name: poses[:, list(joints)].astype(np.float32) for name, joints in _parts(skeleton).items()}
    write_npz(path, arrays)


def _parts(skeleton: Skeleton) -> dict[str, tuple[int, ...]]:
    """The arrays of poses, and the joints that each holds."""
    head = tuple(j for j, name in enumerate(skeleton.names) if name in SMPLX and name not in SMPLH)
    parts = {"bodyPose": skeleton.body_joints, "headPose": head if skeleton == SMPLX else ()}
    parts |= {f"{side}HandPose": joints for side, joints in skeleton.fingers.items()}
    return {name: joints for name, joints in parts.items() if joints}
