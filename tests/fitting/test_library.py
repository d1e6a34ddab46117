"""Starts from a library: similarity scores, headings, the hypotheses."""

import math

import pytest
import torch
from helpers.bodies import free_body
from helpers.fits import fitter, people, photograph
from torch import Tensor

from hmrfit.camera import Camera
from hmrfit.fitting.library import PoseLibrary, all_sides, library_starts, pick, ring, similarity_scores
from hmrfit.fitting.parameters import UPRIGHT, Observation, State
from hmrfit.fitting.schedule import FROM_SCRATCH
from hmrfit.keypoints import COCO17, SMPL24
from hmrfit.types import BodyParams, Keypoints


@pytest.fixture(scope="module")
def library() -> PoseLibrary:
    return PoseLibrary.build(free_body().points(COCO17), fitter().schedule.start.poses[:6], ring(8))


def hypotheses(observation: Observation, camera: Camera, count: int) -> State:
    """Of people seen in coco17, by the whole library."""
    body = fitter().point_body(COCO17)
    return library_starts(body, fitter().schedule.start.seen_through(body), observation, camera, count)


def observed(count: int = 5, missing: float = 0.3) -> Observation:
    return Observation.of(people(count, "coco17", noise=0.02, missing=missing).keypoints)


def slow_score(points: Tensor, xy: Tensor, c: Tensor, box: float, sigma: float, roll_sigma: float) -> tuple:
    """(score, turn) of one candidate (K, 3) for one person, by least squares in (a, b, tx, ty)."""
    rows, right = [], []
    for (px, py), (x, y), weight in zip(points[:, :2].tolist(), xy.tolist(), c.sqrt().tolist(), strict=True):
        rows += [[weight * v for v in (px, -py, 1, 0)], [weight * v for v in (py, px, 0, 1)]]
        right += [weight * x, weight * y]
    A, b = torch.tensor(rows, dtype=torch.float64), torch.tensor(right, dtype=torch.float64)
    solution = torch.linalg.lstsq(A, b, driver="gelsd").solution
    residual = (A @ solution - b).square().sum().item()
    turn = math.atan2(solution[1], solution[0])
    return residual / (2 * (sigma * box) ** 2) + turn**2 / (2 * roll_sigma**2), turn


def test_scores_are_the_slow_loop(library):
    observation = observed()
    score, turn = similarity_scores(library, observation, 0.05, 0.4)
    for b in range(5):
        k = observation.keypoints
        for c in range(0, len(library.points), 5):
            slow = slow_score(library.points[c], k.xy[b], k.confidence[b], observation.box_size[b].item(), 0.05, 0.4)
            assert score[b, c].item() == pytest.approx(slow[0], rel=1e-8)  # a difference of squares loses half
            assert turn[b, c].item() == pytest.approx(slow[1], abs=1e-8)


def test_the_true_pose_scores_best(library):
    """Keypoints that are a candidate's own orthographic view."""
    for c in (3, 17, 40):
        xy = 400 + 100 * library.points[c : c + 1, :, :2]
        keypoints = Keypoints(xy, torch.ones(1, 17, dtype=torch.float64), COCO17)
        score, turn = similarity_scores(library, Observation.of(keypoints), 0.05, 0.4)
        assert score.argmin().item() == c and score[0, c] < 1e-8 and abs(turn[0, c]) < 1e-8


def test_unseen_keypoints_do_not_count(library):
    observation = observed()
    moved = observation.keypoints.xy + 100 * (observation.keypoints.confidence == 0)[..., None]
    other = Observation(Keypoints(moved, observation.keypoints.confidence, COCO17), observation.box_size)
    for a, b in zip(*(similarity_scores(library, o, 0.05, 0.4) for o in (observation, other)), strict=True):
        torch.testing.assert_close(a, b)


def test_a_library_holds_every_pose_at_every_heading(library):
    assert library.orient.shape == (48, 3, 3) and library.points.shape == (48, 17, 3)
    assert library.pose_index.bincount().tolist() == [8] * 6
    facing = (library.toward[:, 2] > 0.999).nonzero()[:, 0]
    torch.testing.assert_close(library.orient[facing], torch.tensor(UPRIGHT).double().expand(6, 3, 3))
    for c in (0, 13, 47):
        pose = library.body_pose[library.pose_index[c]][None]
        params = BodyParams(library.orient[c][None], pose, torch.zeros(1, 10).double(), torch.zeros(1, 3).double())
        posed = free_body().points(COCO17).pose(params)
        torch.testing.assert_close(library.points[c], posed.points[0] - posed.joints[0, 0])


def test_all_sides_are_rotations_that_look_everywhere():
    views = all_sides(100)
    torch.testing.assert_close(views @ views.mT, torch.eye(3).double().expand(100, 3, 3))
    torch.testing.assert_close(torch.linalg.det(views), torch.ones(100).double())
    toward = -views[:, 2]
    assert toward.mean(0).norm() < 1e-2
    directions = torch.nn.functional.normalize(torch.randn(200, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    assert (directions.double() @ toward.T).amax(1).arccos().max() < math.radians(14)  # to the nearest of 100


def test_picked_candidates_differ_in_heading():
    """Three good ones side by side and one worse behind: the one behind comes second."""
    heading = torch.tensor([0.0, 0.1, -0.1, math.pi]).double()
    scores = torch.tensor([[1.0, 1.1, 1.2, 1.9]]).double()
    toward = torch.stack([heading.sin(), torch.zeros_like(heading), heading.cos()], 1)
    assert pick(scores, toward, 2).tolist() == [[0, 3]]
    assert sorted(pick(scores, toward, 4)[0].tolist()) == [0, 1, 2, 3]
    assert scores.isfinite().all()  # the caller's stay as they were


def test_both_orientations_are_among_the_hypotheses():
    """Front and back views look alike, so each person starts from both sides."""
    truth = people(24, "coco17", noise=0.01, missing=0.1)
    state = hypotheses(Observation.of(truth.keypoints), truth.camera, FROM_SCRATCH)
    forward = state.params.global_orient[..., 2].reshape(24, -1, 3)
    away = (forward @ forward.mT).amin((1, 2))
    assert (away < 0).all()  # some pair more than 90° apart
    true_forward = truth.params.global_orient[:, None, :, 2]
    assert ((forward * true_forward).sum(-1).amax(1) > 0.5).double().mean() > 0.9  # and nearly all have a right one


def test_hypotheses_reproduce_their_candidate():
    """The state's own points, seen through its camera, are near the keypoints for people out of the library."""
    truth = people(24, "coco17")
    body = fitter().point_body(COCO17)
    state = hypotheses(Observation.of(truth.clean), photograph(24), 3)
    error = (state.camera.project(body.pose(state.params).points)[::3] - truth.clean.xy).norm(dim=-1).mean(1)
    assert (error / truth.clean.box_size()).median() < 0.08
    assert (state.params.betas == 0).all()


def test_a_library_is_seen_through_each_keypoint_set_once():
    start = fitter().schedule.start
    coco, smpl = (fitter().point_body(names) for names in (COCO17, SMPL24))
    assert start.seen_through(coco) is start.seen_through(coco) is not start.seen_through(smpl)
