"""One person in several calibrated views, or in many frames: fit_views, fit_sequence. Read, check, fit, results."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from hmrfit.body.rigid import turned
from hmrfit.body.smpl import FARTHEST, NO_ROTATION
from hmrfit.build import build
from hmrfit.camera import Camera
from hmrfit.evidence import WEIGHT, WIDE_WEIGHT, with_terms
from hmrfit.fitting.energy import term_costs
from hmrfit.fitting.evidence import Evidence, ViewEvidence
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.focal import last_stage
from hmrfit.fitting.parameters import Linearization, State
from hmrfit.fitting.sequence import Motion, SequenceProblem, one_shape, solve_sequence
from hmrfit.fitting.solver import Options
from hmrfit.fitting.terms.views import Views
from hmrfit.io.keypoint_files import PersonKeypoints
from hmrfit.io.keypoint_files.frames import in_frame_order, read_frames
from hmrfit.io.keypoint_files.readers import people_in_memory
from hmrfit.io.photo import ImageLike, KeypointsLike, Photo, read_photo
from hmrfit.make_result import log_warnings, result_of
from hmrfit.ops.check import brief_repr, numbers
from hmrfit.ops.level import unit_up
from hmrfit.ops.threads import know_own_threads, one_thread_for_few
from hmrfit.result import FitResult
from hmrfit.types import Keypoints

WIDE_VIEWS, FINAL_VIEWS = 0.3, 0.06
"""Robust scales of other views, shares of the box there, as of the keypoints' own rounds."""

SMOOTH = 0.3
"""Of the smoothness. On clips of the set-aside motion (walking, uneven ground, jumping; 150 frames, 1 % noise), 0.3 and
1 were as good for walking (18.6 mm PA-MPJPE where single frames have 27.3), 1 was too much for jumping."""

RATES, MOST_SMOOTH = (1e-3, 1e5), 1e6
"""Frames a second, and the greatest weight: beyond them, rounding decides."""

FILLED_IN = "Filled in from the nearest frames: "

SEQUENCE = Options(max_steps=40, ftol=1e-4)


def fit_views(
    images: Sequence[ImageLike],
    keypoints: Sequence[KeypointsLike],
    extrinsics: ArrayLike,
    *,
    keypoint_set: str | Sequence[str] | None = None,
    cameras: Sequence[Camera] | None = None,
    image_size: tuple[int, int] | Sequence[tuple[int, int]] | None = None,
    up: ArrayLike | None = None,
    config: Any = None,
) -> list[FitResult]:
    """Fits one body to one person seen by several calibrated cameras at the same instant.

    Args:
        images: one per view, as for `hmrfit.fit`; None with `image_size`, one for all or one each.
        keypoints: one per view, each with exactly one person.
        extrinsics: (C, 3, 4) or (C, 4, 4), [R | t] with x_camera = R x_world + t, metres.
        keypoint_set: of all views. cameras: one each; else the keypoint files' intrinsics, without lens distortion.
        up: (3,), points up in the world of the extrinsics, often (0, 0, 1) or (0, 1, 0). Views, meshes and motion files
            stand upright by it; the fit itself does not use it.

    Returns: one result per view, the same body in each camera's frame.

    Raises:
        ValueError, TypeError, FileNotFoundError: letters that say what to do, before any work.
    """
    know_own_threads()
    rotation, translation = _extrinsics(extrinsics, _length(images, "images"))
    upright = None if up is None else unit_up(up)
    photos = _read_views(images, keypoints, keypoint_set, cameras, image_size)
    engine = build(config)
    # several views know better than the guess from one of them: 25.5 mm PA-MPJPE unanchored, 28.9 anchored (12 views)
    loose = engine.fitter.with_schedule(replace(engine.fitter.schedule, anchored=()))
    fitter = with_terms(
        loose,
        [Views(WIDE_VIEWS, "views_wide"), Views(FINAL_VIEWS)],
        {"views_wide": WIDE_WEIGHT},
        {"views": WEIGHT},
    )
    seen, camera = Keypoints.cat([p.keypoints for p in photos]), Camera.cat([p.camera for p in photos])
    views = other_views(seen, camera, rotation, translation)
    with one_thread_for_few(len(photos), engine.threads):
        fit = fitter.fit(seen, camera, evidence=Evidence(views=views))
        best = int(fit.cost.nan_to_num(torch.inf).argmin())
        params = turned(fit.state.params[[best] * len(photos)], fitter.body.rest_joints[0], fitter.body.joint_shapes[0],
                        *relative_pose(rotation, translation, best))  # fmt: skip
        outcome = _settled(fitter, fit, State(params, camera))
    engine = replace(engine, fitter=fitter)
    results = [result_of(outcome, photo, torch.tensor([i]), engine) for i, photo in enumerate(photos)]
    log_warnings(results, f"fit_views, {len(results)} views")
    if upright is None:
        return results
    return [replace(r, up=unit_up(R @ upright).numpy()) for r, R in zip(results, rotation, strict=True)]


