"""The three fits as functions, each one line on a `Pipeline` of the settings."""

from __future__ import annotations  # help(hmrfit.fit) then shows ImageLike, not all that it stands for

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Literal

from numpy.typing import ArrayLike

from hmrfit.camera import Camera
from hmrfit.config import Config
from hmrfit.fitting.terms.base import Measurement
from hmrfit.free_focal import FocalLike
from hmrfit.groups import SMOOTH
from hmrfit.io.calibration.rig import CameraCalibration
from hmrfit.io.photo import ImageLike, KeypointsLike
from hmrfit.keypoints import KeypointsFrom
from hmrfit.likely_up import UpLike
from hmrfit.pipeline import Pipeline
from hmrfit.prepare import TermLike
from hmrfit.result import FitResult, WorldResult
from hmrfit.several import ExtrinsicsLike, Sizes
from hmrfit.types import BodyParams


def fit(
    image: ImageLike,
    keypoints: KeypointsLike = None,
    *,
    keypoint_set: str | Sequence[str] | None = None,
    focal: FocalLike = None,
    focal_35mm: float | None = None,
    camera: Camera | None = None,
    image_size: tuple[int, int] | None = None,
    init: BodyParams | FitResult | None = None,
    init_std: float | Sequence[float] | None = None,
    measurements: Sequence[Measurement] = (),
    up: UpLike = None,
    terms: Sequence[TermLike] = (),
    weights: Mapping[str, float] | None = None,
    keypoint_source: KeypointsFrom | None = None,
    keypoint_std: ArrayLike | None = None,
    config: Config = None,
) -> FitResult:
    """Fits a body to every person of a photograph.

    Args:
        image: a path, an array (H, W, 3) RGB (grey, RGBA, 16 bit and floats in [0, 1] too), Pillow's, the bytes of a
            file, an open file, or None with `image_size`.
        keypoints: (K, 3) x, y, confidence, or (N, K, 3) for N people; pixels of the full image, (0, 0) the corner of
            the top-left pixel; (K, 2) too, NaN where unseen. Or a keypoint file, what `read_keypoints` and `detect`
            return, what a JSON file of a known format held, (xy, scores), or flat lists x, y, c, ... of a known set.
            Without them: the keypoint file of the photograph's name beside it, else what `hmrfit.detect` finds.
        keypoint_set: its name ("coco17", see `keypoint_sets`), or the K names, None for a point to ignore. Files often
            say it themselves.
        focal: pixels, one number or (fx, fy). Unknown: the file's K, EXIF, else the image's diagonal; "free": fitted
            beside the people, about that one.
        focal_35mm: instead, millimetres in 35 mm equivalent. camera: instead, the whole camera.
        init: where to start, N people in the camera frame: a former result or parameters. Only one start then, and the
            fit stays near it. init_std: degrees, how wrong it is per joint and axis: one number, or one a joint.
        measurements: what else is known, one of a kind: `Mask`, `Silhouette`, `Height`, `Shape`, `Keypoints3D`,
            `Floor`, such as [Mask("mask.png"), Height(1.82)]. `result.measurements` says what was believed.
        up: (3,), points up in the camera frame, (0, -1, 0) for a camera that is held level; default what Up or Floor
            say. "likely": else as most people stand and cameras are held, `result.likely_up`. Views, meshes and motion
            files stand upright by it; the fit itself does not use it, but Up.
        terms: more terms of the energy: functions (state, output, observation) -> residuals (N, M), `Term`s, or names
            of built-in terms that the fit does not use by itself ("discriminators").
        weights: of the terms that the fit uses, by name.
        keypoint_source: "labelled" by people, from a "detector", or "exact" (the body's own points, noisy or not), for
            how sure the result is; the fit does not use it. Default what the file says, else "detector".
        keypoint_std: instead, how far keypoints are from where the body's own points are seen, if you know it: standard
            deviation per coordinate, a fraction of the person's box; one number, (K,), (N, 1) or (N, K).
        config: settings from `load_config`, a YAML file, the name of a shipped one, or a mapping {"SEED": 1}.

    Returns:
        The people that could be fitted, `len(result)` of them, in the order given; `result.person_ids` tells who is
        who. Of several, those that cannot be fitted (nothing is seen, numbers that are no pixels of this image) are
        left out: `result.left_out` says who and why, and so does a warning of the logger "hmrfit". What is given one
        for each person (measurements, camera, init) is still one for each person given.

    Raises:
        ValueError, TypeError, FileNotFoundError: what was expected, what came, what to do, before any work; also where
            none of the people can be fitted. NoPeople, a ValueError of its own, where nobody is in the photograph: a
            result has one person at least, and `hmrfit.detect` returns an empty list.
    """
    return Pipeline.of(config).fit(
        image,
        keypoints,
        keypoint_set=keypoint_set,
        focal=focal,
        focal_35mm=focal_35mm,
        camera=camera,
        image_size=image_size,
        init=init,
        init_std=init_std,
        measurements=measurements,
        up=up,
        terms=terms,
        weights=weights,
        keypoint_source=keypoint_source,
        keypoint_std=keypoint_std,
    )


