"""People whose keypoints seem to carry wrong names are fitted with the names mended too, and the likelier is kept.

    z = log p/(1 − p)                          by the label model (`hmrfit.network.label_model`), p of the likeliest
    tried      z > tried                       exchange σ: a fit of x_σ from its own estimate;
                                               limb l: one without its n keypoints, which would be another person's
    believed   z + weight · clip(R − R_other − missing · n) > believed

R is the energy that ranks fits from different starts (`hmrfit.fitting.retry`). Names alone and bodies alone know less
than both: people who turn away or stand on their hands look exchanged to the network, and many exchanged people have a
body that reaches all of their keypoints.

Of people who are not doubted nothing changes, and what is mended is said (`Fit.mended`): the result warns of it, and
its keypoints are those that were fitted.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hmrfit.fitting.anchor_inflation import InflateAnchor
from hmrfit.fitting.fit import Fit, Mended
from hmrfit.fitting.retry import ranking_energy
from hmrfit.fitting.route import Begun, Route
from hmrfit.fitting.starts import Given, InitialEstimate
from hmrfit.fitting.terms.keypoints_3d import Keypoints3D
from hmrfit.network.label_model import LabelModel, LabelOdds, exchanged_places, limb_members, places_as_fitted
from hmrfit.types import Keypoints

CLIP = 80.0
"""Nats of R, beyond which nothing more is believed of it."""


@dataclass(frozen=True)
class Belief:
    """From which log odds on somebody is fitted with other names, and from which sum with R that is believed."""

    tried: float
    weight: float
    believed: float
    missing: float = 0.0  # nats of R for each keypoint that the other fit does without


OF_EXCHANGES = Belief(-2.5, 0.3, 10.0)
"""Chosen on 1,000 hard people of validation motion and 2,000 with right names (400 each of coco17 with 1 and 3 % noise
and half hidden, openpose25, lsp14). It mends 21 of the hard ones, whose mean PA-MPJPE falls by 1.7 mm, and one of the
2,000, whose mean does not change. Up to 2.2 mm can be gained there, at a loss of 0.1 mm here."""

OF_LIMBS = Belief(-0.85, 0.5, 0.4, 9.0)
"""Chosen on the same people: 38 of the hard ones lose a limb's keypoints, their mean falls by 1.4 mm; none of the
2,000 does. By the network's word alone as much is gained there, and 0.1 mm are lost here."""

FEWEST = 4
"""Keypoints that must be left for a limb to be left out."""


