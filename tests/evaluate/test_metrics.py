"""Errors whose answers are known beforehand."""

import math

import pytest
import torch

from hmrfit.evaluate.metrics import (
    AUC_BEST,
    aligned_distances,
    auc,
    facing_wrong,
    mpjpe,
    pa_mpjpe,
    pck,
    reprojection_error,
)
from hmrfit.ops.presence import NOTHING, SURE
from hmrfit.ops.rotation import rotvec_to_matrix


def joints(count: int = 4) -> torch.Tensor:
    return torch.randn(count, 14, 3, dtype=torch.float64)


def test_a_shift_is_the_error_unless_roots_are_brought_together():
    x, shift = joints(), torch.tensor([0.3, 0.0, 0.4]).double()
    torch.testing.assert_close(mpjpe(x + shift, x), torch.full((4,), 0.5).double())
    moved = mpjpe(x + shift, x, (x + shift)[:, 0], x[:, 0])
    torch.testing.assert_close(moved, torch.zeros(4).double(), atol=1e-15, rtol=0)


def test_one_wrong_joint_counts_once():
    x = joints()
    y = x.clone()
    y[:, 3, 1] += 0.7
    torch.testing.assert_close(mpjpe(y, x), torch.full((4,), 0.7 / 14).double())


def test_a_similarity_costs_nothing_after_alignment():
    x = joints()
    R = rotvec_to_matrix(torch.randn(4, 3, dtype=torch.float64))
    y = 1.3 * x @ R.mT + 5
    assert mpjpe(y, x).min() > 1
    assert pa_mpjpe(y, x).max() < 1e-13


def test_alignment_helps_on_squares_not_always_on_means():
    """The alignment minimises squared distances, and a root mean square bounds the mean."""
    x, y = joints(50), joints(50)
    rms = (x - y).square().sum(-1).mean(-1).sqrt()
    assert (pa_mpjpe(x, y) <= rms).all()


def test_a_mirrored_person_is_not_excused():
    x = joints()
    assert pa_mpjpe(x * torch.tensor([-1.0, 1.0, 1.0]), x).min() > 0.1


def test_scale_of_the_target_counts():
    """Aligning a to b and b to a are two numbers: the error is in the target's metres."""
    x, y = joints(), joints()
    torch.testing.assert_close(pa_mpjpe(x, 2 * y), 2 * pa_mpjpe(x, y))
    torch.testing.assert_close(pa_mpjpe(3 * x, y), pa_mpjpe(x, y))


def test_reprojection_counts_seen_keypoints_in_boxes():
    given = torch.zeros(2, 3, 2, dtype=torch.float64)
    found = torch.tensor([[[3.0, 4.0], [0.0, 0.0], [900.0, 900.0]], [[6.0, 8.0], [5.0, 5.0], [1.0, 1.0]]]).double()
    confidence = torch.tensor([[0.6, 1.0, 0.0], [0.5, 0.0, 0.0]]).double()
    error = reprojection_error(found, given, confidence, torch.tensor([100.0, 50.0]).double())
    torch.testing.assert_close(error, torch.tensor([0.025, 0.2]).double())


def test_reprojection_weighs_a_keypoint_as_far_as_it_is_seen():
    """Half of one that is 5 off beside a whole one that is not: a third of the weight; the stray third one has none."""
    given, found = torch.zeros(1, 3, 2).double(), torch.tensor([[[3.0, 4.0], [0.0, 0.0], [900.0, 900.0]]]).double()
    confidence = torch.tensor([[0.5 * (NOTHING + SURE), 1.0, 0.1]]).double()
    error = reprojection_error(found, given, confidence, torch.tensor([100.0]).double())
    assert error.item() == pytest.approx(0.05 / 3)


def test_a_person_without_seen_keypoints_is_nan_alone():
    xy, confidence = torch.zeros(2, 3, 2, dtype=torch.float64), torch.tensor([[0.0, 0, 0], [1, 0, 0]]).double()
    error = reprojection_error(xy, xy, confidence, torch.ones(2, dtype=torch.float64))
    assert error[0].isnan() and error[1] == 0


@pytest.mark.parametrize(("degrees", "wrong"), [(0, False), (85, False), (95, True), (180, True), (-95, True)])
def test_facing(degrees, wrong):
    truth = rotvec_to_matrix(torch.randn(1, 3, dtype=torch.float64))
    turn = rotvec_to_matrix(torch.tensor([[0.0, math.radians(degrees), 0.0]]).double())
    assert facing_wrong(truth @ turn, truth).tolist() == [wrong]


def test_a_roll_about_the_forward_axis_is_no_wrong_facing():
    roll = rotvec_to_matrix(torch.tensor([[0.0, 0.0, 3.0]]).double())
    assert not facing_wrong(roll, torch.eye(3).double()[None]).any()


def test_a_root_alone_moves_nothing():
    """Both roots or none: one of them says nothing about where the other body is."""
    target = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(0)).double()
    shifted = target + torch.tensor([3.0, 0.0, 0.0])
    assert mpjpe(shifted, target, shifted[:, 0]).item() == pytest.approx(3)
    assert mpjpe(shifted, target, None, target[:, 0]).item() == pytest.approx(3)
    assert mpjpe(shifted, target, shifted[:, 0], target[:, 0]).item() == pytest.approx(0, abs=1e-12)


def test_aligned_distances_are_exactly_nothing_only_for_the_same_body():
    bodies = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(1)).double()
    other = bodies.clone()
    other[1, 2, 0] += 0.1
    found = aligned_distances(other, bodies)
    assert (found[0] == 0).all() and (found[1] > 0).all() and found[1].max() < 0.1
    touched = torch.stack([bodies[0], bodies[0].clone()])
    touched[1, 0] = 0.0  # one joint equal, or one coordinate, is not the same body
    assert (aligned_distances(touched[1:], bodies[:1]) > 0).any()


def test_pck_counts_what_is_strictly_nearer():
    distances = torch.tensor([[0.0, 99.0, 100.0, 150.0]]).double()
    assert pck(distances, 100.0).item() == 50.0
    assert pck(distances, 100.0 + 1e-9).item() == 75.0
    assert pck(distances, 0.0).item() == 0.0


def test_auc_is_the_mean_of_31_pcks():
    """Thresholds 0, 5, ..., 150: nothing is nearer than 0, so the best is 30 of 31."""
    distances = torch.tensor([[0.0, 4.0, 5.0, 149.0, 150.0, 400.0], [0.0] * 6]).double()
    thresholds = [150.0 * i / 30 for i in range(31)]
    expected = [sum(100.0 * sum(d < t for d in row) / len(row) for t in thresholds) / 31 for row in distances.tolist()]
    assert auc(distances, 150.0).tolist() == pytest.approx(expected)
    assert auc(distances, 150.0)[1].item() == pytest.approx(AUC_BEST) == pytest.approx(100 * 30 / 31)
    assert auc(distances, 300.0)[0].item() > auc(distances, 150.0)[0].item()
