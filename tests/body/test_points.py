"""The few-points body: its positions are the mesh's, its rows are the derivative, and no one depends on others."""

import pytest
import torch
from helpers.bodies import free_body, random_params
from helpers.fingered_body import fingered_body
from helpers.synthetic_body import HAND_PARENTS, synthetic_body
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.body.skeleton import SMPLX
from hmrfit.body.smpl import SmplBody
from hmrfit.fitting.parameters import Layout, State
from hmrfit.keypoints import keypoint_sets
from hmrfit.types import BodyParams

SETS = keypoint_sets()


def moved_points(points: PointBody, params: BodyParams, delta: Tensor) -> Tensor:
    """Points (B, K, 3) after one step shared by all, by the fit's own retraction."""
    layout = Layout.everything(points)
    return points.pose(State(params, None).retract(delta, points.parents, layout).params).points


def full_rows(points: PointBody, params: BodyParams) -> Tensor:
    """dx/d delta (B, K, 3, P): the pull-back of the three axes."""
    posed = points.pose(params)
    axes = torch.eye(3, dtype=torch.float64).expand(*posed.points.shape[:2], 3, 3)
    return points.rows(posed, axes)


@torch.no_grad()
@pytest.mark.parametrize("name", SETS)
def test_rows_are_the_derivative_for_every_set(name):
    """All built-in sets are defined on the free body."""
    points, params = free_body().points(SETS[name]), random_params(free_body(), 2)
    zero = torch.zeros(points.columns, dtype=torch.float64)
    expected = torch.func.jacfwd(lambda delta: moved_points(points, params, delta))(zero)
    torch.testing.assert_close(full_rows(points, params), expected, rtol=0, atol=1e-12)  # roundings of a body's metres


@pytest.mark.parametrize("parents", [None, HAND_PARENTS], ids=["smpl", "mano"])
def test_rows_are_central_differences(parents):
    """On bodies where every joint's corrective moves every point."""
    body = SmplBody(synthetic_body(parents) if parents else synthetic_body())
    names = (*body.joint_names[3:6], *body.landmark_names[:6]) if not parents else body.joint_names
    points, params, step = body.points(names), random_params(body, 2), 1e-5
    rows = full_rows(points, params)
    for i in range(points.columns):
        delta = step * torch.eye(points.columns, dtype=torch.float64)[i]
        slope = (moved_points(points, params, delta) - moved_points(points, params, -delta)) / (2 * step)
        torch.testing.assert_close(rows[..., i], slope, rtol=0, atol=1e-9)  # step² + 1e-15/step


@pytest.mark.parametrize("angle", [0.0, 1e-9, 3.14159265])
def test_rows_are_the_derivative_at_rest_and_at_half_turns(angle):
    body = free_body()
    points, rest = body.points(SETS["coco17"]), body.neutral(2)
    axis = torch.nn.functional.normalize(torch.randn(2, 24, 3, dtype=torch.float64), dim=-1)
    params = BodyParams.from_rotvecs(angle * axis[:, 0], angle * axis[:, 1:], rest.betas, rest.transl)
    zero = torch.zeros(points.columns, dtype=torch.float64)
    expected = torch.func.jacfwd(lambda delta: moved_points(points, params, delta))(zero)
    torch.testing.assert_close(full_rows(points, params), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["coco17", "smpl24"])
def test_only_the_seen_joints_turn_anything(name):
    """`seen_joints` are those whose columns are not zero, and `rows` gives just these when asked."""
    points, params = free_body().points(SETS[name]), random_params(free_body(), 2)
    rows, seen = full_rows(points, params), list(points.seen_joints)
    turning = rows[..., 3 : 3 + 72].unflatten(-1, (24, 3))
    assert (turning.abs().amax((0, 1, 2, 4)) > 1e-9).nonzero()[:, 0].tolist() == seen
    posed = points.pose(params)
    axes = torch.eye(3, dtype=torch.float64).expand(*posed.points.shape[:2], 3, 3)
    few = points.rows(posed, axes, tuple(seen))
    expected = torch.cat([rows[..., :3], turning[..., seen, :].flatten(-2), rows[..., 75:]], -1)
    torch.testing.assert_close(few, expected, rtol=0, atol=1e-13)


