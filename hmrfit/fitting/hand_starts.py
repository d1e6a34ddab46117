"""How a hand is held, from its points alone: poses × turns about the forearm, as one or several cameras see them.

Each is put under the similarity of the picture that suits the points best, of every camera c that shows the hand,

    E = Σ_c [ residual / (2 (SIGMA size)²) + ½ (ψ/ROLL)² + ½ (log s/s₀ / SCALE)² ] + ½ |(turn − usual)/deviation|²

with ψ the turn in the picture and s₀ the scale at the wrist's depth. From two sides the back of a hand is none of its
palm, so several cameras together seldom begin at the wrong one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from hmrfit.body.mirrored import FLIP
from hmrfit.fitting.parameters import Observation
from hmrfit.fitting.terms.views import VIEWS, OtherViews
from hmrfit.keypoints import HAND_POINTS
from hmrfit.ops.presence import presence, shown
from hmrfit.ops.rotation import rotvec_to_matrix

HAND_LENGTH = 0.18
"""Metres. A hand counts as at least half as large in the picture as this is at its depth, however it is turned."""

FEWEST = 5
"""Points of a hand that say how it is held; with fewer it begins at the mean pose, as the arm has it."""

USUAL_TURN, TURN_DEVIATION = (25.0, -5.0, 12.0), (50.0, 25.0, 35.0)
"""Degrees, of a left wrist's rotation vector: twist, to the side, up and down. Wider than in the motion that the pose
prior is of, whose hands were measured poorly."""

TURNS = ((-100, -65, -35, -5, 25, 55, 85, 120, 155), (-35, -5, 25), (-55, -20, 15, 50))
"""Degrees: the turns that are tried."""

SIGMA, ROLL, SCALE = 0.05, 0.35, 0.25
"""The robust size of a residual, radians of the forearm's error in the picture, and the scale's log."""

ELSEWHERE = 0.5
"""The cosine between the backs of two hands that are held differently."""


@dataclass(frozen=True)
class Look:
    """What one camera shows of one hand of B people."""

    xy: Tensor  # (B, k, 2) pixels
    weight: Tensor  # (B, k) c
    enough: Tensor  # (B,) bool, whether it says how the hand is held
    scale: Tensor  # (B,) s₀, pixels a metre
    turn: Tensor | None = None  # (B, 3, 3) from the frame of the fit to the camera's; None: they are the same


def looks(seen: Observation, places: Sequence[int], focal: Tensor, wrist: Tensor) -> list[Look]:
    """Of the fit's own camera, then of the others that see the same people (`OtherViews`).

    Args:
        places: of the hand's points. focal: (B,) of the fit's camera. wrist: (B, 3) the joint, metres.
    """
    keypoints, own = seen.keypoints, list(places)
    weight = (keypoints.shown * keypoints.confidence)[:, own]
    enough = keypoints.presence[:, own].sum(1) >= FEWEST
    found = [Look(keypoints.xy[:, own], weight, enough, focal / wrist[:, 2].clamp_min(0.1))]
    others = seen.measurements.get(VIEWS)
    if not isinstance(others, OtherViews):
        return found
    scale = others.focal.mean(-1) / others.depth(wrist).clamp_min(0.1)
    weight = (shown(others.confidence) * others.confidence)[:, :, own]
    enough = presence(others.confidence)[:, :, own].sum(-1) >= FEWEST
    more = [
        Look(others.xy[:, v, own], weight[:, v], enough[:, v], scale[:, v], others.rotation[:, v])
        for v in range(scale.shape[1])
    ]
    return found + more


def best_turns(
    arm: Tensor, points: Tensor, seen: Sequence[Look], side: str, back: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The best start of one hand of B people: (world rotation of the wrist (B, 3, 3), which pose (B,)).

    Args:
        arm: (B, 3, 3) the forearm's world rotation. points: (N, k, 3) of all poses about the wrist.
        back: (B, 3) directions elsewhere than at which the back of the hand is to be.
    """
    turns, prior = _turns_of(side)
    turned = arm[:, None] @ turns  # (B, n, 3, 3)
    total, rolls = prior[:, None], []
    for look in seen:
        score, z = _scores(turned if look.turn is None else look.turn[:, None] @ turned, points, look)
        total = total + (score if len(seen) == 1 else torch.where(look.enough[:, None, None], score, 0.0))
        rolls.append(z)
    if back is not None:
        near = (turned[..., 1] * back[:, None]).sum(-1) > ELSEWHERE
        total = total.masked_fill(near[..., None], torch.inf)
    N, best = total.shape[2], total.flatten(1).argmin(1)
    found = turned[torch.arange(len(best)), best // N]
    psi = torch.stack([z.angle().flatten(1).gather(1, best[:, None])[:, 0] for z in rolls])  # (C, B)
    clear = torch.stack([look.weight.sum(1) * look.scale * look.enough for look in seen]).argmax(0)
    roll = rotvec_to_matrix(psi.gather(0, clear[None])[0, :, None] * psi.new_tensor([0.0, 0.0, 1.0]))
    if len(seen) == 1:
        return roll @ found, best % N
    eye = torch.eye(3).to(arm).expand_as(arm)
    there = torch.stack([eye if look.turn is None else look.turn for look in seen])[clear, torch.arange(len(best))]
    return there.mT @ roll @ there @ found, best % N


def _scores(turned: Tensor, points: Tensor, look: Look) -> tuple[Tensor, Tensor]:
    """(what a camera has against every turn and pose (B, n, N), the similarity s exp(i ψ) of each). turned: (B, n, 3,
    3) in the camera's frame."""
    c, x, scale = look.weight, look.xy, look.scale.view(-1, 1, 1)
    total = c.sum(1, keepdim=True).clamp_min(1e-9)
    x = x - (c[..., None] * x).sum(1, keepdim=True) / total[..., None]
    P = points - torch.einsum("bk,nkc->bnc", c, points)[:, :, None] / total[:, :, None, None]  # (B, N, k, 3)
    A = torch.einsum("bk,bkr,bnkc->bnrc", c, x, P)  # moments with the picture, and its own
    S = torch.einsum("bk,bnkc,bnkd->bncd", c, P, P)
    dot = torch.einsum("bqrc,bnsc->bqnrs", turned[:, :, :2], A)  # the picture shows two rows of a turn
    z = torch.complex(dot[..., 0, 0] + dot[..., 1, 1], dot[..., 0, 1] - dot[..., 1, 0])
    extent = (turned[:, :, :2].mT @ turned[:, :, :2]).flatten(2) @ S.flatten(2).mT  # Σ c |p|²
    z = z / extent.clamp_min(1e-9)
    residual = ((c * x.square().sum(-1)).sum(1)[:, None, None] - z.abs().square() * extent).clamp_min(0)
    score = residual / (2 * (SIGMA * scale * HAND_LENGTH).square()) + 0.5 * (z.angle() / ROLL).square()
    return score + 0.5 * ((z.abs() / scale).clamp_min(1e-6).log() / SCALE).square(), z


def places_of(names: Sequence[str], side: str) -> list[int]:
    """Of the points of one hand. side: "left_" or "right_"."""
    return [k for k, name in enumerate(names) if name in HAND_POINTS and name.startswith(side)]


def of_side(rotations: Tensor, side: str) -> Tensor:
    """Rotations (..., 3, 3) of a right hand's joints as those of this side's."""
    if side == "right_":
        return rotations
    flip = rotations.new_tensor(FLIP)
    return rotations * (flip[:, None] * flip)


@cache
def _turns_of(side: str) -> tuple[Tensor, Tensor]:
    """(Q (n, 3, 3) of the wrist, what each costs (n,)) that are tried."""
    grid = torch.cartesian_prod(*(torch.tensor(axis, dtype=torch.float64) for axis in TURNS))
    cost = 0.5 * ((grid - grid.new_tensor(USUAL_TURN)) / grid.new_tensor(TURN_DEVIATION)).square().sum(1)
    if side == "right_":
        grid = grid * grid.new_tensor([1.0, -1.0, -1.0])
    return rotvec_to_matrix(grid.deg2rad()), cost
