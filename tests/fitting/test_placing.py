"""Where a body stands: the closed-form translation, and depths from extent and torso."""

import pytest
import torch
from helpers.bodies import free_body, random_params
from helpers.fits import people, photograph

from hmrfit.camera import Camera
from hmrfit.fitting.parameters import Observation
from hmrfit.fitting.placing import guess_depth, middle_of_box, solve_translation, torso_depth
from hmrfit.keypoints import SMPL24, resolve_set
from hmrfit.types import Keypoints


def test_the_translation_of_a_known_body_is_exact():
    """Up to the faint pull towards the guessed depth, 1e-4 of a keypoint."""
    truth = people(12)
    points = free_body().points(SMPL24).pose(truth.params).points
    root = truth.joints[:, :1]
    found = solve_translation(points - root, Observation.of(truth.clean), truth.camera)
    torch.testing.assert_close(found, root[:, 0], rtol=3e-3, atol=1e-3)


def test_depth_is_positive_and_finite_whatever_is_seen():
    truth = people(12)
    points = (truth.joints - truth.joints[:, :1]).clone()
    for seen in (0, 1, 2, 3):
        confidence = torch.zeros(12, 24, dtype=torch.float64)
        confidence[:, :seen] = 1
        observation = Observation.of(Keypoints(truth.clean.xy, confidence, SMPL24))
        transl = solve_translation(points, observation, truth.camera)
        assert transl.isfinite().all() and (transl[:, 2] > 0).all(), seen
        assert (guess_depth(points, observation, truth.camera) > 0).all()


def test_one_keypoint_lies_on_its_ray():
    truth = people(12)
    points = truth.joints - truth.joints[:, :1]
    confidence = torch.zeros(12, 24, dtype=torch.float64)
    confidence[:, 7] = 1
    observation = Observation.of(Keypoints(truth.clean.xy, confidence, SMPL24))
    placed = points + solve_translation(points, observation, truth.camera)[:, None]
    error = (truth.camera.project(placed) - truth.clean.xy)[:, 7].norm(dim=-1)
    assert (error < 2).all()  # pixels; the middle of the view pulls at 1e-4 of the keypoint


def test_nearer_people_are_guessed_nearer():
    posed = free_body().points(SMPL24).pose(random_params(free_body(), 1))
    about = (posed.points - posed.joints[:, :1]).expand(2, -1, -1)
    xy = 500 + torch.tensor([100.0, 200.0]).double()[:, None, None] * about[..., :2]
    observation = Observation.of(Keypoints(xy, torch.ones(2, 24, dtype=torch.float64), SMPL24))
    depth = guess_depth(about, observation, Camera.from_size(1000, 1000, focal=800.0, count=2))
    torch.testing.assert_close(depth, torch.tensor([8.0, 4.0]).double())  # f / (pixels per metre)


def test_depth_from_the_torso():
    """A torso of 0.5 m that is 100 px long under a focal length of 1,280 px is 6.4 m away, seen from one side too."""
    names = resolve_set("coco17")
    points, xy = torch.zeros(1, 17, 3).double(), torch.zeros(1, 17, 2).double()
    points[0, 5:7, 1], xy[0, 5:7, 1] = -0.5, -100.0
    both, one = torch.ones(1, 17).double(), torch.ones(1, 17).double()
    one[0, 5] = 0
    for confidence in (both, one):
        seen = Observation.of(Keypoints(xy, confidence, names))
        assert torso_depth(points, seen, photograph(1)).item() == pytest.approx(6.4)


def test_without_a_torso_the_depth_is_that_of_the_extent():
    truth = people(4, "coco17")
    confidence = torch.ones(4, 17, dtype=torch.float64)
    confidence[:, 5:7] = 0
    seen = Observation.of(Keypoints(truth.clean.xy, confidence, truth.clean.names))
    points = free_body().points(truth.clean.names).pose(truth.params).points
    assert torch.equal(torso_depth(points, seen, truth.camera), guess_depth(points, seen, truth.camera))


def test_the_middle_of_the_box_is_seen_in_the_middle_of_the_box():
    truth = people(4, "coco17")
    seen = Observation.of(truth.clean)
    middle = middle_of_box(seen, truth.camera)
    low, high = truth.clean.bounds()
    torch.testing.assert_close(truth.camera.project(middle[:, None])[:, 0], (low + high) / 2)
    torch.testing.assert_close(truth.camera.focal.mean(-1) * 1.7 / middle[:, 2], seen.box_size)
