"""Rotations as matrices, rotation vectors, 6D columns and quaternions.

    exp(v) = I + a [v]x + b [v]x²,   a = sin|v| / |v|,   b = (1 - cos|v|) / |v|²          (Rodrigues)
    log exp(v) = v for |v| < π
    exp(v + dv) = exp(v) exp(Jr(v) dv) + O(dv²)                                           (right Jacobian of SO(3))

A rotation matrix multiplies column vectors. Every function takes any leading dimensions, and is finite, with finite
forward and reverse derivatives, at v = 0: the coefficients switch to their series there.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

SMALL_ANGLE_SQUARED = 1e-6
"""Below this squared angle the series are used: their first dropped term is of order angle⁶ = 1e-18."""


@lru_cache
def _constant(name: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Small constant matrices, made once per precision and device: for one person, making them costs more than use.

    hat (3, 9): v @ hat = vec [v]x.    quaternion (9, 16), first (16,): vec R @ quaternion + first, four candidates.
    """
    if name == "eye":
        values = torch.eye(3)
    elif name == "hat":
        values = torch.zeros(3, 9)
        for axis, (row, column) in enumerate(((2, 1), (0, 2), (1, 0))):
            values[axis, 3 * row + column], values[axis, 3 * column + row] = 1, -1
    elif name == "first":
        values = torch.eye(4).flatten()
    else:
        values = _quaternion_map()
    return values.to(dtype=dtype, device=device)


def _quaternion_map() -> Tensor:
    """(9, 16): the candidates 4 q_i q of `matrix_to_quaternion`, row by row, as linear functions of R, less the 1 of
    the diagonal: 4 w² = 1 + tr R, 4 x² = 1 + 2 R_00 - tr R, 4 w x = R_21 - R_12, 4 x y = R_10 + R_01, ..."""
    values = torch.zeros(3, 3, 4, 4)
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        values[i, i, :, :] = torch.diag(torch.tensor([1.0, -1.0, -1.0, -1.0]))
        values[i, i, i + 1, i + 1] = 1
        for row, column in ((0, i + 1), (i + 1, 0)):
            values[k, j, row, column], values[j, k, row, column] = 1, -1
        for row, column in ((j + 1, k + 1), (k + 1, j + 1)):
            values[j, k, row, column] = values[k, j, row, column] = 1
    return values.reshape(9, 16)


def hat(v: Tensor) -> Tensor:
    """Cross-product matrix [v]x with [v]x w = v × w: (..., 3) -> (..., 3, 3)."""
    return (v @ _constant("hat", v.dtype, v.device)).unflatten(-1, (3, 3))


def _series_or(squared: Tensor, closed_form: Callable[[Tensor], Tensor], series: Callable[[Tensor], Tensor]) -> Tensor:
    """`closed_form(angle)` away from zero, `series(angle²)` near it, safe to differentiate on both sides."""
    small = squared < SMALL_ANGLE_SQUARED
    angle = torch.where(small, torch.ones_like(squared), squared).sqrt()
    return torch.where(small, series(torch.where(small, squared, torch.zeros_like(squared))), closed_form(angle))


def _half_versine(squared: Tensor) -> Tensor:
    """b = (1 - cos t)/t² = ½ (sin(t/2) / (t/2))²: the second form loses no digits at small angles."""
    return _series_or(squared, lambda t: 2 * ((0.5 * t).sin() / t) ** 2, lambda q: 0.5 - q / 24 + q * q / 720)


def rotvec_to_matrix(v: Tensor) -> Tensor:
    """exp: rotation vectors (..., 3) in radians -> matrices (..., 3, 3)."""
    squared = (v * v).sum(-1)
    a = _series_or(squared, lambda t: t.sin() / t, lambda q: 1 - q / 6 + q * q / 120)
    b = _half_versine(squared)
    K = hat(v)
    eye = _constant("eye", v.dtype, v.device)
    return eye + a[..., None, None] * K + b[..., None, None] * (K @ K)


def matrix_to_quaternion(R: Tensor) -> Tensor:
    """Matrices (..., 3, 3) -> unit quaternions (..., 4), real part first and not negative.

    Of the four ways to divide (one per component), the one with the largest divisor is taken, so the result keeps its
    precision at every angle.
    """
    like = (R.dtype, R.device)
    candidates = (R.flatten(-2) @ _constant("quaternion", *like) + _constant("first", *like)).unflatten(-1, (4, 4))
    best = candidates.diagonal(dim1=-2, dim2=-1).max(-1).indices  # argmax takes nine times as long
    index = best[..., None, None].expand(*best.shape, 1, 4)
    q = candidates.gather(-2, index).squeeze(-2)
    q = q / q.norm(dim=-1, keepdim=True)
    return torch.where(q[..., :1] < 0, -q, q)


