"""The shipped free body, read once, and random parameters for any body."""

from functools import cache
from pathlib import Path

import numpy as np
import torch

from hmrfit.body.smpl import SmplBody
from hmrfit.cli.demo import make_truth
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams

PRIORS = Path(__file__).resolve().parents[2] / "priors"


@cache
def free_body() -> SmplBody:
    """float64; never changed by a test."""
    return SmplBody.from_file(PRIORS / "free_body.npz")


def demo_points(height: int) -> np.ndarray:
    """(17, 3) exact COCO keypoints of the demo's person in a picture of this height."""
    return np.concatenate([make_truth(free_body(), height).clean.xy[0].numpy(), np.ones((17, 1))], 1)


def random_params(body: SmplBody, count: int, pose: float = 0.5, seed: int = 0) -> BodyParams:
    """Any orientation, poses of `pose` radians, unit betas, a metre around (0, 0, 4)."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    rotations = rotvec_to_matrix(torch.cat([2 * draw(count, 1, 3), pose * draw(count, len(body.parents) - 1, 3)], 1))
    away = torch.tensor([0.0, 0.0, 4.0]).double()
    return BodyParams(rotations[:, 0], rotations[:, 1:], draw(count, body.shape_count), draw(count, 3) + away)
