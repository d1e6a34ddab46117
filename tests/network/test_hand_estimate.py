"""The initial estimate of hands: what it is of a hand, of its mirror image, and of a batch."""

import pytest
import torch
from helpers.hand_scenes import HandScene, hand_scene

from hmrfit.assets import locate
from hmrfit.network.hand_estimate import HandHmr, mirrored_params, mirrored_picture
from hmrfit.network.initial_estimate import KeypointHmr
from hmrfit.train.hand_stream import hand_network

NAME = "hand_hmr"


@pytest.fixture(scope="module")
def scene() -> HandScene:
    return hand_scene("right", count=8, noise=0.005)


def test_it_is_near_the_truth(scene):
    """The palm's side, and how far away the hand is."""
    params = HandHmr.from_file(locate(NAME)).predict(scene.keypoints, scene.camera).params
    turned = (params.global_orient.mT @ scene.params.global_orient).diagonal(dim1=1, dim2=2).sum(1)
    assert (torch.rad2deg(((turned - 1) / 2).clamp(-1, 1).acos()) < 45).all()
    assert ((params.transl[:, 2] / scene.params.transl[:, 2]).log().abs() < 0.3).all()


def test_of_a_left_hand_it_is_the_mirror_image(scene):
    right, left = (HandHmr.from_file(locate(NAME), side) for side in ("right", "left"))
    own = mirrored_params(right.predict(scene.keypoints, scene.camera).params)
    other = left.predict(mirrored_picture(scene.keypoints, scene.camera), scene.camera).params
    for name in ("global_orient", "body_pose", "betas", "transl"):
        torch.testing.assert_close(getattr(other, name), getattr(own, name), rtol=0, atol=1e-5)


def test_batch_mates_change_nothing(scene):
    estimate = HandHmr.from_file(locate(NAME))
    whole = estimate.predict(scene.keypoints, scene.camera).params
    alone = estimate.predict(scene.keypoints[2:3], scene.camera[2:3]).params
    assert torch.equal(alone.rotations, whole.rotations[2:3]) and torch.equal(alone.transl, whole.transl[2:3])


def test_networks_of_bodies_and_of_hands_are_told_apart():
    with pytest.raises(ValueError, match="a hand's 16 joints, not 24"):
        HandHmr.from_file(locate("keypoint_hmr"))
    with pytest.raises(ValueError, match="SMPL's 24 joints, not 16"):
        KeypointHmr(hand_network(8, 1, 8))
