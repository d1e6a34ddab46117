"""Synthetic people: posed bodies seen by cameras from all around, with noisy, missing and occluded keypoints.

    world pose -> heading, elevation and roll of the camera -> lens and distance -> keypoints -> noise, gaps, occluders

Nothing is rendered. The truth (parameters, camera, clean keypoints) stays beside what a fit is allowed to see.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.fitting.start import UPRIGHT
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams, Keypoints, TensorRecord

FILM_DIAGONAL_MM = 43.27


@dataclass(frozen=True)
class Views:
    """How people are seen. Angles in degrees, lenses as 35 mm equivalents."""

    elevation: tuple[float, float] = (-10.0, 35.0)  # the camera above (+) or below the person, uniform
    roll: float = 4.0  # standard deviation
    lens_mm: tuple[float, float] = (20.0, 110.0)  # log-uniform
    fill: tuple[float, float] = (0.3, 0.9)  # the person's largest extent as a share of the image's shorter side
    size: tuple[int, int] = (1024, 768)


@dataclass(frozen=True)
class Corruption:
    """What happens to keypoints. noise: a share of the box, per coordinate; the others are probabilities."""

    noise: float = 0.01
    missing: float = 0.1
    occluder: float = 0.0  # a half plane that hides a contiguous part of the person


@dataclass(frozen=True)
class People(TensorRecord):
    """B people with their truth."""

    params: BodyParams
    camera: Camera
    clean: Keypoints
    keypoints: Keypoints  # what a fit may see
    joints: Tensor  # (B, J, 3) camera frame, metres


def uniform(low: float, high: float, count: int, generator: torch.Generator) -> Tensor:
    """(count,) float64."""
    return low + (high - low) * torch.rand(count, generator=generator, dtype=torch.float64)


def camera_rotations(count: int, views: Views, generator: torch.Generator) -> Tensor:
    """World (y up) -> camera rotations (count, 3, 3): any heading, some elevation, a little roll."""
    turn = rotvec_to_matrix(
        uniform(-torch.pi, torch.pi, count, generator)[:, None] * torch.tensor([0.0, 1.0, 0.0]).double()
    )
    tilt = torch.deg2rad(uniform(*views.elevation, count, generator))
    roll = torch.deg2rad(views.roll * torch.randn(count, generator=generator, dtype=torch.float64))
    # a camera above looks down: the world turns about the camera's x so that its top comes nearer
    about_x = rotvec_to_matrix(tilt[:, None] * torch.tensor([1.0, 0.0, 0.0]).double())
    about_z = rotvec_to_matrix(roll[:, None] * torch.tensor([0.0, 0.0, 1.0]).double())
    return about_z @ about_x @ torch.tensor(UPRIGHT).double() @ turn


def place(
    body: SmplBody, params: BodyParams, names: tuple[str, ...], views: Views, generator: torch.Generator
) -> tuple:
    """(params with translation, camera): a lens, and the distance and place at which the person fills its share."""
    B = len(params)
    width, height = views.size
    low, high = (torch.tensor(v).log().item() for v in views.lens_mm)
    lens = uniform(low, high, B, generator).exp()
    focal = lens * (width**2 + height**2) ** 0.5 / FILM_DIAGONAL_MM
    size = torch.tensor([[width, height]]).double().expand(B, 2)
    camera = Camera(focal[:, None].expand(B, 2), size / 2, size)
    joints = body.points(body.joint_names).pose(params).joints
    middle = 0.5 * (joints.amax(1) + joints.amin(1))
    extent = (joints.amax(1) - joints.amin(1))[:, :2].amax(-1) + 0.15  # joints end before the body does
    share = uniform(*views.fill, B, generator)
    # no nearer than the body's own depth allows
    depth = torch.maximum(
        focal * extent / (share * min(width, height)), (joints[..., 2] - middle[:, None, 2]).abs().amax(1) + 0.6
    )
    free = (size - (focal * extent / depth)[:, None]).clamp_min(0) / 2
    shift = torch.stack([uniform(-1, 1, B, generator), uniform(-1, 1, B, generator)], -1) * free * 0.8
    target = torch.cat([shift * depth[:, None] / focal[:, None], depth[:, None]], -1)
    return BodyParams(params.global_orient, params.body_pose, params.betas, params.transl + target - middle), camera


def corrupt(clean: Keypoints, how: Corruption, generator: torch.Generator) -> Keypoints:
    """Keypoints as a detector might give them; at least four stay."""
    B, K = clean.confidence.shape
    box = clean.box_size()
    xy = clean.xy + how.noise * box[:, None, None] * torch.randn(B, K, 2, generator=generator, dtype=torch.float64)
    draw = torch.rand(B, K, generator=generator, dtype=torch.float64)
    hidden = draw < how.missing
    angle = uniform(0, 2 * torch.pi, B, generator)
    along = (clean.xy * torch.stack([angle.cos(), angle.sin()], -1)[:, None]).sum(-1)
    cut = torch.quantile(along, 0.5, dim=1) + uniform(0, 0.35, B, generator) * box
    behind = (along > cut[:, None]) & (uniform(0, 1, B, generator) < how.occluder)[:, None]
    hidden = hidden | behind
    luck = draw.masked_fill(behind, -1)  # the luckiest that no occluder hides stay
    seen = ~hidden | (luck >= luck.sort(1, descending=True).values[:, 3:4])
    return Keypoints(torch.where(seen[..., None], xy, 0.0), clean.confidence * seen, clean.names)


def make_people(
    body: SmplBody,
    poses: Tensor,
    names: tuple[str, ...],
    generator: torch.Generator,
    views: Views | None = None,
    corruption: Corruption | None = None,
) -> People:
    """People of random shape in the given world poses.

    Args:
        poses: (B, J, 3) rotation vectors, the first from the body to a y-up world.
        names: the keypoint set's names.
    """
    views, corruption = views or Views(), corruption or Corruption()
    B = len(poses)
    rotations = rotvec_to_matrix(poses.double())
    orient = camera_rotations(B, views, generator) @ rotations[:, 0]
    betas = torch.randn(B, body.shape_count, generator=generator, dtype=torch.float64)
    params = BodyParams(orient, rotations[:, 1:], betas, torch.zeros(B, 3, dtype=torch.float64))
    params, camera = place(body, params, names, views, generator)
    posed = body.points(names).pose(params)
    clean = Keypoints(camera.project(posed.points), torch.ones(B, len(names), dtype=torch.float64), tuple(names))
    return People(params, camera, clean, corrupt(clean, corruption, generator), posed.joints)
