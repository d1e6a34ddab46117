"""One person's keypoints as a file held them, checked and in our pixels.

Every format first makes a `Found` of each person, with the file's own numbers; `finish` gives all of them names,
confidences and pixels in one place.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hmrfit.camera import PIXEL_CENTER
from hmrfit.io.image import undistort_points
from hmrfit.io.keypoint_files.names import AskedSet, Chosen, DeclaredSet, choose_points
from hmrfit.io.keypoint_files.numbers import Scores, marked_missing, seen_points
from hmrfit.keypoints import KeypointsFrom
from hmrfit.ops.check import to_float64

Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class PersonKeypoints:
    """Pixels of the full image, (0, 0) the corner of the top-left pixel. Confidence 0 means unseen, xy (0, 0) there."""

    names: tuple[str, ...]
    xy: NDArray[np.float64]  # (K, 2) pixels, as the lens made them where `distortion` is given
    confidence: NDArray[np.float64]  # (K,) in [0, 1]
    source: Path  # the file it came from
    person_id: str = "0"
    image: str | None = None  # the image's name or number, where the file says it
    image_size: tuple[int, int] | None = None  # width, height
    box: Box | None = None  # x, y, width, height, pixels
    intrinsics: NDArray[np.float64] | None = None  # (3, 3), cv2's convention: pixel centres at integers
    distortion: NDArray[np.float64] | None = None  # cv2's coefficients
    mask: str | None = None  # path of the person's mask, relative to `source`
    track: str | None = None  # who it is from frame to frame, where the file says it
    warnings: tuple[str, ...] = ()  # what had to be assumed to read it, and to find this person for a photograph
    problem: str | None = None  # why the numbers of this person among others cannot be read; nothing is seen then
    frames: tuple[int, int] | None = None  # a video's first and last number, where `image` is one of every frame listed
    fractions: float | None = None  # x and y are fractions of an image of unknown size: what to add to them as pixels
    made_by: KeypointsFrom | None = None  # where the file or its format says it
    std: NDArray[np.float64] | None = None  # (K,) of the noise, where it is known; fractions of the box
    detector: str | None = None  # which one found this person, and with which weights, where that is known

    def __post_init__(self) -> None:
        to_float64(self, "xy", "confidence", "intrinsics", "distortion", "std")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def image_path(self) -> Path | None:
        """The image's file, where it lies at the place that the keypoint file names; None otherwise."""
        return _file_beside(self.source, self.image)

    @property
    def mask_path(self) -> Path | None:
        """The mask's file, where it lies at the place that the keypoint file names; None otherwise."""
        return _file_beside(self.source, self.mask)

    def pinhole(self) -> "PersonKeypoints":
        """The same person without lens distortion; what the lens model cannot invert becomes unseen."""
        if self.intrinsics is None or self.distortion is None:
            return self
        seen = self.confidence > 0
        xy = self.xy.copy()
        xy[seen] = undistort_points(self.xy[seen], self.intrinsics, self.distortion)
        lost = np.isnan(xy.sum(1))
        return replace(self, xy=np.where(lost[:, None], 0.0, xy), confidence=self.confidence * ~lost, distortion=None)

    def at_size(self, size: tuple[int, int]) -> "PersonKeypoints":
        """The same person in the image at another resolution (width, height).

        Raises:
            ValueError: the size that the file states has another aspect ratio.
        """
        if self.fractions is not None:
            return self._in_pixels(size)
        if self.image_size is None or tuple(self.image_size) == tuple(size):
            return self
        (w, h), (W, H) = self.image_size, size
        if min(abs(w - W * h / H), abs(h - H * w / W), abs(W - w * H / h), abs(H - h * W / w)) >= 1:  # rounding
            raise ValueError(
                f"The sizes of the image do not agree (the image: {W} × {H}; the keypoints' file "
                f"'{self.source.name}': {w} × {h}). The keypoints must be pixels of this very image: scale them, or "
                "give the image they were found in (turned upright as its EXIF says)."
            )
        factor = np.array([W / w, H / h])
        warning = f"The file states keypoints of an image of {w} × {h} pixels: they were scaled to {W} × {H}."
        return replace(
            self,
            xy=self.xy * factor,
            image_size=(int(W), int(H)),
            box=None if self.box is None else tuple((np.array(self.box) * np.tile(factor, 2)).tolist()),
            intrinsics=None if self.intrinsics is None else _scaled_intrinsics(self.intrinsics, factor),
            warnings=(*self.warnings, warning),
        )

    def _in_pixels(self, size: tuple[int, int]) -> "PersonKeypoints":
        """The same person, from fractions of the image's width and height."""
        seen = self.confidence[:, None] > 0
        xy = np.where(seen, self.xy * np.array(size) + self.fractions, 0.0)
        box = None if self.box is None else tuple((np.array(self.box) * np.tile(size, 2)).tolist())
        return replace(self, xy=xy, box=box, image_size=(int(size[0]), int(size[1])), fractions=None)


def _file_beside(source: Path, named: str | None) -> Path | None:
    """The file of a name relative to another file, as it stands or with Windows' backslashes as folders; or None."""
    for name in (named, named.replace("\\", "/")) if named else ():
        path = source.parent / name
        with suppress(OSError, ValueError):  # such as a name too long to be one
            if path.is_file():
                return path
    return None


