"""Scores of initial estimates: the truth has no error, and a contact sheet shows as many people as it should."""

import pytest
import torch
from helpers.bodies import free_body
from helpers.training import frames, network

from hmrfit.network.initial_estimate import KeypointHmr
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.synthetic.people import Corruption
from hmrfit.train.validation import PANEL, draw_people, people_of, score_people, validation_score


def test_the_truth_has_no_error():
    people = people_of(free_body(), frames(), 20, "smpl24", Corruption(0.0, 0.0))
    score = score_people(free_body(), people, lambda keypoints, camera: people.params)
    assert score["pa_mpjpe_mm"] < 1e-6 and score["mpjpe_mm"] < 1e-6 and score["facing_wrong_percent"] == 0
    assert score["reprojection_percent"] > 1  # the truth before a camera of another focal length


def test_a_wrong_heading_is_in_mpjpe_and_facing_alone():
    people = people_of(free_body(), frames(), 20)
    about_y = rotvec_to_matrix(torch.tensor([0.0, torch.pi, 0.0]).double())
    params = people.params
    turned = type(params)(about_y @ params.global_orient, params.body_pose, params.betas, params.transl)
    score = score_people(free_body(), people, lambda keypoints, camera: turned)
    assert score["pa_mpjpe_mm"] < 1e-6 and score["mpjpe_mm"] > 100
    assert score["facing_wrong_percent"] > 80  # not all: who lies on the back still faces up


def test_the_same_people_every_time_and_by_weight():
    a, b, c = (people_of(free_body(), frames(), 10, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(a.keypoints.xy, b.keypoints.xy) and not torch.equal(a.keypoints.xy, c.keypoints.xy)
    hmr = network()
    score = validation_score(free_body(), frames(), 10)
    estimate = KeypointHmr(hmr, flip_test=False)
    by_hand = score_people(free_body(), a, lambda keypoints, camera: estimate.predict(keypoints, camera).params)
    assert score(hmr) == pytest.approx(by_hand)


def test_a_contact_sheet_shows_everybody():
    people = people_of(free_body(), frames(), 3)
    picture = draw_people(free_body(), people, lambda keypoints, camera: people.params, across=2)
    width, height = PANEL
    assert picture.shape[0] == 2 * height and 6 * width <= picture.shape[1] < 6 * width + 20
    assert (picture[height:, picture.shape[1] // 2 + 10 :] == 255).all()  # the fourth place is empty
    assert picture[:height].std() > 20
