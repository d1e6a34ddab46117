"""Forward kinematics and linear blend skinning, as SMPL defines them (Loper et al., SIGGRAPH Asia 2015, eqs. 2-4).

G_j = G_p(j) R_j                                   world rotation of joint j, p its parent
x_j = x_p(j) + G_p(j) (J_j - J_p(j))               position of joint j, J the rest joints
v'  = sum_b w_b (G_b (v - J_b) + x_b)              a rest vertex v carried by the bones b
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor


def tree_levels(parents: Sequence[int]) -> list[list[int]]:
    """Joints by their distance from the root: parents are always on an earlier level."""
    depth: list[int] = []
    for parent in parents:
        depth.append(0 if parent < 0 else depth[parent] + 1)
    return [[j for j, d in enumerate(depth) if d == level] for level in range(max(depth) + 1)]


def ancestor_matrix(parents: Sequence[int]) -> Tensor:
    """(J, J) booleans: [b, j] is true where joint j is b itself or above it."""
    matrix = torch.eye(len(parents), dtype=torch.bool)
    for joint, parent in enumerate(parents):
        if parent >= 0:
            matrix[joint] |= matrix[parent]
    return matrix


def world_rotations(rotations: Tensor, parents: Sequence[int]) -> Tensor:
    """G (..., J, 3, 3) from the local rotations (..., J, 3, 3), one matrix product per level of the tree."""
    levels = tree_levels(parents)
    placed = [rotations[..., levels[0], :, :]]
    row = {joint: i for i, joint in enumerate(levels[0])}
    for before, level in pairwise(levels):
        above = placed[-1][..., [before.index(parents[j]) for j in level], :, :]
        placed.append(above @ rotations[..., level, :, :])
        row |= {joint: len(row) + i for i, joint in enumerate(level)}
    return torch.cat(placed, -3)[..., [row[j] for j in range(len(parents))], :, :]


def joint_positions(world: Tensor, rest_joints: Tensor, parents: Sequence[int]) -> Tensor:
    """x (..., J, 3): every bone turned by its parent's world rotation, summed along the way from the root."""
    up = torch.as_tensor([max(p, 0) for p in parents], device=world.device)
    bones = rest_joints - rest_joints[..., up, :]
    turned = (world[..., up, :, :] @ bones[..., None]).squeeze(-1)
    turned[..., 0, :] = rest_joints[..., 0, :]
    return ancestor_matrix(parents).to(turned) @ turned


def skin(vertices: Tensor, weights: Tensor, world: Tensor, joints: Tensor, rest_joints: Tensor) -> Tensor:
    """Rest vertices (..., V, 3), weights (V, J) -> posed vertices (..., V, 3)."""
    shift = joints - (world @ rest_joints[..., None]).squeeze(-1)
    transforms = torch.cat([world, shift[..., None]], -1).flatten(-2)
    blended = (weights @ transforms).unflatten(-1, (3, 4))
    return (blended[..., :3] * vertices[..., None, :]).sum(-1) + blended[..., 3]
