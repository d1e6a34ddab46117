"""Limbs whose depth is open: some answer that is offered shows each of them the other way.

    q = Σ_h p_h P_h(z on the other side than the answer's) > OPEN,      no other answer shows the limb there
    Δ = C aᵀ (a C aᵀ)⁻¹ (z* − z),         z* = AS_FAR E[z | the other side]

z are the depths of bones (`limb_depths`). The limb goes to the other answer that it is the least far for, counted in
that answer's own standard deviations; there the whole body moves as its posterior says that it would if the bone
pointed that way (Δ, the conditional mean), so the keypoints stay met. What an answer is the only one to show stays, and
so does the likeliest answer of all.

Who has fewer than FILLED other answers gets more, bodies that move off from the fit's own. One as far from it as m, in
standard deviations of the posterior, has the odds √(F/(1 − F)) to its own, F = P(t_ν < −m/2): what is nearer to the new
one than to it, the root because the posterior knows less of which answer is the nearest than of where all of them lie.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.fitting.limb_depths import depths_of_answers, other_side
from hmrfit.fitting.parameters import Layout, State
from hmrfit.fitting.uncertainty import Answers, Posterior
from hmrfit.ops.student import student_cdf

OPEN, PROBABLE = 0.05, 0.1
"""Probability of the other side from which a limb's depth counts as open, and that an answer must have to show it. Of
limbs that are wrong in the answer 11 % (tidy people) to 15 % (hard ones) are less open than 0.1."""

AS_FAR = 0.7
"""How much of the way to the mean of what lies on the other side. Of 900 people of validation motion (1 % noise, half
hidden, hard ones) 0.4, 0.7 and 1.0 show the same limbs; the best of what is offered is nearest with 0.4 (by 0.5 to
1.2 % of PA-MPJPE), and the limbs lie where limbs of that side do with 1.0."""

FILLED = 2
"""Other answers that whoever has an open limb gets, where that many are needed to show all of them."""

SMALLEST = 1e-12
"""Metres², added to variances of depths that may be 0."""

ONE_MORE = 0.5
"""Variances by which an answer is farther for each limb that it has taken already."""


@dataclass(frozen=True)
class _Limbs:
    """The bones of every answer (B, H), and those that some other answer has yet to show."""

    depth: Tensor  # (B, H, L) z
    columns: Tensor  # (B, H, P, L) C aᵀ
    square: Tensor  # (B, H, L, L) a C aᵀ
    own: Tensor  # (B, L) +-1, the side on which the fit has each
    other: Tensor  # (B, L) z*
    q: Tensor  # (B, L)


def with_open_limbs(found: Answers, body: PointBody, others: int = 3) -> Answers:
    """The answers, some of them moved and new ones behind them, so that every open limb is shown both ways. The cost of
    those is not known yet: infinite; `towards` of the posterior is as it was before.

    Args:
        others: beside the first that are offered at most.
    """
    if not len(found.cost) or not body.skeleton.limbs:
        return found
    given, found = found, found.with_hypotheses(1 + others)
    posterior, before = found.posterior, found.cost
    assert posterior is not None
    limbs, usable = _limbs(body, found.hypotheses, posterior), _usable(posterior.probability, min(others, FILLED))
    towards = torch.where(limbs.own < 0, 1 - limbs.q, limbs.q)
    taken, kept = _assigned(limbs, usable)
    moves = taken.any(-1)
    if not moves.any():
        assert given.posterior is not None
        return replace(given, posterior=replace(given.posterior, towards=towards))
    step, square = _steps(limbs, taken, kept)
    probability = posterior.probability
    beyond = student_cdf(posterior.nu, -square.clamp_min(0).sqrt() / 2)
    new = probability[:, :1] * (beyond / (1 - beyond)).sqrt()
    probability = torch.where(moves & (probability == 0), new, probability)
    return Answers(
        _moved(found.hypotheses, step, moves, body),
        before.masked_fill(moves, torch.inf),
        replace(posterior, probability=probability / probability.sum(1, keepdim=True), towards=towards),
    )


def _moved(states: list[State], step: Tensor, moves: Tensor, body: PointBody) -> list[State]:
    """The states (B,), H of them, those that move by step (B, H, P)."""
    H, B = len(states), len(step)
    everyone = State.cat([State(state.params, state.camera) for state in states])
    answer, person = moves.T.nonzero(as_tuple=True)
    rows, places = answer * B + person, torch.arange(H * B)
    on = everyone[rows].retract(step[person, answer], body.parents, Layout.everything(body))
    places[rows] = H * B + torch.arange(len(rows))
    both = State.cat([everyone, State(on.params, on.camera)])
    return [both[part] for part in places.view(H, B)]


def _limbs(body: PointBody, hypotheses: list[State], posterior: Posterior) -> _Limbs:
    each = depths_of_answers(body, hypotheses)
    depth, rows = each.depth, each.rows
    columns = posterior.covariance @ rows.mT
    square = rows @ columns
    own = torch.where(depth[:, 0] < 0, -1.0, 1.0).to(depth)
    scale = square.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()
    p, mean = other_side(depth * own[:, None], scale, posterior.nu)
    weight = posterior.probability[..., None] * p
    q = weight.sum(1)
    mean = (weight * mean).sum(1) / q.clamp_min(1e-300)
    other = AS_FAR * torch.maximum(mean, -each.length[:, 0]) * own
    return _Limbs(depth, columns, square, own, other, q)


def _usable(probability: Tensor, least: int) -> Tensor:
    """(B, H) other answers that may show limbs: probable ones that are not the likeliest, and as many free places as
    are missing to `least`."""
    probable, free = probability >= PROBABLE, probability == 0
    probable[:, 0] = False
    probable.scatter_(1, probability.argmax(1, keepdim=True), False)
    lacking = least - probable.sum(1, keepdim=True)
    return probable | (free & (free.cumsum(1) <= lacking))


def _assigned(limbs: _Limbs, usable: Tensor) -> tuple[Tensor, Tensor]:
    """((B, H, L) bones that each answer is to show the other way, the bones that it alone shows so already)."""
    there = limbs.depth * limbs.own[:, None] < 0
    shown = there & usable[..., None]
    needed = (limbs.q > OPEN) & ~shown.any(1) & usable.any(1, keepdim=True)
    kept = shown & (shown.sum(1, keepdim=True) == 1)
    taken, people = torch.zeros_like(shown), torch.arange(len(usable))
    variance = limbs.square.diagonal(dim1=-2, dim2=-1).clamp_min(SMALLEST)
    far = (limbs.other[:, None] - limbs.depth).square() / variance
    for bone in limbs.q.argsort(dim=1, descending=True, stable=True).T:  # each person's most open one first
        cost = far[people, :, bone] + ONE_MORE * taken.sum(-1)
        answer = cost.masked_fill(~usable, torch.inf).argmin(1)
        taken[people, answer, bone] |= needed[people, bone]
    return taken, kept


def _steps(limbs: _Limbs, taken: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """(Δ (B, H, P) of all answers, 0 of those that take no limb; m² (B, H))."""
    fixed = (taken | (kept & taken.any(-1, keepdim=True))).to(limbs.depth)
    wanted = torch.where(taken, limbs.other[:, None] - limbs.depth, 0.0)
    own = limbs.square * fixed[..., None] * fixed[..., None, :]
    own = own + torch.diag_embed(1 - fixed + SMALLEST)
    pull = torch.linalg.solve_ex(own, wanted[..., None])[0] * fixed[..., None]
    return (limbs.columns @ pull).squeeze(-1), (pull.squeeze(-1) * wanted).sum(-1)
