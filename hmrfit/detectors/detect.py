"""Keypoints of the people in a photograph, by one of the detectors.

photograph  ->  detector  ->  people by size times score  ->  `PersonKeypoints`, as files have them
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hmrfit.assets import home
from hmrfit.detectors.detector import Boxes, Detection, Detector, NoDetector
from hmrfit.detectors.plugins import HELP, kind_of_detector, missing, ready
from hmrfit.io.image import Image
from hmrfit.io.keypoint_files import PersonKeypoints, find_keypoint_file
from hmrfit.io.photo import ImageLike, KeypointsLike, NoPeople, read_content, read_pixels
from hmrfit.keypoints import resolve_set
from hmrfit.ops.check import numbers
from hmrfit.ops.threads import know_own_threads

DetectorLike = str | Detector | None
"""A detector, its name, or None for the first one that can run."""

_LOADED: dict[tuple[str, Path], Detector] = {}


@dataclass(frozen=True, eq=False)
class DetectedPerson(PersonKeypoints):
    """A person whom a detector found."""

    score: float = 0.0  # how sure it is of the person
    mask_pixels: NDArray[np.bool_] | None = field(default=None, repr=False)  # (H, W), where it has one


def detect(
    image: ImageLike,
    detector: DetectorLike = None,
    *,
    boxes: ArrayLike | None = None,
    max_people: int | None = None,
    min_confidence: float | None = None,
) -> list[PersonKeypoints]:
    """Finds the people of a photograph and their keypoints.

    Args:
        image: as for `hmrfit.fit`.
        detector: its name ("rtmlib", "movenet", "mediapipe", or one of another package; `hmrfit detector list`), or a
            `Detector`; by default the first of these that is installed.
        boxes: (N, 4) x, y, width, height of people, pixels, from a detector of people: keypoints are looked for in
            each of them, and nowhere else.
        max_people: at most so many, the largest and surest first.
        min_confidence: of a person, on the detector's own scale; by default the detector's own.

    Returns:
        The people, the largest and surest first, with boxes in the order of these; none where there are none. They can
        be handed to `hmrfit.fit` as its keypoints. Their confidences are the detector's own, `detector.confidence` says
        what they mean; `mask_pixels` is the person's mask (H, W), where the detector has one.

    Raises:
        NoDetector (a ValueError): none can run; names the command that brings one. ValueError, TypeError, OSError: the
            image or an argument, before any work.
    """
    know_own_threads()
    asked = DetectionRequest.of(boxes, max_people, min_confidence)
    chosen = load_detector(detector)
    return people_in(read_pixels(image), chosen, asked, _path(image))


@dataclass(frozen=True)
class DetectionRequest:
    """What is asked of a detector."""

    boxes: Boxes | None = None
    max_people: int | None = None
    min_confidence: float | None = None

    @classmethod
    def of(cls, boxes: ArrayLike | None, max_people: int | None, min_confidence: float | None) -> "DetectionRequest":
        """The same, checked. Raises: ValueError, TypeError."""
        what = "how many people, a whole number from 1 on"
        most = None if max_people is None else float(numbers(max_people, "max_people", what, (), 1))
        if most is not None and most != int(most):
            raise ValueError(f"max_people should be {what}, but is {max_people}.")
        least = None if min_confidence is None else float(numbers(min_confidence, "min_confidence", "one number", ()))
        return cls(None if boxes is None else checked_boxes(boxes), None if most is None else int(most), least)


def checked_boxes(boxes: ArrayLike) -> Boxes:
    """(N, 4) with sides above 0. Raises: ValueError, TypeError."""
    what = "(N, 4) x, y, width, height of people, pixels"
    found = numbers(boxes, "boxes", what)
    if found.size == 0:
        return np.zeros((0, 4))
    if found.ndim != 2 or found.shape[1] != 4:
        raise ValueError(f"boxes should be {what}, but has the shape {found.shape}.")
    if not (found[:, 2:] > 0).all():
        raise ValueError(f"boxes should be {what}, but a width or height is not above 0. Are they two corners?")
    return found


def load_detector(detector: DetectorLike = None) -> Detector:
    """A detector, ready to run; its weights are read once in a process.

    Raises:
        NoDetector: none, or not this one, can run; names the command that brings it. ValueError: see `detect`.
    """
    if detector is not None and not isinstance(detector, str):
        if not isinstance(detector, Detector):
            raise TypeError(f"detector should be a name or a Detector, not {type(detector).__name__}.")
        return detector
    name = next(ready(), None) if detector is None else detector
    if name is None:
        raise NoDetector(HELP)
    key = name, home()
    if key not in _LOADED:
        kind, lacking = kind_of_detector(name), missing(name)
        if lacking is not None:
            raise NoDetector(f"The detector '{name}' is not installed. This brings it: {lacking}")
        _LOADED[key] = kind()
    return _LOADED[key]


def people_in(
    image: Image, detector: Detector, asked: DetectionRequest, path: Path | None = None
) -> list[PersonKeypoints]:
    """The people of a picture, see `detect`."""
    found = list(detector.detect(image, asked.boxes))
    least = detector.min_confidence if asked.min_confidence is None else asked.min_confidence
    found = [person for person in found if person.score >= least]
    if asked.boxes is None:
        found.sort(key=lambda person: -_importance(person))
    names, size = resolve_set(detector.keypoint_set), (image.shape[1], image.shape[0])
    source = Path("image") if path is None else path
    return [
        DetectedPerson(
            names,
            person.xy,
            person.confidence.clip(0, 1),
            source,
            str(i),
            image=None if path is None else path.name,
            image_size=size,
            box=person.box,
            made_by="detector",
            detector=detector.fingerprint,
            score=person.score,
            mask_pixels=person.mask,
        )
        for i, person in enumerate(found[: asked.max_people])
    ]


def beside_or_detected(image: ImageLike) -> tuple[ImageLike, KeypointsLike]:
    """For a photograph without keypoints: (the same, of an open file its bytes; the keypoint file that is called like
    it and lies beside it, else the people that the default detector finds).

    Raises:
        NoPeople: none are found. NoDetector: there is no such file, and no detector.
    """
    path, content = _path(image), read_content(image)
    file = None if path is None else find_keypoint_file(path, path.parent)
    if path is not None and file is not None and file.stem in (path.stem, f"{path.stem}_keypoints"):
        return content, file
    people = detect(content)
    if not people:
        raise NoPeople(describe_nobody(load_detector(), "the photograph" if path is None else f"'{path}'"))
    return content, people


def describe_nobody(detector: Detector, what: str) -> str:
    """The sentence for a photograph without people."""
    return f"The detector '{detector.name}' finds no people in {what}."


def _importance(person: Detection) -> float:
    """The box's area times the score."""
    sides = np.ptp(person.xy, axis=0) if person.box is None else np.array(person.box[2:])
    return float(np.prod(sides)) * person.score


def _path(image: ImageLike) -> Path | None:
    return Path(image) if isinstance(image, str | os.PathLike) else None
