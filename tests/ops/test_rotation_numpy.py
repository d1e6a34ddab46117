"""The NumPy forms say what torch's say, near 0, near π and in between."""

import numpy as np
import pytest
import torch

from hmrfit.ops import rotation, rotation_numpy

ANGLES = [0.0, 1e-12, 1e-5, 0.9e-3, 1.1e-3, 0.3, 1.6, 3.0, np.pi - 1e-3, np.pi - 1e-7, np.pi]


def vectors(angle: float) -> np.ndarray:
    axes = np.random.default_rng(0).normal(size=(40, 3))
    return angle * axes / np.linalg.norm(axes, axis=1, keepdims=True)


@pytest.mark.parametrize("angle", ANGLES)
def test_the_same_as_torch(angle):
    v = vectors(angle)
    R = rotation.rotvec_to_matrix(torch.from_numpy(v))
    np.testing.assert_allclose(rotation_numpy.exp(v), R.numpy(), rtol=0, atol=2e-15)
    np.testing.assert_allclose(rotation_numpy.log(R.numpy()), rotation.matrix_to_rotvec(R).numpy(), rtol=0, atol=1e-14)
    expected = rotation.right_jacobian_inverse(torch.from_numpy(v)).numpy()
    tolerance = 1e-9 if angle < 0.01 else 1e-13
    np.testing.assert_allclose(rotation_numpy.right_jacobian_inverse(v), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("angle", [a for a in ANGLES if a < 3.1])
def test_there_and_back(angle):
    v = vectors(angle)
    np.testing.assert_allclose(rotation_numpy.log(rotation_numpy.exp(v)), v, rtol=0, atol=1e-14)
