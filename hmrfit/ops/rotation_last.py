"""Small matrices and rotations of many frames with the frames last in memory: (n, 3, 3, T) are multiplied as n T
numbers that lie side by side.

    (A B)_ik = A_i0 B_0k + A_i1 B_1k + A_i2 B_2k            three operations, whatever n and T are
"""

import torch
from torch import Tensor

from hmrfit.ops.rotation import SMALL_ANGLE_SQUARED, matrix_to_rotvec

NEAR_HALF_TURN = -0.9999
"""Cosine of an angle from which its axis is not read off the matrix's sines."""


def last(values: Tensor) -> Tensor:
    """(T, ...) -> (..., T), contiguous."""
    return values.flatten(1).T.contiguous().view(*values.shape[1:], len(values))


def first(values: Tensor) -> Tensor:
    """(..., T) -> (T, ...), contiguous."""
    return values.flatten(0, -2).T.contiguous().view(values.shape[-1], *values.shape[:-1])


def product(A: Tensor, B: Tensor) -> Tensor:
    """A B of (n, i, 3, T) and (n, 3, k, T)."""
    total = A[:, :, 0, None] * B[:, 0, None]
    return total.addcmul_(A[:, :, 1, None], B[:, 1, None]).addcmul_(A[:, :, 2, None], B[:, 2, None])


def product_mT(A: Tensor, B: Tensor) -> Tensor:
    """A Bᵀ."""
    return product(A, B.transpose(1, 2))


def mT_product(A: Tensor, B: Tensor) -> Tensor:
    """Aᵀ B."""
    return product(A.transpose(1, 2), B)


def turned(A: Tensor, v: Tensor) -> Tensor:
    """A v of (n, i, 3, T) and (n, 3, T), or of vectors (n, 3, 1) that stay."""
    return (A[:, :, 0] * v[:, 0, None]).addcmul_(A[:, :, 1], v[:, 1, None]).addcmul_(A[:, :, 2], v[:, 2, None])


def cross(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """a × b of (n, 3, ..., T)."""
    out = torch.empty_like(b) if out is None else out
    for i, (j, k) in enumerate(((1, 2), (2, 0), (0, 1))):
        torch.mul(a[:, j], b[:, k], out=out[:, i])
        out[:, i].addcmul_(a[:, k], b[:, j], value=-1)
    return out


def log(R: Tensor) -> tuple[Tensor, Tensor]:
    """(log R (n, 3, T), its angle (n, T)) of (n, 3, 3, T)."""
    sines = 0.5 * torch.stack([R[:, 2, 1] - R[:, 1, 2], R[:, 0, 2] - R[:, 2, 0], R[:, 1, 0] - R[:, 0, 1]], 1)
    cosine = 0.5 * (R[:, 0, 0] + R[:, 1, 1] + R[:, 2, 2] - 1)
    sine = (sines * sines).sum(1).sqrt_()
    angle = torch.atan2(sine, cosine)
    v = sines * torch.where(sine < 1e-8, 1.0, angle / sine)[:, None]
    if bool((cosine < NEAR_HALF_TURN).any()):
        v = last(matrix_to_rotvec(first(R)))
        angle = (v * v).sum(1).sqrt_()
    return v, angle


def right_jacobian_inverse(v: Tensor, angle: Tensor) -> Tensor:
    """(n, 3, 3, T) of v (n, 3, T): h I + ½ [v]x + d v vᵀ, h = (|v|/2) / tan(|v|/2), d = (1 - h)/|v|²."""
    square, half = angle * angle, 0.5 * angle
    small = square < SMALL_ANGLE_SQUARED
    d = torch.where(small, 1 / 12 + square / 720, (1 - half / half.tan()) / square)
    found = (d[:, None] * v)[:, :, None] * v[:, None]
    h, half_v = 1 - d * square, 0.5 * v
    for i, (j, k) in enumerate(((1, 2), (2, 0), (0, 1))):
        found[:, i, i] += h
        found[:, k, j] += half_v[:, i]
        found[:, j, k] -= half_v[:, i]
    return found
