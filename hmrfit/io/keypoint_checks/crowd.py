"""Who of a crowd is surely in order: the checks of one person's keypoints as arrays over people.

Each condition below is that under which a part of `check_keypoints` finds nothing, with its numbers, and what both can
compute in the same way (`sides.head_strain`, `sides.says_what_is_hidden`) is there; the rest would take longer of one
person. Who meets all conditions needs no look; who misses one, or is near a limit, is looked at alone, in words. So
nothing that is said of people is decided here, but it takes a tenth of the time.

The head's places (`hmrfit.io.keypoint_checks.head`) of all people, yaws and pitches, without an array over points too:

    B = Σ m̄_i z_i,  M = Σ |m_i|²  (m and z about their means),    q = (B + s)/(M + s),  s = (σ/ρ)²
    Σ |z_i − q m_i|² = Σ |z_i|² − 2 Re(q̄ B) + |q|² M
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hmrfit.io.keypoint_checks import CORE, FEWEST, FLAT, HEAPED, SMALLEST_BOX, STRAY, order, sides
from hmrfit.io.keypoint_checks.body import CONFIDENT, SHORTEST_TRUNK, SHOULDER_SHARE, bones_of, find
from hmrfit.io.keypoint_checks.head import (
    COST_SEEN,
    COST_UNSEEN,
    HEAD_PARTS,
    MIRRORED,
    PROJECTED,
    SIGMA,
    STIFFNESS,
    TILT,
    WORST,
    YAWS,
)
from hmrfit.keypoints import PAIRED

NEAR = 1e-6
"""Of a limit, so that rounding decides nothing."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MODEL = PROJECTED.reshape(-1, len(HEAD_PARTS))
"""(yaws · pitches, 5)"""


def surely_in_order(names: tuple[str, ...], xy: Floats, confidence: Floats, size: tuple[int, int]) -> Bools:
    """(N,) of whom `check_keypoints` has nothing to say, and who is in the image; False where that is not sure.

    Args:
        names: K, of everybody. xy: (N, K, 2) pixels. confidence: (N, K). size: of the image.
    """
    finite = np.asarray(np.isfinite(xy).all((1, 2)) & np.isfinite(confidence).all(1))
    xy, confidence = np.where(finite[:, None, None], xy, 0.0), np.where(finite[:, None], confidence, 0.0)
    seen = confidence > 0
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        fine = _in_the_image(xy, seen, np.asarray(size, np.float64)) & _one_body(xy, seen)
        sure = seen & (confidence >= CONFIDENT * confidence.max(1, initial=0.0)[:, None])
        people = _SeenBodies(names, xy, sure, np.where(seen, confidence, 0.0))
        return fine & _in_the_order_of_names(people) & _sides_agree(people)


def _in_the_image(xy: Floats, seen: Bools, size: Floats) -> Bools:
    """Enough points, spread over pixels, some of them in the image and none far outside."""
    points, count = np.where(seen[..., None], xy, np.nan), seen.sum(1)
    low, high = np.fmin.reduce(points, 1), np.fmax.reduce(points, 1)
    outside = ((xy < -0.1 * size) | (xy > 1.1 * size)).any(2) & seen
    inside = ((xy >= 0) & (xy <= size)).all(2) & seen
    in_pixels = ((high - low).max(1) > (1 + NEAR) * SMALLEST_BOX) & (np.maximum(high, -low).max(1) > 2 + NEAR)
    around = (low > -size).all(1) & (high < 2 * size).all(1)
    no_zeros = ~((xy == 0).all(2) & seen).any(1)
    return (count >= FEWEST) & in_pixels & around & no_zeros & inside.any(1) & (outside.sum(1) < 0.29 * count)


def _one_body(xy: Floats, seen: Bools) -> Bools:
    """No point far from the others, not all on one line, no three at one spot."""
    count, ranked = seen.sum(1), np.sort(np.where(seen[..., None], xy, np.inf), 1)
    apart = (np.diff(ranked, axis=1) == 0).sum(1).min(1) < HEAPED - 1
    centred = np.where(seen[..., None], xy - (xy * seen[..., None]).sum(1, keepdims=True) / count[:, None, None], 0.0)
    a, b, c = (np.einsum("nk,nk->n", centred[..., i], centred[..., j]) for i, j in ((0, 0), (0, 1), (1, 1)))
    angle = 0.5 * np.arctan2(2 * b, a - c)[:, None]
    along = centred[..., 0] * np.cos(angle) + centred[..., 1] * np.sin(angle)
    off = centred[..., 1] * np.cos(angle) - centred[..., 0] * np.sin(angle)
    wide = np.abs(off).max(1) > (1 + NEAR) * FLAT * (along.max(1) - along.min(1))
    return near_each_other(xy, seen) & apart & wide


