"""Bringing anny's rest pose to the T-pose, and the two skinnings whose difference the pose correctives learn.

Linear blend skinning   v' = Σ_b w_b (R_b v + t_b)
Dual quaternions        v' = R(q) v + t(q, d),  (q, d) = Σ_b w_b (q_b, d_b) / ‖Σ_b w_b q_b‖   (Kavan 2007)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from free_body_source import PARENTS
from scipy.spatial.transform import Rotation

# Directions of the T-pose, left side; the right side is its mirror image. The legs are nearly those of the SMPL format:
# thighs 4 degrees apart, shins vertical, feet flat.
THIGH_OUT = np.deg2rad(4.0)
COLLAR_UP = np.deg2rad(10.0)


def t_pose_rotations(joints: np.ndarray) -> np.ndarray:
    """World rotation of every joint (B, 24, 3, 3) that brings the rest joints (B, 24, 3) to the T-pose."""
    turn = np.broadcast_to(np.eye(3), (*joints.shape[:2], 3, 3)).copy()
    x, y, down = np.eye(3)[0], np.eye(3)[1], np.array([0.0, -1.0, 0.0])
    thigh = np.array([np.sin(THIGH_OUT), -np.cos(THIGH_OUT), 0.0])
    turn[:, 1] = _frontal_turn(joints[:, 4] - joints[:, 1], thigh)
    turn[:, 4] = _frontal_turn(joints[:, 7] - joints[:, 4], down)
    turn[:, 13] = Rotation.from_rotvec([0, 0, COLLAR_UP]).as_matrix()
    upper, fore, hand = (joints[:, b] - joints[:, a] for a, b in ((16, 18), (18, 20), (20, 22)))
    flexion = np.cross(fore, upper)  # the elbow's axis: up once the arm is out and the forearm bends forwards
    turn[:, 16] = _frame(x, y) @ _frames(upper, flexion).swapaxes(-1, -2)
    turn[:, 18] = _frame(x, y) @ _frames(fore, flexion).swapaxes(-1, -2)
    turn[:, 20] = _frame(x, y) @ _frames(hand, flexion).swapaxes(-1, -2)
    turn[:, 22] = turn[:, 20]
    flip = np.diag([-1.0, 1.0, 1.0])
    for left, right in ((1, 2), (4, 5), (13, 14), (16, 17), (18, 19), (20, 21), (22, 23)):
        turn[:, right] = flip @ turn[:, left] @ flip
    return turn


def _frontal_turn(direction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Rotations about z that bring the direction's angle in the x-y plane to the target's."""
    angle = np.arctan2(target[1], target[0]) - np.arctan2(direction[:, 1], direction[:, 0])
    return Rotation.from_rotvec(angle[:, None] * np.array([0, 0, 1.0])).as_matrix()


def _frame(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return _frames(first[None], second[None])[0]


def _frames(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Orthonormal frames (B, 3, 3), columns: first, second made perpendicular to it, their cross product."""
    a = first / np.linalg.norm(first, axis=-1, keepdims=True)
    b = second - (second * a).sum(-1, keepdims=True) * a
    b = b / np.linalg.norm(b, axis=-1, keepdims=True)
    return np.stack([a, b, np.cross(a, b)], -1)


def chain(joints: np.ndarray, world: np.ndarray, parents: Sequence[int] = PARENTS) -> np.ndarray:
    """Translations t (B, J, 3) with x' = G x + t, for joints (B, J, 3) turned by world rotations G (B, J, 3, 3)."""
    posed = joints.copy()
    for j, p in enumerate(parents):
        if j == 0:
            continue
        posed[:, j] = posed[:, p] + np.einsum("bij,bj->bi", world[:, p], joints[:, j] - joints[:, p])
    return posed - np.einsum("bkij,bkj->bki", world, joints)


def world_rotations(local: np.ndarray, parents: Sequence[int] = PARENTS) -> np.ndarray:
    """(B, J, 3, 3) rotations relative to the parent -> relative to the world."""
    world = local.copy()
    for j, p in enumerate(parents):
        if j:
            world[:, j] = world[:, p] @ local[:, j]
    return world


def lbs(vertices: np.ndarray, weights: np.ndarray, world: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Linear blend skinning: vertices (B or 1, V, 3), weights (V, J), G (B, J, 3, 3), t (B, J, 3) -> (B, V, 3)."""
    turn, move = blended(weights, world, shift)
    return np.einsum("bvij,bvj->bvi", turn, np.broadcast_to(vertices, move.shape)) + move


def blended(weights: np.ndarray, world: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The blended affine map of every vertex: (B, V, 3, 3) and (B, V, 3)."""
    turn = (weights @ world.reshape(*world.shape[:2], 9)).reshape(len(world), -1, 3, 3)
    return turn, weights @ shift


def dqs(
    vertices: np.ndarray, weights: np.ndarray, world: np.ndarray, shift: np.ndarray, parents: Sequence[int] = PARENTS
) -> np.ndarray:
    """Dual-quaternion skinning; arguments as in lbs. Signs follow the parent, so neighbouring bones never disagree."""
    quaternion = Rotation.from_matrix(world.reshape(-1, 3, 3)).as_quat().reshape(*world.shape[:2], 4)
    for j, p in enumerate(parents):
        against = (quaternion[:, j] * quaternion[:, max(p, 0)]).sum(-1) < 0
        quaternion[against, j] *= -1
    dual = 0.5 * _multiply(np.concatenate([shift, np.zeros_like(shift[..., :1])], -1), quaternion)
    q, d = weights @ quaternion, weights @ dual
    length = np.linalg.norm(q, axis=-1, keepdims=True)
    q, d = q / length, d / length
    xyz, w = q[..., :3], q[..., 3:]
    v = np.broadcast_to(vertices, xyz.shape)
    turned = v + 2 * np.cross(xyz, np.cross(xyz, v) + w * v)
    return turned + 2 * (w * d[..., :3] - d[..., 3:] * xyz + np.cross(xyz, d[..., :3]))


def _multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamilton product of quaternions (..., 4) in x, y, z, w order."""
    v = a[..., 3:] * b[..., :3] + b[..., 3:] * a[..., :3] + np.cross(a[..., :3], b[..., :3])
    w = a[..., 3:] * b[..., 3:] - (a[..., :3] * b[..., :3]).sum(-1, keepdims=True)
    return np.concatenate([v, w], -1)
