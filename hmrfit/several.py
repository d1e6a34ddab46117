"""One person in several views, or in many frames: what users have of them, read and checked before any work."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hmrfit.body.smpl import FARTHEST, NO_ROTATION
from hmrfit.camera import Camera
from hmrfit.io.calibration.rig import CameraCalibration
from hmrfit.io.keypoint_files import PersonKeypoints
from hmrfit.io.keypoint_files.frames import in_frame_order, read_frames
from hmrfit.io.keypoint_files.readers import people_in_memory
from hmrfit.io.photo import ImageLike, KeypointsLike, Photo, read_photo
from hmrfit.ops.check import brief_repr, numbers
from hmrfit.ops.how_many import how_many
from hmrfit.types import TensorRecord

FILLED_IN = "Filled in from the nearest frames: "

SetLike = str | Sequence[str] | None

Sizes = tuple[int, int] | Sequence[tuple[int, int]] | None


@dataclass(frozen=True)
class Extrinsics(TensorRecord):
    """x_camera = R x_world + t of C cameras, or of one in C frames."""

    rotation: Tensor  # (C, 3, 3)
    translation: Tensor  # (C, 3) metres


ExtrinsicsLike = ArrayLike | CameraCalibration
"""(C, 3, 4) or (C, 4, 4) [R | t], or a calibration."""


def read_extrinsics(extrinsics: ExtrinsicsLike, count: int, each: str = "view") -> Extrinsics:
    """(C, 3, 4) or (C, 4, 4) [R | t] of C cameras, or of the frames of one, checked."""
    if count < 2 and each == "view":
        raise ValueError("fit_views needs at least two views. For one photograph there is hmrfit.fit.")
    what = f"of the shape ({count}, 3, 4), [R | t] for each {each}"
    if isinstance(extrinsics, CameraCalibration):
        extrinsics = extrinsics.extrinsics
    values = numbers(extrinsics, "extrinsics", what)
    if values.shape not in ((count, 3, 4), (count, 4, 4)):
        raise ValueError(f"extrinsics should be {what}, but have {values.shape}.")
    if np.abs(values[:, 3:] - [0, 0, 0, 1]).max(initial=0) > NO_ROTATION:
        expected = "Expected [R | t] with x_camera = R x_world + t."
        raise ValueError(f"The last row of 4×4 extrinsics should be 0, 0, 0, 1. {expected}")
    rotation, translation = (torch.tensor(part) for part in (values[:, :3, :3], values[:, :3, 3]))
    off = (rotation @ rotation.mT - torch.eye(3).double()).abs().amax((1, 2))
    off = torch.where(torch.linalg.det(rotation) > 0, off, 2.0)
    if off.max() > NO_ROTATION:
        expected = "Expected [R | t] with x_camera = R x_world + t."
        raise ValueError(f"The extrinsics of {each} {int(off.argmax())} hold no rotation (or a reflection). {expected}")
    if translation.norm(dim=-1).median() > 100 or translation.abs().max() > FARTHEST:
        raise ValueError("The translations of the extrinsics look like millimetres. Give metres: divide by 1000.")
    return Extrinsics(rotation, translation)


def seen_through(keypoints: KeypointsLike, calibration: CameraCalibration, view: int, names: SetLike) -> KeypointsLike:
    """A view's people with the camera of a calibration beside them, its lens distortion still in."""
    return [calibration.of_person(person, view) for person in people_in_memory(keypoints, names)]


def with_calibration(
    cameras: Sequence[Camera] | None,
    keypoints: Sequence[KeypointsLike],
    calibration: CameraCalibration,
    names: SetLike,
) -> tuple[Sequence[Camera], Sequence[KeypointsLike]]:
    """(the cameras, the keypoints with the lens beside them) of `fit_views` with a calibration."""
    if count_of_views(keypoints, "keypoints") != len(calibration):
        raise ValueError(
            f"The calibration has {how_many(len(calibration), 'cameras')}, but there are "
            f"{how_many(len(keypoints), 'keypoints')}."
        )
    if cameras is not None:
        raise ValueError("cameras= is given beside a calibration, which has them already. Leave it out.")
    seen = [seen_through(one, calibration, view, names) for view, one in enumerate(keypoints)]
    return [calibration.camera[[view]] for view in range(len(calibration))], seen


