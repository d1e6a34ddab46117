"""A hand seen from other sides: the back for the palm, a palm tilted away for one tilted towards the camera.

    the fit  ->  poses of a library seen from sides other than the fit's  ->  wide  ->  final  ->  the best of them

Keypoints of a hand and of the same hand flipped over nearly agree, so whoever starts at one answer may be in the wrong
valley. `TryOtherSides` is a step after the stages, for the few hands whose energy is higher than that of hands which
are where they should be; the cheaper answer is taken. `SeekOtherSides` finds the other answer for everybody, when it is
asked for: both then have their probability.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from hmrfit.body.points import PointBody
from hmrfit.fitting.distinct import DropDuplicates
from hmrfit.fitting.energy import Stage, total
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.library import library_starts
from hmrfit.fitting.parameters import State
from hmrfit.fitting.placing import solve_translation
from hmrfit.fitting.route import Begun, Route
from hmrfit.fitting.starts import Given, Library
from hmrfit.fitting.terms.base import Term
from hmrfit.fitting.uncertainty import Answers
from hmrfit.network.hand_estimate import HandHmr


@dataclass
class HandEstimate:
    """A start: the network's answer for the keypoints of hands, moved to where the keypoints are.

    own_shapes: whether the network's betas are this hand's; else it begins with the mean shape.
    """

    network: HandHmr
    own_shapes: bool = True

    def __call__(self, given: Given, body: PointBody) -> Begun:
        params = self.network.predict(given.keypoints, given.camera).params
        if not self.own_shapes:
            params = replace(params, betas=params.betas.new_zeros(len(params), body.joint_shapes.shape[-1]))
        points = body.pose(params).points - params.transl[:, None]
        observation = given.observation
        params = replace(params, transl=solve_translation(points, observation, given.camera))
        return Begun.at(State(params, given.camera), observation)


@dataclass(frozen=True)
class OtherSides:
    """Fits of the same hands from starts that see them from other sides than a fit does.

    library: poses and views. before: the stage of these starts before the fit's own last one. count: starts a hand.
    """

    library: Library
    before: Stage
    count: int = 2

    def __call__(self, fit: Fit, route: Route) -> Fit:
        """One answer for each hand of the fit."""
        seen, camera = self.library.seen_through(route.body), fit.state.camera
        side = -fit.state.params.global_orient[:, 2]
        state = library_starts(route.body, seen, fit.observation, camera, self.count, roll_sigma=torch.inf, beside=side)
        person = torch.arange(len(fit)).repeat_interleave(self.count)
        first = _with_terms_of(self.before, fit.stage)
        last = replace(fit.stage, keep=1, warm_up={}, options=replace(fit.stage.options, warm_up_steps=0))
        return replace(route.run(Begun(state, fit.observation, person, single=False), (first, last)), stage=fit.stage)


def _with_terms_of(stage: Stage, last: Stage) -> Stage:
    """A stage with whatever else the last one weighs: what was measured and the caller's own."""
    own = {name for name in stage.weights if name in last.weights}
    more = {name: w for name, w in last.weights.items() if name not in own and name != "keypoints"}
    return replace(stage, weights={**stage.weights, **{n: last.weights[n] for n in own}, **more})


@dataclass(frozen=True)
class TryOtherSides:
    """A step after the stages. most: nats of the hand's own terms above which other sides are tried."""

    others: OtherSides
    own: tuple[str, ...]
    most: float

    def __call__(self, fit: Fit, route: Route) -> Fit:
        if not len(fit):
            return fit
        terms = {name: fit.term_cost[name] for name in self.own if name in fit.term_cost}
        doubtful = ~(total(terms) <= self.most) if terms else torch.zeros_like(fit.cost, dtype=torch.bool)
        rows = doubtful.nonzero()[:, 0]
        if not len(rows):
            return fit
        before = fit.of(rows)
        found = self.others(before, route)
        better = rows[found.cost < before.cost]
        if not len(better):
            return fit
        place = torch.isin(rows, better).nonzero()[:, 0]
        return fit.replaced(better, replace(found.of(place), start=None if fit.start is None else fit.start[better]))


@dataclass(frozen=True)
class SeekOtherSides:
    """What finds the other answer of hands, once it is asked for."""

    others: OtherSides
    needs_anchor: ClassVar[bool] = False

    def __call__(self, fit: Fit, body: PointBody, terms: Mapping[str, Term]) -> Answers:
        """Both answers, the fit's own first; how likely they are is for the fitter to say."""
        route = Route(body, terms)
        other = self.others(fit, route)
        cost = torch.stack([fit.cost, other.cost.nan_to_num(torch.inf)], 1)
        both = replace(fit, hypotheses=[fit.state, other.state], hypothesis_cost=cost)
        both = DropDuplicates()(both, route)
        return Answers(both.hypotheses, both.hypothesis_cost, None)

    def beside(self, found: Answers, fit: Fit, body: PointBody, terms: Mapping[str, Term]) -> Answers:
        """What was found."""
        return found