def test_rows_are_linear_in_the_covector():
    points = free_body().points(SETS["openpose25"])
    params = random_params(free_body(), 3)
    posed = points.pose(params)
    a = torch.randn(3, 25, 4, 3, dtype=torch.float64)
    torch.testing.assert_close(points.rows(posed, a), a @ full_rows(points, params), rtol=0, atol=1e-12)


def test_a_joint_moves_only_what_is_below_it():
    """The left elbow turns the left wrist; not the right one, not itself, not the nose."""
    names = ("left_wrist", "right_wrist", "left_elbow", "nose")
    points = free_body().points(names)
    rows = full_rows(points, random_params(free_body(), 1))[0]
    elbow = 3 + 3 * free_body().joint_names.index("left_elbow")
    turn = rows[..., elbow : elbow + 3].abs().amax((-1, -2))
    assert turn[0] > 0.1
    assert turn[1:].tolist() == [0, 0, 0]


def test_correctives_bend_the_rows():
    """Without the pose correctives' columns the rows of a skin landmark would be wrong: the test above can fail."""
    points = free_body().points(["left_hip_coco"])
    params = random_params(free_body(), 1)
    posed = points.pose(params)
    axes = torch.eye(3, dtype=torch.float64).expand(1, 1, 3, 3)
    full = points.rows(posed, axes)
    points.active_pairs = points.active_pairs[:0]
    assert (full - points.rows(posed, axes)).abs().max() > 1e-4


def test_company_changes_nothing():
    points = free_body().points(SETS["coco17"])
    params = random_params(free_body(), 6)
    together, rows = points.pose(params).points, full_rows(points, params)
    for b in range(6):
        alone = params[b]
        torch.testing.assert_close(points.pose(alone).points[0], together[b], rtol=0, atol=1e-13)  # another blocking
        torch.testing.assert_close(full_rows(points, alone)[0], rows[b], rtol=0, atol=1e-13)


def test_a_nan_stays_with_its_person():
    points = free_body().points(SETS["coco17"])
    params = random_params(free_body(), 3)
    betas = params.betas.clone()
    betas[1, 0] = torch.nan
    sick = BodyParams(params.global_orient, params.body_pose, betas, params.transl)
    expected, found = points.pose(params).points, points.pose(sick).points
    assert found[1].isnan().all()
    torch.testing.assert_close(found[[0, 2]], expected[[0, 2]], rtol=0, atol=1e-13)


def test_joints_and_landmarks_in_any_order_and_twice():
    body, params = free_body(), random_params(free_body(), 2)
    posed = body.points(["nose", "left_knee", "nose"]).pose(params)
    out = body(params)
    nose, knee = body.landmark_names.index("nose"), body.joint_names.index("left_knee")
    torch.testing.assert_close(posed.points[:, 1], out.joints[:, knee], rtol=0, atol=1e-12)
    torch.testing.assert_close(posed.points[:, 0], out.landmarks[:, nose], rtol=0, atol=1e-12)
    assert torch.equal(posed.points[:, 0], posed.points[:, 2])


def test_another_precision():
    points = free_body().points(SETS["coco17"])
    params = random_params(free_body(), 2)
    single = points.to(dtype=torch.float32)
    found = single.pose(params.to(torch.float32)).points
    assert found.dtype == torch.float32 and points.rest_joints.dtype == torch.float64
    torch.testing.assert_close(found.double(), points.pose(params).points, rtol=0, atol=1e-5)  # of 5 m, 1e-7 each time


def test_a_fit_turns_the_joints_that_priors_are_about():
    """Of a body with fingers the 22 shared ones, whatever a keypoint shows; more where the caller's prior says so."""
    body = fingered_body(SMPLX)
    tips = body.points(["left_index_tip", "left_wrist"])
    assert tips.driven == SMPLX.body_joints and tips.driven_joints == tuple(range(1, 22))
    assert set(tips.seen_joints) <= set(range(22)) and SMPLX.index("left_elbow") in tips.seen_joints
    own = body.driving([*SMPLX.names[1:22], "left_index1"])
    assert SMPLX.index("left_index1") in own.points(["left_index_tip"]).seen_joints
    assert body.driving(SMPLX.names[1:22]) is body and body.driven == SMPLX.body_joints
    assert free_body().points(["nose"]).driven_joints is None
