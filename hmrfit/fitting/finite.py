"""The last look at a fit before it is handed out: whatever is no number is replaced, person by person.

    parameters     by the start's, where that is finite; else by an upright body that fills the person's box
    costs          by infinity, as hypotheses that are not there have
    hypotheses     by the answer, of infinite cost: their probability is then 0

It finds nothing to do unless a term of the user's, or a network, gives numbers that are none.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hmrfit.body.smpl import SmplBody
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.parameters import UPRIGHT, State
from hmrfit.fitting.placing import middle_of_box
from hmrfit.fitting.solver import STATUS
from hmrfit.types import BodyParams

NO_NUMBERS = 5
ENDS = {
    **STATUS,
    NO_NUMBERS: "The fit did not end in numbers; its start is returned, or an upright body where that is none either.",
}
"""How a fit may have ended: as the solver says, or here."""


def only_numbers(fit: Fit, body: SmplBody) -> Fit:
    """The fit without NaN and without infinite parameters; the same object where there are none."""
    states = [fit.state, *fit.hypotheses, *([] if fit.start is None else [fit.start])]
    costs = [fit.cost, *fit.term_cost.values(), *fit.start_term_cost.values()]
    if all(map(math.isfinite, map(_sum, states))) and all(math.isfinite(cost.sum()) for cost in costs):
        return fit
    start = _mended(fit.start or fit.state, _upright(fit, body))
    state, broken = _mended(fit.state, start), ~_is_finite(fit.state)
    hypotheses = [_mended(hypothesis, state) for hypothesis in fit.hypotheses]
    lost = torch.stack([~_is_finite(hypothesis) for hypothesis in fit.hypotheses], 1)
    return replace(
        fit,
        state=state,
        cost=_known(fit.cost),
        term_cost={name: _known(cost) for name, cost in fit.term_cost.items()},
        status=fit.status.masked_fill(broken, NO_NUMBERS),
        hypotheses=hypotheses,
        hypothesis_cost=_known(fit.hypothesis_cost.masked_fill(lost, torch.inf)),
        start=None if fit.start is None else start,
        start_term_cost={name: _known(cost) for name, cost in fit.start_term_cost.items()},
    )


def _parts(state: State) -> Sequence[Tensor]:
    p = state.params
    return p.global_orient, p.body_pose, p.betas, p.transl


def _sum(state: State) -> float:
    """Finite where all of the parameters are."""
    return float(sum(part.sum() for part in _parts(state)))


def _is_finite(state: State) -> Tensor:
    """(B,) whether a person's parameters are numbers."""
    return torch.stack([part.flatten(1).isfinite().all(1) for part in _parts(state)]).all(0)


def _mended(state: State, other: State) -> State:
    """The state, the other one's people where its own are no numbers."""
    rows = (~_is_finite(state)).nonzero()[:, 0]
    return state if not len(rows) else State(state.params.with_rows(rows, other.params), state.camera)


def _known(cost: Tensor) -> Tensor:
    """Infinite in place of NaN."""
    return cost.nan_to_num(torch.inf, torch.inf, -torch.inf)


def _upright(fit: Fit, body: SmplBody) -> State:
    """Bodies at rest, upright, in the middle of the box of their keypoints."""
    camera = fit.state.camera
    rest = body.neutral(len(fit.cost))
    orient = rest.global_orient.new_tensor(UPRIGHT).expand_as(rest.global_orient).clone()
    transl = middle_of_box(fit.observation, camera) - body.rest_joints[0]
    return State(BodyParams(orient, rest.body_pose, rest.betas, transl), camera)
