"""check_term finds each fault it promises to find, and lets right terms pass."""

import numpy as np
import pytest
import torch

import hmrfit
from hmrfit.fitting.check_term import check_term, finite_difference_jacobian, sample_evaluation, stick_body
from hmrfit.fitting.terms.base import Term
from hmrfit.keypoints import SMPL24


def left_wrist_at_a_point(state, output, observation):
    wrist = output.landmarks[:, observation.keypoints.names.index("left_wrist")]
    return 3 * (wrist - torch.tensor([0.5, 0.0, 4.0]).to(wrist))


def shape_and_pose(state, output, observation):
    return torch.cat([state.params.betas**2, state.params.body_pose[:, 3, :, 1].sin()], 1)


@pytest.mark.parametrize("fn", [left_wrist_at_a_point, shape_and_pose])
def test_right_functions_pass(fn):
    hmrfit.check_term(fn)


def in_place(state, output, observation):
    return output.joints.sub_(1.0).flatten(1)


def in_place_on_keypoints(state, output, observation):
    observation.keypoints.confidence[:, 0] = 0.0
    return output.joints[:, 0]


def one_number(state, output, observation):
    return output.joints[:, 0, 0]


def three_axes(state, output, observation):
    return output.joints


def batch_first_dimension_lost(state, output, observation):
    return output.joints.reshape(1, -1)


def no_residuals(state, output, observation):
    return output.joints[:, 0, :0]


def single_precision(state, output, observation):
    return output.joints[:, 0].float()


def root_of_a_negative_number(state, output, observation):
    return (-output.joints[:, 0].square() - 1).sqrt()


def detached(state, output, observation):
    return output.joints[:, 0] * output.joints[:, 5].detach()


def centred_over_people(state, output, observation):
    return output.joints[:, 0] - output.joints[:, 0].mean(0)


def number_of_the_person(state, output, observation):
    return output.joints[:, 0] * torch.arange(len(state))[:, None]


def through_numpy(state, output, observation):
    return torch.from_numpy(np.sin(output.joints[:, 0].numpy()))


def a_list(state, output, observation):
    return [[0.0]] * len(state)


@pytest.mark.parametrize(
    ("fn", "error", "message"),
    [
        (in_place, ValueError, "changes its inputs"),
        (in_place_on_keypoints, ValueError, "changes its inputs"),
        (one_number, ValueError, r"\(4, M\), but returns \(4,\).*\[:, None\]"),
        (three_axes, ValueError, r"\(4, M\), but returns \(4, 24, 3\)"),
        (batch_first_dimension_lost, ValueError, r"\(4, M\), but returns \(1, 288\)"),
        (no_residuals, ValueError, r"returns \(4, 0\)"),
        (single_precision, ValueError, "returns torch.float32, but the state is torch.float64"),
        (root_of_a_negative_number, ValueError, "not finite: residual 0 of person 0 is nan"),
        (detached, ValueError, "derivative of residual . of person . along .* by forward-mode autodiff"),
        (centred_over_people, ValueError, "other residuals alone"),
        (number_of_the_person, ValueError, "other residuals in another order"),
        (through_numpy, TypeError, "autodiff cannot pass through term 'through_numpy'"),
        (a_list, TypeError, "should return a tensor"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_wrong_functions_are_described(fn, error, message):
    with pytest.raises(error, match=message) as raised:
        check_term(fn)
    assert fn.__name__ in str(raised.value)


class Shrinking(Term):
    """betas / 2, with what may be got wrong by hand."""

    name = "shrinking"

    def __init__(self, slope: float = 0.5, gradient: float = 1.0) -> None:
        self.slope, self.scale = slope, gradient

    def residuals(self, e):
        return 0.5 * e.state.params.betas

    def jacobian(self, e):
        B, S = e.state.params.betas.shape
        jacobian = e.state.params.betas.new_zeros(B, S, e.layout.columns)
        jacobian[:, :, e.layout.slice("betas")] = self.slope * torch.eye(S)
        return jacobian

    def add(self, e, sums, weight):
        betas = e.state.params.betas
        cost = 0.125 * betas.square().sum(-1)
        sums.add_diagonal("betas", cost, self.scale * 0.25 * betas, torch.full_like(betas, 0.25), weight)


def test_a_right_term_passes():
    check_term(Shrinking())


def test_a_wrong_jacobian_is_found_and_the_column_named():
    with pytest.raises(ValueError, match=r"along betas column \d is 0.4 by its own jacobian\(\) and 0.5 by forward"):
        check_term(Shrinking(slope=0.4))


def test_a_wrong_sum_is_found():
    with pytest.raises(ValueError, match=r"add\(\) gives another gradient"):
        check_term(Shrinking(gradient=1.01))


def test_it_can_look_anywhere():
    """A term that only works for some keypoint set is tried on that one."""

    def head(state, output, observation):
        return output.landmarks[:, observation.keypoints.names.index("head")]

    check_term(head, at=sample_evaluation(names=SMPL24, seed=3))
    with pytest.raises(ValueError):
        check_term(head)  # coco17 has no `head`


def test_the_made_up_people_are_people():
    """In front of the camera, upright, about as tall as an adult, one keypoint unseen."""
    e = sample_evaluation(count=20)
    joints = e.posed.joints
    assert (joints[..., 2] > 1).all()
    standing = stick_body().rest_joints
    assert 1.4 < (standing[:, 1].max() - standing[:, 1].min()) < 1.8
    head, foot = SMPL24.index("head"), SMPL24.index("left_foot")
    assert (joints[:, head, 1] < joints[:, foot, 1]).double().mean() > 0.9  # +y is down
    assert (e.observation.keypoints.confidence == 0).any(1).all()


def test_finite_differences_of_a_linear_term_are_its_matrix():
    e = sample_evaluation(count=2)
    J = finite_difference_jacobian(Shrinking(), e)
    expected = Shrinking().jacobian(e)
    torch.testing.assert_close(J, expected, rtol=0, atol=1e-9)  # 1e-16 of a beta over a step of 1e-6
