"""Forward kinematics and skinning against loops that say what is meant."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.ops.skinning import ancestor_matrix, forward_kinematics, skin, tree_levels

PARENTS = (-1, 0, 0, 1, 3, 2, 5, 5)


@st.composite
def trees(draw) -> tuple[int, ...]:
    """Parents before children, as every SMPL file has them."""
    return (-1, *(draw(st.integers(0, j - 1)) for j in range(1, draw(st.integers(2, 12)))))


def random_rotations(*shape: int) -> Tensor:
    return rotvec_to_matrix(torch.randn(*shape, 3, dtype=torch.float64))


def slow_kinematics(rotations: Tensor, rest: Tensor, parents: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """One person, one joint at a time."""
    world, places = [rotations[0]], [rest[0]]
    for j in range(1, len(parents)):
        p = parents[j]
        world.append(world[p] @ rotations[j])
        places.append(places[p] + world[p] @ (rest[j] - rest[p]))
    return torch.stack(world), torch.stack(places)


@given(trees())
def test_world_rotations_and_joints_are_the_loops(parents):
    rotations, rest = random_rotations(3, len(parents)), torch.randn(3, len(parents), 3, dtype=torch.float64)
    world, joints = forward_kinematics(rotations, rest, parents)
    assert torch.equal(forward_kinematics(rotations, rest, parents, world)[1], joints)  # where G is known
    for b in range(3):
        expected = slow_kinematics(rotations[b], rest[b], parents)
        torch.testing.assert_close(world[b], expected[0], rtol=0, atol=1e-13)  # roundings of a dozen products
        torch.testing.assert_close(joints[b], expected[1], rtol=0, atol=1e-13)


@given(trees())
def test_levels_and_ancestors(parents):
    levels = tree_levels(parents)
    assert sorted(j for level in levels for j in level) == list(range(len(parents)))
    assert all(parents[j] in levels[i - 1] for i, level in enumerate(levels) if i for j in level)
    above = ancestor_matrix(parents)
    for b in range(len(parents)):
        chain, j = set(), b
        while j >= 0:
            chain.add(j)
            j = parents[j]
        assert set(above[b].nonzero()[:, 0].tolist()) == chain


def test_skinning_is_the_loop_over_vertices_and_bones():
    J, V = len(PARENTS), 20
    rest, vertices = torch.randn(2, J, 3, dtype=torch.float64), torch.randn(2, V, 3, dtype=torch.float64)
    weights = torch.rand(V, J, dtype=torch.float64).softmax(-1)
    world, joints = forward_kinematics(random_rotations(2, J), rest, PARENTS)
    posed = skin(vertices, weights, world, joints, rest)
    for b in range(2):
        for v in range(V):
            expected = sum(
                weights[v, j] * (world[b, j] @ (vertices[b, v] - rest[b, j]) + joints[b, j]) for j in range(J)
            )
            torch.testing.assert_close(posed[b, v], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_any_leading_dimensions(leading):
    J = len(PARENTS)
    rotations, rest = random_rotations(*leading, J), torch.randn(*leading, J, 3, dtype=torch.float64)
    world, joints = forward_kinematics(rotations, rest, PARENTS)
    weights = torch.eye(J, dtype=torch.float64)
    assert world.shape == (*leading, J, 3, 3) and joints.shape == (*leading, J, 3)
    # a vertex at a joint, carried by that joint's bone, stays at the joint
    torch.testing.assert_close(skin(rest, weights, world, joints, rest), joints, rtol=0, atol=1e-13)