@dataclass(frozen=True)
class MendLabels:
    """The first step after the stages of a fit from the initial estimate.

    start: that of the schedule. read: the label model, when it is first needed.
    """

    start: InitialEstimate
    read: Callable[[], LabelModel]

    @property
    def model(self) -> LabelModel:
        """The network, which `read` keeps."""
        return self.read()

    def __call__(self, fit: Fit, route: Route) -> Fit:
        seen, nothing = fit.observation, torch.zeros_like(fit.status)
        fit = replace(fit, mended=Mended(nothing, nothing))
        if seen.anchor is None or Keypoints3D.name in seen.measurements or not len(fit):
            return fit
        said = self._odds(fit)
        mended = self._exchanged(fit, said, route)
        return self._without_others_limbs(mended, said if mended is fit else self._odds(mended), route)

    def _exchanged(self, fit: Fit, said: LabelOdds, route: Route) -> Fit:
        """The fit with exchanges undone for those of whom that is believed. said: of its keypoints."""
        odds, kind = _likeliest(said.of_exchanges())
        tried = (odds > OF_EXCHANGES.tried).nonzero()[:, 0]
        if not len(tried):
            return fit
        keypoints = fit.observation.keypoints[tried]
        other = keypoints.rearranged(exchanged_places(keypoints.names)[kind[tried].cpu()])
        return self._mended(fit, tried, other, odds, OF_EXCHANGES, route, exchanged=kind + 1)

    def _without_others_limbs(self, fit: Fit, said: LabelOdds, route: Route) -> Fit:
        """The fit without the keypoints of limbs that are believed to be another person's. said: of its keypoints."""
        odds, limb = _likeliest(said.of_borrowed())
        if not (odds > OF_LIMBS.tried).any():
            return fit
        keypoints = fit.observation.keypoints
        rest = keypoints.confidence * ~limb_members(keypoints.names).to(limb.device)[limb]
        left = (rest > 0).sum(1)
        possible = (left >= FEWEST) & (left < (keypoints.confidence > 0).sum(1))
        tried = ((odds > OF_LIMBS.tried) & possible).nonzero()[:, 0]
        if not len(tried):
            return fit
        other = replace(keypoints[tried], confidence=rest[tried])
        return self._mended(fit, tried, other, odds, OF_LIMBS, route, left_out=limb + 1)

    def _mended(
        self,
        fit: Fit,
        tried: Tensor,
        keypoints: Keypoints,
        odds: Tensor,
        belief: Belief,
        route: Route,
        **said: Tensor,
    ) -> Fit:
        """The fit in which those of `tried` (n,) whose other keypoints are believed are fitted to these.

        Args:
            keypoints: of the n people. odds: (B,). said: what is noted of them (`Mended`), (B,).
        """
        before = fit.of(tried)
        other = self._fitted(before, keypoints, route)
        fewer = (before.observation.keypoints.confidence > 0).sum(1) - (keypoints.confidence > 0).sum(1)
        better = _ranked(before, route) - _ranked(other, route) - belief.missing * fewer
        sure = odds[tried] + belief.weight * better.clamp(-CLIP, CLIP) > belief.believed
        believed = sure.nonzero()[:, 0]
        rows = tried[believed]
        return _with(fit, rows, other.of(believed), **{name: column[rows] for name, column in said.items()})

    def _odds(self, fit: Fit) -> LabelOdds:
        """What the network says."""
        return self.model.look(fit.observation.keypoints, fit.state.camera)

    def _fitted(self, fit: Fit, keypoints: Keypoints, route: Route) -> Fit:
        """The same people fitted to other keypoints, from the start on, as far as this fit is."""
        found = route.run(begun_at(self.start, fit, keypoints, route), (fit.stage,))
        return replace(found, mended=fit.mended)


def begun_at(start: InitialEstimate, fit: Fit, keypoints: Keypoints, route: Route) -> Begun:
    """Where the people of a fit begin with other keypoints."""
    return start(Given(keypoints, fit.state.camera, measurements=fit.observation.measurements), route.body)


def _ranked(fit: Fit, route: Route) -> Tensor:
    """R (B,) with the anchor widened where that is needed, as the next step will do."""
    return ranking_energy(InflateAnchor()(fit, route), route)


def _likeliest(probability: Tensor) -> tuple[Tensor, Tensor]:
    """(log odds (B,) of the likeliest column against nothing being wrong, which it is (B,))."""
    nothing = (1 - probability.sum(1)).clamp_min(1e-9)
    most, which = probability.max(1)
    return (most / nothing).log(), which


def as_fitted(keypoints: Keypoints, mended: Mended | None) -> Keypoints:
    """The keypoints that were fitted of people whose given ones these are; those of limbs that were left out have the
    confidence 0."""
    if mended is None:
        return keypoints
    found = keypoints.rearranged(places_as_fitted(keypoints.names, mended.exchanged.cpu()))
    member = torch.nn.functional.pad(limb_members(keypoints.names), (0, 0, 1, 0))[mended.left_out.cpu()]
    return replace(found, confidence=found.confidence * ~member.to(found.xy.device))


def _with(fit: Fit, people: Tensor, other: Fit, **mended: Tensor) -> Fit:
    """The fit with that of some people (n,) replaced, and what was mended of them."""
    if not len(people):
        return fit
    assert other.mended is not None
    return fit.replaced(people, replace(other, mended=replace(other.mended, **mended)))