def fit_views(
    images: Sequence[ImageLike],
    keypoints: Sequence[KeypointsLike],
    extrinsics: ExtrinsicsLike,
    *,
    keypoint_set: str | Sequence[str] | None = None,
    focal: Literal["free"] | None = None,
    cameras: Sequence[Camera] | None = None,
    image_size: Sizes = None,
    init: BodyParams | FitResult | None = None,
    measurements: Sequence[Measurement] = (),
    up: ArrayLike | None = None,
    terms: Sequence[TermLike] = (),
    weights: Mapping[str, float] | None = None,
    keypoint_source: KeypointsFrom | None = None,
    keypoint_std: ArrayLike | None = None,
    config: Config = None,
) -> list[FitResult]:
    """Fits one body to one person seen by several calibrated cameras at the same instant.

    Args:
        images: one per view, as for `hmrfit.fit`; None with `image_size`, one for all or one each.
        keypoints: one per view, each with exactly one person.
        extrinsics: (C, 3, 4) or (C, 4, 4), [R | t] with x_camera = R x_world + t, metres; or what `read_calibration`
            returns, with the cameras and their lens distortion.
        keypoint_set: of all views. cameras: one each; else the keypoint files' intrinsics, without lens distortion.
        focal: "free": the focal length of each view is fitted too, about its camera's.
        init: one body in the world of the extrinsics, or a body in each camera's frame: the only start then.
        measurements: as for `hmrfit.fit`; points in 3D and the floor in the world of the extrinsics, masks one a view.
        up: (3,), points up in the world of the extrinsics, often (0, 0, 1) or (0, 1, 0); default what Up or Floor
            say. Views, meshes and motion files stand upright by it; the fit itself does not use it, but Up.
        terms, weights, config: as for `hmrfit.fit`. A term sees the C cameras' frames as C people.
        keypoint_source, keypoint_std: as for `hmrfit.fit`, views for people, if the fit has the term 'keypoints'.

    Returns: one result per view, the same body in each camera's frame.

    Raises:
        ValueError, TypeError, FileNotFoundError: what was expected, what came, what to do, before any work.
    """
    return Pipeline.of(config).fit_views(
        images,
        keypoints,
        extrinsics,
        keypoint_set=keypoint_set,
        focal=focal,
        cameras=cameras,
        image_size=image_size,
        init=init,
        measurements=measurements,
        up=up,
        terms=terms,
        weights=weights,
        keypoint_source=keypoint_source,
        keypoint_std=keypoint_std,
    )


def fit_views_sequence(
    views: Sequence[Any] | Mapping[str, Any],
    calibration: CameraCalibration | str | PathLike[str],
    *,
    fps: float,
    keypoint_set: str | Sequence[str] | None = None,
    smooth: float = SMOOTH,
    measurements: Sequence[Measurement] = (),
    up: ArrayLike | None = None,
    terms: Sequence[TermLike] = (),
    weights: Mapping[str, float] | None = None,
    keypoint_source: KeypointsFrom | None = None,
    keypoint_std: ArrayLike | None = None,
    config: Config = None,
) -> list[WorldResult]:
    """Fits the people whom several calibrated, synchronous cameras see over time: one shape each, smooth in the world.

        people = hmrfit.fit_views_sequence([cam1, cam2, cam3], "Calib.toml", fps=60, keypoint_set="coco17")
        people[0].joints                            # (T, J, 3) metres in the world
        people[0].views[1][30].overlay(frame)       # as the second camera sees it

    Args:
        views: of each camera, in the order of the calibration, or a dictionary by the camera's name: (T, K, 3) x, y,
            confidence of one person; (N, T, K, 3), or a list of such, of several, each followed through time,
            confidence 0 where not seen; what `read_tracks` returns, or a file that it reads. Pixels as the lens
            made them: distortion is taken out. Frame t of all cameras is of one instant. People are matched
            between the cameras by geometry.
        calibration: what `read_calibration` returns, or its path; `CameraCalibration.of` makes one of arrays.
        fps: frames a second. smooth: how much smoothness counts.
        measurements: as for `fit_views`, of everybody; points in 3D and the floor in the world.
        up: (3,), points up in the world; default what Up or Floor or the calibration's format say.
        The others are as for `hmrfit.fit`, if the fit of views uses them.

    Returns: one result for each person whom two cameras see, those who are seen most first: in the world, and
        `.views` in each camera's frame. Frames that no camera sees are filled in, and their warnings say so; so does
        the first frame's warning where the cameras do not agree. How sure it is is not calibrated, as in `fit_views`.

    Raises:
        ValueError, TypeError, FileNotFoundError: what was expected, what came, what to do, before any work.
    """
    return Pipeline.of(config).fit_views_sequence(
        views,
        calibration,
        fps=fps,
        keypoint_set=keypoint_set,
        smooth=smooth,
        measurements=measurements,
        up=up,
        terms=terms,
        weights=weights,
        keypoint_source=keypoint_source,
        keypoint_std=keypoint_std,
    )


