"""A photograph, its people's keypoints and its camera, read from what users have and checked before any work.

Which focal length counts, in this order: the caller's camera, the caller's focal length, the intrinsics in the keypoint
file, the photograph's EXIF, and last `camera.default_focal`. `Photo.focal_source` says which one it was, and
`Photo.focal_known` whether it is one of the first four. Lens
distortion is taken out of the keypoints here, so that the fit sees a pinhole.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from hmrfit.camera import Camera, check_camera, checked_focal, checked_size, focal_from_35mm
from hmrfit.io.bounded import refuse_url
from hmrfit.io.image import Image, as_image, decode_image, exif_turns, read_image, whole_image_size
from hmrfit.io.keypoint_checks import check_keypoints, far_away, stray_places
from hmrfit.io.keypoint_checks.crowd import near_each_other, surely_in_order
from hmrfit.io.keypoint_checks.field_of_view import ASSUMED, FocalSource, camera_warnings, focal_from_exif
from hmrfit.io.keypoint_checks.sides import shows_through
from hmrfit.io.keypoint_files import KeypointSource, PersonKeypoints, read_keypoints
from hmrfit.io.keypoint_files.readers import people_in_memory
from hmrfit.keypoints import body_places, keypoint_sets
from hmrfit.ops.check import numbers
from hmrfit.types import Keypoints

ImageLike = str | os.PathLike[str] | bytes | BinaryIO | ArrayLike | None
"""A file's path, its bytes, an open file, or pixels (H, W[, C])."""

KeypointsLike = (
    str
    | os.PathLike[str]
    | ArrayLike
    | Sequence[PersonKeypoints]
    | Keypoints
    | Mapping[str, object]
    | bytes
    | BinaryIO
    | None
)
"""See `hmrfit.fit`."""

NORMALISED = 2.0
"""Several keypoints with no coordinate beyond this are fractions of the image, not pixels."""

MOST_LOOKED_AT = 32
"""Frames of a sequence whose keypoints are looked at, if none of these is doubted: a wrong set or frame is wrong in
all. (What the body of a frame misses is looked at afterwards, in every frame.)"""

CROWD = 4
"""From so many people on, looking at all of them at once is quicker than one after the other."""

FARTHEST = 1e6
"""Of the image's longer side: a keypoint farther outside than that is a broken number."""

MOST_REASONS = 5
"""People whose reasons an error message lists."""

NO_KEYPOINTS = """\
Keypoints are missing. Give a keypoint file, an array (K, 3) of x, y, confidence with keypoint_set= one of {sets}, or a
photograph in which a detector can find them."""


class NoPeople(ValueError):
    """There is nobody to fit: a detector found no people, or a keypoint file has none."""


@dataclass(frozen=True, eq=False)
class Photo:
    """One photograph and the N people to be fitted in it. Pixels of the full image, upright."""

    people: tuple[PersonKeypoints, ...]  # without lens distortion, all of one keypoint set
    camera: Camera  # (N,)
    size: tuple[int, int]  # width, height
    focal_source: str  # a sentence
    warnings: tuple[tuple[str, ...], ...]  # for each person
    path: Path | None = None
    image: Image | None = None
    rows: tuple[int, ...] = ()  # (N,) which of the given people these are, counted from 0
    left_out: Mapping[str, str] = field(default_factory=dict)  # the others: person_id -> why they cannot be fitted

    def __len__(self) -> int:
        return len(self.people)

    @property
    def given(self) -> int:
        """How many people were given, those who are left out too: what the caller counts by."""
        return len(self.people) + len(self.left_out)

    @property
    def focal_known(self) -> bool:
        """Whether the focal length is given, in the keypoint file or in EXIF; neither assumed nor fitted."""
        return bool(self.camera.focal_known.all())

    @property
    def keypoints(self) -> Keypoints:
        """All people's, (N, K)."""
        xy, confidence = (torch.tensor(np.stack([getattr(p, n) for p in self.people])) for n in ("xy", "confidence"))
        return Keypoints(xy, confidence, self.people[0].names)

    def without_image(self) -> "Photo":
        """The same, its pixels forgotten."""
        return replace(self, image=None)


