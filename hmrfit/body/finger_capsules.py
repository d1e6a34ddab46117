"""Capsules in the fingers and palms of a hand, or of a body with hands: what keeps fingers from passing through.

    phalanx k of a finger:  from joint k to joint k + 1, the last one to a radius before the tip    moves with joint k
    palm:                   from the wrist to the first joint of each of the four fingers           moves with the wrist

    radius = r + R beta,    r the mean distance of a part's vertices from its axis; of a palm, in its middle      metres

Axes follow the posed joints, so that they have the shape of the hand that is fitted; the tips are those of the mean
shape. Neighbours touch at rest: phalanges of one finger, first phalanges of two, first ones and the palm, and the two
first bones of the thumb and the palm may not be asked about.
"""

from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import torch
from numpy.typing import NDArray

from hmrfit.body.mirrored import side_of
from hmrfit.body.smpl import SmplBody
from hmrfit.keypoints import FINGERS

Array = NDArray[np.float64]

PALM = 0
"""The place of a palm's capsules among the phalanges 1, 2 and 3."""


@dataclass(frozen=True, eq=False)
class FingerCapsules:
    """c capsules of the hands of a body. start, end: the joints at whose places an axis begins and ends; where the end
    is a tip, that is the same joint, and `tip` (c, 3) is where the axis ends about it, in the joint's own frame."""

    start: NDArray[np.int64]  # (c,)
    end: NDArray[np.int64]  # (c,)
    tip: Array  # (c, 3) metres, 0 where the axis ends at a joint
    moves_with: NDArray[np.int64]  # (c,) the joint
    radius: Array  # (c, S + 1), the last column that of the mean shape
    hand: NDArray[np.int64]  # (c,) which of the sides
    pairs: NDArray[np.int64]  # (M, 2) of one hand, that may not meet

    @property
    def across(self) -> NDArray[np.int64]:
        """(M', 2) of both hands."""
        first, second = (np.flatnonzero(self.hand == hand) for hand in (0, 1))
        return np.array(list(product(first, second)), np.int64).reshape(-1, 2)


def finger_capsules(body: SmplBody) -> FingerCapsules:
    """The capsules of a hand, or of both hands of a body.

    Raises:
        ValueError: the body has neither, or lacks a joint, a tip, or the vertices of a finger.
    """
    own = side_of(body.skeleton)
    sides = [own] if own is not None else sorted(body.skeleton.fingers)
    if not sides:
        raise ValueError(
            f"Capsules of fingers are of hands, and this body has none: it hangs on '{body.skeleton.root}'."
        )
    S = body.shape_count
    betas = torch.cat([torch.zeros(1, S), torch.eye(S)]).to(body.v_template)
    shaped = torch.cat([body.v_template[None], body.shaped(betas[1:])])
    rest = body.J_regressor @ shaped
    owner = body.weights.argmax(1)
    found: list[tuple[int, int, Array, int, Array, int]] = []
    kinds: list[tuple[int, int, int]] = []  # (hand, finger, place)
    for hand, side in enumerate(sides):
        wrist = body.skeleton.index(f"{side}_wrist")
        tips = body.points(tuple(f"{side}_{finger}_tip" for finger in FINGERS)).pose(body.neutral()).points[0]
        bases = [body.skeleton.index(f"{side}_{finger}1") for finger in FINGERS]
        for f, finger in enumerate(FINGERS):
            joints = [body.skeleton.index(f"{side}_{finger}{k}") for k in (1, 2, 3)]
            for k, joint in enumerate(joints):
                part = shaped[:, owner == joint]
                if not part.shape[1]:
                    raise ValueError(f"The body has no vertices that move with '{body.joint_names[joint]}'.")
                start = rest[:, joint]
                end = rest[:, joints[k + 1]] if k < 2 else tips[f].expand_as(start)
                radius = _distances(part, start, end).mean(1)
                offset = np.zeros(3)
                if k == 2:
                    along = end[0] - start[0]
                    length = along.norm()
                    offset = (along * ((length - radius[0]) / length).clamp_min(0.1)).numpy()
                found.append((joint, joint if k == 2 else joints[k + 1], offset, joint, _by_shape(radius), hand))
                kinds.append((hand, f, k + 1))
            if f:  # the thumb's first bone is its own
                palm = shaped[:, owner == wrist]
                each = torch.stack([_distances(palm, rest[:, wrist], rest[:, base]) for base in bases[1:]])
                middle = each[:, 0].argmin(0) == 1
                radius = each[1][:, middle].mean(1) if middle.any() else each[1].amin(1)
                found.append((wrist, joints[0], np.zeros(3), wrist, _by_shape(radius), hand))
                kinds.append((hand, f, PALM))
    starts, ends, offsets, movers, radii, hands = (np.array(column) for column in zip(*found, strict=True))
    pairs = [(a, b) for a, b in combinations(range(len(kinds)), 2) if _may_not_meet(kinds[a], kinds[b])]
    return FingerCapsules(starts, ends, offsets, movers, radii, hands, np.array(pairs))


def _may_not_meet(a: tuple[int, int, int], b: tuple[int, int, int]) -> bool:
    """Whether two parts, (hand, finger, place), of one hand do not touch as they are built."""
    (hand, finger, place), (other_hand, other, at) = a, b
    if hand != other_hand or finger == other or (place, at) == (PALM, PALM):
        return False
    if PALM in (place, at):
        which, k = (other, at) if place == PALM else (finger, place)
        return k == 3 or (k == 2 and which > 0)
    if (place, at) == (1, 1):
        return False
    return not (0 in (finger, other) and min(place, at) == 1 and (place if finger == 0 else at) == 1)


def _distances(points: torch.Tensor, start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """(N, P) of points (N, P, 3) from the segments (N, 3) to (N, 3)."""
    along = (end - start)[:, None]
    u = ((points - start[:, None]) * along).sum(-1) / along.square().sum(-1).clamp_min(1e-12)
    return (points - start[:, None] - u.clamp(0, 1)[..., None] * along).norm(dim=-1)


def _by_shape(radius: torch.Tensor) -> Array:
    """(S + 1,) from the radii of the mean shape and of each beta at 1: (1 + S,)."""
    values = radius.numpy()
    return np.append(values[1:] - values[0], values[0])
