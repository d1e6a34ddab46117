"""What a user knows beside keypoints -> the terms that use it, and their evidence, checked before any work.

engine, evidence = with_evidence(engine, photo, mask="person.png", height=1.82)
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hmrfit.body.smpl import FARTHEST, LARGEST_BETA, SmplBody
from hmrfit.build import Engine
from hmrfit.fitting.energy import Stage
from hmrfit.fitting.evidence import Evidence, GroundEvidence, Measure, PointEvidence
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.mask_map import mask_evidence
from hmrfit.fitting.schedule import restaged
from hmrfit.fitting.terms.base import Term
from hmrfit.fitting.terms.ground import SOLES, Ground
from hmrfit.fitting.terms.height import KnownHeight
from hmrfit.fitting.terms.keypoints_3d import FINAL_3D, WIDE_3D, Keypoints3D
from hmrfit.fitting.terms.mask import MaskTerm
from hmrfit.fitting.terms.shape import KnownShape
from hmrfit.fitting.terms.silhouette import SilhouetteTerm, silhouette_evidence
from hmrfit.io.image import read_image
from hmrfit.io.keypoint_files.names import choose_points
from hmrfit.io.photo import Photo
from hmrfit.ops.check import brief_repr, did_you_mean, numbers
from hmrfit.render.rasteriser import make_renderer

MaskLike = str | os.PathLike | ArrayLike | Sequence[Any] | None

WEIGHT, WIDE_WEIGHT = 24.0, 200.0
"""Of what is measured like keypoints: in the last round, and in those before it with the wide scale."""

MASK_WEIGHT = 1000.0
"""In all rounds. 80 people in motion set aside, exact masks: 53.7 mm PA-MPJPE without, 51.8 with 600, 50.4 with 1500,
49.6 with 4000; but with 4000 clothes make the bodies' shapes worse, and things in front the poses."""

FIRST_STEPS, LAST_STEPS = 10, 30
"""At most. A start that keypoints alone need two steps from may be metres away from what else is known."""

HEIGHT_STD = 0.02
"""Metres: people tell their height in whole centimetres, with or without shoes."""

HEIGHTS, HEIGHT_STDS = (0.5, 2.6), (1e-4, 10.0)
"""Metres: what a height and its standard deviation may be."""

SHAPE_STD = 0.1

LEAST_SHAPE_STD = 1e-6
"""No shape is known better."""

IMPLAUSIBLE = 4.0
"""Standard deviations of adults, from which a known height or beta is called into question: one in 16,000 people."""

MOST_CONFIDENCE = 2.0
"""As for 2D keypoints: greater than this is no confidence any more; between 1 and this it is 1."""


@dataclass(frozen=True)
class Floor:
    """The floor in the camera frame: the points x with up . x = offset (metres), and what stands on it.

    up: (3,) away from the floor; a level camera's is (0, -1, 0), and with it offset is minus the camera's height.
    contacts: names of points that touch it ("left_heel", "right_big_toe", any point of the body). The soles of both
    feet are never below it, whatever touches.
    """

    up: Sequence[float]
    offset: float
    contacts: Sequence[str] = ()


