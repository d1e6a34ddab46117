"""The same keypoints in other calibrated views: the term, its derivative, and the cameras between."""

from dataclasses import replace

import pytest
import torch
from helpers.bodies import free_body, random_params
from helpers.measured import at, check_measured, draw, knowing

from hmrfit.body.rigid import turned
from hmrfit.camera import Camera
from hmrfit.fitting.parameters import Linearization
from hmrfit.fitting.terms.views import FINAL_VIEWS, OtherViews, ViewsTerm, other_views, relative_pose
from hmrfit.keypoints import COCO17
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import Keypoints

B, V = 3, 2


def two_more(e: Linearization) -> OtherViews:
    """Two more cameras, 40 px off."""
    rotation = rotvec_to_matrix(0.5 * draw(B, V, 3))
    target = torch.tensor([0.0, 0.0, 4.0]) - (rotation @ e.state.params.transl[:, None, :, None]).squeeze(-1)
    points = (rotation[:, :, None] @ e.posed.points[:, None, ..., None]).squeeze(-1) + target[:, :, None]
    focal, center = torch.full((B, V, 2), 800.0).double(), torch.full((B, V, 2), 500.0).double()
    xy = 800 * points[..., :2] / points[..., 2:] + 500 + 40 * draw(B, V, 17, 2)
    confidence, box = torch.rand(B, V, 17).double(), torch.full((B, V), 300.0).double()
    return OtherViews(rotation, target, focal, center, xy, confidence, box)


def known() -> Linearization:
    e = at()
    return knowing(e, views=two_more(e))


def test_derivatives_and_sums():
    check_measured(ViewsTerm(), known())


def test_points_of_hands_have_scales_of_their_own():
    """A point that is n times as exact, n times as near costs the same; some of the points are the term of those."""
    e = known()
    views = e.observation.measurements["views"]
    n = 0.2 + torch.rand(B, V, 17).double()
    check_measured(ViewsTerm(), knowing(e, views=replace(views, noise_ratio=n)))
    points = (views.rotation[:, :, None] @ e.posed.points[:, None, ..., None]).squeeze(-1)
    points = points + views.translation[:, :, None]
    truth = 800 * points[..., :2] / points[..., 2:] + 500
    nearer = replace(views, xy=truth + n[..., None] * (views.xy - truth), noise_ratio=n)
    torch.testing.assert_close(ViewsTerm().cost(knowing(e, views=nearer)), ViewsTerm().cost(e))
    some = nearer.of_points([2, 5])
    assert torch.equal(some.xy, nearer.xy[:, :, [2, 5]]) and torch.equal(some.noise_ratio, n[:, :, [2, 5]])
    torch.testing.assert_close(views.depth(e.posed.points[:, 3]), points[:, :, 3, 2])


def test_without_other_views_there_is_an_error_message():
    with pytest.raises(ValueError, match="The term 'views' looks at a measurement that was not given"):
        ViewsTerm().residuals(at())


def test_between_two_cameras_points_go_the_way_over_the_world():
    rotation, translation, points = rotvec_to_matrix(draw(4, 3)), draw(4, 3), draw(7, 3)
    seen = points @ rotation.mT + translation[:, None]  # (4, 7, 3) in every camera
    for base in range(4):
        turn, shift = relative_pose(rotation, translation, base)
        torch.testing.assert_close(seen[base] @ turn.mT + shift[:, None], seen)
        torch.testing.assert_close(turn[base], torch.eye(3).double())


def test_views_of_the_true_body_agree_in_every_cameras_frame():
    """One body, three cameras: seen from each, the others' residuals are those of the keypoints' noise alone."""
    body, points = free_body(), free_body().points(COCO17)
    rotation = rotvec_to_matrix(torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.7, 0.0], [0.0, -0.5, 0.1]]).double())
    world = random_params(body, 1)[[0, 0, 0]]
    pelvis = body.points(()).pose(world).joints[:, 0]
    translation = torch.tensor([0.0, 0.0, 5.0]) - (rotation @ pelvis[..., None]).squeeze(-1)
    params = turned(world, body.rest_joints[0], body.joint_shapes[0], rotation, translation)
    camera = Camera.from_size(1024, 768, focal=900.0, count=3)
    xy = camera.project(points.pose(params).points)
    exact, noise = Keypoints(xy, torch.ones(3, 17).double(), COCO17), 5 * draw(3, 17, 2)
    for shift, smallest, largest in ((0 * noise, 0.0, 1e-7), (noise, 1e-3, 1.0)):
        seen = Keypoints(xy + shift, exact.confidence, COCO17)
        views = other_views(seen, camera, rotation, translation)
        e = at()
        state = type(e.state)(params, camera)
        found = ViewsTerm().residuals(knowing(Linearization(points, state, e.observation), views=views.record))
        assert (found.abs().amax(1) >= smallest).all() and (found.abs().amax(1) <= largest).all()
    wide, final = views.terms
    assert (wide.last, final.before) == (0.0, 0.0) and final.term.sigma == FINAL_VIEWS < wide.term.sigma


def test_the_record_of_a_view_is_about_the_others():
    camera = Camera.from_size(1024, 768, count=3)
    xy = draw(3, 17, 2) * 100 + 500
    seen = Keypoints(xy, torch.rand(3, 17).double(), COCO17)
    record = other_views(seen, camera, rotvec_to_matrix(draw(3, 3)), draw(3, 3)).record
    assert torch.equal(record.xy[1], xy[[0, 2]]) and torch.equal(record.confidence[2], seen.confidence[[0, 1]])
    torch.testing.assert_close(record.box_size[0], seen.box_size()[[1, 2]])