def fit_sequence(
    keypoints: KeypointsLike,
    *,
    fps: float,
    image: ImageLike = None,
    keypoint_set: str | Sequence[str] | None = None,
    focal: float | Sequence[float] | None = None,
    focal_35mm: float | None = None,
    camera: Camera | None = None,
    image_size: tuple[int, int] | None = None,
    smooth: float = SMOOTH,
    up: ArrayLike | None = None,
    config: Any = None,
) -> FitResult:
    """Fits one person in T consecutive frames of a camera that stands still: one shape, and a motion that is smooth.

    Args:
        keypoints: (T, K, 3) x, y, confidence; a list of one `PersonKeypoints` a frame; a detector's file of the whole
            video, or a folder with a keypoint file a frame. Frames are put in the order of the numbers that files
            give them. A frame in which nothing is seen, or whose numbers are no pixels of the image, is filled in from
            its neighbours, and its warnings say so.
        fps: frames a second. smooth: how much smoothness counts; 0 shares the shape only, as for photographs of one
            person at different times.
        image: one of the frames, for its size; else `image_size`. The others are as for `hmrfit.fit`.
        up: (3,), points up in the camera frame, (0, -1, 0) for a camera that is held level. Views, meshes and motion
            files stand upright by it; the fit itself does not use it.

    Returns: one result, its rows being the frames in order; `result[i]` is one, `result.save_motion` writes all. How
        sure it is of each, and what another focal length would change, is said without the others (`result.apart`).
    """
    know_own_threads()
    upright = None if up is None else unit_up(up).numpy()
    rate = float(numbers(fps, "fps", "frames a second, one number", (), *RATES))
    weight = float(numbers(smooth, "smooth", "a weight, one number, 0 or more", (), 0.0, MOST_SMOOTH))
    frames = _frames(keypoints, keypoint_set)
    photo, blank = _read_frames(image, frames, keypoint_set, focal, focal_35mm, camera, image_size)
    engine = build(config)
    with one_thread_for_few(len(photo), engine.threads):
        outcome = _fit_frames(engine.fitter, photo, blank, rate, weight)
    people = tuple(replace(p, confidence=p.confidence * ~b) for p, b in zip(photo.people, blank, strict=True))
    result = result_of(outcome, replace(photo, people=people), torch.arange(len(photo)), engine)
    warnings = [of_one[:1] if b else of_one for b, of_one in zip(blank, result.warnings, strict=True)]
    ids = [str(i) for i in range(len(photo))]
    kept = {"rows": "frames", "fps": rate, "person_ids": ids, "warnings": warnings}
    result = replace(result, apart="the other frames", up=upright, **kept)
    log_warnings([result], f"fit_sequence, {len(result)} frames")
    return result