def with_evidence(
    engine: Engine,
    photo: Photo,
    mask: MaskLike = None,
    keypoints_3d: ArrayLike | None = None,
    keypoint_set_3d: str | Sequence[str] | None = None,
    relative_3d: bool = False,
    height: float | Sequence[float] | None = None,
    shape: ArrayLike | tuple[ArrayLike, ArrayLike] | None = None,
    ground: Floor | None = None,
    height_std: float | Sequence[float] | None = None,
) -> tuple[Engine, Evidence | None]:
    """The engine with the terms that what is given needs, and the evidence; see `hmrfit.fit` for the arguments.

    What the caller gave for each person is counted as the caller counts: people whom `photo` leaves out have theirs.
    """
    body, keypoints = engine.fitter.body, photo.keypoints
    parts: dict[str, Any] = {}
    terms: list[Term] = []
    rounds: tuple[dict[str, float], dict[str, float]] = ({}, {})
    if mask is not None:
        masks = read_masks(mask, photo)
        parts["mask"] = mask_evidence(masks, keypoints)
        terms.append(MaskTerm(body))
        _weigh(rounds, {"mask": MASK_WEIGHT}, {"mask": MASK_WEIGHT})
        if engine.silhouette > 0:
            parts["silhouette"] = silhouette_evidence(masks, keypoints)
            terms.append(SilhouetteTerm(body, make_renderer(engine.renderer)))
            _weigh(rounds, {}, {"silhouette": engine.silhouette})
    if keypoints_3d is not None:
        names_3d = keypoints.names if keypoint_set_3d is None else keypoint_set_3d
        names, parts["points"] = read_points_3d(keypoints_3d, names_3d, body, photo, relative_3d)
        points = body.points(names)
        terms += [Keypoints3D(points, relative_3d, WIDE_3D, "keypoints_3d_wide"), Keypoints3D(points, relative_3d, FINAL_3D)]  # fmt: skip  # noqa: E501
        _weigh(rounds, {"keypoints_3d_wide": WIDE_WEIGHT}, {"keypoints_3d": WEIGHT})
    elif keypoint_set_3d is not None or relative_3d is not False:
        raise ValueError("keypoint_set_3d and relative_3d are about keypoints_3d, which is not given. Give it, or leave them out.")  # fmt: skip  # noqa: E501
    if height is not None:
        parts["height"] = _known_height(height, height_std, photo)
        terms.append(KnownHeight(body))
        _weigh(rounds, {"height": 1.0}, {"height": 1.0})
    elif height_std is not None:
        raise ValueError("height_std says how well height= is known, which is not given. Give it, or leave both out.")
    if shape is not None:
        parts["shape"] = _known_shape(shape, photo, body.shape_count)
        terms.append(KnownShape())
        _weigh(rounds, {"known_shape": 1.0}, {"known_shape": 1.0})
    if ground is not None:
        names, parts["ground"] = _floor(ground, body, len(photo))
        points, contacts = body.points(names), tuple(ground.contacts)
        terms += [Ground(points, contacts, WIDE_3D, "ground_wide"), Ground(points, contacts)]
        _weigh(rounds, {"ground_wide": WIDE_WEIGHT}, {"ground": WEIGHT})
    if not terms:
        return engine, None
    return replace(engine, fitter=with_terms(engine.fitter, terms, *rounds)), Evidence(**parts)


def with_terms(fitter: Fitter, terms: Sequence[Term], before: Mapping[str, float], last: Mapping[str, float]) -> Fitter:
    """The fitter with more terms: their weights in the last round and in the rounds before it."""
    ends = {id(fitter.schedule.rounds[-1][0]), *(id(stage) for stage in fitter.schedule.anchored[-1:])}

    def change(stage: Stage) -> Stage:
        final = id(stage) in ends
        steps = max(stage.options.max_steps, LAST_STEPS if final else FIRST_STEPS)
        weights = {**stage.weights, **(last if final else before)}
        return replace(stage, weights=weights, options=replace(stage.options, max_steps=steps))

    other = fitter.with_schedule(restaged(fitter.schedule, change))
    other.terms = {**fitter.terms, **{term.name: term for term in terms}}
    return other


def _weigh(rounds: tuple[dict, dict], before: Mapping[str, float], last: Mapping[str, float]) -> None:
    for weights, more in zip(rounds, (before, last), strict=True):
        weights.update(more)


def with_notes(photo: Photo, evidence: Evidence | None, body: SmplBody) -> Photo:
    """The photograph with what is known of its people in words, and warnings where that is implausible."""
    said: dict[str, str] = {}
    warnings = [list(of_one) for of_one in photo.warnings]
    if evidence is not None and evidence.height is not None:
        value, std = evidence.height.value.tolist(), evidence.height.std.tolist()
        said["height"] = ", ".join(f"{v:.4g} ± {s:.2g} m" if np.isfinite(s) else "unknown" for v, s in zip(value, std, strict=True))  # fmt: skip  # noqa: E501
        known = KnownHeight(body)
        usual, spread = float(known.mean), float(known.slope.norm())
        for i, (v, s) in enumerate(zip(value, std, strict=True)):
            away = abs(v - usual) / spread
            if np.isfinite(s) and away > IMPLAUSIBLE:
                warnings[i].append(
                    f"height={v:g} m is {away:.0f} standard deviations from the height of an adult of this body "
                    f"({usual:.2f} ± {spread:.2f} m), so the shape is implausible too. Is it metres, from the sole to "
                    "the top of the head?"
                )
    if evidence is not None and evidence.shape is not None:
        value, std = evidence.shape.value, evidence.shape.std
        said["shape"] = "; ".join(_shape_said(v, s) for v, s in zip(value, std, strict=True))
        for i, largest in enumerate((value.abs() * std.isfinite()).amax(1).tolist()):
            if largest > IMPLAUSIBLE:
                warnings[i].append(
                    f"shape= holds a beta of {largest:.1f}, but betas have a standard deviation of 1 over adults. Are "
                    "they this body's?"
                )
    return replace(photo, measurements=said, warnings=tuple(map(tuple, warnings)))


