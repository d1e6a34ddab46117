"""SmplBody against a loop over vertices, and the laws that a posed body obeys."""

import numpy as np
import pytest
import torch
from helpers.bodies import PRIORS, free_body, random_params
from helpers.synthetic_body import HAND_PARENTS, synthetic_body, synthetic_hand, synthetic_smplh, synthetic_smplx
from torch import Tensor

from hmrfit.body.smpl import SmplBody
from hmrfit.keypoints import SMPL24, mirrored_name
from hmrfit.ops.rotation import mirror, rotvec_to_matrix
from hmrfit.types import BodyParams

BODIES = {"smpl": synthetic_body, "smplh": synthetic_smplh, "smplx": synthetic_smplx, "mano": synthetic_hand}


@pytest.fixture(params=BODIES)
def body(request) -> SmplBody:
    return SmplBody(BODIES[request.param]())


def slow_body(body: SmplBody, p: BodyParams) -> tuple[Tensor, Tensor]:
    """(vertices (V, 3), joints (J, 3)) of one person (B = 1): SMPL's equations, a vertex and a bone at a time."""
    V, J = body.weights.shape
    shaped = [body.v_template[v] + sum(b * body.shapedirs[v, :, s] for s, b in enumerate(p.betas[0])) for v in range(V)]
    rest = [sum(body.J_regressor[j, v] * shaped[v] for v in range(V)) for j in range(J)]
    world, places = [p.global_orient[0]], [rest[0]]
    for j in range(1, J):
        up = body.parents[j]
        world.append(world[up] @ p.body_pose[0, j - 1])
        places.append(places[up] + world[up] @ (rest[j] - rest[up]))
    feature = torch.cat([(R - torch.eye(3)).reshape(9) for R in p.body_pose[0]])
    vertices = []
    for v in range(V):
        corrected = shaped[v] + body.posedirs[v] @ feature
        vertices.append(sum(body.weights[v, j] * (world[j] @ (corrected - rest[j]) + places[j]) for j in range(J)))
    return torch.stack(vertices) + p.transl, torch.stack(places) + p.transl


