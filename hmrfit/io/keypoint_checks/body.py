"""One person's keypoints by the names of body parts, with the lengths and directions that the checks share.

Lengths are measured in the body's own scale S, pixels: the greatest of several bones, each divided by its usual share
of the trunk, since a picture only shortens bones. Sides are measured along l, the direction of the person's left in the
picture if they face the camera:

    u = (mid shoulders − mid hips)/|·|,   l = (−u_y, u_x),   width(part) = (left − right)·l / S

so the widths of shoulders, hips, knees and elbows have one sign, + seen from the front and − from behind.
"""

import math
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from hmrfit.keypoints import PAIRED, find_part

CONFIDENT = 0.3
"""Keypoints below this share of the best one's confidence say nothing about sides."""

BONE_SHARES = {
    ("shoulder", "hip"): 1.0, ("hip", "knee"): 0.85, ("knee", "ankle"): 0.8, ("shoulder", "elbow"): 0.6,
    ("elbow", "wrist"): 0.5,
}  # fmt: skip
"""Usual lengths over the trunk's (shoulder to hip), on each side."""

SHOULDER_SHARE = 0.7
"""The same for the width of the shoulders, which only counts for S: from the side it is nothing."""

SHORTEST_TRUNK = 0.4
"""Of S. A trunk that is shorter in the picture points at the camera and gives no direction."""

find = cache(find_part)
"""Asked for the same few sets again and again."""


def across(up: NDArray[np.float64]) -> NDArray[np.float64]:
    """The direction in the picture of a person's left who faces the camera, with the head where `up` points."""
    return np.array([-up[1], up[0]])


@cache
def bones_of(names: tuple[str, ...]) -> tuple[NDArray, NDArray, NDArray]:
    """(one end (N,), other end (N,), share of the trunk (N,)) of those that the set has."""
    found = [
        (find(names, side + part), find(names, side + next_part), share)
        for (part, next_part), share in BONE_SHARES.items()
        for side in ("left_", "right_")
    ]
    known = [bone for bone in found if bone[0] is not None and bone[1] is not None]
    starts, ends, shares = zip(*known, strict=True) if known else ((), (), ())
    return np.array(starts, int), np.array(ends, int), np.array(shares, float)


def bone_lengths(names: tuple[str, ...], xy: NDArray[np.float64], seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N,) of the bones that are seen, each over its share of the trunk, pixels."""
    starts, ends, shares = bones_of(names)
    bones = xy[starts] - xy[ends]
    return (np.hypot(bones[:, 0], bones[:, 1]) / shares)[seen[starts] & seen[ends]]


@cache
def pairs_of(names: tuple[str, ...]) -> tuple[list[str], NDArray, NDArray]:
    """(which of PAIRED the set has (N,), places of the left ones (N,), of the right ones (N,))."""
    found = [(part, find(names, f"left_{part}"), find(names, f"right_{part}")) for part in PAIRED]
    known = [pair for pair in found if None not in pair]
    parts, left, right = zip(*known, strict=True) if known else ((), (), ())
    return list(parts), np.array(left, int), np.array(right, int)


@dataclass(frozen=True, eq=False)
class SeenBody:
    """Named access to the keypoints that count."""

    names: tuple[str, ...]
    xy: NDArray[np.float64]  # (K, 2) pixels
    seen: NDArray[np.bool_]  # (K,)

    def point(self, part: str) -> NDArray[np.float64] | None:
        """(2,) pixels, None where the set has no such part or it is unseen."""
        index = find(self.names, part)
        return None if index is None or not self.seen[index] else self.xy[index]

    def points(self, *parts: str) -> list[NDArray[np.float64]] | None:
        """All of them, or None."""
        found = [point for part in parts if (point := self.point(part)) is not None]
        return found if len(found) == len(parts) else None

    def pair(self, part: str) -> list[NDArray[np.float64]] | None:
        """[left, right], or None."""
        return self.points(f"left_{part}", f"right_{part}")

    @cached_property
    def lengths(self) -> NDArray[np.float64]:
        """(N,) of the bones that are seen, each over its share of the trunk, pixels."""
        return bone_lengths(self.names, self.xy, self.seen)

    @cached_property
    def shoulders(self) -> list[NDArray[np.float64]] | None:
        """[left, right], or None."""
        return self.pair("shoulder")

    @cached_property
    def scale(self) -> float:
        """S, pixels; 0 where no bone is seen."""
        width = 0.0 if self.shoulders is None else math.dist(*self.shoulders) / SHOULDER_SHARE
        return max(width, float(self.lengths.max(initial=0.0)))

    @cached_property
    def up(self) -> NDArray[np.float64] | None:
        """u, or None where the trunk is not seen or points at the camera."""
        shoulders, hips = self.shoulders, self.pair("hip")
        if shoulders is None or hips is None:
            return None
        up = (shoulders[0] + shoulders[1] - hips[0] - hips[1]) / 2
        length = math.hypot(*up)
        return None if length <= SHORTEST_TRUNK * self.scale else up / length

    @cached_property
    def widths(self) -> dict[str, float]:
        """(left − right)·l / S of PAIRED, those that are seen where l is."""
        if self.up is None:
            return {}
        parts, left, right = pairs_of(self.names)
        widths = (self.xy[left] - self.xy[right]) @ across(self.up) / self.scale
        known = zip(parts, widths.tolist(), (self.seen[left] & self.seen[right]).tolist(), strict=True)
        return {part: width for part, width, seen in known if seen}
