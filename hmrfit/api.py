"""fit(image, keypoints): a photograph and 2D keypoints -> bodies. Read, check, build, fit, result."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from hmrfit.body.smpl import SmplBody, checked_params
from hmrfit.build import Engine, build, extended
from hmrfit.camera import Camera
from hmrfit.evidence import Floor, MaskLike, with_evidence, with_notes
from hmrfit.fitting.check import try_terms
from hmrfit.fitting.evidence import Evidence
from hmrfit.fitting.terms.base import ResidualFunction, Term
from hmrfit.free_focal import with_free_focal
from hmrfit.io.image import read_image
from hmrfit.io.photo import ImageLike, KeypointsLike, Photo, read_photo
from hmrfit.make_result import log_warnings, result_of
from hmrfit.ops.check import numbers
from hmrfit.ops.level import unit_up
from hmrfit.ops.threads import know_own_threads, one_thread_for_few
from hmrfit.result import FitResult
from hmrfit.types import BodyParams, Keypoints

INIT_STDS = (1e-3, 360.0)
"""Degrees, what `init_std` may be."""

SAME_UP = 0.9986
"""Cosine of three degrees: directions nearer to each other are the same."""


def fit(
    image: ImageLike,
    keypoints: KeypointsLike = None,
    *,
    keypoint_set: str | Sequence[str] | None = None,
    focal: float | Sequence[float] | Literal["free"] | None = None,
    focal_35mm: float | None = None,
    camera: Camera | None = None,
    image_size: tuple[int, int] | None = None,
    init: BodyParams | FitResult | None = None,
    init_std: float | Sequence[float] | None = None,
    mask: MaskLike = None,
    keypoints_3d: ArrayLike | None = None,
    keypoint_set_3d: str | Sequence[str] | None = None,
    relative_3d: bool = False,
    height: float | Sequence[float | None] | None = None,
    height_std: float | Sequence[float] | None = None,
    shape: ArrayLike | tuple[ArrayLike, ArrayLike] | None = None,
    ground: Floor | None = None,
    up: ArrayLike | None = None,
    terms: Sequence[Term | ResidualFunction] = (),
    weights: Mapping[str, float] | None = None,
    config: Any = None,
) -> FitResult:
    """Fits a body to every person of a photograph.

    Args:
        image: a path, an array (H, W, 3) RGB (grey, RGBA, 16 bit and floats in [0, 1] too), Pillow's, the bytes of a
            file, an open file, or None with `image_size`.
        keypoints: (K, 3) x, y, confidence, or (N, K, 3) for N people; pixels of the full image, (0, 0) the corner of
            the top-left pixel; (K, 2) too, NaN where unseen. Or a keypoint file, what `read_keypoints` returns, what a
            JSON file of a known format held, (xy, scores), or flat lists x, y, c, ... of a known set.
        keypoint_set: its name ("coco17", see `keypoint_sets`), or the K names, None for a point to ignore. Files often
            say it themselves.
        focal: pixels, one number or (fx, fy). Unknown: the file's K, EXIF, else the image's diagonal; "free": fitted
            beside the people, about that one.
        focal_35mm: instead, millimetres in 35 mm equivalent. camera: instead, the whole camera.
        init: where to start, N people in the camera frame: a former result or parameters. Only one start then, and the
            fit stays near it. init_std: degrees, how wrong it is per joint and axis: one number, or one a joint.
        mask: of the person, a path or an array (H, W), set where > 0; a list, one for each person, None where there is
            none. The body stays inside of it and reaches its outline as far as clothes allow.
        keypoints_3d: (K, 4) or (N, K, 4) x, y, z in metres of the camera frame and confidence, or (…, 3) with NaN where
            unseen. keypoint_set_3d: theirs, where it is not that of `keypoints`. relative_3d: only where they are
            relative to each other counts, not where they are.
        height: metres, from the sole to the top of the head, upright and barefoot; one number, or one a person and None
            where it is not known. height_std: metres, its standard deviation, 0.02 by default: how far the body's
            height may be from it. `result.measurements` says what was believed.
        shape: betas known from elsewhere, or (betas, their standard deviation), 0.1 by default.
        ground: the floor and what touches it, a `Floor`.
        up: (3,), points up in the camera frame, (0, -1, 0) for a camera that is held level; default the floor's. Views,
            meshes and motion files stand upright by it; the fit itself does not use it.
        terms: more terms of the energy: functions (state, output, observation) -> residuals (N, M).
        weights: of terms by name, in the stages that use them.
        config: settings from `load_config`, a YAML file, the name of a shipped one, or a mapping {"FIT.SIGMA": 0.05}.

    Returns:
        The people that could be fitted, `len(result)` of them, in the order given; `result.person_ids` tells who is
        who. Of several, those that cannot be fitted (nothing is seen, numbers that are no pixels of this image) are
        left out: `result.left_out` says who and why, and so does a warning of the logger "hmrfit". What is given one
        for each person (mask, keypoints_3d, height, shape, camera, init) is still one for each person given.

    Raises:
        ValueError, TypeError, FileNotFoundError: error messages, before any work; also where none of the
            people can be fitted.
    """
    know_own_threads()
    free = isinstance(focal, str) and focal == "free"
    photo = read_photo(image, keypoints, keypoint_set, None if free else focal, focal_35mm, camera, image_size)
    engine, evidence = with_evidence(
        build(config), photo, mask, keypoints_3d, keypoint_set_3d, relative_3d, height, shape, ground, height_std
    )
    engine = extended(engine, terms, {} if weights is None else weights)
    photo = with_notes(photo, evidence, engine.fitter.body)
    start, std = _start(init, photo, engine.fitter.body), _spread(init_std, init, engine.fitter.body)
    upright = _known_up(up, ground)
    try_terms(terms, engine.fitter.point_body(photo.people[0].names), photo.keypoints, photo.camera, evidence)
    if free:
        with one_thread_for_few(len(photo), engine.threads):
            photo = with_free_focal(photo, engine, evidence)
    return fit_photos([photo], engine, start, std, evidence, upright)[0]


def fit_photos(
    photos: Sequence[Photo],
    engine: Engine,
    init: BodyParams | None = None,
    init_std: Tensor | None = None,
    evidence: Evidence | None = None,
    up: ArrayLike | None = None,
) -> list[FitResult]:
    """The people of many photographs, side by side in one batch per keypoint set. One result per photo, in order.

    Args:
        init, init_std: as the fitter takes them, of the people of one photograph.
        evidence: what else is known about the people of one photograph; for several, fit them one by one.
        up: as for `fit`, of all their cameras.
    """
    level = None if up is None else unit_up(up).numpy()
    results: dict[int, FitResult] = {}
    kind = lambda i: (photos[i].people[0].names, shows_itself(photos[i], engine) and init is None)  # noqa: E731
    for (_, seen), group in groupby(sorted(range(len(photos)), key=kind), key=kind):
        chosen = list(group)
        together = [photos[i] for i in chosen]
        keypoints = Keypoints.cat([photo.keypoints for photo in together])
        camera = Camera.cat([photo.camera for photo in together])
        with one_thread_for_few(len(keypoints), engine.threads):
            start = BodyParams.cat([seen_in(p, engine) for p in together]) if seen else init
            outcome = engine.fitter.fit(keypoints, camera, start, init_std, evidence=evidence)
        rows = torch.arange(len(keypoints)).split([len(photo) for photo in together])
        results |= {i: result_of(outcome, photos[i], row, engine) for i, row in zip(chosen, rows, strict=True)}
    for result in results.values():
        result.up = level
        log_warnings([result])
    return [results[i] for i in range(len(photos))]


def _known_up(up: ArrayLike | None, ground: Floor | None) -> ArrayLike | None:
    """What points up: what is given, else the floor's own direction. They must agree."""
    given = None if up is None else unit_up(up)
    floor = unit_up(ground.up, "ground's up") if isinstance(ground, Floor) else None
    if given is not None and floor is not None and float(given @ floor) < SAME_UP:
        raise ValueError(f"up is {given.tolist()}, but ground's up is {floor.tolist()}. Give one of them, or the same.")
    return floor if given is None else given


