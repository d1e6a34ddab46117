"""Synthetic people: posed bodies seen by cameras from all around, with noisy, missing and occluded keypoints.

    world pose -> heading, elevation and roll of the camera -> lens and distance -> keypoints -> noise, gaps, occluders

Nothing is rendered. The truth (parameters, camera, clean keypoints) stays beside the keypoints of the fit.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.fitting.parameters import UPRIGHT
from hmrfit.keypoints import flip_permutation, limb_of
from hmrfit.ops.rotation import quaternion_to_matrix, rotvec_to_matrix
from hmrfit.types import BodyParams, Keypoints, TensorRecord

FILM_DIAGONAL_MM = 43.27

NEAREST = 0.6
"""Metres between the camera and the person's nearest joint, at least."""

LEAST_SURE = 0.98
"""The most that an unsure detector takes away from its confidences."""


@dataclass(frozen=True)
class Views:
    """How people stand before the camera. Angles in degrees, lenses as 35 mm equivalents."""

    elevation: tuple[float, float] = (-10.0, 35.0)  # the camera above (+) or below the person, uniform
    roll: float = 4.0  # standard deviation
    lens_mm: tuple[float, float] = (20.0, 110.0)  # log-uniform
    fill: tuple[float, float] = (0.3, 0.9)  # the person's largest extent as a fraction of the image's shorter side
    size: tuple[int, int] = (1024, 768)
    tilted: float = 0.0  # the fraction seen from any elevation, with any roll up to 60
    tumbled: float = 0.0  # the fraction in any orientation, upside down too
    beyond: float = 0.0  # the largest fraction of a person beyond the border of the image


@dataclass(frozen=True)
class Corruption:
    """Noise and gaps of keypoints. A range is drawn from anew for each person; a single number is a probability."""

    noise: float | tuple[float, float] = 0.01  # a fraction of the box, per coordinate; a range is log-uniform
    missing: float | tuple[float, float] = 0.1
    occluder: float = 0.0  # a half plane that hides a contiguous part of the person
    truncated: bool = False  # points outside the image are not visible
    swapped: float = 0.0  # left and right confused, in the arms, the legs or everywhere
    unsure: float = 0.0  # confidences below 1, and more noise where they are low
    stray: float = 0.0  # of the keypoints whose confidence is nearly 0, those that lie anywhere; none from 0.5 on


@dataclass(frozen=True)
class People(TensorRecord):
    """B people with their truth."""

    params: BodyParams
    camera: Camera
    clean: Keypoints
    keypoints: Keypoints  # of the fit
    joints: Tensor  # (B, J, 3) camera frame, metres