def _scaled_intrinsics(intrinsics: NDArray, factor: NDArray) -> NDArray:
    """K of the image at another resolution; its pixel centres are at integers."""
    scaled = np.array(intrinsics, np.float64)
    scaled[:2, 2] += PIXEL_CENTER
    scaled[:2] *= factor[:, None]
    scaled[:2, 2] -= PIXEL_CENTER
    return scaled


@dataclass(frozen=True, eq=False)
class Found:
    """One person with the numbers of the file."""

    points: NDArray[np.float64]  # (K, 2) x, y or (K, 3) x, y, score; NaN where the file has null
    declared: DeclaredSet  # which keypoints they are, as far as the file says it
    what: str  # to name the person in errors
    person_id: str = "0"
    shift: float = PIXEL_CENTER  # what makes the file's pixels ours
    fractions: bool = False  # x and y are fractions of the image's width and height
    image: str | None = None
    image_size: tuple[int, int] | None = None
    box: Box | None = None  # in fractions as well, if the points are
    intrinsics: NDArray[np.float64] | None = None
    distortion: NDArray[np.float64] | None = None
    mask: str | None = None
    track: str | None = None
    frames: tuple[int, int] | None = None
    problem: str | None = None  # why this person cannot be read, where others may be
    made_by: KeypointsFrom | None = None
    detector: str | None = None
    kept: bool = False  # also where no keypoint is seen: a row of an array is a person or a frame


def finish(
    people: Iterable[Found], source: Path, asked: AskedSet, image_size: tuple[int, int] | None = None
) -> Iterator[PersonKeypoints]:
    """The people of one file, in our names, confidences and pixels; without those who have no seen keypoint.

    One person who cannot be read does not take the others down (`PersonKeypoints.problem`).

    Raises:
        ValueError: none of the people can be read; says why the first one cannot.
    """
    people = list(people)
    chosen = [_chosen(found, asked) for found in people]
    points = [_used(found, which) for found, which in zip(people, chosen, strict=True) if not isinstance(which, str)]
    scores = Scores([p for p in points if p.shape[1] == 3], people[0].what if people else "")
    read = [_read(found, which, scores) for found, which in zip(people, chosen, strict=True)]
    problems = [one for one in read if isinstance(one, str)]
    if people and len(problems) == len(people):
        raise ValueError(problems[0])
    names = next((one.names for one in read if not isinstance(one, str)), ())
    for found, one in zip(people, read, strict=True):
        if isinstance(one, str):
            yield unreadable(found, names, one, source)
        elif found.kept or one.confidence.any():
            yield _person(found, one, source, image_size)


class _Read(NamedTuple):
    """What one person's numbers mean."""

    names: tuple[str, ...]
    xy: NDArray[np.float64]  # (K, 2) as the file has them
    confidence: NDArray[np.float64]  # (K,)
    warnings: tuple[str, ...]


def _chosen(found: Found, asked: AskedSet) -> Chosen | str:
    """Which points they are, or why that is not known."""
    try:
        return found.problem or choose_points(len(found.points), found.declared, asked, found.what)
    except ValueError as error:
        return str(error)


def _used(found: Found, which: Chosen) -> NDArray[np.float64]:
    """The rows of the points that are used."""
    return found.points if which.rows is None else found.points[list(which.rows)]


def _read(found: Found, which: Chosen | str, scores: Scores) -> _Read | str:
    """Names, coordinates and confidences, or why they cannot be read."""
    if isinstance(which, str):
        return which
    rows = _used(found, which)
    scored = rows.shape[1] == 3
    try:
        xy, confidence = seen_points(rows[:, :2], scores.confidence(rows[:, 2]) if scored else None, found.what)
    except ValueError as error:
        return str(error)
    found_warnings = (which.warning, scores.warning if scored else None, _without_hands(found, which))
    return _Read(which.names, xy, confidence, tuple(warning for warning in found_warnings if warning))


def _without_hands(found: Found, which: Chosen) -> str | None:
    """What is said of hands that are seen and left out."""
    rows = found.points[list(which.hands)]
    seen = rows[:, 2] > 0 if rows.shape[1] == 3 else ~marked_missing(rows)
    return f"The keypoints of the hands are left out: {which.why}." if seen.any() else None


def unreadable(found: Found, names: tuple[str, ...], problem: str, source: Path) -> PersonKeypoints:
    """One of several people of a file whose numbers cannot be read: no keypoint is seen."""
    return PersonKeypoints(
        names,
        np.zeros((len(names), 2)),
        np.zeros(len(names)),
        source,
        found.person_id,
        found.image,
        found.image_size,
        track=found.track,
        problem=problem,
    )


def _person(found: Found, read: _Read, source: Path, image_size: tuple[int, int] | None) -> PersonKeypoints:
    """In pixels as far as the image's size is known."""
    size = found.image_size or (None if image_size is None else (int(image_size[0]), int(image_size[1])))
    xy = read.xy
    if not found.fractions and found.shift:
        xy = np.where(read.confidence[:, None] > 0, xy + found.shift, 0.0)
    person = PersonKeypoints(
        read.names,
        xy,
        read.confidence,
        source,
        found.person_id,
        found.image,
        image_size=None if found.fractions else size,
        box=found.box,
        intrinsics=found.intrinsics,
        distortion=found.distortion,
        mask=found.mask,
        track=found.track,
        warnings=read.warnings,
        frames=found.frames,
        fractions=found.shift if found.fractions else None,
        made_by=found.made_by,
        detector=found.detector,
    )
    return person.at_size(size) if found.fractions and size is not None else person
