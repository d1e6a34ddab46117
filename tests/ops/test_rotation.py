"""Rotations against scipy, finite differences, their own definitions, and at the two hard places: 0 and π."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from hmrfit.ops.rotation import (
    geodesic_angle,
    hat,
    matrix_to_quaternion,
    matrix_to_rotation_6d,
    matrix_to_rotvec,
    mirror,
    orthonormalize,
    quaternion_to_matrix,
    right_jacobian,
    right_jacobian_inverse,
    rotation_6d_to_matrix,
    rotvec_to_matrix,
)

directions = arrays(np.float64, 3, elements=st.floats(-1, 1)).filter(lambda d: np.linalg.norm(d) > 0.1)
angles = st.one_of(st.floats(0, math.pi), st.floats(0, 1e-2), st.floats(math.pi - 1e-2, math.pi))


@st.composite
def rotvecs(draw) -> torch.Tensor:
    """Rotation vectors with angles in [0, π], many of them close to either end."""
    direction = draw(directions)
    return torch.from_numpy(direction / np.linalg.norm(direction) * draw(angles))


def random_rotvecs(count: int, most: float = math.pi) -> torch.Tensor:
    v = torch.randn(count, 3, dtype=torch.float64)
    return v / v.norm(dim=-1, keepdim=True) * torch.rand(count, 1, dtype=torch.float64) * most


@given(rotvecs())
def test_exp_is_scipys(v):
    expected = Rotation.from_rotvec(v.numpy()).as_matrix()
    np.testing.assert_allclose(rotvec_to_matrix(v), expected, atol=4e-15)  # a few roundings of numbers below 1


@given(rotvecs())
def test_log_undoes_exp(v):
    again = matrix_to_rotvec(rotvec_to_matrix(v))
    np.testing.assert_allclose(rotvec_to_matrix(again), rotvec_to_matrix(v), atol=1e-14)
    if v.norm() < math.pi - 1e-6:  # at π, v and -v are the same rotation
        np.testing.assert_allclose(again, v, atol=1e-14)


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-8, 1e-4, 0.99e-3, 1.01e-3, 1.0, math.pi - 1e-8, math.pi])
def test_log_is_precise_where_the_trace_formula_is_not(angle):
    axis = torch.tensor([2.0, -3.0, 6.0], dtype=torch.float64) / 7
    v = matrix_to_rotvec(rotvec_to_matrix(angle * axis))
    assert v.norm().item() == pytest.approx(angle, rel=1e-13, abs=1e-15)  # acos of the trace would give 1e-8


@pytest.mark.parametrize("flip", [(1.0, -1.0, -1.0), (-1.0, 1.0, -1.0), (-1.0, -1.0, 1.0)])
def test_log_of_a_half_turn_has_finite_derivatives(flip):
    """An upright person's global_orient is a half turn about x."""
    R = torch.diag(torch.tensor(flip, dtype=torch.float64))
    assert matrix_to_rotvec(R).norm().item() == pytest.approx(math.pi)
    assert torch.func.jacrev(matrix_to_rotvec)(R).isfinite().all()
    assert torch.func.jacfwd(matrix_to_rotvec)(R).isfinite().all()


@pytest.mark.parametrize("derivative", [torch.func.jacfwd, torch.func.jacrev])
def test_derivative_of_exp_at_zero_is_the_generators(derivative):
    J = derivative(rotvec_to_matrix)(torch.zeros(3, dtype=torch.float64))
    np.testing.assert_allclose(J.permute(2, 0, 1), hat(torch.eye(3, dtype=torch.float64)), atol=0)


def test_exp_keeps_its_derivative_in_float32_at_small_angles():
    v = torch.tensor([1.2e-3, 3e-4, -2e-4])  # just above the series' reach
    J32, J64 = (torch.func.jacrev(rotvec_to_matrix)(x) for x in (v, v.double()))
    assert (J32 - J64).abs().max() < 1e-6  # ten roundings of float32; (1 - cos t)/t² would give 7e-6


