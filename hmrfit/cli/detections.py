"""Keypoints that `hmrfit fit` detects, kept beside the results: OUT/keypoints/<name>.json.

    {"detected_people": [{"format", "keypoints", "bbox", "keypoint_source": "detector", ...}], "made_from": ..., ...}

A second run reads them instead of detecting again, as long as photograph, detector, weights and what was asked are the
same. It is a keypoint file that `hmrfit.read_keypoints` reads: once a user corrected it, it is the user's, counts as it
is, and is never replaced.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from hmrfit.assets import checksum
from hmrfit.detectors.boxes import BoxFile
from hmrfit.detectors.detect import DetectedPerson, DetectionRequest, describe_nobody, load_detector, people_in
from hmrfit.detectors.detector import Detector, NoDetector
from hmrfit.detectors.plugins import kind_of_detector
from hmrfit.io.atomic import sweep
from hmrfit.io.bounded import read_json
from hmrfit.io.image import read_image
from hmrfit.io.keypoint_files import PersonKeypoints, read_keypoints
from hmrfit.io.own_files import is_own, own_file
from hmrfit.io.photo import NoPeople
from hmrfit.keypoints import resolve_set

FOLDER = "keypoints"
"""In the folder of the results."""

DIGITS = 3
"""After the point, of pixels; one more of confidences."""


@dataclass(frozen=True)
class Detecting:
    """How keypoints are detected in a run, and where they are kept."""

    detector_name: str | None = None
    asked: DetectionRequest = field(default_factory=DetectionRequest)
    boxes: BoxFile | None = None
    files: Mapping[Path, Path] = field(default_factory=dict)  # photograph -> its file

    @property
    def is_chosen(self) -> bool:
        """Whether a detector was asked for by name."""
        return self.detector_name is not None

    @cached_property
    def detector(self) -> Detector:
        """Loaded when it is first asked for. Raises: see `load_detector`."""
        return load_detector(self.detector_name)

    @cached_property
    def can_run(self) -> bool:
        """Whether there is a detector."""
        try:
            return self.detector is not None
        except NoDetector:
            return False

    def kept_in(self, files: Mapping[Path, Path]) -> "Detecting":
        """The same, with files for what it finds."""
        for folder in {file.parent for file in files.values()}:
            if folder.is_dir():
                sweep(folder)
        return replace(self, files=files)

    def people(self, photograph: Path) -> list[PersonKeypoints]:
        """The people of a photograph: those of its file, else detected now.

        Raises:
            NoPeople: there are none. ValueError, OSError: the photograph or the file cannot be read.
        """
        file = self.files.get(photograph)
        asked = self.asked if self.boxes is None else replace(self.asked, boxes=self.boxes.of(photograph))
        if file is None:
            people = people_in(read_image(photograph), self.detector, asked, photograph)
        else:
            made_from = self._made_from(photograph, asked)
            if not file.is_file() or (is_own(file) and _made_from(file) != made_from):
                self._write(file, photograph, asked, made_from)
            people = read_keypoints(file)
        if not people:
            raise NoPeople(describe_nobody(self.detector, f"'{photograph}'"))
        return people

    def _made_from(self, photograph: Path, asked: DetectionRequest) -> str:
        """A checksum of everything that detections depend on."""
        boxes = None if asked.boxes is None else asked.boxes.tolist()
        parts = [checksum(photograph), self.detector.fingerprint, asked.max_people, asked.min_confidence, boxes]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _write(self, file: Path, photograph: Path, asked: DetectionRequest, made_from: str) -> None:
        people = people_in(read_image(photograph), self.detector, asked, photograph)
        content = {
            "detected_people": [_entry(person, self.detector) for person in people],
            "image": photograph.name,
            "detector": self.detector.fingerprint,
            "confidence": self.detector.confidence,
            "made_from": made_from,
        }
        with own_file(file, "keypoints") as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n")


def asked_of(
    keypoints: str | None,
    detector: str | None,
    boxes: str | None,
    max_people: int | None,
    min_confidence: float | None,
) -> Detecting | None:
    """What the command line's flags ask for; None where keypoints are given.

    Raises:
        ValueError, OSError: flags that do not belong together, an unknown detector, a file of boxes that cannot be
            read.
    """
    given = {"detector": detector, "boxes": boxes, "max-people": max_people, "min-confidence": min_confidence}
    flags = [f"--{name}" for name, value in given.items() if value is not None]
    if keypoints is not None:
        if flags:
            raise ValueError(
                f"With --keypoints nothing is detected, so {flags[0]} changes nothing. Leave one of them out."
            )
        return None
    if detector is not None:
        kind_of_detector(detector)
    return Detecting(
        detector, DetectionRequest.of(None, max_people, min_confidence), None if boxes is None else BoxFile(boxes)
    )


def _entry(person: PersonKeypoints, detector: Detector) -> dict[str, Any]:
    """One person in hmrfit's own format."""
    named = isinstance(detector.keypoint_set, str) and resolve_set(detector.keypoint_set) == person.names
    rows = zip(person.xy.tolist(), person.confidence.tolist(), strict=True)
    entry: dict[str, Any] = {
        "format": detector.keypoint_set if named else list(person.names),
        "keypoints": [[round(x, DIGITS), round(y, DIGITS), round(c, DIGITS + 1)] for (x, y), c in rows],
        "id": person.person_id,
        "size": person.image_size,
        "keypoint_source": "detector",
        "detector": person.detector,
    }
    if person.box is not None:
        entry["bbox"] = [round(value, DIGITS) for value in person.box]
    if isinstance(person, DetectedPerson):
        entry["score"] = round(person.score, DIGITS + 1)
    return entry


def _made_from(file: Path) -> str | None:
    """What a file of ours says; None where it cannot be read."""
    try:
        content = read_json(file)
    except (OSError, ValueError):
        return None
    return content.get("made_from") if isinstance(content, dict) else None
