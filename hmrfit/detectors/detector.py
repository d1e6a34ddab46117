"""What a detector of people's keypoints is, and what it returns.

A detector is a class with these names, listed under the entry point group "hmrfit.detectors" of any installed package:

    class Mine:
        name = "mine"                                  # of the entry point
        keypoint_set = "coco17"                        # or a tuple of names
        confidence = "the heat map's value, 0 to 1"    # what its confidences mean
        min_confidence = 0.3                           # of a person, by default
        fingerprint = "mine 1.2, sha256 ..."           # changes with the weights

        @classmethod
        def missing(cls): ...                          # None, or the one command that brings what is missing
        def detect(self, image, boxes=None): ...       # people in a picture, or one in each box

What the confidences of the built-in ones mean is said in their files, at `confidence`. They are passed on as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hmrfit.io.image import Image
from hmrfit.ops.check import to_float64

Boxes = NDArray[np.float64]
"""(N, 4) x, y, width, height; pixels of the full image."""


@dataclass(frozen=True, eq=False)
class Detection:
    """One person of a picture, in pixels of the full image, (0, 0) the corner of the top-left pixel."""

    xy: NDArray[np.float64]  # (K, 2), also outside of the image
    confidence: NDArray[np.float64]  # (K,), 0 for what is not seen
    score: float  # how sure the detector is of the person
    box: tuple[float, float, float, float] | None = None  # x, y, width, height
    mask: NDArray[np.bool_] | None = None  # (H, W), where the detector has one

    def __post_init__(self) -> None:
        to_float64(self, "xy", "confidence")


@runtime_checkable
class Detector(Protocol):
    """Finds the people of a picture and their keypoints."""

    name: str
    keypoint_set: str | tuple[str, ...]
    confidence: str
    min_confidence: float
    fingerprint: str

    def detect(self, image: Image, boxes: Boxes | None = None) -> Sequence[Detection]:
        """The people of a picture (H, W, 3) RGB uint8; with boxes, one person in each, in their order."""
        ...


class DetectorKind(Protocol):
    """The class of a detector, before it has read anything."""

    name: ClassVar[str]

    def __call__(self) -> Detector:
        """Reads the weights."""
        ...

    def missing(self) -> str | None:
        """None where it can run; else the one command that brings what is missing."""
        ...


class NoDetector(ValueError):
    """No detector can run; the message names the one command that brings one."""


class DamagedWeights(ValueError):
    """Weights whose checksum is another one than expected."""
