"""Errors whose answers are known beforehand."""

import math

import pytest
import torch

from hmrfit.evaluate.metrics import facing_wrong, mpjpe, pa_mpjpe, reprojection_error
from hmrfit.ops.presence import NOTHING, SURE
from hmrfit.ops.rotation import rotvec_to_matrix


def joints(count: int = 4) -> torch.Tensor:
    return torch.randn(count, 14, 3, dtype=torch.float64)


def test_a_shift_is_the_error_unless_roots_are_brought_together():
    x, shift = joints(), torch.tensor([0.3, 0.0, 0.4]).double()
    torch.testing.assert_close(mpjpe(x + shift, x), torch.full((4,), 0.5).double())
    torch.testing.assert_close(mpjpe(x + shift, x, (x + shift)[:, 0], x[:, 0]), torch.zeros(4).double(), atol=1e-15, rtol=0)  # fmt: skip  # noqa: E501


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


def test_nobody_seen_is_nan_and_only_there():
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
