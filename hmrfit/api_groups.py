"""One person in several calibrated views, or in many frames: fit_views, fit_sequence. Read, check, fit, results."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from hmrfit.body.rigid import turned
from hmrfit.build import build
from hmrfit.camera import Camera
from hmrfit.data.keypoint_files import PersonKeypoints
from hmrfit.data.photo import ImageLike, KeypointsLike, Photo, focal_is_told, read_photo
from hmrfit.evidence import WEIGHT, WIDE_WEIGHT, with_terms
from hmrfit.fitting.evidence import Evidence, ViewEvidence
from hmrfit.fitting.evidence_terms import Views
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.focal import last_stage
from hmrfit.fitting.groups import Motion, SequenceProblem, one_shape, solve_sequence
from hmrfit.fitting.outcome import Fit
from hmrfit.fitting.problem import term_costs
from hmrfit.fitting.solver import Options
from hmrfit.fitting.state import Evaluation, State
from hmrfit.make_result import log_warnings, result_of
from hmrfit.ops.check import check_finite
from hmrfit.ops.threads import one_thread_for_few
from hmrfit.ops.upright import unit_up
from hmrfit.result import FitResult
from hmrfit.types import Keypoints

WIDE_VIEWS, FINAL_VIEWS = 0.3, 0.06
"""Robust scales of other views, shares of the box there, as of the keypoints' own rounds."""

SMOOTH = 0.3
"""Of the smoothness. On clips of the set-aside motion (walking, uneven ground, jumping; 150 frames, 1 % noise), 0.3 and
1 were as good for walking (18.6 mm PA-MPJPE where single frames have 27.3), 1 was too much for jumping."""

