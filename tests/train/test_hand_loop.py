"""The loop of fits serves hands: fits of keypoints alone supervise the network, and the store remembers them."""

import torch
from helpers.finger_pool import POINTS, pool, stream

from hmrfit.build import build_fitter
from hmrfit.config import load_config
from hmrfit.fitting.parameters import State
from hmrfit.hand_keypoints import hand_set
from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.train.fit_store import FitKey, FitStore
from hmrfit.train.hand_loop import HAND_ENERGY, HandLoop, hand_objective
from hmrfit.train.hand_stream import HandSampling, hand_network
from hmrfit.train.keypoint_people import KnownPeople
from hmrfit.train.trainer import Trainer, TrainingSchedule
from hmrfit.types import Keypoints

NAMES = hand_set("hand21", "right").names


def hands(count: int) -> KnownPeople:
    """Of whom nothing but 21 keypoints is known."""
    how = HandSampling(known_focal=1.0)
    seen = stream(how).hands(count)
    own = [POINTS.names.index(name) for name in NAMES]
    xy = seen.clean.xy[:, own].double()
    keys = [FitKey("made", str(i), "0") for i in range(count)]
    keypoints = Keypoints(xy, torch.ones(count, 21, dtype=torch.float64), NAMES)
    return KnownPeople.without_truth(keypoints, seen.camera.to(torch.float64), keys, joints=16)


def test_fits_of_keypoints_alone_supervise_the_network(tmp_path):
    torch.manual_seed(0)
    people, fitter = hands(6), build_fitter(load_config("fit_hand", ["PRIORS.INITIAL_ESTIMATE="]))
    with FitStore(tmp_path / "fits.sqlite", HAND_ENERGY, joints=16) as store:
        loop = HandLoop(fitter, store, people.keys, poses=pool().poses.flatten(1).double())
        own = hand_objective(people, loop, pool(), fitter.body.to(dtype=torch.float32).points(NAMES))
        how = TrainingSchedule(batch=6, steps=3, warm_up=1, half=False)
        run = Trainer(hand_network(32, 1, 32), FactorizedDiscriminator(16, hidden=8), own, how, fits=store)
        losses = [run.train_step() for _ in range(3)]
        fits, there = store.get(people.keys)
        assert there.all() and fits.accepted.double().mean() > 0.5
        assert all(losses[-1][name] > 0 for name in ("reprojection", "joints", "rotations"))


def test_the_other_side_is_the_palm_for_the_back():
    seen = stream().hands(2).to(torch.float64)
    params = seen.params
    other = HandLoop.other_side(State(params, seen.camera)).params.global_orient
    torch.testing.assert_close(other[:, :, 0], params.global_orient[:, :, 0])  # fingers
    torch.testing.assert_close(other[:, :, 1], -params.global_orient[:, :, 1])  # back