def _shape_said(value: Tensor, std: Tensor) -> str:
    """One person's known betas in words."""
    pairs = [(v, s) for v, s in zip(value.tolist(), std.tolist(), strict=True) if np.isfinite(s)]
    return ", ".join(f"{v:.2f} ± {s:.2g}" for v, s in pairs) or "unknown"


def read_masks(mask: MaskLike, photo: Photo) -> list[NDArray[np.bool_] | None]:
    """A mask, or one for each of the people given, None where there is none: a path, or an array (H, W), set where > 0.

    Raises:
        ValueError, TypeError, FileNotFoundError: another number of masks, another size, an empty mask.
    """
    many = list(mask) if isinstance(mask, list | tuple) or getattr(mask, "ndim", 2) == 3 else [mask]
    if len(many) != photo.given:
        raise ValueError(f"mask should be one for each of the {photo.given} people (None where there is none), but there are {len(many)}.")  # fmt: skip  # noqa: E501
    return [None if many[i] is None else _read_mask(many[i], i, photo.size) for i in photo.rows]


def _read_mask(mask: str | os.PathLike | ArrayLike, person: int, size: tuple[int, int]) -> NDArray[np.bool_]:
    what = f"The mask of person {person}"
    try:
        mask = mask.detach().cpu() if isinstance(mask, Tensor) else mask
        pixels = read_image(mask)[..., 0] if isinstance(mask, str | os.PathLike) else np.asarray(mask)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{what} cannot be read: {error}") from None
    if pixels.ndim != 2 or pixels.shape[::-1] != size:
        raise ValueError(f"{what} should be of the image's size, height {size[1]} and width {size[0]}, but has the shape {pixels.shape}.")  # fmt: skip  # noqa: E501
    if pixels.dtype.kind not in "biuf" or not np.isfinite(pixels).all():
        raise ValueError(f"{what} should hold booleans or numbers, above 0 where the person is.")
    if not (pixels > 0).any():
        raise ValueError(f"{what} is empty. Give None for a person without a mask.")
    return pixels > 0


def read_points_3d(
    points: ArrayLike, keypoint_set: str | Sequence[str], body: SmplBody, photo: Photo, relative: bool
) -> tuple[tuple[str, ...], PointEvidence]:
    """(K, 4) or (N, K, 4) x, y, z in metres and confidence; (…, 3) with NaN where unseen -> names and evidence."""
    if not isinstance(relative, bool | np.bool_):
        raise TypeError(f"relative_3d should be True or False, not {brief_repr(relative)}.")
    points = numbers(points, "keypoints_3d", "x, y, z in metres and confidence", finite=False)
    points = points[None] if points.ndim == 2 else points
    count = photo.given
    if points.ndim != 3 or points.shape[0] != count or points.shape[-1] not in (3, 4):
        raise ValueError(f"keypoints_3d should have the shape ({count}, K, 4) with x, y, z, confidence, or ({count}, K, 3), but has {points.shape}.")  # fmt: skip  # noqa: E501
    chosen = choose_points(points.shape[1], None, keypoint_set, "keypoints_3d")
    names, points = chosen.names, points if chosen.rows is None else points[:, chosen.rows]
    for name in names:
        _check_point(name, body, "keypoint_set_3d")
    points = points[list(photo.rows)]
    finite = np.isfinite(points[..., :3]).all(-1)
    confidence = points[..., 3] if points.shape[-1] == 4 else finite.astype(np.float64)
    confidence = np.where(np.isnan(confidence) & ~finite, 0.0, confidence)  # a row of NaN: a missing point
    if not (finite | ~(confidence > 0)).all():
        raise ValueError("keypoints_3d: a point with NaN or infinite coordinates has a confidence above 0. Unseen points have confidence 0.")  # fmt: skip  # noqa: E501
    seen = finite & (confidence > 0)
    if not seen.any():
        raise ValueError("keypoints_3d: no point has a confidence above 0 and three coordinates, so nothing is known. Leave it out.")  # fmt: skip  # noqa: E501
    if np.median(np.abs(points[seen][:, 2])) > 100 or np.abs(points[seen][:, :3]).max() > FARTHEST:
        raise ValueError("keypoints_3d: depths above 100 look like millimetres. Give metres: divide by 1000.")
    if not ((confidence >= 0) & (confidence <= MOST_CONFIDENCE)).all():
        raise ValueError(f"keypoints_3d: confidences should lie between 0 and 1, but run from {confidence.min():g} to {confidence.max():g}.")  # fmt: skip  # noqa: E501
    if not relative and np.median(points[seen][:, 2]) <= 0:
        raise ValueError(
            "keypoints_3d lie behind the camera: they should be in its frame, x to the right, y down, z forward. With "
            "relative_3d=True only where they are relative to each other counts, in the same axes."
        )
    xyz = np.where(seen[..., None], points[..., :3], 0.0)
    return names, PointEvidence(torch.tensor(xyz), torch.tensor(np.where(seen, confidence.clip(0, 1), 0.0)))


