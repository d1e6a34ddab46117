"""A stream of hands small enough for a test: random small poses of two sources."""

import numpy as np
import torch

from hmrfit.build import load_body
from hmrfit.priors.gmm import PoseGmm
from hmrfit.train.hand_stream import HAND_NAMES, FingerPool, HandSampling, HandStream

POINTS = load_body("free_hand").to(dtype=torch.float32).points(HAND_NAMES)


def pool(count: int = 12) -> FingerPool:
    """Random small poses of two sources, of which one has three quarters."""
    rng = np.random.default_rng(0)
    gmm = PoseGmm(torch.zeros(1, 45).double(), 0.04 * torch.eye(45).double()[None], torch.ones(1).double())
    source = np.where(np.arange(count) < 3 * count // 4, "a", "b")
    return FingerPool.build(0.3 * rng.normal(size=(count, 15, 3)), source, gmm)


def stream(how: HandSampling | None = None, seed: int = 0) -> HandStream:
    return HandStream(POINTS, pool(), torch.Generator().manual_seed(seed), how or HandSampling())
