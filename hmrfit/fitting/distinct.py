"""Hypotheses that ended at the same place are one: starts from different sides often meet.

h is dropped  <=>  a cheaper hypothesis has all of its joints, about the root, within `apart` of h's
"""

from dataclasses import dataclass, replace

import torch

from hmrfit.fitting.fit import Fit
from hmrfit.fitting.route import Route


@dataclass(frozen=True)
class DropDuplicates:
    """A step after the stages. apart: metres."""

    apart: float = 0.003

    def __call__(self, fit: Fit, route: Route) -> Fit:
        if len(fit.hypotheses) == 1 or not len(fit):
            return fit
        joints = [route.body.pose(state.params).points for state in fit.hypotheses]
        about = [points - points[:, :1] for points in joints]
        cost = fit.hypothesis_cost.clone()
        for h in range(1, len(about)):
            for cheaper in range(h):
                near = (about[h] - about[cheaper]).norm(dim=-1).amax(1) < self.apart
                cost[near & cost[:, cheaper].isfinite(), h] = torch.inf
        order = cost.argsort(dim=1, stable=True)
        if torch.equal(order, torch.arange(cost.shape[1]).to(order).expand_as(order)):
            return replace(fit, hypothesis_cost=cost)
        everyone = type(fit.state).cat(fit.hypotheses)
        people = torch.arange(len(fit)).to(order)
        states = [everyone[column * len(fit) + people] for column in order.T]
        return replace(fit, hypotheses=states, hypothesis_cost=cost.gather(1, order))