def _fit_frames(fitter: Fitter, photo: Photo, blank: np.ndarray, fps: float, smooth: float) -> Fit:
    """Every frame alone, then all together."""
    fit = fitter.fit(photo.keypoints, photo.camera)
    observation, state = fit.observation, one_shape(fit.state)
    seen = observation.keypoints
    shown = replace(seen, confidence=seen.confidence * torch.tensor(~blank)[:, None])
    fit = replace(fit, observation=replace(observation, keypoints=shown, weight=None))
    depth = float(state.params.transl[:, 2].median().clamp_min(0.1))
    motion = Motion.of(fitter.body, fps, depth, smooth) if smooth else None
    problem = SequenceProblem(
        fitter.point_body(seen.names), fit.observation, fitter.terms, last_stage(fitter.schedule, fit), motion
    )
    found = solve_sequence(problem, state, SEQUENCE)
    fit = _settled(fitter, fit, found.x)
    return replace(fit, status=torch.full_like(fit.status, found.status), steps=fit.steps + found.steps)


def _settled(fitter: Fitter, fit: Fit, state: State) -> Fit:
    """The outcome with this state as the only hypothesis, its costs those of each row's own energy."""
    body = fitter.point_body(fit.observation.keypoints.names)
    parts = term_costs(Linearization(body, state, fit.observation), fitter.terms, last_stage(fitter.schedule, fit))
    cost = sum(parts.values())
    return replace(
        fit, state=state, cost=cost, term_cost=parts, hypotheses=[state], hypothesis_cost=cost[:, None], verdict=None
    )


def relative_pose(rotation: Tensor, translation: Tensor, base: int) -> tuple[Tensor, Tensor]:
    """From camera `base` to every camera: x_c = R_c R_baseᵀ x_base + t_c - R_c R_baseᵀ t_base."""
    between = rotation @ rotation[base].T
    return between, translation - (between @ translation[base, :, None]).squeeze(-1)


def other_views(seen: Keypoints, camera: Camera, rotation: Tensor, translation: Tensor) -> ViewEvidence:
    """For each of C views what the C - 1 others see of the same person."""
    C = len(seen)
    others = torch.tensor([[o for o in range(C) if o != c] for c in range(C)])
    between = [relative_pose(rotation, translation, c) for c in range(C)]
    box = seen.box_size().clamp_min(1.0)
    return ViewEvidence(
        torch.stack([turns[o] for (turns, _), o in zip(between, others, strict=True)]),
        torch.stack([shifts[o] for (_, shifts), o in zip(between, others, strict=True)]),
        camera.focal[others], camera.center[others], seen.xy[others], seen.confidence[others], box[others],
    )  # fmt: skip


def _extrinsics(extrinsics: ArrayLike, count: int) -> tuple[Tensor, Tensor]:
    """(C, 3, 3) and (C, 3), checked."""
    if count < 2:
        raise ValueError("fit_views needs at least two views. For one photograph there is hmrfit.fit.")
    what = f"of the shape ({count}, 3, 4), [R | t] for each view"
    values = numbers(extrinsics, "extrinsics", what)
    if values.shape not in ((count, 3, 4), (count, 4, 4)):
        raise ValueError(f"extrinsics should be {what}, but have {values.shape}.")
    if np.abs(values[:, 3:] - [0, 0, 0, 1]).max(initial=0) > NO_ROTATION:
        raise ValueError("The last row of 4×4 extrinsics should be 0, 0, 0, 1. Expected [R | t] with x_camera = R x_world + t.")  # fmt: skip  # noqa: E501
    rotation, translation = (torch.tensor(part) for part in (values[:, :3, :3], values[:, :3, 3]))
    off = (rotation @ rotation.mT - torch.eye(3).double()).abs().amax((1, 2))
    off = torch.where(torch.linalg.det(rotation) > 0, off, 2.0)
    if off.max() > NO_ROTATION:
        raise ValueError(f"The extrinsics of view {int(off.argmax())} hold no rotation (or a reflection). Expected [R | t] with x_camera = R x_world + t.")  # fmt: skip  # noqa: E501
    if translation.norm(dim=-1).median() > 100 or translation.abs().max() > FARTHEST:
        raise ValueError("The translations of the extrinsics look like millimetres. Give metres: divide by 1000.")
    return rotation, translation