BLANK = "No keypoint is seen in this frame; the body comes from its neighbours."

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
    rotation, translation = _extrinsics(extrinsics, len(images))
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
    with one_thread_for_few(len(photos)):
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
        keypoints: (T, K, 3) x, y, confidence, or a list of T `PersonKeypoints`; a frame in which nothing is seen is
            filled in from its neighbours.
        fps: frames a second. smooth: how much smoothness counts; 0 shares the shape only, as for photographs of one
            person at different times.
        image: one of the frames, for its size; else `image_size`. The others are as for `hmrfit.fit`.
        up: (3,), points up in the camera frame, (0, -1, 0) for a camera that is held level. Views, meshes and motion
            files stand upright by it; the fit itself does not use it.

    Returns: one result, its rows being the frames in order; `result[i]` is one, `result.save_motion` writes all. How
        sure it is of each, and what another focal length would change, is said without the others (`result.apart`).
    """
    upright = None if up is None else unit_up(up).numpy()
    if not (np.isscalar(fps) and np.isfinite(fps) and fps > 0):
        raise ValueError(f"fps is frames a second, a number above 0, not {fps!r}.")
    if not (np.isscalar(smooth) and np.isfinite(smooth) and smooth >= 0):
        raise ValueError(f"smooth is a weight, 0 or more, not {smooth!r}.")
    filled, blank = _fill_blank_frames(keypoints)
    photo = read_photo(image, filled, keypoint_set, focal, focal_35mm, camera, image_size)
    engine = build(config)
    with one_thread_for_few(len(photo)):
        outcome = _fit_frames(engine.fitter, photo, blank, float(fps), float(smooth))
    people = tuple(replace(p, confidence=p.confidence * ~b) for p, b in zip(photo.people, blank, strict=True))
    result = result_of(outcome, replace(photo, people=people), torch.arange(len(photo)), engine)
    warnings = [[BLANK] if b else of_one for b, of_one in zip(blank, result.warnings, strict=True)]
    numbers = [str(i) for i in range(len(photo))]
    frames = {"rows": "frames", "fps": float(fps), "person_ids": numbers, "warnings": warnings}
    result = replace(result, apart="the other frames", up=upright, **frames)
    log_warnings([result], f"fit_sequence, {len(result)} frames")
    return result


def _fit_frames(fitter: Fitter, photo: Photo, blank: np.ndarray, fps: float, smooth: float) -> Fit:
    """Every frame alone, then all together."""
    fit = fitter.fit(photo.keypoints, photo.camera)
    observation, state = fit.observation, one_shape(fit.state)
    seen = observation.keypoints
    shown = replace(seen, confidence=seen.confidence * torch.tensor(~blank)[:, None])
    fit = replace(fit, observation=replace(observation, keypoints=shown))
    depth = float(state.params.transl[:, 2].median().clamp_min(0.1))
    motion = Motion.of(fitter.body, fps, depth, smooth) if smooth else None
    problem = SequenceProblem(
        fitter.point_body(seen.names), fit.observation, fitter.terms, last_stage(fitter.schedule, fit), motion
    )
    found = solve_sequence(problem, state, SEQUENCE)
    fit = _settled(fitter, fit, found.state)
    return replace(fit, status=torch.full_like(fit.status, found.status), steps=fit.steps + found.steps)


def _settled(fitter: Fitter, fit: Fit, state: State) -> Fit:
    """The outcome with this state as the only hypothesis, its costs those of each row's own energy."""
    body = fitter.point_body(fit.observation.keypoints.names)
    parts = term_costs(Evaluation(body, state, fit.observation), fitter.terms, last_stage(fitter.schedule, fit))
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
    values = np.asarray(extrinsics, np.float64)
    if count < 2:
        raise ValueError("fit_views needs at least two views. For one photograph there is hmrfit.fit.")
    if values.shape not in ((count, 3, 4), (count, 4, 4)):
        raise ValueError(f"extrinsics should have the shape ({count}, 3, 4), [R | t] for each view, but have {values.shape}.")  # fmt: skip  # noqa: E501
    check_finite(values, "extrinsics")
    rotation, translation = (torch.tensor(part) for part in (values[:, :3, :3], values[:, :3, 3]))
    off = (rotation @ rotation.mT - torch.eye(3).double()).abs().amax((1, 2))
    if off.max() > 1e-3 or (torch.linalg.det(rotation) < 0).any():
        raise ValueError(f"The extrinsics of view {int(off.argmax())} hold no rotation. Expected [R | t] with x_camera = R x_world + t.")  # fmt: skip  # noqa: E501
    if translation.norm(dim=-1).median() > 100:
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
        if given is not None and len(given) != C:
            raise ValueError(f"{what} should be one for each of the {C} views, but there are {len(given)}.")
    sizes = image_size if image_size is not None and np.ndim(image_size) == 2 else [image_size] * C
    photos = [
        read_photo(image, points, keypoint_set, camera=None if cameras is None else cameras[i], image_size=sizes[i])
        for i, (image, points) in enumerate(zip(images, keypoints, strict=True))
    ]
    for i, photo in enumerate(photos):
        if len(photo) != 1:
            raise ValueError(f"View {i} shows {len(photo)} people. fit_views is about one: choose the same person in every view.")  # fmt: skip  # noqa: E501
        if not focal_is_told(photo.focal_source):
            raise ValueError(f"The camera of view {i} is not known. Give cameras=, or keypoint files with K.")
        if photo.people[0].names != photos[0].people[0].names:
            raise ValueError(f"View {i} has other keypoints than view 0. All views need the same keypoint set.")
    return photos


def _fill_blank_frames(keypoints: KeypointsLike) -> tuple[KeypointsLike, np.ndarray]:
    """Frames without any keypoint take those of the nearest frame that has some; and which frames these are (T,)."""
    people = isinstance(keypoints, Sequence) and all(isinstance(p, PersonKeypoints) for p in keypoints)
    try:
        rows = [p.confidence for p in keypoints] if people else np.asarray(keypoints, np.float64)
    except (TypeError, ValueError):
        raise TypeError("keypoints should be numbers (T, K, 3), or a list of PersonKeypoints, one a frame.") from None
    if not people and (rows.ndim != 3 or rows.shape[-1] not in (2, 3)):
        raise ValueError(f"keypoints should have the shape (T, K, 3), frames first, but have {rows.shape}.")
    if people:
        seen = np.array([(confidence > 0).any() for confidence in rows])
    else:
        seen = ((rows[..., 2] > 0) if rows.shape[-1] == 3 else np.isfinite(rows).all(-1)).any(-1)
    if not len(seen) or not seen.any():
        raise ValueError("No frame shows any keypoint, so nothing is seen to fit to.")
    there = np.flatnonzero(seen)
    nearest = there[np.abs(np.arange(len(seen))[:, None] - there).argmin(1)]
    return ([keypoints[i] for i in nearest] if people else rows[nearest]), ~seen
