"""The people that were seen in a video, in columns, and how alike two of them are.

    similarity = Σ_k w_k exp(−d_k² / 2(κ s)²) / Σ_k w_k,     w_k = c_k c'_k

as COCO's object keypoint similarity (OKS), with one κ for all keypoints: d_k is the distance between two keypoints of
one name, s the size of the person (the longer side of the box), c confidences relative to the person's greatest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hmrfit.ops.check import to_float64

Floats = NDArray[np.floating]
Rows = NDArray[np.intp]

SURE = 0.3
"""Confidence, relative to the person's greatest, from which a keypoint counts for where a person is."""

LEAST_POINTS = 3
"""Keypoints that two people have to share to be compared by them."""

DOUBLE_REACH, DOUBLE = 0.05, 0.65
"""κ and the similarity from which two people of one frame are one, found twice."""

TRUNK = ("shoulder", "hip", "neck", "pelvis", "spine", "thorax")
"""What the names of keypoints of the trunk contain: the place of a person."""


@dataclass(frozen=True, eq=False)
class PeopleSeen:
    """N people of a video's frames, in any order."""

    frame: Rows  # (N,) the number of the frame
    xy: Floats  # (N, K, 2) pixels
    confidence: Floats  # (N, K), 0 where unseen
    names: tuple[str, ...]  # (K,)
    looks: Floats | None = None  # (N, D) colours of their clothes, NaN where not known

    def __post_init__(self) -> None:
        to_float64(self, "xy", "confidence")

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, rows: Rows | NDArray[np.bool_] | slice) -> "PeopleSeen":
        looks = None if self.looks is None else self.looks[rows]
        return replace(self, frame=self.frame[rows], xy=self.xy[rows], confidence=self.confidence[rows], looks=looks)

    def known(self) -> NDArray[np.bool_]:
        """(N, K) the keypoints that count."""
        most = self.confidence.max(1, keepdims=True, initial=0)
        return (self.confidence > 0) & (self.confidence >= SURE * most)

    def size(self) -> Floats:
        """(N,) the longer side of the box of the keypoints that count, pixels, at least 1."""
        low, high = self.boxes()
        return np.maximum((high - low).max(1), 1.0)

    def boxes(self) -> tuple[Floats, Floats]:
        """(N, 2) twice: the box's least and greatest x, y; empty at 0 for people of whom nothing is seen."""
        known = self.known()[..., None]
        low = np.where(known, self.xy, np.inf).min(1, initial=np.inf)
        high = np.where(known, self.xy, -np.inf).max(1, initial=-np.inf)
        some = known.any(1)
        return np.where(some, low, 0.0), np.where(some, high, 0.0)

    def place(self) -> Floats:
        """(N, 2) where each person is: the middle of the trunk's keypoints, else of all."""
        known = self.known()
        trunk = known & np.array([any(part in name for part in TRUNK) for name in self.names])
        used = np.where((trunk.sum(1) >= 2)[:, None], trunk, known)[..., None]
        return (self.xy * used).sum(1) / np.maximum(used.sum(1), 1)


def similarity(xy: Floats, weight: Floats, others: Floats, other_weight: Floats, reach: Floats) -> Floats:
    """(A, B) of A people and B others, in [0, 1].

    Args:
        xy: (A, K, 2). weight: (A, K). others: (B, K, 2). other_weight: (B, K). reach: (A, B) κ s, pixels.
    """
    squared = np.square(xy[:, None] - others[None]).sum(-1)
    shared = weight[:, None] * other_weight[None]
    near = np.exp(-0.5 * squared / np.square(reach)[..., None])
    total = shared.sum(-1)
    enough = ((shared > 0).sum(-1) >= LEAST_POINTS) & (total > 0)
    return np.where(enough, (shared * near).sum(-1) / np.where(total > 0, total, 1), 0.0)


def overlap(low: Floats, high: Floats) -> Floats:
    """(N, N) the boxes' intersection, a fraction of the smaller one."""
    inner = np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None])
    area = np.maximum(high - low, 1e-6).prod(-1)
    return inner.clip(0).prod(-1) / np.minimum(area[:, None], area[None])


def doubles(seen: PeopleSeen) -> Rows:
    """The rows of people who are another one of their frame, found twice: those with less confidence."""
    found: list[int] = []
    order = np.argsort(seen.frame, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(seen.frame[order])) + 1):
        if len(group) < 2:
            continue
        one = seen[group]
        weight, size = np.where(one.known(), one.confidence, 0), one.size()
        reach = DOUBLE_REACH * np.minimum(size[:, None], size[None])
        alike = similarity(one.xy, weight, one.xy, weight, reach) > DOUBLE
        kept: list[int] = []
        for i in np.argsort(-one.confidence.sum(1), kind="stable"):
            if alike[i, kept].any():
                found.append(int(group[i]))
            else:
                kept.append(int(i))
    return np.array(sorted(found), np.intp)


def limb_ends(names: Sequence[str], part: str) -> tuple[int, int] | None:
    """The rows of a part's left and right keypoint, such as "shoulder"; None where the set has not both."""
    rows = [
        next((k for k, n in enumerate(names) if n.startswith(f"{side}_{part}")), None) for side in ("left", "right")
    ]
    return None if rows[0] is None or rows[1] is None else (rows[0], rows[1])