def shows_itself(photo: Photo, engine: Engine) -> bool:
    """Whether there is a network that sees images, and the photograph's pixels for it."""
    return engine.image_estimate is not None and (photo.image is not None or photo.path is not None)


def seen_in(photo: Photo, engine: Engine) -> BodyParams:
    """What the image network says of the photograph's people."""
    image = read_image(photo.path) if photo.image is None else photo.image
    return engine.image_estimate.predict(image, photo.keypoints, photo.camera).params


def _start(init: BodyParams | FitResult | None, photo: Photo, body: SmplBody) -> BodyParams | None:
    """The start of the people who are fitted, from one for each person given, or a result of the same people."""
    if init is None:
        return None
    params = init.params if isinstance(init, FitResult) else init
    if not isinstance(params, BodyParams):
        raise TypeError(f"init should be a FitResult or BodyParams, not {type(init).__name__}.")
    params = checked_params(params, body)
    if isinstance(init, FitResult) and init.left_out and init.person_ids == [p.person_id for p in photo.people]:
        return params
    if len(params) != photo.given:
        raise ValueError(
            f"init holds {len(params)} people, but there are {photo.given} in the keypoints. Give one each."
        )
    return params[list(photo.rows)]


def _spread(init_std: float | Sequence[float] | None, init: Any, body: SmplBody) -> Tensor | None:
    """Degrees, as the fitter takes them."""
    if init_std is None:
        return None
    if init is None:
        raise ValueError("init_std says how wrong init= is, which is not given. Give it, or leave both out.")
    count = len(body.parents)
    what = f"degrees, positive, one number or one for each of the {count} joints"
    std = numbers(init_std, "init_std", what, None, *INIT_STDS)
    if std.shape not in ((), (count,)):
        raise ValueError(f"init_std should be {what}, but has the shape {std.shape}.")
    return torch.tensor(std)