def test_vertices_and_joints_are_the_loops(body):
    params = random_params(body, 2)
    out = body(params)
    for b in range(2):
        vertices, joints = slow_body(body, params[b])
        torch.testing.assert_close(out.vertices[b], vertices, rtol=0, atol=1e-12)  # thousands of roundings of 1e-16
        torch.testing.assert_close(out.joints[b], joints, rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", [free_body, lambda: SmplBody(synthetic_body())], ids=["free body", "made-up"])
def test_without_vertices_the_same_joints_and_landmarks(make):
    body = make()
    params = random_params(body, 5)
    full, few = body(params), body(params, vertices=False)
    assert few.vertices is None
    torch.testing.assert_close(few.joints, full.joints, rtol=0, atol=1e-12)
    torch.testing.assert_close(few.landmarks, full.landmarks, rtol=0, atol=1e-12)  # another order of the same sums


def test_the_rest_pose_is_the_template(body):
    out = body(body.neutral(2))
    for b in range(2):
        torch.testing.assert_close(out.vertices[b], body.v_template, rtol=0, atol=1e-14)
        torch.testing.assert_close(out.joints[b], body.J_regressor @ body.v_template, rtol=0, atol=1e-14)


def test_turning_the_world_follows_the_rule(body):
    """global_orient turns about the root: a rotation Q of the world maps transl t to Q(J0 + t) - J0."""
    p = random_params(body, 4)
    Q = rotvec_to_matrix(torch.randn(3, dtype=torch.float64))
    root = (body.J_regressor @ body.shaped(p.betas))[:, 0]
    turned = BodyParams(Q @ p.global_orient, p.body_pose, p.betas, (root + p.transl) @ Q.T - root)
    torch.testing.assert_close(body(turned).vertices, body(p).vertices @ Q.T, rtol=0, atol=1e-12)
    torch.testing.assert_close(body(turned).joints, body(p).joints @ Q.T, rtol=0, atol=1e-12)


def test_moving_moves_everything_by_as_much(body):
    p, t = random_params(body, 3), torch.randn(3, 3, dtype=torch.float64)
    moved = BodyParams(p.global_orient, p.body_pose, p.betas, p.transl + t)
    for field in ("vertices", "joints", "landmarks"):
        difference = getattr(body(moved), field) - getattr(body(p), field)
        torch.testing.assert_close(difference, t[:, None].expand_as(difference), rtol=0, atol=1e-13)


@torch.no_grad()
def test_a_mirrored_pose_gives_the_mirrored_body():
    """Swap left and right, mirror the rotations: the free body is its own mirror image."""
    body, p = free_body(), random_params(free_body(), 3)
    swap = [SMPL24.index(mirrored_name(name)) for name in SMPL24]
    rotations = mirror(p.rotations[:, swap])
    flip = torch.tensor([-1.0, 1.0, 1.0]).double()
    mirrored = BodyParams(rotations[:, 0], rotations[:, 1:], p.betas, p.transl * flip)
    out, other = body(p), body(mirrored)
    with np.load(PRIORS / "free_body.npz", allow_pickle=False) as file:
        vertex = torch.as_tensor(file["mirror"].astype(np.int64))
    # float32 file: regressed joints are symmetric to its rounding
    torch.testing.assert_close(other.vertices, out.vertices[:, vertex] * flip, rtol=0, atol=1e-6)
    torch.testing.assert_close(other.joints, out.joints[:, swap] * flip, rtol=0, atol=1e-6)


def test_fewer_betas_are_filled_with_zeros_and_more_refused():
    body = SmplBody(synthetic_body())
    p = random_params(body, 2)
    short = BodyParams(p.global_orient, p.body_pose, p.betas[:, :4], p.transl)
    zeros = BodyParams(p.global_orient, p.body_pose, torch.cat([p.betas[:, :4], 0 * p.betas[:, 4:]], 1), p.transl)
    for vertices in (True, False):
        assert torch.equal(body(short, vertices).joints, body(zeros, vertices).joints)
    long = BodyParams(p.global_orient, p.body_pose, p.betas.repeat(1, 2), p.transl)
    with pytest.raises(ValueError, match="This body has 10 betas, got 20"):
        body(long)


def test_another_bodys_pose_is_refused():
    hand, body = SmplBody(synthetic_body(HAND_PARENTS)), SmplBody(synthetic_body())
    with pytest.raises(ValueError, match=r"has 24 joints: expected body_pose \(B, 23, 3, 3\), got \(2, 15, 3, 3\)"):
        body(random_params(hand, 2))


def test_the_file_may_hold_more_shapes_than_are_used():
    data = synthetic_body(shapes=16)
    assert SmplBody(data).shape_count == 10 and SmplBody(data, shape_count=16).shape_count == 16


@pytest.mark.parametrize(("stored", "shapes"), [(8, 8), (10, 10), (20, 10), (400, 16)])
def test_smplxs_expressions_are_not_taken_for_shapes(stored, shapes):
    """10 and 10 in its first files, 300 and 100 in those of today."""
    data = synthetic_smplx(shapes=stored)
    body = SmplBody(data, shape_count=16)
    np.testing.assert_array_equal(body.shapedirs, data["shapedirs"][..., :shapes])
    assert SmplBody(data).shape_count == min(shapes, 10)


def test_points_are_the_regressor_on_posed_vertices():
    body = free_body()
    p = random_params(body, 4)
    points = body.points(body.landmark_names).pose(p).points
    expected = body.landmark_regressor @ body(p).vertices
    torch.testing.assert_close(points, expected, rtol=0, atol=1e-12)


def test_an_unknown_point_gets_the_nearest_name():
    with pytest.raises(ValueError, match=r"no point 'left_wrst'\. Did you mean 'left_wrist'\?"):
        free_body().points(["left_wrst"])


def test_another_precision_and_the_original_stays():
    body = SmplBody(synthetic_body())
    p = random_params(body, 2)
    single = body.to(dtype=torch.float32)
    assert body.v_template.dtype == torch.float64 and single.faces.dtype == torch.int64
    out = single(p.to(torch.float32))
    assert out.vertices.dtype == torch.float32
    # coordinates of 5 m, 1e-7 relative, some dozen roundings
    torch.testing.assert_close(out.vertices.double(), body(p).vertices, rtol=0, atol=1e-5)


def test_inputs_stay(body):
    p = random_params(body, 2)
    before = p.map(torch.clone)
    body(p)
    body(p, vertices=False)
    for field in ("global_orient", "body_pose", "betas", "transl"):
        assert torch.equal(getattr(p, field), getattr(before, field))
