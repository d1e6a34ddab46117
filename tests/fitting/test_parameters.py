"""Columns, steps and observations."""

import pytest
import torch
from helpers.fingered_body import fingered_body
from hypothesis import given
from hypothesis import strategies as st

from hmrfit.body.skeleton import SMPLH
from hmrfit.fitting.check_term import sample_evaluation, stick_body
from hmrfit.fitting.parameters import GROUPS, Layout, Observation
from hmrfit.keypoints import COCO17
from hmrfit.ops.rotation import geodesic_angle, matrix_to_rotvec, rotvec_to_matrix
from hmrfit.ops.skinning import world_rotations
from hmrfit.types import Keypoints

PARENTS = stick_body().parents
ALL = Layout(GROUPS, 24, 10)


def test_groups_stand_in_one_order():
    assert ALL.columns == 3 + 3 * 24 + 10
    places = [range(ALL.columns)[ALL.slice(group)] for group in GROUPS]
    assert [len(p) for p in places] == [3, 3, 69, 10]
    assert [i for p in places for i in p] == list(range(ALL.columns))


@given(st.sets(st.sampled_from(GROUPS)), st.sets(st.integers(1, 23)))
def test_columns_are_those_that_move(free, joints):
    layout = Layout(tuple(free), 24, 10, sorted(joints))
    sizes = {"transl": 3, "global_orient": 3, "body_pose": 3 * len(joints), "betas": 10}
    assert layout.columns == sum(sizes[group] for group in free)
    for group in GROUPS:
        assert len(range(layout.columns)[layout.slice(group)]) == (sizes[group] if group in free else 0)


def test_an_unknown_group_gets_the_nearest_name():
    with pytest.raises(ValueError, match=r"'global_orientation'\. Did you mean 'global_orient'\?"):
        Layout(("transl", "global_orientation"), 24, 10)


@pytest.mark.parametrize("free", [GROUPS, ("transl",), ("global_orient", "betas"), ("body_pose",)])
def test_no_step_no_change(free):
    state, layout = sample_evaluation().state, Layout(free, 24, 10)
    same = state.retract(torch.zeros(4, layout.columns, dtype=torch.float64), PARENTS, layout)
    for name in ("global_orient", "body_pose", "betas", "transl"):
        assert torch.equal(getattr(same.params, name), getattr(state.params, name))


def test_a_step_moves_each_group_by_its_columns():
    state = sample_evaluation().state
    delta = 0.3 * torch.randn(4, ALL.columns, dtype=torch.float64)
    moved = state.retract(delta, PARENTS, ALL).params
    p = state.params
    torch.testing.assert_close(moved.transl, p.transl + delta[:, :3])
    torch.testing.assert_close(moved.betas, p.betas + delta[:, -10:])
    torch.testing.assert_close(moved.global_orient, rotvec_to_matrix(delta[:, 3:6]) @ p.global_orient)


def test_a_joints_columns_turn_it_about_the_cameras_axes():
    """R_j <- R_j exp(G_j^T omega): the joint's world rotation becomes exp(omega) G_j, its parents stay."""
    state, joint = sample_evaluation().state, 5
    omega = torch.tensor([0.3, -0.5, 0.8]).double()
    delta = torch.zeros(ALL.columns, dtype=torch.float64)
    delta[3 + 3 * joint : 6 + 3 * joint] = omega
    before = world_rotations(state.params.rotations, PARENTS)
    after = world_rotations(state.retract(delta, PARENTS, ALL).params.rotations, PARENTS)
    below = [j for j in range(24) if joint in _chain(j)]
    for j in range(24):
        expected = rotvec_to_matrix(omega) @ before[:, j] if j in below else before[:, j]
        torch.testing.assert_close(after[:, j], expected, rtol=0, atol=1e-13)


def _chain(joint: int) -> list[int]:
    return [joint, *_chain(PARENTS[joint])] if joint >= 0 else []


def test_rotations_stay_rotations_after_many_steps():
    state = sample_evaluation().state
    for _ in range(200):
        state = state.retract(0.5 * torch.randn(4, ALL.columns, dtype=torch.float64), PARENTS, ALL)
    R = state.params.rotations
    # each product rounds by 1e-16
    torch.testing.assert_close(R @ R.mT, torch.eye(3).double().expand_as(R), rtol=0, atol=1e-12)


def test_groups_that_are_held_stay():
    state, layout = sample_evaluation().state, Layout(("transl", "body_pose"), 24, 10, (3, 7))
    moved = state.retract(torch.ones(4, layout.columns, dtype=torch.float64), PARENTS, layout)
    turned = geodesic_angle(state.params.rotations, moved.params.rotations)
    assert (turned > 1e-6).any(0).nonzero()[:, 0].tolist() == [3, 7]
    assert torch.equal(moved.params.betas, state.params.betas)


def test_inputs_stay():
    state = sample_evaluation().state
    before = state.map(torch.clone)
    state.retract(torch.ones(4, ALL.columns, dtype=torch.float64), PARENTS, ALL)
    assert torch.equal(before.params.rotations, state.params.rotations)
    assert torch.equal(before.params.betas, state.params.betas) and torch.equal(
        before.params.transl, state.params.transl
    )


def test_theta_is_the_log_of_the_body_joints():
    e = sample_evaluation()
    torch.testing.assert_close(e.theta, matrix_to_rotvec(e.state.params.body_pose).reshape(4, 69))


def test_theta_jacobian_is_differences():
    e, step = sample_evaluation(), 1e-6
    for joint in (1, 9, 23):
        for axis in range(3):
            delta = torch.zeros(ALL.columns, dtype=torch.float64)
            delta[3 + 3 * joint + axis] = step
            ends = [e.state.retract(sign * delta, PARENTS, ALL).params.body_pose[:, joint - 1] for sign in (1, -1)]
            slope = (matrix_to_rotvec(ends[0]) - matrix_to_rotvec(ends[1])) / (2 * step)
            torch.testing.assert_close(e.theta_jacobian[:, joint - 1, :, axis], slope, rtol=0, atol=1e-8)


def test_unseen_keypoints_bring_no_stray_numbers():
    xy = torch.tensor([[[10.0, 20.0], [torch.nan, 1e30], [40.0, 30.0]], [[torch.nan] * 2] * 3]).double()
    keypoints = Keypoints(xy, torch.tensor([[1.0, 0.0, 0.5], [0.0] * 3]).double(), ("a", "b", "c"))
    observation = Observation.of(keypoints)
    assert observation.keypoints.xy.isfinite().all()
    assert observation.keypoints.xy[0, 1].tolist() == [10.0, 20.0]
    assert observation.box_size.tolist() == [30.0, 1.0]  # nobody has a box of nothing
    assert keypoints.xy[0, 1].isnan().any()  # the caller's stay


def test_columns_of_the_driven_joints_are_places_among_all():
    points = fingered_body(SMPLH).points(COCO17)
    driven, everything = Layout.driven(points), Layout.everything(points)
    assert driven.columns == 3 + 3 * 22 + 10 and everything.columns == 3 + 3 * 52 + 10
    assert torch.equal(everything.all_columns, torch.arange(everything.columns))
    assert driven.all_columns.tolist() == [*range(69), *range(159, 169)]
