"""How much two people's keypoints are the same person's, and one of each person.

    similarity(a, b) = Σₖ wₖ exp(−‖aₖ − bₖ‖² / 2 (2 σₖ s)²) / Σₖ wₖ,    wₖ = min(cₖᵃ, cₖᵇ)

with COCO's σₖ (how far annotators differ, in fractions of √area) and s² the area of the smaller one's box: COCO's
object keypoint similarity, weighted by the confidences.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hmrfit.detectors.detector import Detection
from hmrfit.keypoints import base_name

SIGMAS = {
    "nose": 0.026, "eye": 0.025, "ear": 0.035, "shoulder": 0.079, "elbow": 0.072, "wrist": 0.062, "hip": 0.107,
    "knee": 0.087, "ankle": 0.089,
}  # fmt: skip
"""COCO's, by base name without the side."""

OTHER_SIGMA = 0.08

SAME = 0.4
"""Two of a greater similarity are one person."""


def sigmas(names: Sequence[str]) -> NDArray[np.float64]:
    """(K,) of the keypoints of a set."""
    plain = [base_name(name).removeprefix("left_").removeprefix("right_") for name in names]
    return np.array([SIGMAS.get(name, OTHER_SIGMA) for name in plain])


def extent(xy: NDArray, confidence: NDArray, least: float = 0.0) -> tuple[NDArray, NDArray]:
    """The corners (2,), (2,) of the box of the keypoints above a confidence; of all where there are none."""
    seen = xy[confidence > least] if (confidence > least).any() else xy
    return seen.min(0), seen.max(0)


def similarity(a: Detection, b: Detection, sigma: NDArray) -> float:
    """0 to 1; 0 where they have no seen keypoint in common."""
    weight = np.minimum(a.confidence, b.confidence)
    if weight.sum() <= 0:
        return 0.0
    areas = [np.prod(np.maximum(high - low, 1.0)) for low, high in (extent(p.xy, p.confidence, 0.1) for p in (a, b))]
    squared = ((a.xy - b.xy) ** 2).sum(1) / (8 * sigma**2 * min(areas))
    return float((weight * np.exp(-squared)).sum() / weight.sum())


def one_of_each(people: Sequence[Detection], sigma: NDArray, same: float = SAME) -> list[Detection]:
    """Those that are no less sure repetition of another one, the surest first."""
    kept: list[Detection] = []
    for person in sorted(people, key=lambda p: -p.score):
        if all(similarity(person, other, sigma) < same for other in kept):
            kept.append(person)
    return kept
