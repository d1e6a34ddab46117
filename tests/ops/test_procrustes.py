"""The similarity alignment against scipy, against its own definition, and where it has no single answer."""

import numpy as np
import pytest
import torch
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation

from hmrfit.ops.procrustes import similarity_align
from hmrfit.ops.rotation import rotvec_to_matrix


def cloud(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, 3, dtype=torch.float64)


def test_a_known_similarity_is_undone():
    x = cloud(5, 14)
    R = rotvec_to_matrix(cloud(5))
    y = 1.7 * x @ R.mT + cloud(5, 1)
    torch.testing.assert_close(similarity_align(x, y), y, rtol=0, atol=1e-13)  # a few roundings of numbers below 10


def test_rotation_and_scale_are_scipys():
    x, y = cloud(14), cloud(14)
    X, Y = (x - x.mean(0)).numpy(), (y - y.mean(0)).numpy()
    R = Rotation.align_vectors(Y, X)[0].as_matrix()
    turned = X @ R.T
    expected = turned * (turned * Y).sum() / (X * X).sum() + y.mean(0).numpy()
    np.testing.assert_allclose(similarity_align(x, y), expected, atol=1e-12)  # scipy goes through a quaternion


def test_the_distance_is_scipys_where_no_reflection_helps():
    """scipy.spatial.procrustes allows reflections; of nearly equal clouds neither takes one."""
    x = cloud(14)
    y = x + 0.1 * cloud(14)
    distance = (similarity_align(x, y) - y).square().sum() / (y - y.mean(0)).square().sum()
    assert distance.item() == pytest.approx(procrustes(y.numpy(), x.numpy())[2], rel=1e-10)


def test_a_mirror_image_is_not_turned_inside_out():
    x = cloud(14)
    y = x * torch.tensor([-1.0, 1.0, 1.0])
    aligned = similarity_align(x, y)
    assert (aligned - y).norm(dim=-1).mean() > 0.1  # a reflection would give 0, as scipy.spatial.procrustes has it:
    assert procrustes(y.numpy(), x.numpy())[2] < 1e-12
    X, Y = x - x.mean(0), aligned - aligned.mean(0)
    assert torch.linalg.det(torch.linalg.lstsq(X, Y).solution) > 0


def test_no_other_similarity_is_better():
    x, y = cloud(14), cloud(14)
    best = (similarity_align(x, y) - y).square().sum()
    centre = similarity_align(x, y).mean(0)
    for _ in range(200):
        R, s = rotvec_to_matrix(0.1 * cloud()), 1 + 0.1 * torch.randn(1, dtype=torch.float64)
        other = s * (similarity_align(x, y) - centre) @ R.mT + centre + 0.01 * cloud()
        assert (other - y).square().sum() >= best


def test_all_points_at_one_place_stay_finite():
    y = cloud(3, 14)
    aligned = similarity_align(torch.ones(3, 14, 3, dtype=torch.float64), y)
    torch.testing.assert_close(aligned, y.mean(1, keepdim=True).expand_as(y))


def test_flat_bodies_are_aligned_by_a_rotation():
    x = cloud(14) * torch.tensor([1.0, 1.0, 0.0])
    R = rotvec_to_matrix(cloud())
    torch.testing.assert_close(similarity_align(x, x @ R.mT), x @ R.mT, rtol=0, atol=1e-13)


@pytest.mark.parametrize("leading", [(), (4,), (2, 3)])
def test_any_leading_dimensions_and_independence_of_the_batch(leading):
    x, y = cloud(*leading, 14), cloud(*leading, 14)
    together = similarity_align(x, y)
    assert together.shape == x.shape
    for i in np.ndindex(*leading):
        torch.testing.assert_close(together[i], similarity_align(x[i], y[i]), rtol=0, atol=1e-13)
