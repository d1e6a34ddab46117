"""A fitter on the shipped body and priors, and people in front of it."""

from functools import cache

import torch
from helpers.bodies import PRIORS, free_body

from hmrfit.build import library_poses
from hmrfit.camera import Camera
from hmrfit.fitting.fitter import Fitter, default_terms
from hmrfit.keypoints import resolve_set
from hmrfit.priors.gmm import PoseGmm
from hmrfit.priors.limits import JointLimits
from hmrfit.synthetic.people import Corruption, People, make_people


@cache
def gmm() -> PoseGmm:
    return PoseGmm.from_file(PRIORS / "pose_gmm.npz")


@cache
def limits() -> JointLimits:
    return JointLimits.from_file(PRIORS / "joint_limits.npz")


@cache
def fitter() -> Fitter:
    """The default schedule, with a smaller library than `build` gives it."""
    return Fitter(free_body(), default_terms(gmm(), limits()), library_poses(gmm(), 100, 0))


@cache
def people(count: int = 24, names: str = "smpl24", noise: float = 0.0, missing: float = 0.0, seed: int = 0) -> People:
    """In poses drawn from the mixture, seen from all around."""
    generator = torch.Generator().manual_seed(seed)
    theta = gmm().sample(count, generator).unflatten(1, (-1, 3))
    poses = torch.cat([torch.zeros(count, 1, 3, dtype=torch.float64), theta], 1)
    return make_people(free_body(), poses, resolve_set(names), generator, corruption=Corruption(noise, missing))


def photograph(count: int) -> Camera:
    """The camera that is assumed when nothing is known, of the synthetic people's picture."""
    return Camera.from_size(1024, 768, count=count)
