"""A training run small enough for a test: made-up motion, a narrow network, batches of a few people."""

from functools import cache

import numpy as np
import torch
from helpers.bodies import PRIORS, free_body

from hmrfit.body.points import PointBody
from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.network.encoders import KEYPOINT_NAMES, KeypointEncoder
from hmrfit.network.hmr import HMR
from hmrfit.network.regressor import IterativeRegressor
from hmrfit.priors.gmm import PoseGmm
from hmrfit.priors.limits import JointLimits
from hmrfit.train.data import PeopleStream, PosePool
from hmrfit.train.keypoint_loss import LANDMARKS, KeypointLossWeights
from hmrfit.train.loop import Schedule, Trainer

UNDRIVEN = (13, 14, 22, 23)
"""Collars and hands, as in most motion."""


def frames(count: int = 60, seed: int = 0) -> dict[str, np.ndarray]:
    """Made-up motion as `load_frames` gives it: identity where it is not driven."""
    rng = np.random.default_rng(seed)
    driven = np.ones((count, 24), dtype=bool)
    driven[: count // 2, UNDRIVEN] = False
    poses = np.where(driven[..., None], rng.normal(0, 0.2, (count, 24, 3)), 0.0)
    return {"poses": poses, "driven": driven, "weight": rng.uniform(0.5, 1.5, count), "label": np.full(count, "made")}


def gmm() -> PoseGmm:
    return PoseGmm.from_file(PRIORS / "pose_gmm.npz")


@cache
def points(names: tuple[str, ...]) -> PointBody:
    """Of the free body, in float32."""
    return free_body().to(dtype=torch.float32).points(names)


@cache
def pool() -> PosePool:
    return PosePool.build(frames(), gmm(), JointLimits.from_file(PRIORS / "joint_limits.npz"))


def stream(seed: int = 0, **settings) -> PeopleStream:
    return PeopleStream(points(KEYPOINT_NAMES), pool(), torch.Generator().manual_seed(seed), **settings)


def network(seed: int = 0) -> HMR:
    torch.manual_seed(seed)
    return HMR(KeypointEncoder(48, 1), IterativeRegressor(48, hidden=48, dropout=0.0, learn_mean=True))


def trainer(weights: KeypointLossWeights | None = None, **schedule) -> Trainer:
    """Four people of each batch are judged; products in float32, unless asked otherwise."""
    schedule = Schedule(**{"batch": 16, "steps": 6, "judged": 4, "half": False, "warm_up": 2, **schedule})
    hmr = network()  # it seeds what follows
    judges = FactorizedDiscriminator(width=8, hidden=16)
    return Trainer(hmr, judges, stream(), points(LANDMARKS), schedule, weights or KeypointLossWeights())
