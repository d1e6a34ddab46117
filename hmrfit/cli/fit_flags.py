"""What the command line of `hmrfit fit` gives, and what follows from it alone."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hmrfit.cli.detections import Detecting, asked_of
from hmrfit.cli.outputs import Wanted
from hmrfit.config import load_config
from hmrfit.fitting.terms.base import Measurement
from hmrfit.fitting.terms.gender_age import Age, Gender
from hmrfit.fitting.terms.height import Height
from hmrfit.fitting.terms.up import Up
from hmrfit.hand import HAND_CONFIG, hand_pipeline
from hmrfit.hand_files import HandKeypointSource
from hmrfit.hand_keypoints import HAND_SIDES, hand_set
from hmrfit.io.keypoint_files import KeypointSource
from hmrfit.io.keypoint_noise import with_known_noise
from hmrfit.io.photo import read_photo
from hmrfit.keypoints import COCO17, KeypointsFrom
from hmrfit.likely_up import LIKELY, UpLike
from hmrfit.pipeline import Pipeline
from hmrfit.prepare import read_measurements

BOTH = "both"
"""--hand of left and right hands, one after the other."""


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of a collection, split by the photographs' names: which other photographs there are changes
    nothing."""

    number: int  # from 1
    count: int

    @classmethod
    def of(cls, text: str) -> "Shard":
        """From "3/64". Raises ValueError where it says no part."""
        number, _, count = text.partition("/")
        if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise ValueError(
                f"--shard should be i/n, the part from 1 to n and how many there are, such as 3/64, not '{text}'. In a "
                "slurm array: --array=1-64, and --shard $SLURM_ARRAY_TASK_ID/64."
            )
        return cls(int(number), int(count))

    def holds(self, photograph: Path) -> bool:
        """Whether a photograph is in this part."""
        digest = hashlib.sha256(os.fsencode(photograph.name)).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1

    def __str__(self) -> str:
        return f"shard-{self.number}-of-{self.count}"


