"""Hands seen from other sides: where they are tried, and what is found when it is asked for."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.hand_scenes import SIZE, HandScene, hand_scene

import hmrfit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.other_hand import other_hands
from hmrfit.fitting.parameters import State
from hmrfit.fitting.route import Begun
from hmrfit.fitting.starts import Given
from hmrfit.hand import hand_pipeline
from hmrfit.network.hand_estimate import mirrored_picture
from hmrfit.ops.rotation import rotvec_to_matrix

HALF_TURN = rotvec_to_matrix(torch.tensor([np.pi, 0.0, 0.0]))
"""About the fingers of the resting hand: the palm where its back was."""


@pytest.fixture(scope="module")
def scene() -> HandScene:
    return hand_scene("right", count=3, noise=0.01)


@pytest.fixture(scope="module")
def fitter() -> Fitter:
    return hand_pipeline("right").fitter


def flipped(fitter: Fitter, scene: HandScene) -> Begun:
    """A start on the wrong side."""
    begun = fitter.begin(Given(scene.keypoints, scene.camera))
    p = begun.state.params
    turned = replace(p, global_orient=p.global_orient @ HALF_TURN.to(p.transl))
    return Begun.at(State(turned, begun.state.camera), begun.observation)


def test_a_hand_on_the_wrong_side_is_turned_back(scene, fitter):
    right = fitter.fit(scene.keypoints, scene.camera)
    wrong = fitter.run(flipped(fitter, scene), replace(fitter.schedule, after=()))
    mended = fitter.run(flipped(fitter, scene))
    assert (wrong.cost > 1.3 * right.cost + 5).any()
    assert (mended.cost < 1.1 * right.cost + 3).all()


def test_the_other_answer_is_found_when_it_is_asked_for(scene, fitter):
    fit = fitter.fit(scene.keypoints, scene.camera)
    assert len(fit.hypotheses) == 1
    answers = fitter.answers(fit)
    assert torch.equal(answers.hypotheses[0].params.transl, fit.state.params.transl)
    assert answers.posterior is not None
    torch.testing.assert_close(answers.posterior.probability.sum(1), torch.ones(3, dtype=torch.float64))
    for answer, cost in zip(answers.hypotheses[1:], answers.cost.T[1:], strict=True):
        there = cost.isfinite()
        joints = [fitter.point_body(scene.names).pose(s.params).points for s in (answer, fit.state)]
        about = [points - points[:, :1] for points in joints]
        assert ((about[0] - about[1]).norm(dim=-1).amax(1) > 0.003)[there].all()


def test_batch_mates_change_nothing(scene, fitter):
    """Of the hands that are tried again, too."""
    wrong = flipped(fitter, scene)
    alone = fitter.run(Begun.at(wrong.state[1:2], wrong.observation[1:2])).state.params
    together = fitter.run(wrong).state.params
    torch.testing.assert_close(alone.rotations, together.rotations[1:2], rtol=0, atol=1e-6)


def test_many_left_hands_given_as_right_ones_are_warned_of():
    """One says little, a dozen do."""
    scene = hand_scene("right", count=12, noise=0.01, seed=3)
    right = hmrfit.fit_hand(None, scene.array, image_size=SIZE, focal=scene.focal)
    mirrored = scene.array * [-1, 1, 1] + [SIZE[0], 0, 0]
    wrong = hmrfit.fit_hand(None, mirrored, image_size=SIZE, focal=scene.focal)
    assert all(any("As a left hand" in text for text in warnings) for warnings in wrong.warnings)
    assert not any("As a left hand" in text for warnings in right.warnings for text in warnings)


def test_bodies_are_not_asked(scene, fitter):
    body = hmrfit.Pipeline.of().fitter
    fit = fitter.fit(scene.keypoints[:1], scene.camera[:1])
    assert other_hands(body, fit) == [False]
    assert mirrored_picture(scene.keypoints, scene.camera).names[0].startswith("left")


def test_frames_of_one_hand_are_doubted_together_or_not_at_all(scene, fitter):
    fit = fitter.fit(scene.keypoints[:1], scene.camera[:1]).of(torch.zeros(12, dtype=torch.int64))
    xy = fit.observation.keypoints.xy.clone()
    xy[4] = xy[4].flip(0)  # one frame whose points are in disorder
    seen = replace(fit.observation.keypoints, xy=xy)
    other = fitter.fit(seen, fit.state.camera)
    assert other_hands(fitter, other, of_one=True) == [False] * 12
