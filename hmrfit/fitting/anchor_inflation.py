"""The anchor's covariance, inflated: for everybody before the fit, and for some people after it.

    everyone       Σ ← diag(√m) Σ diag(√m),     m = IN_PLANE about the camera's z, OUT_OF_PLANE about its x and y,
                   SHAPE of the betas, DISTANCE of the translation's z
    after the fit  Σ ← f Σ,   log f = b + a log(A/n) − k log(K/n) + s (log σ̄ + 4.5) − h hidden

A and K are what the anchor and the n seen keypoints cost at the fit, each as likely as the error model has it, σ̄ the
(geometric) mean of the noise that it predicts, `hidden` the fraction of the body that is not seen (`visibility`). A
person with f > `least` is fitted on from there with the wider Σ.

What a keypoint says of turns in the picture's plane is sure, of turns out of it less: holding on to the start in the
plane gains nothing. A start that the fit had to leave by far (A) for keypoints that it then meets (K is small) was
farther off than the error model thought, which also takes a part of such an error for noise (σ̄). Where more than
keypoints was given (a mask, a height) no anchor is inflated after the fit: the costs then say something else.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hmrfit.fitting.energy import Stage
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.gaussian_prior import Anchor
from hmrfit.fitting.route import Begun, Route
from hmrfit.fitting.uncertainty import USUAL_NOISE
from hmrfit.fitting.visibility import hidden_fraction

IN_PLANE, OUT_OF_PLANE, SHAPE, DISTANCE = 2.0, 0.9, 3.0, 4.0
"""Of the variances. Of the distance too, since the shape is freer: held where it was, it would make a body smaller that
a longer lens should move away."""

LEAST_ANCHOR, LEAST_KEYPOINTS = 1e-3, 0.5
"""Nats a keypoint. Costs below count as that much: on validation motion nobody had less of the first, one in a hundred
less of the second."""


def inflated_for_all(anchor: Anchor) -> Anchor:
    """An error model's anchor with the covariance that the fit uses."""
    turns = anchor.scale.new_tensor([OUT_OF_PLANE, OUT_OF_PLANE, IN_PLANE]).repeat(anchor.rotations.shape[1])
    factor = torch.cat([turns, turns.new_full((anchor.scale.shape[1] - len(turns),), SHAPE)])
    transl_std = anchor.transl_std * anchor.transl_std.new_tensor([1.0, 1.0, DISTANCE]).sqrt()
    return replace(inflated(anchor, factor), transl_std=transl_std)


def inflated(anchor: Anchor, factor: Tensor) -> Anchor:
    """The anchor with its error's variances multiplied: one factor a person (B, 1), or one a coordinate (D,)."""
    return replace(anchor, scale=anchor.scale * factor.sqrt(), common=None, coordinates=())


def fitted_on(fit: Fit, factor: Tensor, route: Route) -> Fit:
    """The fit continued from where it is, with `factor` times the anchor's variances, given as `inflated` takes it."""
    seen, on = fit.observation, replace(fit.stage, options=replace(fit.stage.options, warm_up_steps=0), warm_up={})
    assert seen.anchor is not None
    wider = replace(seen, anchor=inflated(seen.anchor, factor))
    again = route.run(Begun.at(fit.state, wider), (on,))
    return replace(again, steps=fit.steps + again.steps, start=fit.start, stage=fit.stage)


@dataclass(frozen=True)
class InflateAnchor:
    """f of every person, as above: the numbers of the formula, and its bounds. A step of a schedule.

    Chosen on validation motion (1, 2 and 3 % noise, half hidden, three keypoint sets), on the same recombined and
    widened, and with stray and swapped keypoints: of 16,800 people the fit at each of ten weights of the anchor was
    kept, and the formula chosen that has the least error where no setting has more people than before who end more than
    5 mm farther from the truth than their start (benchmarks/results.md).
    """

    base: float = 3.2
    anchor: float = 0.85
    keypoints: float = 1.25
    noise: float = 1.2
    hidden: float = 4.2
    least: float = 1.9
    most: float = 10.0

    def factor(self, fit: Fit, stage: Stage) -> Tensor:
        """(B,) f, 1 for people who are not fitted again. stage: the fit's, of an observation with predicted noise."""
        seen = fit.observation.keypoints.presence
        count = seen.sum(1).clamp_min(1)
        least = {"anchor": LEAST_ANCHOR, "keypoints": LEAST_KEYPOINTS}
        A, K = ((fit.term_cost[n] / stage.weights[n] / count).clamp_min(low).log() for n, low in least.items())
        assert fit.observation.noise is not None
        noise = (fit.observation.noise.log() * seen).sum(1) / count
        exponent = self.base + self.anchor * A - self.keypoints * K + self.noise * (noise - USUAL_NOISE)
        exponent = exponent - self.hidden * hidden_fraction(fit.observation.keypoints)
        f = exponent.exp().nan_to_num(1.0).clamp_max(self.most)
        return torch.where(f > self.least, f, 1.0)

    def __call__(self, fit: Fit, route: Route) -> Fit:
        """The fit with those people fitted on from it whose anchor keeps them from their keypoints."""
        stage, seen = fit.stage, fit.observation
        both = stage.weights.get("anchor") and stage.weights.get("keypoints")
        if not both or seen.anchor is None or seen.noise is None or seen.measurements:
            return fit
        factor = self.factor(fit, stage)
        people = (factor > 1).nonzero()[:, 0].cpu()
        if not len(people):
            return fit
        again = fitted_on(fit[people], factor[people, None], route)
        return fit.replaced(people, again)


def fitted_from(begun: Begun, stage: Stage, route: Route) -> Fit:
    """One stage from where a route begins, and on with a wider anchor for those whose anchor is too narrow."""
    return InflateAnchor()(route.run(begun, (stage,)), route)
