"""Where a posed person stands before the camera, from keypoints alone.

f (X + t)_xy = (x - center) (X + t)_z      is linear in t: three unknowns, two equations a keypoint    (as in SPIN)
d = f · mean 3D torso / mean 2D torso                                                               (as in SMPLify)
"""

import torch
from torch import Tensor

from hmrfit.camera import Camera
from hmrfit.fitting.parameters import Observation
from hmrfit.fitting.terms.smplify_spin import torso_sets
from hmrfit.ops.presence import expected_extremes

USUAL_HEIGHT = 1.7
"""Metres, of a person of whom nothing is known."""


def solve_translation(points: Tensor, observation: Observation, camera: Camera) -> Tensor:
    """Translation (B, 3) that brings points (B, K, 3), given about the root, onto the keypoints; depth positive.

    Weighted linear least squares with a faint pull towards the depth at which the points' extent matches the box, which
    decides when one keypoint or none is seen.
    """
    keypoints, c = observation.keypoints, observation.keypoints.confidence
    rays = (keypoints.xy - camera.center[:, None]) / camera.focal[:, None]
    # rows of A t = b, in units of the ray:  t_xy - ray t_z = ray X_z - X_xy
    A = torch.cat([torch.eye(2).to(rays).expand(*rays.shape, 2), -rays[..., None]], -1)  # (B, K, 2, 3)
    b = rays * points[..., 2:] - points[..., :2]
    depth = guess_depth(points, observation, camera)
    # neither the middle of the view nor that depth matters once two keypoints are seen: 1e-4 of a keypoint's weight
    normal = torch.einsum("bk,bkri,bkrj->bij", c * c, A, A) + 1e-4 * torch.eye(3).to(A)
    right = torch.einsum("bk,bkri,bkr->bi", c * c, A, b)
    right = right + 1e-4 * torch.stack([torch.zeros_like(depth), torch.zeros_like(depth), depth], -1)
    transl, _ = torch.linalg.solve_ex(normal, right)  # where that fails, the depth above is taken
    poor = ~(transl[:, 2] > 0.2 * depth) | ~(transl[:, 2] < 5 * depth)
    return torch.where(poor[:, None], _at_depth(points, observation, camera, depth), transl)


def guess_depth(points: Tensor, observation: Observation, camera: Camera) -> Tensor:
    """(B,) metres: where the extent of the seen points fills the box, f · extent / box; USUAL_HEIGHT if unclear."""
    p = observation.keypoints.presence
    low, high = expected_extremes(points[..., :2], p)
    extent = (high - low).amax(-1)
    clear = p.sum(1) >= 2.5  # two points may lie one behind the other
    extent = torch.where(clear & extent.isfinite(), extent, USUAL_HEIGHT)
    box = torch.where(clear, observation.box_size, camera.size[:, 1] * 0.5)
    return camera.focal.mean(-1) * extent.clamp_min(0.1) / box


def middle_of_box(observation: Observation, camera: Camera) -> Tensor:
    """(B, 3) metres: the middle of the keypoints' box, at the depth at which a person of USUAL_HEIGHT fills it."""
    low, high = observation.keypoints.bounds()
    depth = camera.focal.mean(-1) * USUAL_HEIGHT / observation.box_size
    return camera.unproject(((low + high) / 2)[:, None], depth[:, None])[:, 0]


def _at_depth(points: Tensor, observation: Observation, camera: Camera, depth: Tensor) -> Tensor:
    """Translation at a given depth: the seen points' mean on the keypoints' mean."""
    c = observation.keypoints.confidence[..., None]
    total = c.sum(1).clamp_min(1e-9)
    rays = (observation.keypoints.xy - camera.center[:, None]) / camera.focal[:, None]
    shift = ((rays * depth[:, None, None] - points[..., :2]) * c).sum(1) / total
    return torch.cat([shift, depth[:, None]], -1)


def torso_depth(points: Tensor, observation: Observation, camera: Camera) -> Tensor:
    """(B,) metres, SMPLify's d: the mean of both sides from shoulder to hip in space over that in the picture, times f.

    Where no side is seen: `guess_depth`, from all that is.

    Args:
        points: (B, K, 3) metres, the keypoints of the body to start from.
    """
    keypoints = observation.keypoints
    space, picture, sides = (torch.zeros_like(observation.box_size) for _ in range(3))
    for left_hip, right_hip, left_shoulder, right_shoulder in torso_sets(keypoints.names)[:1]:
        for hip, shoulder in ((left_hip, left_shoulder), (right_hip, right_shoulder)):
            seen = keypoints.presence[:, hip] * keypoints.presence[:, shoulder]
            space = space + seen * (points[:, hip] - points[:, shoulder]).norm(dim=-1)
            picture = picture + seen * (keypoints.xy[:, hip] - keypoints.xy[:, shoulder]).norm(dim=-1)
            sides = sides + seen
    clear = (sides > 0) & (picture > 0.02 * sides * observation.box_size)
    depth = camera.focal.mean(-1) * space / torch.where(clear, picture, 1.0)
    return torch.where(clear, depth, guess_depth(points, observation, camera))
