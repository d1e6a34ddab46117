"""A fitter on the shipped body and priors, and people in front of it."""

from dataclasses import replace
from functools import cache

import torch
from helpers.bodies import PRIORS, free_body
from torch import Tensor

from hmrfit.build import default_terms, library_poses
from hmrfit.camera import Camera
from hmrfit.config import Config
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.parameters import State
from hmrfit.fitting.schedule import FROM_SCRATCH, Schedule, from_given, from_library
from hmrfit.fitting.starts import Library
from hmrfit.fitting.terms.base import Staged, terms_by_name
from hmrfit.keypoints import SMPL24, resolve_set
from hmrfit.pipeline import Pipeline
from hmrfit.priors.gmm import PoseGmm
from hmrfit.priors.limits import JointLimits
from hmrfit.synthetic.people import Corruption, People, make_people
from hmrfit.types import BodyParams


@cache
def gmm() -> PoseGmm:
    return PoseGmm.from_file(PRIORS / "pose_gmm.npz")


@cache
def limits() -> JointLimits:
    return JointLimits.from_file(PRIORS / "joint_limits.npz")


@cache
def fitter() -> Fitter:
    """From scratch, with a smaller library than the shipped settings give it; from a given start as shipped."""
    library = Library(library_poses(gmm(), 100, 0), FROM_SCRATCH)
    return Fitter(free_body(), terms_by_name(default_terms(gmm(), limits())), from_library(library), from_given())


def shipped(config: Config = None) -> Fitter:
    """The fitter of shipped or other settings, the same for equal ones."""
    return Pipeline.of(config).fitter


def reweighted(schedule: Schedule, **weights: float) -> Schedule:
    """The schedule with some weights of every stage changed."""
    return schedule.with_stages(lambda stage: replace(stage, weights={**stage.weights, **weights}))


def with_terms(fitter: Fitter, *terms: Staged) -> Fitter:
    """The fitter whose schedule has more terms."""
    added = terms_by_name([staged.term for staged in terms])
    return fitter.with_schedule(fitter.schedule.with_terms(terms), terms=fitter.terms | added)


def joints_of(found: Fit | State | BodyParams) -> Tensor:
    """(B, 24, 3) the free body's joints, metres in the camera frame."""
    state = found.state if isinstance(found, Fit) else found
    params = state.params if isinstance(state, State) else state
    return free_body().points(SMPL24).pose(params).joints


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