def fit_sequence(
    keypoints: KeypointsLike,
    *,
    fps: float,
    image: ImageLike = None,
    keypoint_set: str | Sequence[str] | None = None,
    focal: FocalLike = None,
    focal_35mm: float | None = None,
    camera: Camera | None = None,
    image_size: tuple[int, int] | None = None,
    extrinsics: ExtrinsicsLike | None = None,
    smooth: float = SMOOTH,
    init: BodyParams | FitResult | None = None,
    init_std: float | Sequence[float] | None = None,
    measurements: Sequence[Measurement] = (),
    up: UpLike = None,
    terms: Sequence[TermLike] = (),
    weights: Mapping[str, float] | None = None,
    keypoint_source: KeypointsFrom | None = None,
    keypoint_std: ArrayLike | None = None,
    config: Config = None,
) -> FitResult:
    """Fits one person in T consecutive frames of one camera: one shape, and a motion that is smooth.

    Args:
        keypoints: (T, K, 3) x, y, confidence; a list of one `PersonKeypoints` a frame; a detector's file of the whole
            video, or a folder with a keypoint file a frame. Frames are put in the order of the numbers that files
            give them. A frame in which nothing is seen, or whose numbers are no pixels of the image, is filled in from
            its neighbours, and its warnings say so. So they do where left and right are exchanged in a run of frames,
            which is undone (`hmrfit.network.label_runs`; unless init, Keypoints3D or PRIORS.LABELS: '' is given).
        fps: frames a second. smooth: how much smoothness counts; 0 shares the shape only, as for photographs of one
            person at different times.
        image: one of the frames, for its size; else `image_size`.
        extrinsics: of a camera that moves, (T, 3, 4) [R | t] of each frame, x_camera = R x_world + t in metres, or what
            `read_calibration` read of COLMAP's images. The motion is smooth in that world then, `result.in_world()` has
            it there, and `up`, points in 3D and the floor are in it. By default the camera stands still.
        init: a body in each of the T frames, the only start then. measurements: as for `hmrfit.fit`, with frames for
            people: one height, shape or floor holds in all frames, masks and points in 3D are one a frame.
        up: (3,), points up in the camera frame, (0, -1, 0) for a camera that is held level; default what Up or Floor
            say. "likely": else as most people stand and cameras are held, `result.likely_up`. Views, meshes and motion
            files stand upright by it; the fit itself does not use it, but Up.
        The others are as for `hmrfit.fit`.

    Returns: one result, its rows being the frames in order; `result[i]` is one, `result.save_motion` writes all. How
        sure it is of each, and what another focal length would change, is said without the others.

    Raises:
        ValueError, TypeError, FileNotFoundError: what was expected, what came, what to do, before any work.
    """
    return Pipeline.of(config).fit_sequence(
        keypoints,
        fps=fps,
        image=image,
        keypoint_set=keypoint_set,
        focal=focal,
        focal_35mm=focal_35mm,
        camera=camera,
        image_size=image_size,
        extrinsics=extrinsics,
        smooth=smooth,
        init=init,
        init_std=init_std,
        measurements=measurements,
        up=up,
        terms=terms,
        weights=weights,
        keypoint_source=keypoint_source,
        keypoint_std=keypoint_std,
    )