def read_photo(
    image: ImageLike,
    keypoints: KeypointsLike,
    keypoint_set: str | Sequence[str] | None = None,
    focal: float | Sequence[float] | None = None,
    focal_35mm: float | None = None,
    camera: Camera | None = None,
    image_size: tuple[int, int] | None = None,
    each: str = "person",
    decode: bool = True,
) -> Photo:
    """Everything a fit needs, from the many forms users have it in; see `hmrfit.fit` for the arguments.

    People who cannot be fitted are left out, and `Photo.left_out` says why. If none is left, that is an error.
    Args:
        each: what one of the people is called in errors; the frames of a sequence are read as people.
        decode: whether the pixels of an image file are wanted; else its size is read where it says it.
    Raises:
        ValueError, TypeError, FileNotFoundError: before any work; say what was expected.
    """
    path = Path(image) if isinstance(image, str | os.PathLike) else None
    if keypoints is None:
        raise ValueError(NO_KEYPOINTS.format(sets=", ".join(keypoint_sets())))
    people = _people(keypoints, keypoint_set, path)
    content = read_content(image)
    pixels = _pixels(content) if decode or path is None else None
    found = whole_image_size(path) if pixels is None and path is not None else _size_of(pixels)
    size = _size(found, image_size, people)
    if not people:
        raise NoPeople(
            f"There are no people to fit in {_described(keypoints)}. Detect them again, or leave this image out."
        )
    ready, reasons = _fit_to_be_used(people, size, each)
    if not ready:
        several = "" if len(people) == 1 else f"None of {len(people)} can be fitted, the reason for each: "
        said = [f"{each.capitalize()} {i}: {reason}" for i, reason in reasons.items()]
        raise ValueError(several + " ".join(said[:MOST_REASONS]) + " …" * (len(said) > MOST_REASONS))
    names = {p.names for p, _ in ready.values()}
    if len(names) > 1:
        raise ValueError(
            f"The people of one photograph should share one keypoint set, but there are {len(names)}. Fit them in two "
            "calls."
        )
    chosen, warnings = zip(*ready.values(), strict=True)
    rows, source_of_exif = tuple(ready), content if isinstance(content, bytes) else path
    cameras, source = _camera(chosen, size, camera, focal, focal_35mm, source_of_exif, rows, len(people))
    of_cameras = camera_warnings(cameras, source, [p.xy[p.confidence > 0] for p in chosen])
    turned = [_unturned(p, size, source_of_exif) for p in chosen]
    warnings = tuple((*mine, *more, *own) for mine, more, own in zip(warnings, of_cameras, turned, strict=True))
    left_out = {_called(people, i): reason for i, reason in reasons.items()}
    return Photo(chosen, cameras, size, source.words, warnings, path, pixels, rows, left_out)


def _unturned(person: PersonKeypoints, size: tuple[int, int], photograph: Path | bytes | None) -> list[str]:
    """A warning where keypoints are pixels of the photograph as it is stored, which its EXIF turns."""
    xy = person.xy[person.confidence > 0]
    inside = lambda limits: bool(((xy >= 0) & (xy <= np.array(limits))).all())  # noqa: E731
    if photograph is None or inside(size) or not inside(size[::-1]) or not exif_turns(photograph):
        return []
    return [
        f"Some keypoints lie outside of the photograph, {size[0]} × {size[1]} as its EXIF turns it, and all within "
        f"{size[1]} × {size[0]}: they were found in the picture as it is stored. Find them in the upright one."
    ]