@dataclass(frozen=True)
class FitFlags:
    """What the command line gives."""

    images: Sequence[str]
    out: str
    keypoints: str | None = None
    keypoint_set: str | None = None
    focal: float | None = None
    focal_35mm: float | None = None
    keypoint_source: KeypointsFrom | None = None
    keypoint_std: float | None = None
    gender: str | None = None
    age: float | None = None
    height: float | None = None
    pitch: float | None = None
    roll: float | None = None
    camera_level: bool = False
    detector: str | None = None
    boxes: str | None = None
    max_people: int | None = None
    min_confidence: float | None = None
    mesh: str | None = None
    no_pictures: bool = False
    overwrite: bool = False
    workers: int | None = None
    shard: str | None = None
    format: str | None = None
    engine: str | None = None
    full_size: bool = False
    as_json: bool = False
    config: str | None = None
    overrides: Sequence[str] = ()
    debug: bool = False
    hand: str | None = None
    mirrored: bool = False

    def pipeline(self) -> Pipeline:
        """Of the settings: of bodies, or of hands of one side. Errors: those of the settings."""
        if self.hand is None:
            return Pipeline.of(load_config(self.config, self.overrides))
        return hand_pipeline(self.hand, load_config(self.config, self.overrides, base=HAND_CONFIG))

    @property
    def source(self) -> KeypointSource:
        """What reads the keypoint files: whole people, or hands of one side."""
        if self.hand is None:
            return KeypointSource(self.keypoint_set)
        return HandKeypointSource(self.hand, self.keypoint_set, self.mirrored)

    def given(self, names: Sequence[str]) -> list[str]:
        """Those of the flags that were given, as they are written."""
        asked = [name for name in names if getattr(self, name) is not None and getattr(self, name) is not False]
        return [f"--{name.replace('_', '-')}" for name in asked]  # 0 is a value that was given

    def refuse(self, names: Sequence[str], where: str) -> None:
        """Raises ValueError: a flag among these is given, which has no meaning there."""
        if given := self.given(names):
            raise ValueError(f"{given[0]} has no meaning with {where}. Leave it out.")

    def check(self, photographs: bool) -> None:
        """That there is a place for results, and that what is known of whole people is not said of hands.

        Args:
            photographs: whether single photographs are to be fitted, not videos or several cameras.
        Raises:
            ValueError, NotADirectoryError: names the flags.
        """
        if not self.out.strip():
            raise ValueError("--out is empty. Name a folder for the results; . is the one that you are in.")
        if os.path.lexists(self.out) and not os.path.isdir(self.out):
            raise NotADirectoryError(f"--out should be a folder, but '{self.out}' is a file. Name another one.")
        if self.workers is not None and self.workers < 0:
            raise ValueError(f"--workers should be 0 (none beside the first process) or more, not {self.workers}.")
        if self.hand is None:
            if self.mirrored:
                raise ValueError("--mirrored is about MediaPipe's hands: give --hand left, right or both too.")
            return
        if not photographs:
            raise ValueError(
                "--hand is for photographs. In Python: hmrfit.hand.hand_pipeline(side).fit_sequence and fit_views fit "
                "hands over time and in several cameras."
            )
        if self.keypoint_set is not None:
            hand_set(self.keypoint_set, HAND_SIDES[0] if self.hand == BOTH else self.hand)
        names = ("gender", "age", "height", "detector", "boxes", "max_people", "min_confidence", "engine")
        if given := self.given(names):
            raise ValueError(f"--hand fits hands to keypoint files, and takes no {', '.join(given)}.")

    def check_values(self, pipeline: Pipeline) -> None:
        """That cameras, noise and measurements can be used, tried on a person who is made up: what is wrong with them
        is said once, before any work. Errors: those of the fit."""
        size, K = (640, 480), len(COCO17)
        anybody = np.stack([np.linspace(100, 300, K), np.linspace(400, 100, K) + np.arange(K) % 3], 1)
        photo = read_photo(None, anybody, "coco17", image_size=size, focal=self.focal, focal_35mm=self.focal_35mm)
        with_known_noise(photo, self.keypoint_source, self.keypoint_std)
        read_measurements(self.measurements, photo, pipeline.body)

    @property
    def measurements(self) -> list[Measurement]:
        """What is known of everybody, and of every camera."""
        known: list[Measurement | None] = [
            None if self.gender is None else Gender(self.gender),
            None if self.age is None else Age(self.age),
            None if self.height is None else Height(self.height),
            None if self.pitch is None and self.roll is None else Up(pitch=self.pitch, roll=self.roll),
        ]
        return [one for one in known if one is not None]

    @property
    def up(self) -> UpLike:
        """What points up, where `measurements` do not say it."""
        return None if self.camera_level or self.hand is not None else LIKELY

    @property
    def detecting(self) -> Detecting | None:
        """How photographs without keypoints get theirs; None where a file or folder of keypoints is given.

        Raises:
            ValueError, OSError: flags that do not belong together, or a file of boxes that cannot be read.
        """
        if self.hand is not None:
            return None
        return asked_of(self.keypoints, self.detector, self.boxes, self.max_people, self.min_confidence)

    @property
    def part(self) -> "Shard | None":
        """Which part of the photographs is to be fitted; None: all. Raises ValueError."""
        return None if self.shard is None else Shard.of(self.shard)

    @property
    def wanted(self) -> Wanted:
        """What is to be there beside each result."""
        return Wanted(not self.no_pictures, self.mesh, self.full_size)


def one_source(keypoints: Sequence[str] | None) -> str | None:
    """What -k names. Raises ValueError: it was given several times."""
    if keypoints is not None and len(keypoints) > 1:
        raise ValueError(
            f"-k was given {len(keypoints)} times. Name one file or one folder; only with --calibration there is one "
            "for each camera."
        )
    return None if keypoints is None else keypoints[0]