def test_right_jacobian_against_finite_differences():
    v, step = random_rotvecs(50, 3.0), 1e-6
    for i in range(3):
        dv = step * torch.eye(3, dtype=torch.float64)[i]
        turn = matrix_to_rotvec(rotvec_to_matrix(v - dv).mT @ rotvec_to_matrix(v + dv)) / (2 * step)
        np.testing.assert_allclose(right_jacobian(v)[..., i], turn, atol=1e-8)  # step² + 1e-15/step


@given(rotvecs())
def test_right_jacobian_inverse_is_its_inverse(v):
    product = right_jacobian(v) @ right_jacobian_inverse(v)
    np.testing.assert_allclose(product, np.eye(3), atol=1e-9)  # 1/t² − cot/2t cancels to 1e-10 just above the series


@given(rotvecs())
def test_quaternions_are_scipys(v):
    R = rotvec_to_matrix(v)
    q = matrix_to_quaternion(R)
    expected = Rotation.from_matrix(R.numpy()).as_quat()[[3, 0, 1, 2]]
    expected = -expected if expected @ q.numpy() < 0 else expected
    np.testing.assert_allclose(q, expected, atol=1e-14)
    assert q[0] >= 0
    np.testing.assert_allclose(quaternion_to_matrix(3 * q), R, atol=1e-14)


def test_6d_round_trip_and_gram_schmidt():
    R = rotvec_to_matrix(random_rotvecs(100))
    np.testing.assert_allclose(rotation_6d_to_matrix(matrix_to_rotation_6d(R)), R, atol=1e-14)
    any_columns = torch.randn(100, 3, 2, dtype=torch.float64)
    made = rotation_6d_to_matrix(any_columns)
    np.testing.assert_allclose(made @ made.mT, np.eye(3)[None].repeat(100, 0), atol=1e-12)
    np.testing.assert_allclose(torch.linalg.det(made), 1, atol=1e-12)
    along_first = torch.linalg.cross(made[..., 0], any_columns[..., 0], dim=-1)
    np.testing.assert_allclose(along_first, 0, atol=1e-12)


def test_geodesic_angle_is_the_relative_turn():
    A, v = rotvec_to_matrix(random_rotvecs(50)), random_rotvecs(50)
    np.testing.assert_allclose(geodesic_angle(A, A @ rotvec_to_matrix(v)), v.norm(dim=-1), atol=1e-13)


def test_mirror_negates_y_and_z_of_the_rotation_vector():
    v = random_rotvecs(50, 3.0)
    sign = torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)
    np.testing.assert_allclose(matrix_to_rotvec(mirror(rotvec_to_matrix(v))), v * sign, atol=1e-13)


def test_orthonormalize_finds_the_nearest_rotation():
    R = rotvec_to_matrix(random_rotvecs(20))
    np.testing.assert_allclose(orthonormalize(2.5 * R), R, atol=1e-14)
    near = orthonormalize(R + 0.3 * torch.randn(20, 3, 3, dtype=torch.float64))
    np.testing.assert_allclose(torch.linalg.det(near), 1, atol=1e-14)
    reflected = orthonormalize(torch.diag(torch.tensor([1.0, 1.0, -0.1], dtype=torch.float64)))
    np.testing.assert_allclose(reflected, np.eye(3), atol=1e-14)


def test_orthonormalize_beats_its_neighbours():
    M = torch.randn(3, 3, dtype=torch.float64)
    best = orthonormalize(M)
    others = best @ rotvec_to_matrix(random_rotvecs(200, 0.3))
    assert ((best - M).norm() <= (others - M).norm(dim=(-1, -2))).all()


def test_any_leading_dimensions():
    v = random_rotvecs(12).reshape(2, 3, 2, 3)
    for function in (rotvec_to_matrix, right_jacobian, right_jacobian_inverse, hat):
        assert function(v).shape == (2, 3, 2, 3, 3)
        np.testing.assert_allclose(function(v)[1, 2, 0], function(v[1, 2, 0]), atol=1e-15)
    R = rotvec_to_matrix(v)
    assert matrix_to_rotvec(R).shape == v.shape
    assert matrix_to_quaternion(R).shape == (2, 3, 2, 4)
    assert rotation_6d_to_matrix(matrix_to_rotation_6d(R)).shape == R.shape
