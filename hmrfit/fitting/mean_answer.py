"""The mean of all that the picture allows as the answer, for offline work: FIT.ANSWER = mean.

    W_j ∝ (1 − a) W_j(fit) + a Σ_h p_h W_j(Θ_h)      rotations of the joints in the camera's axes, made rotations again
    β, t  the same means;      then fitted on with the anchor moved there and NARROWER

The least expected error is that of the mean of what is possible. The fit is one estimate of it, about the mean that
the initial estimate is; the other answers (`hmrfit.fitting.answers`) come from a mixture of its own, and their mean is
another. The mean of both is nearer to the truth than either, and the steps from there bring it back to the keypoints.
How sure the answer is, the fit's own anchor says, as before.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hmrfit.fitting.energy import total
from hmrfit.fitting.fit import FITTED_AGAIN, Fit, Seeker
from hmrfit.fitting.gaussian_prior import Anchor
from hmrfit.fitting.parameters import State
from hmrfit.fitting.pieces import in_pieces
from hmrfit.fitting.route import Begun, Route
from hmrfit.fitting.uncertainty import Answers
from hmrfit.ops.rotation import orthonormalize
from hmrfit.ops.skinning import local_rotations, world_rotations
from hmrfit.types import BodyParams

SHARE = 0.6
"""a. Of 500 hard people of validation motion anything from a half to three quarters is as good."""

NARROWER = 3.0
"""By how much less the variances are about the mean than about one estimate."""


@dataclass(frozen=True)
class MeanAnswer:
    """A step of a schedule, the last one. seeker: what finds the other answers."""

    seeker: Seeker

    def __call__(self, fit: Fit, route: Route) -> Fit:
        if fit.observation.anchor is None or fit.acceptance is None:
            return fit
        known = fit.acceptance.accepted & (fit.acceptance.reason != FITTED_AGAIN)  # of others the mixture knows little
        people = known.nonzero()[:, 0]
        if not len(people):
            return fit
        chosen = fit.of(people)
        return fit.replaced(people, in_pieces(lambda part: self._moved(chosen[part], route), len(people), Fit))

    def _moved(self, fit: Fit, route: Route) -> Fit:
        """The fit of these people at the mean of their answers, fitted on."""
        answers, seen = self.seeker(fit, route.body, route.terms), fit.observation
        mean = mean_of(fit.state.params, answers, route.body.parents)
        assert seen.anchor is not None
        anchor = Anchor.at(mean, route.body.parents, seen.anchor.scale / NARROWER**0.5, seen.anchor.factors)
        about = replace(seen, anchor=anchor, start_depth=mean.transl[:, 2])
        state = route.run(Begun.at(State(mean, fit.state.camera), about), (fit.stage,)).state
        costs = route.term_costs(state, seen, fit.stage)
        cost = total(costs)
        kept = fit.with_hypotheses(1)
        return replace(kept, state=state, cost=cost, term_cost=costs, hypotheses=[state], hypothesis_cost=cost[:, None])


def mean_of(params: BodyParams, answers: Answers, parents: tuple[int, ...]) -> BodyParams:
    """The mean of B bodies and of their answers by probability, SHARE of it the answers'."""
    assert answers.posterior is not None
    p = answers.posterior.probability / answers.posterior.probability.sum(1, keepdim=True)
    weights = torch.cat([torch.full_like(p[:, :1], 1 - SHARE), SHARE * p], 1)
    bodies = [params, *(state.params for state in answers.hypotheses)]

    def mean(values: list[Tensor]) -> Tensor:
        return torch.einsum("bh,bh...->b...", weights, torch.stack(values, 1))

    world = orthonormalize(mean([world_rotations(body.rotations, parents) for body in bodies]))
    local = local_rotations(world, parents)
    return BodyParams(local[:, 0], local[:, 1:], mean([b.betas for b in bodies]), mean([b.transl for b in bodies]))