def through_moving(
    frames: list[PersonKeypoints],
    extrinsics: "ExtrinsicsLike | None",
    camera: Camera | None,
    size: tuple[int, int] | None,
) -> tuple[list[PersonKeypoints], Camera | None, tuple[int, int] | None]:
    """(frames with the lens beside them, camera, size) of a camera that moves, where a calibration has them."""
    if not isinstance(extrinsics, CameraCalibration):
        return frames, camera, size
    if len(extrinsics) != len(frames):
        raise ValueError(
            f"The calibration has {how_many(len(extrinsics), 'frames')}, but there are {len(frames)} with keypoints."
        )
    frames = [extrinsics.of_person(person, t) for t, person in enumerate(frames)]
    sizes = {extrinsics.image_size(t) for t in range(len(extrinsics))}
    if len(sizes) > 1:
        raise ValueError(f"The frames of a video have one size, but the calibration names {len(sizes)}.")
    return frames, extrinsics.camera if camera is None else camera, size or sizes.pop()


def read_views(
    images: Sequence[ImageLike],
    keypoints: Sequence[KeypointsLike],
    keypoint_set: str | Sequence[str] | None,
    cameras: Sequence[Camera] | None,
    image_size: Sizes,
    free: bool = False,
) -> list[Photo]:
    """The views, each with one person, a known camera (unless its focal length is free) and the same keypoints."""
    C = len(images)
    for what, given in (("keypoints", keypoints), ("cameras", cameras)):
        if given is not None and count_of_views(given, what) != C:
            raise ValueError(
                f"{what} should be one for each of the {how_many(C, 'views')}, but there are {len(given)}."
            )
    sizes = _sizes_of_views(image_size, C)
    photos: list[Photo] = []
    for i in range(C):
        try:
            camera = None if cameras is None else cameras[i]
            photo = read_photo(images[i], keypoints[i], keypoint_set, camera=camera, image_size=sizes[i])
        except (ValueError, TypeError) as error:
            kind = ValueError if isinstance(error, ValueError) else TypeError
            raise kind(f"View {i}: {error}") from error
        if photo.given != 1:
            raise ValueError(
                f"View {i} shows {how_many(photo.given, 'people')}. fit_views is about one: choose the same person "
                "in every view."
            )
        if not (photo.focal_known or free or camera is not None):
            raise ValueError(
                f"The camera of view {i} is not known. Give cameras=, keypoint files with K, or focal='free'."
            )
        if photos and photo.people[0].names != photos[0].people[0].names:
            raise ValueError(f"View {i} has other keypoints than view 0. All views need the same keypoint set.")
        photos.append(photo)
    return photos


def free_or_known(focal: Literal["free"] | None) -> bool:
    """Whether the views' focal lengths are to be fitted. Errors: ValueError: anything but "free" and None."""
    if focal is not None and not (isinstance(focal, str) and focal == "free"):
        raise ValueError(f"focal of fit_views is 'free' or None, not {brief_repr(focal)}. Known ones go into cameras=.")
    return focal is not None


def read_people_of_frames(keypoints: KeypointsLike, keypoint_set: str | Sequence[str] | None) -> list[PersonKeypoints]:
    """One person a frame, in the order of the frames."""
    if isinstance(keypoints, str | os.PathLike):
        return read_frames(keypoints, keypoint_set)
    listed = isinstance(keypoints, Sequence) and all(isinstance(p, PersonKeypoints) for p in keypoints)
    frames: Any = _with_blank_frames(keypoints)
    if _dimensions(frames) == 4 and (several := np.shape(frames))[1] > 1:
        raise ValueError(
            f"keypoints has the shape {several}, {how_many(several[1], 'people')} in each frame, but fit_sequence is "
            "about one: "
            "keypoints[:, 0] is the first of them."
        )
    people = people_in_memory(frames, keypoint_set)
    if len(people) == 1 and not listed and _dimensions(keypoints) == 2:
        shape = (len(people[0]), 3)
        raise ValueError(f"keypoints should have the shape (T, K, 3), frames first, but have {shape}.")
    return in_frame_order(people, "keypoints", filled=not listed)