def near_each_other(xy: Floats, seen: Bools) -> Bools:
    """(N,) whose keypoints are surely none of `stray_places`."""
    count, people = seen.sum(1), np.arange(len(xy))
    ranked = np.sort(np.where(seen[..., None], xy, np.inf), 1)
    core = np.ceil(CORE * count).astype(int)
    with np.errstate(invalid="ignore"):  # who has no point has neither a first nor a last one, and is not sure
        middle = ranked[people, core - 1] - ranked[people, count - core]
        return np.asarray((ranked[people, count - 1] - ranked[:, 0] < (1 - NEAR) * STRAY * middle).all(1))


@dataclass(frozen=True, eq=False)
class _SeenBodies:
    """`SeenBody` of everybody: names, xy (N, K, 2), which points are sure (N, K), confidence (N, K)."""

    names: tuple[str, ...]
    xy: Floats
    sure: Bools
    confidence: Floats

    def places(self, *parts: str) -> tuple[Floats, Bools]:
        """(xy (N, n, 2), are they there (N, n)?); a part that the set lacks is nowhere."""
        found = [find(self.names, part) for part in parts]
        known = np.array([i is not None for i in found])
        index = [i or 0 for i in found]
        return self.xy[:, index], self.sure[:, index] & known

    @cached_property
    def bones(self) -> tuple[Floats, Bools]:
        """(lengths over their shares of the trunk (N, n), are they seen (N, n)?)."""
        starts, ends, shares = bones_of(self.names)
        return _lengths(self.xy, starts, ends) / shares, self.sure[:, starts] & self.sure[:, ends]

    @cached_property
    def longest(self) -> Floats:
        """(N,) of the bones, 0 where none is seen."""
        lengths, known = self.bones
        return np.where(known, lengths, 0.0).max(1, initial=0.0)