def uniform(low: float, high: float, size: int | tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Of this size, float64, on the generator's device."""
    return low + (high - low) * torch.rand(size, generator=generator, device=generator.device, dtype=torch.float64)


def normal(size: int | tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Of mean 0 and variance 1, float64, on the generator's device."""
    size = (size,) if isinstance(size, int) else size
    return torch.randn(size, generator=generator, device=generator.device, dtype=torch.float64)


def camera_rotations(count: int, views: Views, generator: torch.Generator) -> Tensor:
    """World (y up) -> camera rotations (count, 3, 3): any heading, some elevation, a little roll."""
    heading = uniform(-torch.pi, torch.pi, count, generator)
    tilt = torch.deg2rad(uniform(*views.elevation, count, generator))
    roll = torch.deg2rad(views.roll * normal(count, generator))
    usual, level = view_rotations(heading, tilt, roll)
    if not (views.tilted or views.tumbled):
        return usual
    return _unusual(usual, level, views, generator)


def view_rotations(heading: Tensor, elevation: Tensor, roll: Tensor) -> tuple[Tensor, Tensor]:
    """World (y up) -> camera rotations (B, 3, 3): with this elevation and roll, and the level camera's.

    Args:
        heading, elevation, roll: (B,) radians. A camera above (elevation > 0) looks down: the world rotates about the
            camera's x so that its top comes nearer.
    """
    x, y, z = torch.eye(3, dtype=heading.dtype, device=heading.device)
    level = heading.new_tensor(UPRIGHT) @ rotvec_to_matrix(heading[:, None] * y)
    about_x, about_z = rotvec_to_matrix(elevation[:, None] * x), rotvec_to_matrix(roll[:, None] * z)
    return about_z @ about_x @ level, level


def _unusual(usual: Tensor, level: Tensor, views: Views, generator: torch.Generator) -> Tensor:
    """`usual` (B, 3, 3), with fractions of them replaced by tilted and by tumbled views."""
    count = len(usual)
    tilt, roll = torch.deg2rad(uniform(-85, 85, count, generator)), torch.deg2rad(uniform(-60, 60, count, generator))
    zero = torch.zeros_like(tilt)
    about_x = rotvec_to_matrix(torch.stack([tilt, zero, zero], -1))
    tilted = rotvec_to_matrix(torch.stack([zero, zero, roll], -1)) @ about_x @ level
    any_rotation = quaternion_to_matrix(normal((count, 4), generator))
    draw = uniform(0, 1, count, generator)[:, None, None]
    return torch.where(draw < views.tilted, tilted, torch.where(draw > 1 - views.tumbled, any_rotation, usual))


def place(joints: Tensor, views: Views, generator: torch.Generator) -> tuple[Tensor, Camera]:
    """A lens, and the distance and place at which the person fills its fraction of the image: (translation (B, 3),
    camera).

    Args:
        joints: (B, J, 3) in the camera's axes, anywhere.
    """
    B = len(joints)
    low, high = (torch.tensor(v).log().item() for v in views.lens_mm)
    lens = uniform(low, high, B, generator).exp().to(joints)
    fill = uniform(*views.fill, B, generator).to(joints)
    across = torch.stack([uniform(-1, 1, B, generator), uniform(-1, 1, B, generator)], -1).to(joints)
    return place_before(joints, views.size, lens, fill, across, views.beyond)


def place_before(
    joints: Tensor,
    size: tuple[int, int],
    lens_mm: Tensor,
    fill: Tensor,
    across: Tensor,
    beyond: float | Tensor = 0.0,
) -> tuple[Tensor, Camera]:
    """Where each person stands before a lens so as to fill a part of the image: (translation (B, 3), camera).

    Args:
        joints: (B, J, 3) in the camera's axes, anywhere. size: (width, height) pixels.
        lens_mm: (B,) as 35 mm equivalents. fill: (B,) the largest extent as a fraction of the image's shorter side.
        across: (B, 2) from -1 to 1, how far aside of what is possible.
        beyond: the largest fraction of a person beyond the border, one number or (B, 1).
    """
    width, height = size
    focal = lens_mm * (width**2 + height**2) ** 0.5 / FILM_DIAGONAL_MM
    sides = joints.new_tensor([[width, height]]).expand(len(joints), 2)
    camera = Camera(focal[:, None].expand(-1, 2), sides / 2, sides)
    middle = 0.5 * (joints.amax(1) + joints.amin(1))
    extent = (joints.amax(1) - joints.amin(1))[:, :2].amax(-1) + 0.15  # joints end before the body does
    # no nearer than the body's own depth allows
    depth = torch.maximum(
        focal * extent / (fill * min(width, height)), (joints[..., 2] - middle[:, None, 2]).abs().amax(1) + NEAREST
    )
    fills = (focal * extent / depth)[:, None]
    shift = across * (0.8 * (sides - fills).clamp_min(0) / 2 + beyond * fills)
    target = torch.cat([shift * depth[:, None] / focal[:, None], depth[:, None]], -1)
    return target - middle, camera


def corrupt(clean: Keypoints, how: Corruption, generator: torch.Generator, size: Tensor | None = None) -> Keypoints:
    """Keypoints as a detector might give them; at least four of those with confidence stay, where there are as many.

    Args:
        size: (B, 2) of the images, which `how.truncated` needs.
    """
    B, K = clean.confidence.shape
    box = clean.box_size()
    level = _per_person(how.noise, B, generator, logarithmic=True).to(box)
    noise = (level * box)[:, None, None] * normal((B, K, 2), generator).to(box)
    draw = uniform(0, 1, (B, K), generator).to(box)
    draw = draw.masked_fill(clean.confidence == 0, -1)
    hidden = draw < _per_person(how.missing, B, generator).to(box)[:, None]
    angle = uniform(0, 2 * torch.pi, B, generator).to(box)
    along = (clean.xy * torch.stack([angle.cos(), angle.sin()], -1)[:, None]).sum(-1)
    cut = torch.quantile(along, 0.5, dim=1) + uniform(0, 0.35, B, generator).to(box) * box
    behind = (along > cut[:, None]) & (uniform(0, 1, B, generator) < how.occluder)[:, None].to(box.device)
    if how.truncated and size is not None:
        behind = behind | ((clean.xy < 0) | (clean.xy > size[:, None])).any(-1)
    hidden = hidden | behind
    rank = draw.masked_fill(behind, -1)  # the highest that no occluder hides stay
    visible = ~hidden | (rank >= rank.sort(1, descending=True).values[:, 3:4])
    confidence = clean.confidence * visible
    if how.unsure:
        unsure = (uniform(0, 1, B, generator)[:, None] < how.unsure).to(box)
        lowered = 1 - unsure * LEAST_SURE * uniform(0, 1, (B, K), generator).to(box)
        confidence, noise = confidence * lowered, noise * (0.6 / lowered.clamp_min(0.3)).clamp_min(1)[..., None]
        noise = noise + _strays(lowered, how.stray, box, generator)
    found = Keypoints(torch.where(visible[..., None], clean.xy + noise, 0.0), confidence, clean.names)
    return _swap_sides(found, how.swapped, generator) if how.swapped else found


def _strays(confidence: Tensor, chance: float, box: Tensor, generator: torch.Generator) -> Tensor:
    """(B, K, 2) pixels from the true place to where a keypoint that a detector made up lies: 5 % to all of the box."""
    B, K = confidence.shape
    if not chance:
        return confidence.new_zeros(B, K, 2)
    stray = uniform(0, 1, (B, K), generator).to(box) < chance * (1 - 2 * confidence).clamp_min(0)
    angle, low, high = uniform(0, 2 * torch.pi, (B, K), generator).to(box), math.log(0.05), math.log(1.0)
    far = stray * uniform(low, high, (B, K), generator).to(box).exp() * box[:, None]
    return far[..., None] * torch.stack([angle.cos(), angle.sin()], -1)


def _per_person(
    value: float | tuple[float, float], count: int, generator: torch.Generator, logarithmic: bool = False
) -> Tensor:
    """(count,) a number as it is, or drawn from a range."""
    if not isinstance(value, tuple):
        return torch.full((count,), value, dtype=torch.float64)
    if not logarithmic:
        return uniform(*value, count, generator)
    low, high = (torch.tensor(v, dtype=torch.float64).log().item() for v in value)
    return uniform(low, high, count, generator).exp()


def _swap_sides(keypoints: Keypoints, probability: float, generator: torch.Generator) -> Keypoints:
    """Left and right exchanged for some people: a third each in the arms, in the legs and in all of the body."""
    B, place = len(keypoints), keypoints.xy.device
    draw = torch.randint(len(SWAPPED), (B,), generator=generator, device=generator.device).to(place)
    return exchange_sides(keypoints, uniform(0, 1, B, generator).to(place) < probability, draw)


SWAPPED = ("arms", "legs", "the whole body")
"""Where left and right may be exchanged."""


def exchange_sides(keypoints: Keypoints, who: Tensor, where: Tensor) -> Keypoints:
    """The keypoints of some people (B,) bool with left and right exchanged. where: (B,) a place of SWAPPED."""
    device = keypoints.xy.device
    mirrored = torch.tensor(flip_permutation(keypoints.names), device=device)
    arm, leg = (
        torch.tensor([(limb_of(name) or "").endswith(limb) for name in keypoints.names], device=device)
        for limb in ("arm", "leg")
    )
    swap = torch.stack([arm, leg, torch.ones_like(arm)])[where] & who[:, None]
    return keypoints.rearranged(torch.where(swap, mirrored, torch.arange(len(mirrored), device=device)))


def make_people(
    body: SmplBody,
    poses: Tensor,
    names: tuple[str, ...],
    generator: torch.Generator,
    views: Views | None = None,
    corruption: Corruption | None = None,
    betas: Tensor | None = None,
) -> People:
    """People of random shape in the given world poses, in the precision of the body.

    Args:
        poses: (B, J, 3) rotation vectors, the first from the body to a y-up world.
        names: the keypoint set's names. betas: (B, S), their shapes; None: drawn.
    """
    return people_from_points(body.points(names), poses, generator, views, corruption, betas=betas)


def people_from_points(
    body: PointBody,
    poses: Tensor,
    generator: torch.Generator,
    views: Views | None = None,
    corruption: Corruption | None = None,
    exist: Tensor | None = None,
    betas: Tensor | None = None,
) -> People:
    """`make_people` for the points of a body, made once for many batches.

    Args:
        exist: (B, K) which of the points each person has, where several sets are mixed; None for all.
    """
    views, corruption = views or Views(), corruption or Corruption()
    B, K, like = len(poses), len(body.names), body.rest_joints
    rotations = rotvec_to_matrix(poses.to(like))
    orient = camera_rotations(B, views, generator).to(like) @ rotations[:, 0]
    drawn = normal((B, body.joint_shapes.shape[-1]), generator).to(like)
    betas = drawn if betas is None else betas.to(like)
    params = BodyParams(orient, rotations[:, 1:], betas, like.new_zeros(B, 3))
    posed = body.pose(params)
    transl, camera = place(posed.joints, views, generator)
    known = like.new_ones(B, K) if exist is None else exist.to(like)
    clean = Keypoints(camera.project(posed.points + transl[:, None]), known, body.names)
    keypoints = corrupt(clean, corruption, generator, camera.size)
    return People(replace(params, transl=transl), camera, clean, keypoints, posed.joints + transl[:, None])
