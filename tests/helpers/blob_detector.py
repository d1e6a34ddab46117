"""A detector whose people are white rectangles: five keypoints of each, at its corners and centre."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from hmrfit.detectors.detector import Boxes, Detection
from hmrfit.io.image import Image
from hmrfit.io.opencv import cv2

NAMES = ("left_shoulder_coco", "right_shoulder_coco", "nose", "left_hip_coco", "right_hip_coco")


class BlobDetector:
    """Counts how often it was asked."""

    name: ClassVar[str] = "blobs"
    keypoint_set = NAMES
    confidence = "the rectangle's brightness, 0 to 1"
    min_confidence = 0.5
    fingerprint = "blobs 1"
    asked = 0

    @classmethod
    def missing(cls) -> str | None:
        return None

    def detect(self, image: Image, boxes: Boxes | None = None) -> Sequence[Detection]:
        type(self).asked += 1
        if boxes is None:
            _, _, stats, _ = cv2.connectedComponentsWithStats((image[:, :, 0] > 20).astype(np.uint8))
            boxes = stats[1:, :4].astype(np.float64)
        return [self._person(image, box) for box in boxes]

    def _person(self, image: Image, box: np.ndarray) -> Detection:
        x, y, w, h = box
        xy = np.array([[x + w, y], [x, y], [x + w / 2, y + h / 2], [x + w, y + h], [x, y + h]])
        score = image[int(y + h / 2), int(x + w / 2), 0] / 255
        return Detection(xy, np.full(5, score), float(score), tuple(box.tolist()))


def picture(*people: tuple[int, int, int, int, int], size: tuple[int, int] = (200, 160)) -> Image:
    """x, y, width, height, brightness of each."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    for x, y, w, h, brightness in people:
        image[y : y + h, x : x + w] = brightness
    return image
