"""Left and right exchanged, seen from the fit: would another labelling of the same keypoints make a better body?

    x_k -> x_σ(k)      σ exchanges left and right of some parts: hands, feet, arms, legs, all but the face, all
    the likeliest σ by the network's estimate of each  ->  one fit of it, and one without the keypoints that are missed
    exchanged  <=>  R(σ) + EXCHANGE < R(fit)   and   R(σ) < R(without) + MISSING · (keypoints that are left out)

R is the energy that ranks fits from different starts (`hmrfit.fitting.retry`). Only people are asked about whose fit
misses some keypoint: of a body that reaches all, nothing shows that it is wrong. Another person's limb is better left
out than exchanged.
"""

from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor

from hmrfit.fitting.anchor_inflation import fitted_from
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.mend_labels import begun_at
from hmrfit.fitting.pieces import FEW_POOR, POOR, side_by_side, slices
from hmrfit.fitting.retry import ranking_energy
from hmrfit.fitting.route import Route
from hmrfit.fitting.starts import Given, InitialEstimate
from hmrfit.network.label_model import EXCHANGES, exchanged_places
from hmrfit.types import Keypoints

MISSED = 0.06
"""Of the box. Of people in validation motion 1.5 % have a keypoint so far off, of those with exchanged sides 62 %."""

EXCHANGE, MISSING = 20.0, 9.0
"""Nats: what an exchange costs, and a keypoint left out; chosen on validation motion. Of 600 people of the test split
one is doubted; of 156 with exchanged sides and a missed keypoint 144, 139 of the right part; of 154 with another
person's limb and a missed keypoint one."""


def exchanged_sides(fitter: Fitter, fit: Fit, distance: Tensor) -> list[str | None]:
    """What seems to be exchanged of each of B people, as EXCHANGES calls it; None where nothing is.

    Args:
        fit: by this fitter. distance: (B, K) of the bodies' keypoints to those given, fractions of the box; 0 where one
            is unseen.
    """
    found: list[str | None] = [None] * len(fit)
    people, start = missed(distance), fitter.schedule.start
    if not len(people) or not isinstance(start, InitialEstimate) or start.error_model is None:
        return found
    chosen, away = fit.of(people), distance[people]
    said = side_by_side(
        lambda part: _said(fitter, start, chosen[part], away[part]), slices(len(people), POOR, FEW_POOR)
    )
    for person, exchange in zip(people.tolist(), chain(*said), strict=True):
        found[person] = exchange
    return found


def missed(distance: Tensor) -> Tensor:
    """The rows whose body misses some keypoint; distance: (B, K), fractions of the box."""
    return (distance.amax(1) > MISSED).nonzero()[:, 0]


def _said(fitter: Fitter, start: InitialEstimate, fit: Fit, distance: Tensor) -> list[str | None]:
    """The same of people whose fit misses some keypoint."""
    found: list[str | None] = [None] * len(fit)
    keypoints, route = fit.observation.keypoints, fitter.route(fit.observation.keypoints.names)
    sources = exchanged_places(keypoints.names)
    likeliest = _likeliest(start, fit, route, sources)
    far = distance > (0.5 * distance.amax(1, keepdim=True)).clamp_min(0.75 * MISSED)
    fewer = replace(keypoints, confidence=keypoints.confidence * ~far)
    other = _fitted(start, fit, keypoints.rearranged(sources[likeliest]), route)
    exchanged = ranking_energy(other, route)
    better = (exchanged + EXCHANGE < ranking_energy(fit, route)).nonzero()[:, 0]
    if not len(better):
        return found
    without = ranking_energy(_fitted(start, fit.of(better), fewer[better], route), route)
    sure = exchanged[better] < without + MISSING * far[better].sum(1)
    for i in better[sure].tolist():
        found[i] = list(EXCHANGES)[int(likeliest[i])]
    return found


def _likeliest(start: InitialEstimate, fit: Fit, route: Route, sources: Tensor) -> Tensor:
    """(B,) the exchange, of `sources` (n, K), whose estimate by the network comes nearest to its keypoints."""
    B, n = len(fit), len(sources)
    many = torch.arange(B).repeat_interleave(n)
    seen, camera = fit.observation.keypoints[many].rearranged(sources.repeat(B, 1)), fit.state.camera[many]
    state = start.estimate(Given(seen, camera), route.body)
    away = (camera.project(route.body.pose(state.params).points) - seen.xy).norm(dim=-1)
    return ((away * seen.weight).sum(1) / seen.weight.sum(1).clamp_min(1e-9)).view(B, n).argmin(1)


def _fitted(start: InitialEstimate, fit: Fit, keypoints: Keypoints, route: Route) -> Fit:
    """The same people fitted once to other keypoints."""
    return fitted_from(begun_at(start, fit, keypoints, route), fit.stage, route)
