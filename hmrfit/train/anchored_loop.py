"""The loop of fits for a network that is good already: each fit is the default one, held by the network's own answer.

    Θ* = argmin E_keypoints + ½ eᵀ Σ⁻¹ e,     e about the answer of the network in training, Σ what its error model says

The loop's other energy (`fit_loop.ENERGY`) knows poses by a mixture of eight Gaussians. That is right for a network
that begins anew, and worse than the shipped one: of people whose estimate had 60.6 mm PA-MPJPE, its fits had 64.2, the
anchored ones 54.2 (benchmarks/results.md). The anchor moves with the network, so energies of two visits cannot be
compared: the newest fit is what supervises. All accepted fits count the same; what is stored of the energy is
`fit_loop`'s, for the curves.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar

import torch

from hmrfit.body.point_offsets import PointOffsets
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.parameters import Observation
from hmrfit.fitting.retry import Retry
from hmrfit.fitting.starts import InitialEstimate
from hmrfit.network.error_model import ErrorModel
from hmrfit.network.initial_estimate import KeypointHmr
from hmrfit.network.moved_keypoints import MovedKeypoints
from hmrfit.train.fit_loop import FitLoop, LoopSettings
from hmrfit.train.fit_store import FitKey, FitStore, StoredFits
from hmrfit.train.turns import Seen
from hmrfit.types import BodyParams

ENERGY = "hmrfit anchored 1"
"""What stores call the measure of these fits."""


def with_model(
    base: Fitter, network: KeypointHmr, errors: ErrorModel | None = None, offsets: PointOffsets | None = None
) -> Fitter:
    """The default fit with other networks, and for a detector whose keypoints lie elsewhere. It seeks no other answers.

    Args:
        base: whose schedule begins at an initial estimate. errors: None for the base's own.
    Raises:
        ValueError: the base begins elsewhere.
    """
    start = base.schedule.start
    if not isinstance(start, InitialEstimate):
        raise ValueError("The fit of these settings does not begin at an initial estimate: take the default ones.")
    seeing = network.seeing(None if offsets is None else MovedKeypoints(base.body, offsets))
    own = replace(start, network=seeing, error_model=errors or start.error_model)
    after = tuple(replace(step, start=own) if isinstance(step, Retry) else step for step in base.schedule.after)
    schedule = replace(base.schedule, start=own, after=after, seeker=None)
    if offsets is None:
        return base.with_schedule(schedule)
    return Fitter(base.body, base.terms, schedule, base.from_given, base.hands, offsets)


class AnchoredLoop(FitLoop):
    """The loop over one store, for people whose keypoints lie where the body has them.

    Args:
        fitter: the default one, for its terms. current: the fitter with the networks in training, as they are now.
    """

    newest: ClassVar[bool] = True

    def __init__(self, fitter: Fitter, store: FitStore, keys: Sequence[FitKey], current: Callable[[], Fitter]) -> None:
        super().__init__(fitter, store, keys, LoopSettings(mirror=False, library=0, weighted=False))
        self.current = current

    def _fitted(self, seen: Seen, estimate: BodyParams, stored: StoredFits | None, mirror: bool) -> StoredFits:
        fit = self.current().fit(seen.keypoints, seen.camera)
        route, observation = self.fitter.route(seen.keypoints.names), Observation.of(seen.keypoints)
        energies = self.energies(route, fit.state, observation)
        source = torch.full((len(seen),), self.source)
        visits = torch.zeros(len(seen), dtype=torch.int64) if stored is None else stored.visits
        return self.described(route, fit.state, observation, energies, source, visits)
