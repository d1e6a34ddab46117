"""Body and hands in one system: people with known fingers, missing hands, hands of a few pixels, batch mates."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.people_with_hands import some_people
from torch import Tensor

import hmrfit
from hmrfit.body.skeleton import SMPL, SMPLH
from hmrfit.build import load_body
from hmrfit.evaluate.metrics import pa_mpjpe
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.numpy_path import NumpyProblem
from hmrfit.fitting.parameters import Linearization, Observation, State
from hmrfit.hand_keypoints import hand_set
from hmrfit.keypoints import HAND_POINTS, body_places, find_set
from hmrfit.network.label_model import EXCHANGES, exchanged_places
from hmrfit.pipeline import Pipeline
from hmrfit.synthetic.people import People
from hmrfit.types import BodyParams

BODY = [SMPLH.names.index(f"{side}_{part}") for side in ("left", "right") for part in ("hip", "knee", "elbow", "wrist")]


def as_array(people: People) -> np.ndarray:
    seen = people.keypoints
    return torch.cat([seen.xy, seen.confidence[..., None]], -1).numpy()


def fitted(people: People, keypoints: np.ndarray | None = None, **more) -> hmrfit.FitResult:
    keypoints = as_array(people) if keypoints is None else keypoints
    more = {"keypoint_set": people.keypoints.names, "camera": people.camera[: len(keypoints)]} | more
    return hmrfit.fit(None, keypoints, image_size=(1280, 960), **more)


def hand_error(params: BodyParams, people: People, side: str) -> Tensor:
    """(B,) metres."""
    hand = load_body("free_body_h").points(hand_set("hand21", side).names)
    return pa_mpjpe(hand.pose(params).points, hand.pose(people.params[: len(params)]).points)


def fitter() -> Fitter:
    return Pipeline.of({"BODY.PATH": "free_body_h"}).fitter


def test_a_set_with_hands_is_fitted_with_them_and_another_is_not() -> None:
    people = some_people(6)
    result = fitted(people)
    assert result.origin.body == "free_body_h" and result.joints.shape == (6, 52, 3) and result.betas.shape == (6, 20)
    errors = torch.stack([hand_error(result.params, people, side) for side in ("left", "right")])
    assert errors.median() < 0.008  # fingers at rest: 0.024
    places = list(body_places(people.keypoints.names))
    names = [people.keypoints.names[k] for k in places]
    alone = fitted(people, as_array(people)[:, places], keypoint_set=names)
    assert alone.origin.body == "free_body" and alone.joints.shape == (6, 24, 3)
    without = fitted(people, config={"PRIORS.HANDS": ""})
    np.testing.assert_array_equal(without.joints, alone.joints)


def test_hands_do_not_spoil_the_body() -> None:
    people = some_people(6)
    truth = people.joints[:, BODY]
    given = fitter().fit(people.keypoints, people.camera)
    places = list(body_places(people.keypoints.names))
    seen = hmrfit.types.Keypoints(
        people.keypoints.xy[:, places],
        people.keypoints.confidence[:, places],
        tuple(people.keypoints.names[k] for k in places),
    )
    start = fitter().fit(seen, people.camera)
    joints = [load_body("free_body_h")(f.state.params, vertices=False).joints[:, BODY] for f in (given, start)]
    with_hands, without = (pa_mpjpe(j, truth).mean() for j in joints)
    assert with_hands < 1.02 * without


def test_a_missing_hand_stays_at_the_mean_and_is_uncertain() -> None:
    people = some_people(6)
    keypoints = as_array(people)[:1]
    left = [k for k, name in enumerate(people.keypoints.names) if name in HAND_POINTS and name.startswith("left_")]
    whole = fitted(people, keypoints)
    keypoints[:, left] = 0.0
    result = fitted(people, keypoints)
    fingers = list(SMPLH.fingers["left"])
    term = fitter().terms["hand_pose"]
    mean = hmrfit.ops.rotation.rotvec_to_matrix(term.mean["left"].view(15, 3))
    torch.testing.assert_close(result.params.rotations[0, fingers], mean, atol=0.02, rtol=0)
    tips = [j for j in fingers if SMPLH.names[j].endswith("3")]
    assert (result.joint_std[0, tips] > 1.3 * whole.joint_std[0, tips]).all()


def test_hands_of_a_few_pixels_do_not_matter() -> None:
    """A person of 60 pixels, whose hands are six: the body is as it is without them."""
    people = some_people(6)
    small = as_array(people)[:2] * [1 / 12, 1 / 12, 1]
    names, size = people.keypoints.names, (106, 80)
    result = hmrfit.fit(None, small, keypoint_set=names, image_size=size)
    places = list(body_places(names))
    alone = hmrfit.fit(None, small[:, places], keypoint_set=[names[k] for k in places], image_size=size)
    assert np.isfinite(result.joint_std).all()
    limbs = [j for j in BODY if "wrist" not in SMPLH.names[j]]
    theirs = torch.as_tensor(alone.joints[:, [SMPL.index(SMPLH.names[j]) for j in limbs]])
    assert pa_mpjpe(torch.as_tensor(result.joints[:, limbs]), theirs).max() < 0.03


def test_batch_mates_change_nothing() -> None:
    people = some_people(6)
    many, one = fitted(people), fitted(people, as_array(people)[2:3], camera=people.camera[[2]])
    np.testing.assert_allclose(many.joints[2], one.joints[0], atol=1e-6)


@pytest.mark.parametrize("keypoint_set", ["openpose135", "openpose67", "mediapipe75", "halpe136"])
def test_other_sets_have_hands_too(keypoint_set: str) -> None:
    people = some_people(2, keypoint_set)
    known = find_set(keypoint_set)
    whole = np.zeros((1, len(known.layout), 3))
    whole[:, list(known.with_hands.rows)] = as_array(people)[:1]
    result = fitted(people, whole, keypoint_set=keypoint_set)
    assert result.keypoints.names == people.keypoints.names and result.joints.shape == (1, 52, 3)
    assert hand_error(result.params, people, "left") < 0.03


def test_the_pose_prior_of_hands_is_one_in_numpy_and_in_torch() -> None:
    people = some_people(2)
    f = fitter()
    body, term = f.point_body(people.keypoints.names), f.terms["hand_pose"]
    e = Linearization(body, State(people.params, people.camera), Observation.of(people.keypoints))
    sums = NormalEquations(e)
    term.add(e, sums, 2.0)
    cost, gradient, hessian = sums.finish(e)
    torch.testing.assert_close(cost, 2.0 * term.cost(e))
    for j in (25, 40):  # joints of the left and the right hand
        step = torch.zeros(e.layout.columns).double()
        step[3 + 3 * e.layout.rotating.index(j) + 1] = 1e-5
        ahead, behind = (e.state.retract(s * step, body.parents, e.layout) for s in (1, -1))
        costs = [term.cost(Linearization(body, state, e.observation, e.layout)) for state in (ahead, behind)]
        torch.testing.assert_close(2.0 * (costs[0] - costs[1]) / 2e-5, gradient @ step / 1e-5, rtol=1e-5, atol=1e-6)
    form = term.numpy_form(e.observation, 1, e.layout)
    problem = NumpyProblem(body, e.layout, (e.state, e.observation, 1), [(form, 2.0)], [])
    system = problem.linearize(problem.start)
    np.testing.assert_allclose(system.gradient, gradient[1], atol=1e-9)
    np.testing.assert_allclose(system.hessian, hessian[1], atol=1e-8)


def test_limits_of_a_body_s_hands_have_the_derivatives_of_finite_differences() -> None:
    people = some_people(2)
    f = fitter()
    body = f.point_body(people.keypoints.names)
    wild = people.params.rotations.clone()
    fingers = [j for joints in SMPLH.fingers.values() for j in joints]
    turns = 0.8 * torch.randn(2, 30, 3, generator=torch.Generator().manual_seed(0)).double()
    wild[:, fingers] = hmrfit.ops.rotation.rotvec_to_matrix(turns)
    params = BodyParams(wild[:, 0], wild[:, 1:], people.params.betas, people.params.transl)
    e = Linearization(body, State(params, people.camera), Observation.of(people.keypoints))
    for side in ("left", "right"):
        term = f.terms[f"biomechanics_{side}"]
        J = term.jacobian(e)
        assert (term.residuals(e) > 0).sum() > 5
        for j in SMPLH.fingers[side][::4]:
            step = torch.zeros(J.shape[-1]).double()
            step[3 + 3 * j + 1] = 1e-6
            ahead, behind = (e.state.retract(s * step, e.body.parents, e.layout) for s in (1, -1))
            r = [term.residuals(Linearization(body, s, e.observation, e.layout)) for s in (ahead, behind)]
            torch.testing.assert_close(J[..., 3 + 3 * j + 1], (r[0] - r[1]) / 2e-6, rtol=1e-4, atol=1e-5)


def test_results_are_saved_with_their_fingers(tmp_path) -> None:
    people = some_people(6)
    result = fitted(people, as_array(people)[:1])
    result.save(tmp_path / "a.npz")
    again = hmrfit.FitResult.load(tmp_path / "a.npz")
    np.testing.assert_allclose(again.joints, result.joints, atol=1e-6)
    for ending in ("bvh", "glb", "smpl"):
        result.save_motion(tmp_path / f"a.{ending}")
        assert (tmp_path / f"a.{ending}").stat().st_size > 1000


def test_a_hand_on_the_wrong_side_begins_again_elsewhere() -> None:
    people = some_people(6)
    f = fitter()
    route = f.route(people.keypoints.names)
    assert f.hands is not None
    fit = f.hands.elsewhere(f.fit(people.keypoints, people.camera), route, torch.zeros(6, 2, dtype=torch.bool))
    wrist = SMPLH.names.index("left_wrist")
    rotations = fit.state.params.rotations.clone()
    rotations[:3, wrist] = (
        rotations[:3, wrist] @ hmrfit.ops.rotation.rotvec_to_matrix(torch.tensor([3.0, 0.0, 0.0])).double()
    )
    params = BodyParams(rotations[:, 0], rotations[:, 1:], fit.state.params.betas, fit.state.params.transl)
    state = State(params, fit.state.camera)
    costs = route.term_costs(state, fit.observation, fit.stage)
    turned = replace(fit, state=state, hypotheses=[state], cost=sum(costs.values()))
    again = f.hands._with_other_sides(turned, route)
    assert (turned.cost[:3] > fit.cost[:3] + 100).all() and (again.cost[:3] < fit.cost[:3] + 5).all()
    torch.testing.assert_close(again.cost[3:], fit.cost[3:])


def test_other_answers_of_hands_have_probabilities() -> None:
    result = fitted(some_people(6))
    hypotheses, probability = result.hypotheses, result.probability
    assert len(hypotheses) == probability.shape[1] >= 2
    np.testing.assert_allclose(probability.sum(1), 1.0)


def test_arms_that_are_exchanged_back_take_their_hands_along() -> None:
    """Who is mended has the hands of the right people, not those at the other side's wrists."""
    people = some_people(12)
    names = people.keypoints.names
    arms = list(EXCHANGES).index("The arms")
    sources = exchanged_places(names)[arms]
    wrong, right = fitted(people, as_array(people)[:, sources]), fitted(people)
    assert wrong.fit.mended is not None and right.fit.mended is not None
    back = (wrong.fit.mended.exchanged == 1 + arms) & (wrong.fit.mended.left_out == 0)
    mended = (back & (right.fit.mended.exchanged == 0) & (right.fit.mended.left_out == 0)).nonzero()[:, 0]
    assert len(mended) >= 2
    assert torch.equal(wrong.keypoints.xy[mended], right.keypoints.xy[mended])
    np.testing.assert_allclose(wrong.joints[mended], right.joints[mended], atol=1e-6)
