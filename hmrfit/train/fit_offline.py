"""Fits before a run: of every person of a data set, by the shipped estimate and the fit, or out of SPIN's files.

SPIN's published fits come from a network of keypoints and SMPLify from its answer, made once (SPIN issues 18 and 67).
Ours are the default fit, a few milliseconds a person; each batch is committed as of step 0, so a run that was stopped
goes on with who is missing. The energy they are kept with is that of the loop (`train.fit_loop`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.parameters import Observation, State
from hmrfit.fitting.placing import solve_translation
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.train.fit_loop import FitLoop
from hmrfit.train.fit_store import SOURCES, FitStore
from hmrfit.train.keypoint_people import KnownPeople
from hmrfit.types import BodyParams

LEAST_SEEN = 4
"""Keypoints. Of people with fewer, no fit means anything."""

AT_ONCE = 128


@dataclass(frozen=True)
class Progress:
    """How far it is: people of the data set, of whom there is a fit now, and who have too few keypoints."""

    people: int
    fitted: int
    left_out: int


def initial_fits(fitter: Fitter, store: FitStore, people: KnownPeople) -> Iterator[Progress]:
    """Fits everybody of whom nothing is stored and no truth known, batch after batch, each one committed.

    Args:
        fitter: with the schedule that is to be used, the default one for instance.
    """
    _, there = store.get(people.keys)
    few = people.keypoints.presence.sum(1) < LEAST_SEEN
    missing = (~there & ~few & ~people.has_truth).nonzero()[:, 0]
    left_out, done = int((few & ~there & ~people.has_truth).sum()), len(people) - len(missing)
    yield Progress(len(people), done - left_out, left_out)
    for rows in missing.split(AT_ONCE):
        some = people[rows]
        state = fitter.fit(some.keypoints, some.camera).state
        _keep(fitter, store, some, replace(people, keys=tuple(people.keys[i] for i in rows)).keys, state, "library")
        done += len(rows)
        yield Progress(len(people), done - left_out, left_out)


def import_spin(fitter: Fitter, store: FitStore, people: KnownPeople, fits: NDArray[np.floating]) -> int:
    """Puts SPIN's fits (N, 3 J + S), in the order of the people, into the store; rows of zeros are none. Where they
    stand before the camera, which SPIN does not keep, is what suits the keypoints.

    Returns:
        How many there were.
    Raises:
        ValueError: the fits of another data set.
    """
    size = 3 * store.joints + store.betas
    if fits.shape != (len(people), size) or fits.dtype.kind not in "fiu":
        raise ValueError(
            f"Expected ({len(people)}, {size}) numbers, pose and betas of everybody in the data set, got {fits.shape}: "
            "the fits of another file?"
        )
    numbers = torch.as_tensor(fits.astype(np.float64))
    there = (numbers != 0).any(1) & numbers.isfinite().all(1)
    for rows in there.nonzero()[:, 0].split(AT_ONCE):
        some = people[rows]
        state = _placed(fitter, some, numbers[rows], store.joints)
        _keep(fitter, store, some, tuple(people.keys[i] for i in rows), state, "imported")
    return int(there.sum())


def _placed(fitter: Fitter, people: KnownPeople, numbers: Tensor, joints: int) -> State:
    """The bodies where they suit their keypoints."""
    turns, betas = rotvec_to_matrix(numbers[:, : 3 * joints].unflatten(1, (-1, 3))), numbers[:, 3 * joints :]
    params = BodyParams(turns[:, 0], turns[:, 1:], betas, numbers.new_zeros(len(numbers), 3))
    points = fitter.point_body(people.keypoints.names).pose(params).points
    transl = solve_translation(points, Observation.of(people.keypoints), people.camera)
    return State(replace(params, transl=transl), people.camera)


def _keep(fitter: Fitter, store: FitStore, people: KnownPeople, keys: tuple, state: State, source: str) -> None:
    """Describes the fits, puts and commits them."""
    route, observation = fitter.route(people.keypoints.names), Observation.of(people.keypoints)
    loop = FitLoop(fitter, store, keys)
    energies = loop.energies(route, state, observation)
    B = len(state)
    origin, visits = torch.full((B,), SOURCES.index(source)), torch.zeros(B, dtype=torch.int64)
    fits = loop.described(route, state, observation, energies, origin, visits)
    good = fits.known
    store.put([key for key, fine in zip(keys, good.tolist(), strict=True) if fine], fits[good])
    store.commit(0)
