"""A loop of fits small enough for a test: some made-up people, a store in a folder, the narrow network."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from helpers.bodies import free_body
from helpers.training import frames, network, points, pool

from hmrfit.build import build_fitter
from hmrfit.config import load_config
from hmrfit.fitting.fitter import Fitter
from hmrfit.keypoints import resolve_set
from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.synthetic.people import make_people
from hmrfit.train.fit_loop import ENERGY, FitLoop, LoopSettings
from hmrfit.train.fit_store import FitStore
from hmrfit.train.keypoint_loop import KeypointLoop, Supervisor
from hmrfit.train.keypoint_people import KeypointPeople, KnownPeople
from hmrfit.train.losses import LANDMARKS, KeypointLossWeights
from hmrfit.train.people_stream import MotionPeople
from hmrfit.train.trainer import Trainer, TrainingSchedule

NAMES = resolve_set("coco17")


@cache
def fitter() -> Fitter:
    """Without the shipped networks."""
    off = [f"PRIORS.{name}=" for name in ("INITIAL_ESTIMATE", "ERROR_MODEL", "MIXTURE")]
    return build_fitter(load_config(None, [*off, "FIT.LIBRARY=4"]))


@cache
def known(count: int = 8, truth: bool = False) -> KnownPeople:
    """Made-up people by COCO's keypoints."""
    poses = torch.as_tensor(frames(count)["poses"])
    people = make_people(free_body(), poses, NAMES, torch.Generator().manual_seed(0))
    found = KnownPeople.synthetic(people, "made")
    return found if truth else replace(found, has_truth=torch.zeros(count, dtype=torch.bool))


def loop(folder: Path, people: KnownPeople, **settings) -> FitLoop:
    """Its store is a new file of the folder, or the one that is there."""
    settings = LoopSettings(**{"library": 0, **settings})
    return FitLoop(fitter(), FitStore(folder / "fits.sqlite", ENERGY), people.keys, settings)


def objective(people: KnownPeople, supervisor: Supervisor | None, seed: int = 0) -> KeypointLoop:
    real = MotionPeople(pool(), 10, torch.Generator().manual_seed(3))
    stream = KeypointPeople([people], seed=seed)
    weights = KeypointLossWeights(adversarial=0.0)
    return KeypointLoop(stream, points(LANDMARKS), points(NAMES), real, supervisor, weights)


def trainer(people: KnownPeople, supervisor: Supervisor | None, **schedule) -> Trainer:
    schedule = TrainingSchedule(**{"batch": 6, "steps": 6, "half": False, "warm_up": 2, **schedule})
    hmr = network()
    store = getattr(supervisor, "store", None)
    own = objective(people, supervisor)
    return Trainer(hmr, FactorizedDiscriminator(width=8, hidden=16), own, schedule, fits=store)