def _lengths(xy: Floats, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Floats:
    apart = xy[:, starts] - xy[:, ends]
    return np.hypot(apart[..., 0], apart[..., 1])


def _in_the_order_of_names(people: _SeenBodies) -> Bools:
    """`order.wrong_order` finds nothing, without asking what other sets would say."""
    lengths, known = people.bones
    count = known.sum(1)
    logs = np.log(people.longest[:, None] / np.maximum(lengths, 1e-9)).clip(None, order.LONGEST_RATIO)
    uneven = np.where(known, logs, 0.0).sum(1) / count
    starts, ends = order.joined(people.names).T
    joined = people.sure[:, starts] & people.sure[:, ends]
    spread = np.where(joined, _lengths(people.xy, starts, ends), 0.0).sum(1) / np.maximum(joined.sum(1), 1)
    points = np.where(people.sure[..., None], people.xy, np.nan)
    box = (np.fmax.reduce(points, 1) - np.fmin.reduce(points, 1)).max(1)
    even = (uneven < order.UNEVEN - NEAR) & (spread < (order.ABSURD_SPREAD - NEAR) * box)
    return even | (count < order.FEWEST_BONES)


def _sides_agree(people: _SeenBodies) -> Bools:
    """`sides.side_warnings` finds nothing."""
    trunk, there = people.places("left_shoulder", "right_shoulder", "left_hip", "right_hip")
    shoulders, hips = there[:, :2].all(1), there[:, 2:].all(1)
    width = np.hypot(*(trunk[:, 0] - trunk[:, 1]).T) / SHOULDER_SHARE
    scale = np.maximum(np.where(shoulders, width, 0.0), people.longest)
    up = (trunk[:, 0] + trunk[:, 1] - trunk[:, 2] - trunk[:, 3]) / 2
    length, least = np.hypot(*up.T), SHORTEST_TRUNK * scale
    upright = shoulders & hips & (length > least)
    up = up / length[:, None]
    across = np.stack([-up[:, 1], up[:, 0]], 1)
    ends, both = people.places(*(f"{side}_{part}" for side in ("left", "right") for part in PAIRED))
    n = len(PAIRED)
    apart = ((ends[:, :n] - ends[:, n:]) * across[:, None]).sum(2) / scale[:, None]
    widths = {part: apart[:, i] for i, part in enumerate(PAIRED)}
    known = {part: both[:, i] & both[:, n + i] & upright for i, part in enumerate(PAIRED)}
    full = {"shoulder": sides.SHOULDER_WIDTH, "hip": sides.HIP_WIDTH}
    turned = np.stack([np.arccos(np.clip(widths[part] / wide, -1.0, 1.0)) for part, wide in full.items()], 1)
    straight = np.abs(turned[:, 0] - turned[:, 1]) < sides.MOST_TWIST - NEAR
    crossed = [_may_cross(widths, known, *limb) for limb in sides.LIMBS.values()]
    sure_of_up = ~(shoulders & hips) | (np.abs(length - least) > NEAR * scale)
    fine = sure_of_up & ~np.any(crossed, 0) & (~upright | (straight & (up[:, 0] > NEAR - sides.ALONG)))
    middle = (trunk[:, 0] + trunk[:, 1]) / 2
    return fine & (~shoulders | _head_fits(people, middle, scale, np.where(upright[:, None], up, np.nan), turned))


def _may_cross(
    widths: dict[str, Floats],
    known: dict[str, Bools],
    parts: tuple[str, str, str],
    other: str,
    least: sides.Crossing,
) -> Bools:
    """`sides._cross` without what tells exchanged limbs from those that really cross."""
    trunk, middle, end = (np.sign(widths[parts[0]]) * widths[part] for part in parts)
    there = np.all([known[part] for part in (*parts, other)], 0)
    return there & (trunk > least.trunk - NEAR) & (middle < NEAR - least.middle) & (end < NEAR - least.end)


def _head_fits(people: _SeenBodies, middle: Floats, scale: Floats, trunk_up: Floats, turned: Floats) -> Bools:
    """No exchange explains the head's points, turned on this trunk, far better; middle, scale: of seen shoulders."""
    places = [i for part in HEAD_PARTS if (i := find(people.names, part)) is not None]
    if len(places) < len(HEAD_PARTS):
        return np.ones(len(middle), bool)
    xy, placed = people.places(*HEAD_PARTS)
    to_face = (xy * placed[..., None]).sum(1) / placed.sum(1, keepdims=True) - middle
    up = np.where(placed.any(1, keepdims=True), to_face, trunk_up)
    up = up / np.hypot(*up.T)[:, None]
    metres = np.where(placed[..., None], xy - middle[:, None], 0.0) * (sides.TRUNK_METRES / scale)[:, None, None]
    z = (metres[..., 1] * up[:, :1] - metres[..., 0] * up[:, 1:]) + 1j * (metres * up[:, None]).sum(2)
    least_sure = sides.SURELY * people.confidence.max(1)[:, None]
    seen = placed & (people.confidence[:, places] >= least_sure)
    hidden = sides.says_what_is_hidden(people.names, people.xy, people.sure, people.confidence)
    given, mirrored = (_energies(z[:, o], placed[:, o], seen[:, o], hidden) for o in (slice(None), MIRRORED))
    flat = np.isnan(trunk_up[:, :1])
    strain, back = (np.where(flat, 0.0, sides.head_strain(turns)) for turns in (turned, np.pi - turned))
    others = [(mirrored + back).min(1), (mirrored + strain).min(1), (given + back).min(1)]
    least = np.where(hidden, sides.CONVINCING, sides.CONVINCING_PLACES)
    nowhere = ~placed.any(1) & flat[:, 0]
    return nowhere | ((given + strain).min(1) - np.min(others, 0) < least - NEAR)


def _energies(z: NDArray[np.complex128], placed: Bools, seen: Bools, hidden: Bools) -> Floats:
    """(N, yaws) `Head.energies`."""
    looked_at: Bools = hidden & seen.any(1)
    return _places_cost(z, placed) + looked_at[:, None] * (seen @ COST_SEEN.T + ~placed @ COST_UNSEEN.T)


def _places_cost(z: NDArray[np.complex128], placed: Bools) -> Floats:
    """(N, yaws) what the places of a head's points cost (`Head`)."""
    there = placed.astype(np.float64)
    count = np.maximum(there.sum(1), 1.0)[:, None]
    z = np.where(placed, z - (z * there).sum(1, keepdims=True) / count, 0.0)
    B = z @ MODEL.conj().T
    M = there @ (np.abs(MODEL) ** 2).T - np.abs(there @ MODEL.T) ** 2 / count
    q = (B + STIFFNESS) / (M + STIFFNESS)
    off = (np.abs(z) ** 2).sum(1)[:, None] - 2 * (q.conj() * B).real + np.abs(q) ** 2 * M
    cost = off / SIGMA**2 + np.abs(q - 1) ** 2 / TILT**2
    least = np.minimum(0.5 * cost.reshape(len(z), len(YAWS), -1).min(2), WORST)
    return np.where(count > 1, least, 0.0)
