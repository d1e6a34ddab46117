"""Hands for training: poses, views, sets, and that a network learns from them."""

import numpy as np
import torch
from helpers.finger_pool import POINTS, pool, stream
from helpers.hands import right_hand

from hmrfit.hand_keypoints import hand_set
from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.train.hand_stream import HAND_LOSS, HAND_NAMES, HandSampling, hand_network
from hmrfit.train.objectives import KeypointObjective
from hmrfit.train.trainer import Trainer, TrainingSchedule


def test_hands_are_seen_from_everywhere_and_before_the_camera():
    hands = stream().hands(2000)
    toward = hands.params.global_orient[:, 2]  # the optical axis in the hand's own axes
    assert toward.mean(0).abs().max() < 0.06 and (toward.square().mean(0) - 1 / 3).abs().max() < 0.03
    assert (hands.joints[..., 2] > 0).all()
    extent = hands.joints[..., :2].amax(1) - hands.joints[..., :2].amin(1)
    assert 0.05 < float((extent.amax(1) / hands.joints[:, 0, 2]).median()) < 0.6


def test_each_hand_has_the_points_of_one_set():
    batch = stream(HandSampling(corruption=HandSampling().corruption)).hands(300)
    sets = [{HAND_NAMES.index(n) for n in hand_set(name, "right").names} for name in ("hand21", "mano_native21")]
    there = [set(row.nonzero()[:, 0].tolist()) for row in batch.clean.confidence]
    assert all(any(points == own for points in there) for own in sets)
    assert all(len(points) in (20, 21) for points in there)


def test_poses_without_mixing_are_those_of_the_pool():
    how = HandSampling(mixed=0.0, from_prior=0.0, jitter=0.0)
    own = pool()
    drawn = own.sample(50, torch.Generator().manual_seed(0), how)
    assert (drawn[:, None] - own.poses).abs().amax((2, 3)).amin(1).max() == 0


def test_mixed_fingers_stay_fingers_of_the_pool():
    """Every finger lies on the line between that finger of two poses."""
    own = pool(2)
    drawn = own.sample(200, torch.Generator().manual_seed(0), HandSampling(1.0, 0.0, 0.0)).unflatten(1, (5, 3))
    a, b = own.poses.unflatten(1, (5, 3))
    along = ((drawn - a) * (b - a)).sum((2, 3)) / (b - a).square().sum((1, 2))
    assert (drawn - a - along[..., None, None] * (b - a)).abs().max() < 1e-5
    assert along.std(1).min() > 0  # of their own


def test_a_network_learns_from_them():
    torch.manual_seed(0)
    trainer = Trainer(
        hand_network(64, 1, 64),
        FactorizedDiscriminator(16, hidden=8),
        KeypointObjective(stream(), POINTS, HAND_LOSS),
        TrainingSchedule(batch=64, steps=40, rate=3e-3, warm_up=5, half=False),
    )
    losses = [trainer.train_step()["joints"] for _ in range(40)]
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def test_the_same_seed_makes_the_same_hands():
    one, other = (stream(seed=4).batch(5) for _ in range(2))
    assert torch.equal(one.points, other.points) and torch.equal(one.params.betas, other.params.betas)


def test_points_are_a_right_hand_s():
    assert len(right_hand()) == len(hand_set("hand21", "right").names) and HAND_NAMES[0] == "right_hand_root"
