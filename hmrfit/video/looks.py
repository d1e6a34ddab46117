"""What people wear: histograms of the colours of their trunk and thighs, to know them again after a crossing.

    affinity of two people = Σ √(h_i h'_i)   (Bhattacharyya),    h the histogram; its roots are kept, so it is a product

Colours are binned by hue and saturation where there is colour, and by brightness where there is none. People whom
another one overlaps have none: the pixels may be the other's.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hmrfit.io.image import Image
from hmrfit.io.opencv import cv2
from hmrfit.video.seen import Floats, PeopleSeen, limb_ends, overlap

HUES, SATURATIONS, GREYS = 12, 2, 6
BINS = HUES * SATURATIONS + GREYS
"""Of one part's histogram."""

GREY, DARK = 50, 40
"""Saturation and brightness of 255 below which a pixel has no colour."""

LEAST_PIXELS = 40
"""Of a part, for a histogram."""

WORKING_SIZE = 160
"""Pixels: people are looked at no larger than that."""

HIDDEN = 0.25
"""Overlap of boxes from which it is not known whose pixels they are."""

LENGTH = 2 * BINS
"""Numbers that say how a person looks: trunk and thighs."""


def looks_of(image: Image, seen: PeopleSeen) -> Floats:
    """(N, LENGTH) the roots of the histograms of all people of one frame, each part's of length 1; NaN where hidden."""
    found = np.full((len(seen), LENGTH), np.nan, np.float32)
    if not len(seen):
        return found
    low, high = seen.boxes()
    covered = overlap(low, high)
    np.fill_diagonal(covered, 0)
    known = seen.known()
    hidden = np.asarray(covered.max(1)) >= HIDDEN
    for i in np.flatnonzero(~hidden).tolist():
        found[i] = _looks(image, seen.xy[i], known[i], seen.names, low[i], high[i])
    return found


def affinity(one: Floats, other: Floats) -> Floats:
    """In [0, 1], over the parts that both show; NaN where they share none. Last axis: LENGTH."""
    parts = (one * other).reshape(*np.broadcast_shapes(one.shape, other.shape)[:-1], 2, BINS).sum(-1)
    both = np.isfinite(parts)
    total = np.where(both, parts, 0).sum(-1)
    return np.where(both.any(-1), total / np.maximum(both.sum(-1), 1), np.nan)


def mean_looks(looks: Floats) -> Floats:
    """(LENGTH,) of one person in N frames."""
    parts = looks.reshape(len(looks), 2, BINS)
    shown: NDArray[np.bool_] = np.asarray(np.isfinite(parts).all(-1))
    total = np.where(shown[..., None], np.square(parts), 0).sum(0)
    count = shown.sum(0)[:, None]
    return np.where(count > 0, np.sqrt(total / np.maximum(count, 1)), np.nan).reshape(LENGTH)


def _looks(
    image: Image, xy: Floats, known: NDArray[np.bool_], names: tuple[str, ...], low: Floats, high: Floats
) -> NDArray[np.float32]:
    height, width = image.shape[:2]
    x0, y0 = np.floor(np.maximum(low, 0)).astype(int)
    x1, y1 = np.ceil(np.minimum(high, [width, height])).astype(int)
    nothing = np.full(LENGTH, np.nan, np.float32)
    if x1 - x0 < 8 or y1 - y0 < 8:
        return nothing
    ratio = min(1.0, WORKING_SIZE / max(x1 - x0, y1 - y0))
    size = max(1, round((x1 - x0) * ratio)), max(1, round((y1 - y0) * ratio))
    part = cv2.resize(image[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA)
    colors = np.asarray(cv2.cvtColor(part, cv2.COLOR_RGB2HSV), np.uint8)
    points = (xy - [x0, y0]) * ratio
    masks = [_mask(shapes, size) for shapes in _parts(points, known, names)]
    return np.concatenate([_histogram(colors[mask > 0]) for mask in masks]).astype(np.float32)


def _parts(points: Floats, known: NDArray[np.bool_], names: tuple[str, ...]) -> Iterator[list[Floats]]:
    """The polygons of trunk and thighs, as far as their keypoints are seen."""
    shoulders, hips, knees = (limb_ends(names, part) for part in ("shoulder", "hip", "knee"))
    trunk, thighs = [], []
    if shoulders and hips and known[[*shoulders, *hips]].all():
        corners = points[[shoulders[0], shoulders[1], hips[1], hips[0]]]
        trunk.append(corners.mean(0) + 0.8 * (corners - corners.mean(0)))
    if shoulders and hips and knees:
        long = np.linalg.norm(points[list(shoulders)].mean(0) - points[list(hips)].mean(0))
        for hip, knee in zip(hips, knees, strict=True):
            if known[hip] and known[knee]:
                thighs.append(_strip(points[hip], points[knee], 0.12 * float(long)))
    yield trunk
    yield thighs


def _strip(a: Floats, b: Floats, half: float) -> Floats:
    """A rectangle about the middle of a line."""
    a, b = a + 0.2 * (b - a), b + 0.1 * (a - b)
    along = b - a
    across = half * np.array([-along[1], along[0]]) / max(float(np.linalg.norm(along)), 1e-6)
    return np.stack([a + across, b + across, b - across, a - across])


def _mask(shapes: list[Floats], size: tuple[int, int]) -> NDArray[np.uint8]:
    mask = np.zeros((size[1], size[0]), np.uint8)
    for shape in shapes:
        cv2.fillPoly(mask, [np.round(shape).astype(np.int32)], 1)
    return mask


def _histogram(pixels: NDArray[np.uint8]) -> Floats:
    """(BINS,) the root of the fractions; NaN with too few pixels."""
    if len(pixels) < LEAST_PIXELS:
        return np.full(BINS, np.nan)
    hue, saturation, value = pixels.astype(np.int32).T
    coloured = (saturation >= GREY) & (value >= DARK)
    strong = np.minimum((saturation - GREY) * SATURATIONS // (256 - GREY), SATURATIONS - 1)
    bins = np.where(coloured, hue * HUES // 180 * SATURATIONS + strong, HUES * SATURATIONS + value * GREYS // 256)
    return np.sqrt(np.bincount(bins, minlength=BINS) / len(pixels))