def _known_height(height: Any, std: Any, photo: Photo) -> Measure:
    """The heights of the people, with infinite standard deviation where a height is None."""
    count = photo.given
    each = f"one number or one for each of the {count} people"
    holes = np.zeros(count, bool)
    if isinstance(height, list | tuple) and len(height) == count:
        holes = np.array([h is None for h in height])
        height = [HEIGHTS[0] if h is None else h for h in height]
    value = numbers(height, "height", f"metres, {each} (None where it is not known)", (count,), *HEIGHTS)
    what = f"metres, the standard deviation of height=, {each}"
    std = numbers(HEIGHT_STD if std is None else std, "height_std", what, (count,), *HEIGHT_STDS)
    rows, std = list(photo.rows), np.where(holes, np.inf, std)
    return Measure(torch.tensor(value[rows]), torch.tensor(std[rows]))


def _known_shape(shape: Any, photo: Photo, betas: int) -> Measure:
    count = photo.given
    pair = isinstance(shape, tuple) and len(shape) == 2 and np.ndim(shape[0]) > 0
    value, std = shape if pair else (shape, SHAPE_STD)
    what = f"betas ({betas},) or ({count}, {betas}), or (betas, their standard deviation)"
    value = np.atleast_2d(numbers(value, "shape", what, None, -LARGEST_BETA, LARGEST_BETA))
    if value.ndim != 2 or value.shape[0] not in (1, count) or not 0 < value.shape[1] <= betas:
        raise ValueError(f"shape should be at most {betas} betas, for one or for {count} people, but has the shape {value.shape}.")  # fmt: skip  # noqa: E501
    what = f"one number from {LEAST_SHAPE_STD:g}, or one for each beta"
    std = numbers(std, "shape's standard deviation", what, finite=False)
    if std.shape not in ((), (value.shape[1],), value.shape):
        raise ValueError(f"shape's standard deviation should be {what}, but has the shape {std.shape}, and the betas {value.shape}.")  # fmt: skip  # noqa: E501
    if not (std > 0).all():
        raise ValueError("shape: the standard deviations of betas should be above 0.")
    if (std < LEAST_SHAPE_STD).any():
        raise ValueError(f"shape's standard deviation should be {what}, but is {std.min():g}.")
    std = np.broadcast_to(std, value.shape)
    missing = ((0, 0), (0, betas - value.shape[1]))  # betas that were not given stay unknown
    value, std = np.pad(value, missing), np.pad(std, missing, constant_values=np.inf)
    rows = list(photo.rows)
    return Measure(*(torch.tensor(np.broadcast_to(v, (count, betas))[rows].copy()) for v in (value, std)))


def _floor(floor: Floor, body: SmplBody, count: int) -> tuple[tuple[str, ...], GroundEvidence]:
    if not isinstance(floor, Floor):
        raise TypeError(f"ground should be a hmrfit.Floor(up, offset, contacts), not {type(floor).__name__}.")
    if not isinstance(floor.contacts, Sequence) or isinstance(floor.contacts, str):
        raise TypeError(f"ground's contacts should be a list of names of points, not {brief_repr(floor.contacts)}.")
    for name in floor.contacts:
        _check_point(name, body, "ground's contacts")
    what = "three numbers that point away from the floor, (0, -1, 0) for a level camera"
    up = numbers(floor.up, "ground's up", what)
    if up.shape != (3,):
        raise ValueError(f"ground's up should be {what}, but has the shape {up.shape}.")
    largest = float(np.abs(up).max())
    if not largest > 0:
        raise ValueError("ground's up should point away from the floor, but has no length.")
    offset = numbers(floor.offset, "ground's offset", "metres, one number", ())
    length = float(np.linalg.norm(up / largest)) * largest
    metres = float(offset) / length
    if not abs(metres) <= FARTHEST:
        raise ValueError(f"ground's offset should be metres, at most {FARTHEST:g}, but the floor is {metres:g} m away.")
    names = tuple(dict.fromkeys((*floor.contacts, *(n for n in SOLES if body.has_point(n)))))
    row = torch.tensor(up / length).expand(count, 3).clone()
    return names, GroundEvidence(row, torch.full((count,), metres, dtype=torch.float64), torch.ones(count).double())


def _check_point(name: str, body: SmplBody, what: str) -> None:
    if not isinstance(name, str) or not body.has_point(name):
        known = (*body.joint_names, *body.landmark_names)
        raise ValueError(f"{what}: this body defines no point {brief_repr(name)}.{did_you_mean(str(name), known)}")
