"""Flip test-time augmentation: the mirror image of a network's inputs and outputs, M = diag(−1, 1, 1).

    keypoints     x -> −x, left and right exchanged        rotations          R -> M R M, left and right exchanged
    weak camera   (s, tx, ty) -> (s, −tx, ty)              rotation vectors   (x, y, z) -> (x, −y, −z)

A network whose estimates for a person and for the mirror image are averaged is equivariant: for the mirror image it
estimates the mirror image.
"""

from functools import lru_cache

import torch
from torch import Tensor

from hmrfit.body.skeleton import SMPL
from hmrfit.keypoints import flip_permutation
from hmrfit.ops.rotation import mirror, rotation_6d_to_matrix
from hmrfit.types import BodyParams, Regression

FLIP = (-1.0, 1.0, 1.0)
"""Of x, y, confidence, and of x, y, size."""

FLIP_WEAK = (1.0, -1.0, 1.0)
"""Of s, tx, ty."""

FLIP_ROTVEC = (1.0, -1.0, -1.0)
"""Of a rotation vector in the camera's axes."""

MIRRORED_COLUMNS = ((1.0, -1.0), (-1.0, 1.0), (-1.0, 1.0))
"""What `ops.rotation.mirror` multiplies a rotation's first two columns by."""

Constant = tuple[float, ...] | tuple[tuple[float, ...], ...]


def mirrored_points(points: Tensor, names: tuple[str, ...]) -> Tensor:
    """Points (B, K, 3) x, y, confidence about the middle of a box, or residuals (B, K, 2)."""
    return points.index_select(1, _mirrored_order(names, points.device)) * _constant(FLIP, points)[: points.shape[-1]]


def mirrored_view(view: Tensor) -> Tensor:
    """(B, 3) of `encoders.view_of_box`."""
    return view * _constant(FLIP, view)


def mirrored_regression(regression: Regression) -> Regression:
    """Of a body with SMPL's 24 joints. Betas have no side; the translation stays as it is."""
    params, weak = regression.params, regression.weak_camera
    rotations = mirror(params.rotations.index_select(1, _mirrored_order(SMPL.names, weak.device)))
    params = BodyParams(rotations[:, 0], rotations[:, 1:], params.betas, params.transl)
    return Regression(params, weak * _constant(FLIP_WEAK, weak))


def average_with_mirror(person: Regression, mirror_image: Regression) -> Regression:
    """Mean of the estimate for the person and of the mirrored estimate for the mirror image.

    Of the first two columns of each rotation, which Gram-Schmidt makes a rotation again. Betas have no side.
    """
    like = mirror_image.weak_camera
    columns = mirror_image.params.rotations.index_select(1, _mirrored_order(SMPL.names, like.device))[..., :2]
    columns = columns * _constant(MIRRORED_COLUMNS, like)
    rotations = rotation_6d_to_matrix(0.5 * (person.params.rotations[..., :2] + columns))
    betas = 0.5 * (person.params.betas + mirror_image.params.betas)
    weak = 0.5 * (person.weak_camera + like * _constant(FLIP_WEAK, like))
    return Regression(BodyParams(rotations[:, 0], rotations[:, 1:], betas, person.params.transl), weak)


def mirrored_chart(values: Tensor, joints: int) -> Tensor:
    """Rows (B, 3 J + S, ...) of a chart of J rotation vectors and S betas, of the mirror image."""
    order, sign = _chart(joints, values.shape[1] - 3 * joints, values.device)
    return values.index_select(1, order) * sign.to(values).view(-1, *[1] * (values.ndim - 2))


def mirrored_names(values: Tensor, names: tuple[str, ...]) -> Tensor:
    """(B, K) of named points, those of left and right exchanged."""
    return values.index_select(1, _mirrored_order(names, values.device))


def _constant(values: Constant, like: Tensor) -> Tensor:
    return _cached_constant(values, like.dtype, like.device)


@lru_cache
def _cached_constant(values: Constant, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A small constant, made once: for one person, making it costs more than its use."""
    return torch.tensor(values, dtype=dtype, device=device)


@lru_cache(maxsize=64)
def _mirrored_order(names: tuple[str, ...], device: torch.device) -> Tensor:
    """`flip_permutation` as an index."""
    return torch.tensor(flip_permutation(names), device=device)


@lru_cache
def _chart(joints: int, betas: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(order, sign) of a chart's coordinates in a mirror."""
    axes = torch.arange(3, device=device)
    rotvecs = 3 * _mirrored_order(SMPL.names[:joints], device)[:, None] + axes
    order = torch.cat([rotvecs.flatten(), 3 * joints + torch.arange(betas, device=device)])
    signs = torch.tensor([*FLIP_ROTVEC * joints, *[1.0] * betas], device=device)
    return order, signs
