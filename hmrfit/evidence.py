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

from hmrfit.body.smpl import SmplBody
from hmrfit.build import Engine, build_renderer
from hmrfit.data.keypoint_files.names import choose_points
from hmrfit.data.photo import Photo
from hmrfit.fitting.evidence import Evidence, GroundEvidence, Measure, PointEvidence
from hmrfit.fitting.evidence_terms import FINAL_3D, SOLES, WIDE_3D, Ground, Keypoints3D, KnownHeight, KnownShape
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.mask import mask_evidence
from hmrfit.fitting.mask_term import MaskTerm
from hmrfit.fitting.problem import Stage
from hmrfit.fitting.schedule import restaged
from hmrfit.fitting.silhouette_term import SilhouetteTerm, silhouette_evidence
from hmrfit.fitting.terms import Term
from hmrfit.image import read_image
from hmrfit.ops.check import check_finite, did_you_mean

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

SHAPE_STD = 0.1


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
) -> tuple[Engine, Evidence | None]:
    """The engine with the terms that what is given needs, and the evidence; see `hmrfit.fit` for the arguments."""
    body, keypoints, count = engine.fitter.body, photo.keypoints, len(photo)
    parts: dict[str, Any] = {}
    terms: list[Term] = []
    rounds: tuple[dict[str, float], dict[str, float]] = ({}, {})
    if mask is not None:
        masks = read_masks(mask, count, photo.size)
        parts["mask"] = mask_evidence(masks, keypoints)
        terms.append(MaskTerm(body))
        _weigh(rounds, {"mask": MASK_WEIGHT}, {"mask": MASK_WEIGHT})
        if engine.silhouette > 0:
            parts["silhouette"] = silhouette_evidence(masks, keypoints)
            terms.append(SilhouetteTerm(body, build_renderer(engine.renderer)))
            _weigh(rounds, {}, {"silhouette": engine.silhouette})
    if keypoints_3d is not None:
        names, parts["points"] = read_points_3d(keypoints_3d, keypoint_set_3d or keypoints.names, body, count)
        points = body.points(names)
        terms += [Keypoints3D(points, relative_3d, WIDE_3D, "keypoints_3d_wide"), Keypoints3D(points, relative_3d, FINAL_3D)]  # fmt: skip  # noqa: E501
        _weigh(rounds, {"keypoints_3d_wide": WIDE_WEIGHT}, {"keypoints_3d": WEIGHT})
    if height is not None:
        metres = torch.tensor(_numbers(height, (count,), "height", "metres, one number or one a person"))
        _check_height(metres)
        parts["height"] = Measure(metres, torch.full_like(metres, HEIGHT_STD))
        terms.append(KnownHeight(body))
        _weigh(rounds, {"height": 1.0}, {"height": 1.0})
    if shape is not None:
        parts["shape"] = _known_shape(shape, count, body.shape_count)
        terms.append(KnownShape())
        _weigh(rounds, {"known_shape": 1.0}, {"known_shape": 1.0})
    if ground is not None:
        names, parts["ground"] = _floor(ground, body, count)
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


def read_masks(mask: MaskLike, count: int, size: tuple[int, int]) -> list[NDArray[np.bool_] | None]:
    """A mask, or one for each of `count` people, None where there is none: a path, or an array (H, W), set where > 0.

    Raises:
        ValueError, TypeError, FileNotFoundError: another number of masks, another size, an empty mask.
    """
    many = list(mask) if isinstance(mask, list | tuple) or getattr(mask, "ndim", 2) == 3 else [mask]
    if len(many) != count:
        raise ValueError(f"mask should be one for each of the {count} people (None where there is none), but there are {len(many)}.")  # fmt: skip  # noqa: E501
    return [None if m is None else _read_mask(m, i, size) for i, m in enumerate(many)]


def _read_mask(mask: str | os.PathLike | ArrayLike, person: int, size: tuple[int, int]) -> NDArray[np.bool_]:
    pixels = read_image(mask)[..., 0] if isinstance(mask, str | os.PathLike) else np.asarray(mask)
    what = f"The mask of person {person}"
    if pixels.ndim != 2 or pixels.shape[::-1] != size:
        raise ValueError(f"{what} should be of the image's size, height {size[1]} and width {size[0]}, but has the shape {pixels.shape}.")  # fmt: skip  # noqa: E501
    if pixels.dtype.kind not in "biuf" or not np.isfinite(pixels).all():
        raise ValueError(f"{what} should hold booleans or numbers, above 0 where the person is.")
    if not (pixels > 0).any():
        raise ValueError(f"{what} is empty. Give None for a person without a mask.")
    return pixels > 0


