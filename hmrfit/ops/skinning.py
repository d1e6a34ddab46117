"""Forward kinematics and linear blend skinning, as SMPL defines them (Loper et al., SIGGRAPH Asia 2015, eqs. 2-4).

G_j = G_p(j) R_j                                   world rotation of joint j, p its parent
x_j = x_p(j) + G_p(j) (J_j - J_p(j))               position of joint j, J the rest joints
v'  = sum_b w_b (G_b (v - J_b) + x_b)              a rest vertex v carried by the bones b
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
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


@dataclass(frozen=True)
class Tree:
    """A kinematic tree as index tensors. Made once per tree: for one person, making them is what takes the time."""

    by_level: Tensor  # (J,) joints, level by level
    level_sizes: tuple[int, ...]
    above: tuple[Tensor, ...]  # for every level but the first: where its joints' parents are on the level before
    place: Tensor  # (J,) where each joint is in `by_level`
    up: Tensor  # (J,) parents, the root its own
    ancestors: Tensor  # (J, J) booleans


@lru_cache
def kinematic_tree(parents: tuple[int, ...], device: torch.device | str = "cpu") -> Tree:
    """The tree of these parents."""
    index = lambda values: torch.tensor(values, dtype=torch.int64, device=device)  # noqa: E731
    levels = tree_levels(parents)
    order = [j for level in levels for j in level]
    above = [index([before.index(parents[j]) for j in level]) for before, level in pairwise(levels)]
    place = [order.index(j) for j in range(len(parents))]
    up = [max(p, 0) for p in parents]
    sizes = tuple(len(level) for level in levels)
    return Tree(index(order), sizes, tuple(above), index(place), index(up), ancestor_matrix(parents).to(device))


def world_rotations(rotations: Tensor, parents: Sequence[int]) -> Tensor:
    """G (..., J, 3, 3) from the local rotations (..., J, 3, 3), one matrix product per level of the tree."""
    tree = kinematic_tree(tuple(parents), rotations.device)
    first, *rest = rotations.index_select(-3, tree.by_level).split(tree.level_sizes, -3)
    placed = [first]
    for above, local in zip(tree.above, rest, strict=True):
        placed.append(placed[-1].index_select(-3, above) @ local)
    return torch.cat(placed, -3).index_select(-3, tree.place)


def local_rotations(world: Tensor, parents: Sequence[int]) -> Tensor:
    """The local rotations (..., J, 3, 3) from G (..., J, 3, 3), the inverse of `world_rotations`."""
    above = world.index_select(-3, kinematic_tree(tuple(parents), world.device).up)
    return torch.cat([world[..., :1, :, :], (above.mT @ world)[..., 1:, :, :]], -3)


def joint_positions(world: Tensor, rest_joints: Tensor, parents: Sequence[int]) -> Tensor:
    """x (..., J, 3): every bone turned by its parent's world rotation, summed along the way from the root."""
    tree = kinematic_tree(tuple(parents), world.device)
    bones = rest_joints - rest_joints.index_select(-2, tree.up)
    turned = (world.index_select(-3, tree.up) @ bones[..., None]).squeeze(-1)
    turned = torch.cat([rest_joints[..., :1, :].expand_as(turned[..., :1, :]), turned[..., 1:, :]], -2)
    return tree.ancestors.to(turned.dtype) @ turned


def forward_kinematics(
    rotations: Tensor, rest_joints: Tensor, parents: Sequence[int], world: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(G (..., J, 3, 3), x (..., J, 3)) from the local rotations; `world` is G where it is known."""
    if world is None:
        world = world_rotations(rotations, parents)
    return world, joint_positions(world, rest_joints, parents)


def skin(vertices: Tensor, weights: Tensor, world: Tensor, joints: Tensor, rest_joints: Tensor) -> Tensor:
    """Rest vertices (..., V, 3), weights (V, J) -> posed vertices (..., V, 3)."""
    shift = joints - (world @ rest_joints[..., None]).squeeze(-1)
    transforms = torch.cat([world, shift[..., None]], -1).flatten(-2)
    blended = (weights @ transforms).unflatten(-1, (3, 4))
    return (blended[..., :3] * vertices[..., None, :]).sum(-1) + blended[..., 3]
