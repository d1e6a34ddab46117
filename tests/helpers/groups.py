"""One person before a ring of calibrated cameras, and the same person moving before one that stands still."""

from functools import cache
from typing import Any

import numpy as np
import torch
from helpers.bodies import free_body

import hmrfit
from hmrfit.body.rigid import turned
from hmrfit.camera import Camera
from hmrfit.keypoints import COCO17, SMPL24
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.pipeline import Pipeline
from hmrfit.synthetic.people import Corruption, corrupt
from hmrfit.types import BodyParams, Keypoints

SIZE = (800, 600)


def draw(*shape: int) -> torch.Tensor:
    """Normal, the same for the same shape."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def seen_by(params: BodyParams, camera: Camera, noise: float = 0.01) -> np.ndarray:
    """(B, 17, 3) keypoints with noise."""
    points = free_body().points(COCO17).pose(params).points
    clean = Keypoints(camera.project(points), torch.ones(len(params), 17).double(), COCO17)
    found = corrupt(clean, Corruption(noise, 0.0), torch.Generator().manual_seed(0))
    return torch.cat([found.xy, found.confidence[..., None]], -1).numpy()


def joints_of(params: BodyParams) -> torch.Tensor:
    return free_body().points(SMPL24).pose(params).joints


def moved(params: BodyParams, rotation: torch.Tensor, translation: torch.Tensor) -> BodyParams:
    """The body in another frame, x -> R x + t."""
    return turned(params, free_body().rest_joints[0], free_body().joint_shapes[0], rotation, translation)


@cache
def person() -> BodyParams:
    """One person of the shipped poses, three metres and a half in front of a level camera."""
    poses = Pipeline.of().schedules.views.start.poses
    pose = rotvec_to_matrix(poses[9:10].unflatten(1, (-1, 3)))
    upright, turn = (rotvec_to_matrix(torch.tensor([r]).double()) for r in ([np.pi, 0, 0], [0, 0.5, 0]))
    return BodyParams(upright @ turn, pose, 0.7 * draw(1, 10), torch.tensor([[0.1, 0.2, 3.5]]).double())


@cache
def rig(count: int = 3) -> tuple[np.ndarray, np.ndarray, Camera]:
    """Cameras in a ring about (0, 0, 3.5): (extrinsics (C, 3, 4), keypoints (C, 17, 3), camera)."""
    angle = torch.arange(count).double() * 1.2
    R = rotvec_to_matrix(angle[:, None] * torch.tensor([0.0, 1.0, 0.0]).double())
    center = torch.tensor([0.0, 0.0, 3.5]).double()
    t = center - R @ center
    camera = Camera.from_size(*SIZE, focal=900.0)
    keypoints = np.concatenate([seen_by(moved(person(), R[c], t[c]), camera) for c in range(count)])
    return torch.cat([R, t[..., None]], -1).numpy(), keypoints, camera


def in_world(rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """The rig's extrinsics for the world in which x of its own is at Rᵀ (x - t)."""
    E = rig()[0]
    return np.concatenate([E[:, :, :3] @ rotation, (E[:, :, :3] @ translation)[..., None] + E[:, :, 3:]], -1)


def views(count: int = 3, **changes: Any) -> list[hmrfit.FitResult]:
    """The fit of the person before the rig, some of what it is given changed."""
    extrinsics, keypoints, camera = rig(count)
    given = {"keypoint_set": "coco17", "cameras": [camera] * count, "image_size": SIZE} | changes
    seen, where = given.pop("keypoints", keypoints), given.pop("extrinsics", extrinsics)
    return hmrfit.fit_views([None] * count, seen, where, **given)


@cache
def walk(T: int = 12) -> tuple[BodyParams, np.ndarray, Camera]:
    """The person swings all joints for four tenths of a second: (truth, keypoints (T, 17, 3), camera)."""
    time = torch.arange(T).double()[:, None, None] / 30
    p = person()
    swing = rotvec_to_matrix(0.15 * torch.sin(4 * time) * draw(1, 24, 3))
    rotations = p.rotations @ swing
    params = BodyParams(rotations[:, 0], rotations[:, 1:], p.betas.expand(T, -1), p.transl + 0.5 * time[:, 0])
    camera = Camera.from_size(*SIZE, focal=900.0)
    return params, seen_by(params, camera[[0] * T]), camera


def sequence(keypoints: Any, **more: Any) -> hmrfit.FitResult:
    """The fit of frames by the walk's camera."""
    given = {"fps": 30.0, "keypoint_set": "coco17", "camera": walk()[2], "image_size": SIZE} | more
    return hmrfit.fit_sequence(keypoints, **given)