def _read_views(
    images: Sequence[ImageLike],
    keypoints: Sequence[KeypointsLike],
    keypoint_set: str | Sequence[str] | None,
    cameras: Sequence[Camera] | None,
    image_size: tuple[int, int] | Sequence[tuple[int, int]] | None,
) -> list[Photo]:
    """The views, each with one person, a known camera and the same keypoints."""
    C = len(images)
    for what, given in (("keypoints", keypoints), ("cameras", cameras)):
        if given is not None and _length(given, what) != C:
            raise ValueError(f"{what} should be one for each of the {C} views, but there are {len(given)}.")
    sizes = _sizes_of_views(image_size, C)
    photos = []
    for i in range(C):
        try:
            camera = None if cameras is None else cameras[i]
            photo = read_photo(images[i], keypoints[i], keypoint_set, camera=camera, image_size=sizes[i])
        except (ValueError, TypeError) as error:
            kind = ValueError if isinstance(error, ValueError) else TypeError
            raise kind(f"View {i}: {error}") from error
        if photo.given != 1:
            raise ValueError(f"View {i} shows {photo.given} people. fit_views is about one: choose the same person in every view.")  # fmt: skip  # noqa: E501
        if camera is None and not photo.focal_known:
            raise ValueError(f"The camera of view {i} is not known. Give cameras=, or keypoint files with K.")
        if photos and photo.people[0].names != photos[0].people[0].names:
            raise ValueError(f"View {i} has other keypoints than view 0. All views need the same keypoint set.")
        photos.append(photo)
    return photos


def _frames(keypoints: KeypointsLike, keypoint_set: str | Sequence[str] | None) -> list[PersonKeypoints]:
    """One person a frame, in the order of the frames."""
    if isinstance(keypoints, str | os.PathLike):
        return read_frames(keypoints, keypoint_set)
    listed = isinstance(keypoints, Sequence) and all(isinstance(p, PersonKeypoints) for p in keypoints)
    people = people_in_memory(keypoints, keypoint_set)
    if len(people) == 1 and not listed and np.ndim(keypoints) == 2:
        raise ValueError(f"keypoints should have the shape (T, K, 3), frames first, but have {np.shape(keypoints)}.")
    return in_frame_order(people, "keypoints", filled=not listed)


def _length(given: Any, what: str) -> int:
    """How many views something is given for."""
    if isinstance(given, str | bytes | Mapping) or not hasattr(given, "__len__") or getattr(given, "ndim", 1) == 0:
        raise TypeError(f"{what} should be a list, one for each view, not {brief_repr(given)}.")
    return len(given)


def _sizes_of_views(size: Any, count: int) -> list:
    """The size of each view's image, from one for all or one for each."""
    if isinstance(size, list | tuple | np.ndarray) and len(size) and not all(np.ndim(part) == 0 for part in size):
        if len(size) != count:
            raise ValueError(f"image_size should be one for all, or one for each of the {count} views, but there are {len(size)}.")  # fmt: skip  # noqa: E501
        return list(size)
    return [size] * count


def _read_frames(
    image: ImageLike, frames: list[PersonKeypoints], keypoint_set: str | Sequence[str] | None, *camera: Any
) -> tuple[Photo, np.ndarray]:
    """(the frames, which of them are blank (T,)): frames of which nothing can be used take the nearest other one's
    keypoints, and say so."""
    try:
        photo = read_photo(image, frames, keypoint_set, *camera, each="frame")
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
    said = [
        (f"{FILLED_IN}{next(reasons)}",) if empty else photo.warnings[n]
        for n, empty in zip(nearest, blank, strict=True)
    ]
    people = tuple(
        replace(photo.people[n], person_id=str(t)) if empty else photo.people[n]
        for t, (n, empty) in enumerate(zip(nearest, blank, strict=True))
    )
    cameras, rows = photo.camera[nearest.tolist()], tuple(everyone.tolist())
    return replace(photo, people=people, camera=cameras, warnings=tuple(said), rows=rows, left_out={}), blank