def _fit_to_be_used(
    people: Sequence[PersonKeypoints], size: tuple[int, int], each: str
) -> tuple[dict[int, tuple[PersonKeypoints, tuple[str, ...]]], dict[int, str]]:
    """(the people without lens distortion, with warnings, by their place; why the others cannot be fitted).

    Of many frames of one person, some are looked at; all where one of these is doubted.
    """
    ready: dict[int, tuple[PersonKeypoints, tuple[str, ...]]] = {}
    reasons = {i: person.problem for i, person in enumerate(people) if person.problem}
    usable = [i for i in range(len(people)) if i not in reasons]
    apart = max(1, len(people) // MOST_LOOKED_AT) if each == "frame" else 1
    plain = _plain(people, size) if apart > 1 else set()
    in_order = _in_order(people, size, usable[::apart])

    def read(i: int, look: bool) -> bool:
        """Whether the person at this place is doubted."""
        if i in in_order or (i in plain and not look):
            ready[i] = people[i], people[i].warnings
            return False
        try:
            straight, far = _without_strays(people[i].at_size(size).pinhole())
            found = far + _checked(straight, size, look)
        except ValueError as error:
            reasons[i] = str(error)
            return False
        ready[i] = straight, (*straight.warnings, *found)
        return bool(found)

    doubts = [read(i, look=True) for i in usable[::apart]]
    doubted = any(doubts)
    others = [i for place, i in enumerate(usable) if place % apart]
    if doubted:
        in_order |= _in_order(people, size, others)
    for i in others:
        read(i, look=doubted)
    return {i: ready[i] for i in usable if i in ready}, dict(sorted(reasons.items()))


def _without_strays(person: PersonKeypoints) -> tuple[PersonKeypoints, list[str]]:
    """The person without keypoints that are nobody's: a mark of a missing one, such as (65535, 65535), or another's far
    away. The box of a person who had them would be no measure of anything."""
    body = np.array(body_places(person.names))
    far, times = stray_places(person.xy[body], person.confidence[body] > 0)
    if not len(far):
        return person, []
    confidence = person.confidence.copy()
    confidence[body[far]] = 0.0
    said = f"{far_away(person.names, body[far], times)}: left out, as they are nobody's or another person's."
    return replace(person, confidence=confidence), [said]


def _as_they_are(
    people: Sequence[PersonKeypoints], size: tuple[int, int], places: Sequence[int]
) -> tuple[list[int], NDArray[np.float64], NDArray[np.float64]]:
    """(which of these people are in the image's pixels already, without a lens, and of one keypoint set; their xy
    (n, K, 2), their confidence (n, K))."""
    alike = [
        i
        for i in places
        if (p := people[i]).names == people[places[0]].names
        and p.intrinsics is None
        and p.fractions is None
        and (p.image_size is None or tuple(p.image_size) == tuple(size))
    ]
    if not alike:
        return [], np.zeros((0, 0, 2)), np.zeros((0, 0))
    xy, confidence = (np.stack([getattr(people[i], name) for i in alike]) for name in ("xy", "confidence"))
    return alike, xy, confidence


def _in_order(people: Sequence[PersonKeypoints], size: tuple[int, int], places: Sequence[int]) -> set[int]:
    """Those of a crowd of whom `_checked` has nothing to say, asked all at once; of a few, each is looked at alone."""
    alike, xy, confidence = _as_they_are(people, size, [i for i in places if not shows_through(people[i].detector)])
    if len(alike) < CROWD or len(body_places(people[alike[0]].names)) < xy.shape[1]:
        return set()
    fine = surely_in_order(people[alike[0]].names, xy, confidence, size)
    return {i for i, own in zip(alike, fine, strict=True) if own}


def _plain(people: Sequence[PersonKeypoints], size: tuple[int, int]) -> set[int]:
    """Those of many frames of which `_checked` has nothing to say unless it looks closer, asked all at once."""
    alike, xy, confidence = _as_they_are(people, size, range(len(people)))
    if not alike:
        return set()
    body = list(body_places(people[alike[0]].names))
    fine = np.isfinite(xy).all((1, 2)) & np.isfinite(confidence).all(1)
    xy, seen = xy[:, body], confidence[:, body] > 0
    inside = ((xy >= 0) & (xy <= np.array(size))).all(2) & seen
    away = np.where(seen, np.abs(xy).max(2), 0.0).max(1)
    fine &= (
        near_each_other(xy, seen)
        & inside.any(1)
        & (away <= (FARTHEST + 1) * max(size))
        & ((away > NORMALISED) | (seen.sum(1) < 2))
    )
    return {i for i, own in zip(alike, fine, strict=True) if own}


def _called(people: Sequence[PersonKeypoints], index: int) -> str:
    """A person's name in `left_out`: the person_id, with the place where others have the same."""
    name = people[index].person_id
    return name if sum(p.person_id == name for p in people) == 1 else f"{name} (person {index})"


def read_content(image: ImageLike) -> ImageLike:
    """The same, but of an open file its bytes."""
    read = getattr(image, "read", None)
    return read() if callable(read) else image


def read_pixels(image: ImageLike) -> Image:
    """A photograph's pixels, from any form. Raises: ValueError, TypeError, OSError: see `read_image` and `as_image`."""
    pixels = _pixels(read_content(image))
    if pixels is None:
        raise ValueError("Give a photograph: a path, an array (H, W, 3), the bytes of a file, or an open file.")
    return pixels


def _pixels(image: ImageLike) -> Image | None:
    if image is None:
        return None
    if isinstance(image, str | os.PathLike):
        return read_image(image)
    return decode_image(bytes(image)) if isinstance(image, bytes | bytearray) else as_image(image)


def _size_of(pixels: Image | None) -> tuple[int, int] | None:
    """(width, height)."""
    return None if pixels is None else (pixels.shape[1], pixels.shape[0])


def find_people(
    image: Path, keypoints: str | os.PathLike, keypoint_set: str | Sequence[str] | None = None
) -> list[PersonKeypoints]:
    """The people of an image file in a keypoint file, or in the folder where its keypoint file lies.

    Raises:
        FileNotFoundError: the folder has no file for this image. ValueError: as `read_keypoints`.
    """
    return KeypointSource(keypoint_set).people(image, keypoints)


def _people(
    keypoints: KeypointsLike, keypoint_set: str | Sequence[str] | None, image: Path | None
) -> list[PersonKeypoints]:
    """Any accepted form -> people."""
    if not isinstance(keypoints, str | os.PathLike):
        return people_in_memory(keypoints, keypoint_set)
    if isinstance(keypoints, str) and keypoints.lstrip().startswith(("{", "[")) and not os.path.exists(keypoints):
        return people_in_memory(keypoints.encode(), keypoint_set)  # no file, but what one holds
    if not os.path.exists(keypoints):
        refuse_url(keypoints, "the keypoint file")
    return read_keypoints(keypoints, keypoint_set) if image is None else find_people(image, keypoints, keypoint_set)


def _described(keypoints: KeypointsLike) -> str:
    return f"'{keypoints}'" if isinstance(keypoints, str | os.PathLike) else "the given keypoints"


def _size(
    found: tuple[int, int] | None, given: tuple[int, int] | None, people: Sequence[PersonKeypoints]
) -> tuple[int, int]:
    """(width, height), the same wherever it is known from."""
    known: dict[str, tuple[int, int]] = {}
    if found is not None:
        known["the image"] = found
    if given is not None:
        known["image_size"] = checked_size(given)
    for p in () if known else people:  # else `at_size` follows the image
        if p.image_size is not None:
            what = f"the keypoints' file '{p.source.name}'"
            known[what] = checked_size(p.image_size, f"The image size in {what}")
    if not known:
        raise ValueError("Without an image, give its size in pixels: image_size=(width, height).")
    if len(set(known.values())) > 1:
        said = "; ".join(f"{who}: {w} × {h}" for who, (w, h) in known.items())
        raise ValueError(
            f"The sizes of the image do not agree ({said}). The keypoints must be pixels of this very image: scale "
            "them, or give the image they were found in (turned upright as its EXIF says)."
        )
    return next(iter(known.values()))


def _checked(person: PersonKeypoints, size: tuple[int, int], look: bool = True) -> list[str]:
    """Warnings about one person's keypoints; none where they are not to be looked at.

    Raises:
        ValueError: they cannot be pixels of this image; says why.
    """
    body = list(body_places(person.names))  # hands alone are no body
    names, confidence = tuple(person.names[k] for k in body), person.confidence[body]
    xy = person.xy[body][confidence > 0]
    if not len(xy):
        raise ValueError(
            "no keypoint has a confidence above 0, so nothing is seen to fit to. Leave this person out, or look at the "
            "detector's confidences."
        )
    if not np.isfinite(person.xy).all() or not np.isfinite(person.confidence).all():
        raise ValueError("the keypoints hold NaN or infinite numbers. Give unseen keypoints confidence 0.")
    away = np.abs(xy).max()
    if away > (FARTHEST + 1) * max(size):
        raise ValueError(
            f"a keypoint lies at {away:.3g} pixels, which is no place in an image of {size[0]} × {size[1]}. Give it "
            "confidence 0 if it is unseen, or look at what wrote it."
        )
    outside = not ((xy >= 0) & (xy <= np.array(size))).all(1).any()
    normalised = len(xy) > 1 and away <= NORMALISED
    look = look or outside or normalised
    warnings = check_keypoints(names, person.xy[body], confidence, size, person.detector) if look else []
    if outside:
        reason = warnings[0] if warnings else f"({xy[0, 0]:.0f}, {xy[0, 1]:.0f}) is outside of {size[0]} × {size[1]}."
        raise ValueError(f"no keypoint lies inside the image. {reason}")
    if normalised:
        raise ValueError(warnings[0])
    if person.intrinsics is not None:
        Camera.from_intrinsics(person.intrinsics, *size)
    return warnings


def _camera(
    people: Sequence[PersonKeypoints],
    size: tuple[int, int],
    camera: Camera | None,
    focal: float | Sequence[float] | None,
    focal_35mm: float | None,
    photograph: Path | bytes | None,
    rows: Sequence[int],
    given: int,
) -> tuple[Camera, FocalSource]:
    """One camera per person, and where its focal length comes from.

    rows: which of the `given` people these are.
    """
    N = len(people)
    if sum(value is not None for value in (camera, focal, focal_35mm)) > 1:
        raise ValueError("Give one of camera, focal (pixels) and focal_35mm (millimetres), not several.")
    if camera is not None:
        return _given_camera(camera, size, rows, given), FocalSource("given, as a camera")
    if focal is not None:
        return Camera.from_size(*size, focal=focal, count=N), FocalSource("given, in pixels", "pixels")
    if focal_35mm is not None:
        film = _millimetres(focal_35mm, size)
        pixels = focal_from_35mm(film, *size)
        source = FocalSource(f"given, {film:g} mm in 35 mm equivalent", "millimetres")
        return Camera.from_size(*size, focal=pixels, count=N), source
    intrinsics = [p.intrinsics for p in people if p.intrinsics is not None]
    if len(intrinsics) == N:
        return Camera.cat([Camera.from_intrinsics(K, *size) for K in intrinsics]), FocalSource(
            "the keypoints' file (K)"
        )
    in_exif, source = (None, FocalSource(ASSUMED)) if photograph is None else focal_from_exif(photograph, size)
    return Camera.from_size(*size, focal=in_exif, count=N), source


def _millimetres(focal: float, size: tuple[int, int]) -> float:
    """A focal length in 35 mm equivalent, checked."""
    what = "one number above 0, millimetres in 35 mm equivalent"
    film = numbers(focal, "focal_35mm", what)
    if film.shape not in ((), (1,)) or not (film > 0).all():
        raise ValueError(f"focal_35mm should be {what}, but is {focal!r}.")
    try:
        checked_focal(focal_from_35mm(film.item(), *size), *size)
    except ValueError:
        raise ValueError(f"focal_35mm should be {what}, but no lens has {film.item():g} mm.") from None
    return film.item()


def _given_camera(camera: Camera, size: tuple[int, int], rows: Sequence[int], given: int) -> Camera:
    """The caller's camera, one for all or one for each of the `given` people, for those at `rows`."""
    if not isinstance(camera, Camera):
        raise TypeError(
            f"camera should be a hmrfit.Camera, not {type(camera).__name__}. From a 3×3 matrix: "
            "Camera.from_intrinsics(K, width, height)."
        )
    check_camera(camera)
    camera = camera.map(lambda t: t.detach()).to("cpu", torch.float64)
    if len(camera) not in (1, given):
        raise ValueError(f"Give one camera, or one per person ({given}); there are {len(camera)}.")
    if (camera.size != torch.tensor(size)).any():
        raise ValueError(
            f"The camera is of an image of {camera.size[0].tolist()} pixels, but this one has {list(size)}. "
            "`camera.resize` and `camera.crop` follow an image."
        )
    return camera[list(rows) if len(camera) == given else [0] * len(rows)]