def read_points_3d(
    points: ArrayLike, keypoint_set: str | Sequence[str], body: SmplBody, count: int
) -> tuple[tuple[str, ...], PointEvidence]:
    """(K, 4) or (N, K, 4) x, y, z in metres and confidence; (…, 3) with NaN where unseen -> names and evidence."""
    points = _numbers(points, None, "keypoints_3d", "x, y, z in metres and confidence")
    points = points[None] if points.ndim == 2 else points
    if points.ndim != 3 or points.shape[0] != count or points.shape[-1] not in (3, 4):
        raise ValueError(f"keypoints_3d should have the shape ({count}, K, 4) with x, y, z, confidence, or ({count}, K, 3), but has {points.shape}.")  # fmt: skip  # noqa: E501
    chosen = choose_points(points.shape[1], None, keypoint_set, "keypoints_3d")
    names, points = chosen.names, points if chosen.rows is None else points[:, chosen.rows]
    for name in names:
        _check_point(name, body, "keypoint_set_3d")
    finite = np.isfinite(points[..., :3]).all(-1)
    confidence = points[..., 3] if points.shape[-1] == 4 else finite.astype(np.float64)
    if not (finite | ~(confidence > 0)).all():
        raise ValueError("keypoints_3d: a point with NaN or infinite coordinates has a confidence above 0. Unseen points have confidence 0.")  # fmt: skip  # noqa: E501
    seen = finite & (confidence > 0)
    if seen.any() and np.median(np.abs(points[seen][:, 2])) > 100:
        raise ValueError("keypoints_3d: depths above 100 look like millimetres. Give metres: divide by 1000.")
    xyz = np.where(seen[..., None], points[..., :3], 0.0)
    return names, PointEvidence(torch.tensor(xyz), torch.tensor(np.where(seen, confidence.clip(0, 1), 0.0)))


def _known_shape(shape: Any, count: int, betas: int) -> Measure:
    value, std = shape if isinstance(shape, tuple) and len(shape) == 2 and np.ndim(shape[0]) > 0 else (shape, SHAPE_STD)
    value = np.atleast_2d(_numbers(value, None, "shape", "betas (S,), or (betas, std)"))
    if value.shape[0] not in (1, count) or value.shape[1] > betas:
        raise ValueError(f"shape should be at most {betas} betas, for one or for {count} people, but has the shape {value.shape}.")  # fmt: skip  # noqa: E501
    std = np.broadcast_to(_numbers(std, None, "shape's std", "one number, or one a beta"), value.shape).copy()
    if not (std > 0).all():
        raise ValueError("shape: the standard deviations of betas should be above 0.")
    missing = ((0, 0), (0, betas - value.shape[1]))  # betas that were not given stay unknown
    value, std = np.pad(value, missing), np.pad(std, missing, constant_values=np.inf)
    return Measure(*(torch.tensor(np.broadcast_to(v, (count, betas)).copy()) for v in (value, std)))


def _floor(floor: Floor, body: SmplBody, count: int) -> tuple[tuple[str, ...], GroundEvidence]:
    if not isinstance(floor, Floor):
        raise TypeError(f"ground should be a hmrfit.Floor(up, offset, contacts), not {type(floor).__name__}.")
    for name in floor.contacts:
        _check_point(name, body, "ground's contacts")
    up = _numbers(floor.up, (3,), "ground's up", "three numbers")
    length = float(np.linalg.norm(up))
    if not length > 0:
        raise ValueError("ground's up should point away from the floor, but has no length.")
    offset = float(_numbers(floor.offset, (), "ground's offset", "metres, one number")) / length
    names = tuple(dict.fromkeys((*floor.contacts, *(n for n in SOLES if body.has_point(n)))))
    row = torch.tensor(up / length).expand(count, 3).clone()
    return names, GroundEvidence(row, torch.full((count,), offset, dtype=torch.float64), torch.ones(count).double())


def _check_point(name: str, body: SmplBody, what: str) -> None:
    if not body.has_point(name):
        known = (*body.joint_names, *body.landmark_names)
        raise ValueError(f"{what}: this body defines no point '{name}'.{did_you_mean(name, known)}")


def _check_height(height: Tensor) -> None:
    if not ((height > 0.5) & (height < 2.6)).all():
        raise ValueError(f"height should be in metres, between 0.5 and 2.6, but is {height.tolist()}.")


def _numbers(value: Any, shape: tuple[int, ...] | None, name: str, what: str) -> NDArray[np.float64]:
    """As float64 of this shape (a single number for all), finite unless the shape is left open."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name} should be {what}, not {value!r}.") from None
    if shape is None:
        return array
    if array.shape not in ((), shape):
        raise ValueError(f"{name} should be {what}, but has the shape {array.shape}.")
    check_finite(array, name)
    return np.broadcast_to(array, shape).copy()
