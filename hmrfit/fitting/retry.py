"""People whose fit was rejected, or stayed poor, are fitted again, and from other starts.

    the fit, and fits from three quarter turns of the picture
    where the best of these is far from its keypoints: continued with a wider anchor, of all turns  Σ ← 10 Σ
    where it is lost, and the fit was rejected: from scratch
    the answer:  the Θ of least  R(Θ) = E_keypoints + ½ E_gmm + E_limits + E_shape (+ what was measured),
                 of rejected people the start among them

An anchor says how wrong one start is, so energies with the anchors of different starts cannot be compared. R has none:
it knows the priors that hold for everybody, and keypoints with a noise of 1.2 % of the box. (The predicted noise is no
fair judge: a start that is far off has it larger.) The mixture counts half: most people who come here are in poses that
it has not seen. The rejected fit is a candidate too: it is bent farther than 99 % of real poses, but gymnasts are.

Another fit takes the place of an accepted one only if it comes near the keypoints: where none does, keypoints are wrong
(sides swapped, another person's limb), and what follows them best is not the best.

A fit from scratch minimises R itself, so it nearly always has less of it than the others: of people who stayed poor it
was the choice for most, and 11 to 21 mm (PA-MPJPE) farther from the truth than what it replaced. It is tried only where
a fit was rejected and nothing else comes near the keypoints. It becomes an anchor of which no more is known than that
it is a person: what the keypoints do not say is then as uncertain as it should be.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from hmrfit.fitting.acceptance import tested
from hmrfit.fitting.anchor_inflation import fitted_from, fitted_on
from hmrfit.fitting.energy import Stage, total
from hmrfit.fitting.fit import FITTED_AGAIN, Fit
from hmrfit.fitting.gaussian_prior import Anchor
from hmrfit.fitting.parameters import Linearization, State
from hmrfit.fitting.pieces import FEW_POOR, POOR, in_pieces, side_by_side, slices
from hmrfit.fitting.quarter_turns import starts_in_quarter_turns
from hmrfit.fitting.route import Begun, Route
from hmrfit.fitting.starts import Given, InitialEstimate, Library

RANKING = {"keypoints": 1.0, "gmm": 0.5, "joint_limits": 1.0, "shape": 1.0}
"""The weights of R, of those terms that there are."""

OWN = ("anchor", "keypoints", "joint_limits")
"""The default fit's own terms. What else its stage weighs was measured or is the caller's: it counts for all starts."""


@dataclass(frozen=True)
class Retry:
    """The fits from other starts, for a few people. A step of a schedule, before the acceptance test.

    start: that of the schedule.
    far, lost: the mean distance to the keypoints, a fraction of the box, from which an accepted fit is tried again, and
        from which one from scratch is tried. near: what another fit than an accepted one must be below.
    bent: nats, the implausibility from which an accepted fit is tried again.
    wider: times the anchor's variances. margin: nats, by how much less R another fit must have than an accepted one.
    """

    for_few: ClassVar[bool] = True
    start: InitialEstimate
    library: Library
    stages: tuple[Stage, ...]  # of a fit from scratch
    far: float = 0.022
    bent: float = 90.0
    lost: float = 0.05
    near: float = 0.016
    wider: float = 10.0
    margin: float = 15.0

    def __call__(self, fit: Fit, route: Route) -> Fit:
        if fit.start is None or fit.observation.anchor is None or not fit.stage.weights.get("anchor"):
            return fit
        parts = slices(len(fit))
        pieces = [fit] if len(parts) == 1 else [fit[part] for part in parts]
        fits, poor = zip(*side_by_side(lambda piece: self._poor(piece, route), pieces), strict=True)
        fit, again = fits[0] if len(fits) == 1 else Fit.cat(fits), torch.cat(poor).nonzero()[:, 0]
        if not len(again):
            return fit
        chosen = fit.of(again)
        best = in_pieces(lambda part: self._best(chosen[part], route), len(again), Fit, POOR, FEW_POOR)
        return fit.replaced(again, best)

    def _poor(self, fit: Fit, route: Route) -> tuple[Fit, Tensor]:
        """(the fit tested, (B,) is it rejected, the body far from its keypoints, or bent as few are?)."""
        fit = tested(fit, route)
        assert fit.acceptance is not None
        bent = fit.acceptance.implausible > self.bent
        return fit, ~fit.acceptance.accepted | bent | (mean_distance(fit, route) > self.far)

    def _best(self, fit: Fit, route: Route) -> Fit:
        """The best of all candidates for each of these people."""
        assert fit.acceptance is not None
        own, accepted = fit.with_hypotheses(1), fit.acceptance.accepted
        turned = self._from_turns(own, route)
        energies = [ranking_energy(own, route) - self.margin * accepted, *(ranking_energy(t, route) for t in turned)]
        found, least, which = _least([own, *turned], energies)
        everybody = torch.ones_like(accepted)
        for fit_otherwise, beyond, who in (
            (self._wider, self.far, everybody),
            (self._from_scratch, self.lost, ~accepted),
        ):
            away = (who & (mean_distance(found, route) > beyond)).nonzero()[:, 0]
            if len(away):
                before = found.of(away)
                other = fit_otherwise(before, route)
                better, least[away], second = _least([before, other], [least[away], ranking_energy(other, route)])
                found = found.replaced(away, better)
                which[away] += second
        near = mean_distance(found, route) < self.near
        return self._answer(fit, found, (which > 0) & (near | ~accepted), least, route)

    def _answer(self, fit: Fit, found: Fit, other: Tensor, least: Tensor, route: Route) -> Fit:
        """The fit with what was found for those people who have `other` answers, and the outcome of the test."""
        assert fit.start is not None and fit.acceptance is not None
        at_start = ranking_energy(replace(fit, state=fit.start), route)
        accepted = fit.acceptance.accepted
        better = (other & accepted) | (~accepted & (least < at_start))
        rows = (better & other).nonzero()[:, 0]
        if len(rows):
            fit = fit.replaced(rows, self._tested(found.of(rows), route))
        assert fit.acceptance is not None
        reason = torch.where(better, FITTED_AGAIN, fit.acceptance.reason)
        return replace(fit, acceptance=replace(fit.acceptance, reason=reason))

    def _tested(self, fit: Fit, route: Route) -> Fit:
        """The acceptance test anew, about the anchor that the fit has now."""
        return tested(replace(fit, acceptance=None), route)

    def _wider(self, fit: Fit, route: Route) -> Fit:
        """The fit continued with a wider anchor: of all turns. A shape that is as free makes up for a wrong pose."""
        anchor = fit.observation.anchor
        assert anchor is not None
        turns, shapes = 3 * anchor.rotations.shape[1], anchor.betas.shape[1]
        factor = torch.tensor([self.wider] * turns + [1.0] * shapes).to(anchor.scale)
        return _as_of(fit, fitted_on(fit, factor, route))

    def _from_turns(self, fit: Fit, route: Route) -> list[Fit]:
        """The fits from three quarter turns of the picture, each at the anchor that its own start has."""
        begun = starts_in_quarter_turns(self.start, fit.observation, fit.state.camera, route.body)
        found = fitted_from(begun, fit.stage, route)
        parts = torch.arange(len(found)).split(len(fit))
        return [_as_of(fit, found.of(part)) for part in parts]

    def _from_scratch(self, fit: Fit, route: Route) -> Fit:
        """The fit from a library of poses, then about an anchor at what was found there."""
        begun = self.library(Given(fit.observation.keypoints, fit.state.camera), route.body)
        more = {name: weight for name, weight in fit.stage.weights.items() if name not in OWN}
        *before, last = self.stages
        last = replace(last, weights={**last.weights, **more})
        state = route.run(replace(begun, observation=fit.observation), (*before, last)).state
        assert fit.observation.anchor is not None
        about = unknown_about(state, route.body.parents, fit.observation.anchor)
        observation = replace(fit.observation, anchor=about, start_depth=state.params.transl[:, 2])
        return _as_of(fit, route.run(Begun.at(state, observation), (fit.stage,)))


def ranking_energy(fit: Fit, route: Route) -> Tensor:
    """R (B,), infinite where it is no number."""
    more = {name: weight for name, weight in fit.stage.weights.items() if name not in OWN}
    stage = Stage({name: weight for name, weight in {**RANKING, **more}.items() if name in route.terms})
    alike = replace(fit.observation, noise=None)
    return total(route.term_costs(fit.state, alike, stage)).nan_to_num(torch.inf)


def mean_distance(fit: Fit, route: Route) -> Tensor:
    """(B,) of bodies to the keypoints that count, a fraction of the box."""
    seen = fit.observation
    away = (Linearization(route.body, fit.state, seen).projected - seen.keypoints.xy).norm(dim=-1)
    return (away * seen.weights).sum(1) / seen.weights.sum(1).clamp_min(1e-9) / seen.box_size


def unknown_about(state: State, parents: Sequence[int], like: Anchor) -> Anchor:
    """An anchor at a body of which nothing is known but that it is a person. like: one of the same form."""
    anchor = Anchor.at(state.params, parents, like.scale, like.factors)
    return anchor.unknown(torch.ones_like(like.scale[:, 0]))


def _as_of(fit: Fit, other: Fit) -> Fit:
    """Another fit of the same people, beside the start and the outcome of the test that `fit` has."""
    return replace(
        other,
        start=fit.start,
        stage=fit.stage,
        acceptance=fit.acceptance,
        start_term_cost=fit.start_term_cost,
        mended=fit.mended,
    )


def _least(fits: Sequence[Fit], energies: Sequence[Tensor]) -> tuple[Fit, Tensor, Tensor]:
    """(of each person the fit of least energy, that energy (B,), which it is (B,)); of equal ones the first."""
    least, which = torch.stack(list(energies), 1).min(1)
    rows = which * len(which) + torch.arange(len(which), device=which.device)
    return Fit.cat(fits).of(rows), least, which
