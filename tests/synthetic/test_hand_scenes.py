"""Synthetic hands: the same ones every time, within the limits of joints, and true about themselves."""

import pytest
import torch
from helpers.hand_pictures import hand_limits, hand_scenes, right_hand, some_poses

from hmrfit.body.mirrored import mirrored_hand
from hmrfit.priors.biomechanics import bones_of, joint_angles
from hmrfit.synthetic.hand_scenes import HAND21, HandScenes
from hmrfit.types import BodyParams


def test_a_hand_is_the_same_whatever_was_drawn_before():
    a, b = hand_scenes(), HandScenes(right_hand(), some_poses(), 8, 40)
    a[0], a[1]
    for name in ("images", "masks", "keypoints", "points"):
        assert torch.equal(getattr(a[2], name), getattr(b[2], name)), name
    assert not torch.equal(a[2].images, a[3].images)
    with pytest.raises(IndexError, match="no hand 8"):
        a[8]


def test_the_truth_is_in_the_picture():
    """The mask covers the points, and the parameters pose the points."""
    scenes, body = hand_scenes(8, 64), right_hand()
    inside = []
    for i in range(8):
        hand = scenes[i]
        cell = hand.keypoints[0].long().clamp(0, 63)
        inside.append(hand.masks[0, cell[:, 1], cell[:, 0]].double().mean())
        points = body.points(HAND21).pose(hand.params.to(torch.float64)).points
        torch.testing.assert_close((points - points[:, :1]).float(), hand.points, atol=1e-5, rtol=0)
        extent = (hand.keypoints.amax(1) - hand.keypoints.amin(1)).amax()
        assert 0.38 < extent / 64 < 0.54  # 1 / 2.2, and a tenth
    assert torch.stack(inside).mean() > 0.75  # the rest is covered, or at an edge


def test_poses_stay_within_the_limits_of_joints():
    theta = some_poses()
    zero = theta.new_zeros(len(theta), 10)
    params = BodyParams.from_rotvecs(zero[:, :3], theta, zero, zero[:, :3])
    angles = joint_angles(bones_of(right_hand().points(HAND21).pose(params).points))
    assert hand_limits().hulls.signed_distance(angles).amax() < 0.1


def test_a_left_hand_is_refused():
    with pytest.raises(ValueError, match="left_wrist"):
        HandScenes(mirrored_hand(right_hand()), some_poses())
