"""Hands whose truth is known, seen by a camera: a few poses of the shipped prior from several sides."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.camera import Camera
from hmrfit.hand import hand_pipeline
from hmrfit.hand_keypoints import hand_set
from hmrfit.ops.rotation import mirror, rotvec_to_matrix
from hmrfit.types import BodyParams, Keypoints

SIZE = (640, 480)

FINGERS_UP = ((0.0, 0.0, -1.0), (1.0, 0.0, 0.0), (0.0, -1.0, 0.0))
"""Of the free hand at rest: fingers up in the picture, the back towards the camera."""


@dataclass(frozen=True)
class HandScene:
    """N hands of one side."""

    array: NDArray[np.float64]  # (N, 21, 3) x, y, confidence
    keypoints: Keypoints
    camera: Camera
    points: Tensor  # (N, 21, 3) the truth, metres
    params: BodyParams
    names: tuple[str, ...]
    focal: float = 700.0


def hand_scene(side: str, count: int = 3, noise: float = 0.0, seed: int = 0) -> HandScene:
    """noise: a fraction of the box."""
    fitter, names = hand_pipeline(side).fitter, hand_set("hand21", side).names
    generator = torch.Generator().manual_seed(seed)
    gmm, body = fitter.terms["gmm"].gmm, fitter.point_body(names)
    theta = gmm.means[0] + 0.7 * (gmm.sample(count, generator) - gmm.means[0])
    betas = torch.randn(count, body.joint_shapes.shape[-1], generator=generator, dtype=torch.float64)
    turn = torch.randn(count, 3, generator=generator, dtype=torch.float64) * torch.tensor([0.5, 0.5, 1.0])
    place = torch.tensor([[0.02, 0.03, 0.5]], dtype=torch.float64).repeat(count, 1)
    params = BodyParams.from_rotvecs(torch.zeros(count, 3).double(), theta, betas, place)
    up = torch.tensor(FINGERS_UP, dtype=torch.float64)
    params = replace(params, global_orient=rotvec_to_matrix(turn) @ (up if side == "right" else mirror(up)))
    points = body.pose(params).points
    camera = Camera.from_size(*SIZE, focal=HandScene.focal, count=count)
    xy = camera.project(points)
    box = (xy.amax(1) - xy.amin(1)).amax(1)
    xy = xy + noise * box[:, None, None] * torch.randn(xy.shape, generator=generator, dtype=torch.float64)
    seen = torch.ones(count, 21, dtype=torch.float64)
    array = torch.cat([xy, seen[..., None]], -1).numpy()
    return HandScene(array, Keypoints(xy, seen, names), camera, points, params, names)