def quaternion_to_matrix(q: Tensor) -> Tensor:
    """Quaternions (..., 4), real part first, any length but zero -> matrices (..., 3, 3)."""
    w, x, y, z = (q / q.norm(dim=-1, keepdim=True)).unbind(-1)
    first = torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1)
    second = torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1)
    third = torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1)
    return torch.stack([first, second, third], -2)


def matrix_to_rotvec(R: Tensor) -> Tensor:
    """log: matrices (..., 3, 3) -> rotation vectors (..., 3) with angle in [0, π].

    Through the quaternion, v = 2 atan2(|u|, w) u/|u|, which keeps full precision near 0 and near π (the trace formula
    loses half the digits at both).
    """
    q = matrix_to_quaternion(R)
    w, u = q[..., 0], q[..., 1:]
    squared = (u * u).sum(-1)
    near_one = torch.where(squared < SMALL_ANGLE_SQUARED, w, torch.ones_like(w))  # at π, w = 0: 2/w has no gradient
    ratio = _series_or(
        squared,
        lambda s: 2 * torch.atan2(s, w) / s,
        lambda s2: 2 / near_one - 2 * s2 / (3 * near_one**3),
    )
    return ratio[..., None] * u


def right_jacobian(v: Tensor) -> Tensor:
    """Jr(v) (..., 3, 3) with exp(v + dv) = exp(v) exp(Jr dv):  I - b [v]x + c [v]x²,  c = (|v| - sin|v|)/|v|³."""
    squared = (v * v).sum(-1)
    b = _half_versine(squared)
    c = _series_or(squared, lambda t: (t - t.sin()) / t**3, lambda q: 1 / 6 - q / 120 + q * q / 5040)
    K = hat(v)
    eye = _constant("eye", v.dtype, v.device)
    return eye - b[..., None, None] * K + c[..., None, None] * (K @ K)


def right_jacobian_inverse(v: Tensor) -> Tensor:
    """Jr(v)⁻¹ (..., 3, 3) with log(exp(v) exp(δ)) = v + Jr⁻¹ δ:  I + ½[v]x + d [v]x².

    d = 1/|v|² - cot(|v|/2)/(2|v|), finite up to the edge |v| = 2π of its domain, so safe for every log.
    """
    squared = (v * v).sum(-1)
    d = _series_or(squared, lambda t: 1 / (t * t) - 0.5 / (t * (0.5 * t).tan()), lambda q: 1 / 12 + q / 720)
    K = hat(v)
    eye = _constant("eye", v.dtype, v.device)
    return eye + 0.5 * K + d[..., None, None] * (K @ K)


def rotation_6d_to_matrix(x: Tensor) -> Tensor:
    """Two columns (..., 3, 2) -> matrices (..., 3, 3) by Gram-Schmidt (Zhou et al., CVPR 2019, eq. 15).

    The shape is (..., 3, 2), never flat: published code flattens it in two different orders.
    """
    a1, a2 = x.unbind(-1)
    b1 = torch.nn.functional.normalize(a1, dim=-1)
    b2 = torch.nn.functional.normalize(a2 - (b1 * a2).sum(-1, keepdim=True) * b1, dim=-1)
    return torch.stack([b1, b2, torch.linalg.cross(b1, b2, dim=-1)], -1)


def matrix_to_rotation_6d(R: Tensor) -> Tensor:
    """Matrices (..., 3, 3) -> their first two columns (..., 3, 2)."""
    return R[..., :2].clone()


def geodesic_angle(A: Tensor, B: Tensor) -> Tensor:
    """Angle in radians (...) of AᵀB, in [0, π], precise at both ends."""
    return matrix_to_rotvec(A.transpose(-1, -2) @ B).norm(dim=-1)


def mirror(R: Tensor) -> Tensor:
    """The rotation seen in a mirror across x = 0: M R M with M = diag(-1, 1, 1); in rotation vectors (x, -y, -z)."""
    sign = torch.tensor([-1.0, 1.0, 1.0], dtype=R.dtype, device=R.device)
    return R * sign[:, None] * sign


def orthonormalize(R: Tensor) -> Tensor:
    """The nearest rotation (..., 3, 3) in the Frobenius norm, by SVD with the determinant kept at +1."""
    U, _, Vt = torch.linalg.svd(R)
    sign = torch.ones_like(R[..., 0])
    sign[..., 2] = torch.linalg.det(U @ Vt).sign()
    return (U * sign[..., None, :]) @ Vt
