"""MediaPipe's pose landmarker: 33 landmarks and a mask of each person, from a `.task` file of the user's.

    HOME/pose_landmarker.task  (or $HMRFIT_HOME's; `hmrfit detector install mediapipe --from FILE.task` puts it there)

Landmarks are fractions of the image's sides, (0, 0) its corner: times width and height they are our pixels.
"""

import os
import shutil
import weakref
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hmrfit.assets import checksum, home
from hmrfit.detectors.detector import Boxes, Detection, NoDetector
from hmrfit.io.atomic import atomic_write, check_writable
from hmrfit.io.bounded import check_regular
from hmrfit.io.budget import check_bytes
from hmrfit.io.image import Image

COMMAND = "pip install mediapipe"
FROM = "hmrfit detector install mediapipe --from FILE.task"
TASK = "pose_landmarker.task"

MOST_PEOPLE = 6
"""That are looked for."""

ROOM = 0.25
"""Of a given box's longer side, on each side: what is shown to the landmarker."""

BESIDE = 0.5
"""A mask counts from this value on."""


class MediaPipe:
    """The pose landmarker, one still picture at a time."""

    name: ClassVar[str] = "mediapipe"
    keypoint_set = "mediapipe33"
    confidence = "MediaPipe's visibility: the probability that a landmark is in the picture and not hidden"
    min_confidence = 0.3

    def __init__(self, task: str | os.PathLike[str] | None = None) -> None:
        lacking = self.missing() if task is None or not find_spec("mediapipe") else None
        if lacking is not None:
            raise NoDetector(f"The detector 'mediapipe' is not installed. This brings it: {lacking}")
        from mediapipe.tasks.python import BaseOptions, vision

        path = Path(task) if task is not None else home() / TASK
        check_bytes(check_regular(path, "a .task file"), f"'{path}'")
        self.fingerprint = f"mediapipe, {checksum(path)[:16]}"
        options = vision.PoseLandmarkerOptions(
            base_options=BaseOptions(model_asset_buffer=path.read_bytes()),
            num_poses=MOST_PEOPLE,
            output_segmentation_masks=True,
        )
        try:
            self._landmarker: Any = vision.PoseLandmarker.create_from_options(options)
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"'{path}' is no pose landmarker of MediaPipe ({error}).") from None
        weakref.finalize(self, self._landmarker.close)  # before Python takes apart what MediaPipe closes it with

    @classmethod
    def missing(cls) -> str | None:
        """None where package and file are there; else the command that brings what is missing."""
        return COMMAND if not find_spec("mediapipe") else None if (home() / TASK).is_file() else FROM

    @classmethod
    def install(cls, source: str | os.PathLike[str] | None = None) -> Path:
        """Copies a user's .task file to where it is found. Raises: ValueError, OSError."""
        if source is None:
            raise ValueError(f"MediaPipe's .task file comes from its own site. Give it: {FROM}")
        check_bytes(check_regular(source, "a .task file"), f"'{source}'")
        check_writable(home())
        with atomic_write(home() / TASK) as temporary:
            shutil.copyfile(source, temporary)
        return home() / TASK

    def detect(self, image: Image, boxes: Boxes | None = None) -> list[Detection]:
        """The people of a picture, or the one in each box."""
        if boxes is None:
            return self._found(image)
        return [self._in_box(image, box) for box in boxes]

    def _found(self, image: Image) -> list[Detection]:
        import mediapipe

        result = self._landmarker.detect(
            mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image))
        )
        masks: Sequence[Any] = result.segmentation_masks or [None] * len(result.pose_landmarks)
        return [_person(marks, mask, image) for marks, mask in zip(result.pose_landmarks, masks, strict=True)]

    def _in_box(self, image: Image, box: NDArray) -> Detection:
        """The likeliest person of the box's part of the picture; nothing is seen of one who is not found."""
        room = ROOM * box[2:].max()
        low = np.floor(np.maximum(box[:2] - room, 0)).astype(int)
        high = np.ceil(np.minimum(box[:2] + box[2:] + room, image.shape[1::-1])).astype(int)
        given = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
        part = image[low[1] : high[1], low[0] : high[0]]
        found = self._found(part) if part.size else []
        if not found:
            return Detection(np.zeros((33, 2)), np.zeros(33), 0.0, given)
        best = max(found, key=lambda person: person.score)
        whole = None if best.mask is None else np.zeros(image.shape[:2], bool)
        if whole is not None and best.mask is not None:
            whole[low[1] : high[1], low[0] : high[0]] = best.mask
        return Detection(best.xy + low, best.confidence, best.score, given, whole)


def _person(marks: Sequence[Any], mask: Any, image: Image) -> Detection:
    xy = np.array([[mark.x, mark.y] for mark in marks]) * image.shape[1::-1]
    confidence = np.array([mark.visibility for mark in marks], np.float64).clip(0, 1)
    x, y = xy.min(0).tolist()
    width, height = np.ptp(xy, axis=0).tolist()
    inside = None if mask is None else mask.numpy_view().reshape(image.shape[:2]) > BESIDE
    return Detection(xy, confidence, float(confidence.mean()), (x, y, width, height), inside)