def _with_blank_frames(keypoints: Any) -> Any:
    """The same; of a list of frames of which some are None or empty, with NaN in these."""
    if not isinstance(keypoints, list | tuple):
        return keypoints
    there = [frame is not None and (not hasattr(frame, "__len__") or len(frame) > 0) for frame in keypoints]
    first = next((frame for frame, is_there in zip(keypoints, there, strict=True) if is_there), None)
    if all(there) or first is None or _dimensions(first) != 2:
        return keypoints
    nothing = np.full(np.shape(first), np.nan)
    frames = zip(keypoints, there, strict=True)
    return [frame if is_there else nothing for frame, is_there in frames]


def _dimensions(keypoints: Any) -> int:
    """Of an array, or of nested lists; 0 where these are ragged."""
    try:
        return int(np.ndim(keypoints))
    except ValueError:
        return 0


def count_of_views(given: Any, what: str) -> int:
    """How many views something is given for."""
    if isinstance(given, str | bytes | Mapping) or not hasattr(given, "__len__") or getattr(given, "ndim", 1) == 0:
        raise TypeError(f"{what} should be a list, one for each view, not {brief_repr(given)}.")
    return len(given)


def _sizes_of_views(size: Any, count: int) -> list[Any]:
    """The size of each view's image, from one for all or one for each."""
    if isinstance(size, list | tuple | np.ndarray) and len(size) and not all(np.ndim(part) == 0 for part in size):
        if len(size) != count:
            what = f"one for all, or one for each of the {how_many(count, 'views')}"
            raise ValueError(f"image_size should be {what}, but there are {len(size)}.")
        return list(size)
    return [size] * count


def photo_of_frames(
    image: ImageLike,
    frames: list[PersonKeypoints],
    keypoint_set: str | Sequence[str] | None,
    focal: float | Sequence[float] | None,
    focal_35mm: float | None,
    camera: Camera | None,
    image_size: tuple[int, int] | None,
) -> tuple[Photo, NDArray[np.bool_]]:
    """(the frames, which of them are blank (T,)): frames of which nothing can be used take the nearest other one's
    keypoints, and say so."""
    try:
        photo = read_photo(image, frames, keypoint_set, focal, focal_35mm, camera, image_size, each="frame")
    except ValueError as error:
        hint = "No frame shows anybody who can be fitted. " if "Frame 0: " in str(error) else ""
        raise ValueError(f"{hint}{error}") from None
    there = np.array(photo.rows)
    everyone = np.arange(photo.given)
    after = np.searchsorted(there, everyone).clip(0, len(there) - 1)
    before = (after - 1).clip(0)
    nearest = np.where(np.abs(there[before] - everyone) <= np.abs(there[after] - everyone), before, after)
    blank = there[nearest] != everyone
    reasons = iter(photo.left_out.values())
    warnings = [
        (f"{FILLED_IN}{next(reasons)}",) if empty else photo.warnings[n]
        for n, empty in zip(nearest, blank, strict=True)
    ]
    people = tuple(
        replace(photo.people[n], person_id=str(t)) if empty else photo.people[n]
        for t, (n, empty) in enumerate(zip(nearest, blank, strict=True))
    )
    cameras, rows = photo.camera[nearest.tolist()], tuple(everyone.tolist())
    return replace(photo, people=people, camera=cameras, warnings=tuple(warnings), rows=rows, left_out={}), blank


def joined(photos: Sequence[Photo]) -> Photo:
    """The views of one person as one batch."""
    people = tuple(photo.people[0] for photo in photos)
    camera = Camera.cat([photo.camera for photo in photos])
    return replace(photos[0], people=people, camera=camera, warnings=tuple(photo.warnings[0] for photo in photos))
