"""The fit of hands: `fit_hand`, the pipeline of `configs/fit_hand.yaml` for a right or a left hand."""

import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import cast

from numpy.typing import ArrayLike
from yacs.config import CfgNode

from hmrfit.body.mirrored import side_of
from hmrfit.build import MIRROR, load_body
from hmrfit.camera import Camera
from hmrfit.config import Config, ConfigError, load_config
from hmrfit.fitting.terms.base import Measurement
from hmrfit.free_focal import FocalLike
from hmrfit.hand_files import HandKeypointSource
from hmrfit.hand_keypoints import HAND_SIDES
from hmrfit.io.keypoint_files import PersonKeypoints
from hmrfit.io.photo import ImageLike, KeypointsLike
from hmrfit.keypoints import KeypointsFrom
from hmrfit.ops.check import brief_repr
from hmrfit.pipeline import Pipeline
from hmrfit.prepare import TermLike
from hmrfit.result import FitResult
from hmrfit.types import BodyParams

HAND_CONFIG = "fit_hand"


def fit_hand(
    image: ImageLike,
    keypoints: KeypointsLike,
    *,
    side: str = "right",
    keypoint_set: str | Sequence[str | None] | None = None,
    focal: FocalLike = None,
    focal_35mm: float | None = None,
    camera: Camera | None = None,
    image_size: tuple[int, int] | None = None,
    init: BodyParams | FitResult | None = None,
    init_std: float | Sequence[float] | None = None,
    measurements: Sequence[Measurement] = (),
    up: ArrayLike | None = None,
    terms: Sequence[TermLike] = (),
    weights: Mapping[str, float] | None = None,
    keypoint_source: KeypointsFrom | None = None,
    keypoint_std: ArrayLike | None = None,
    config: Config = None,
) -> FitResult:
    """Fits a hand to the keypoints of one hand, or one to each of N hands of the same side.

        result = hmrfit.fit_hand("hand.jpg", points, side="left")  # points (21, 3): x, y, confidence
        result.joints, result.mesh("hand.glb"), result.overlay()

    Args:
        image: as for `hmrfit.fit`.
        keypoints: (K, 3) x, y, confidence of one hand, or (N, K, 3); pixels of the full image. (K, 2) too. Or
            a file of hands, or what `read_hand_keypoints` reads: MediaPipe, OpenPose, COCO-WholeBody, ...
        side: "right" or "left", which hand of the person it is, whatever a mirror or a selfie shows.
        keypoint_set: "hand21" (OpenPose, FreiHAND, MediaPipe), "mano_native21" (MANO's order), "interhand21", "rhd21",
            "webxr25", or K names of points without their side, None for one to ignore. Default: hand21 of 21 points,
            webxr25 of 25.
        config: settings as for `hmrfit.fit`, of hands: the shipped "fit_hand" and what is changed of it, such as
            {"BODY.PATH": "MANO_RIGHT.pkl"}.
        The others are as for `hmrfit.fit`; `Keypoints3D` without a set of its own is in the order of the keypoints.

    Returns: as `hmrfit.fit` does, with hands for people: `joints` (N, 16, 3) metres in the camera's frame, `points`,
        `vertices`, `probability` of the hypotheses (the back of a hand for its palm is the usual other one).

    Raises:
        ValueError, TypeError, FileNotFoundError: what was expected, what came, what to do, before any work.
    """
    pipeline = hand_pipeline(side, config)
    if isinstance(keypoints, str | os.PathLike):
        keypoints, keypoint_set = _hands_in(keypoints, image, side, keypoint_set), None
    return pipeline.fit(
        image,
        keypoints,
        keypoint_set=cast(Sequence[str], keypoint_set),
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


def _hands_in(
    file: str | os.PathLike[str], image: ImageLike, side: str, keypoint_set: str | Sequence[str | None] | None
) -> list[PersonKeypoints]:
    """The hands of this side in a keypoint file, those of the photograph where it has a name."""
    source = HandKeypointSource(side, keypoint_set)
    return source.people(image, file) if isinstance(image, str | os.PathLike) else source.read(Path(file))


def hand_pipeline(side: str = "right", config: Config = None) -> Pipeline:
    """The pipeline of right or left hands: of a file of the other side its mirror image is fitted.

    Raises:
        ValueError: no such side. ConfigError: the settings' body is no hand.
    """
    if side not in HAND_SIDES:
        raise ValueError(f"side should be 'left' or 'right', the person's own, not {brief_repr(side)}.")
    return Pipeline.of(*_default(side)) if config is None else Pipeline.of(_of_side(config, side))


@cache
def _default(side: str) -> tuple[CfgNode, str]:
    """The shipped settings and their YAML, made once: for one hand, that takes as long as its fit."""
    settings = _of_side(None, side)
    return settings, settings.dump()


def _of_side(config: Config, side: str) -> CfgNode:
    """The settings with the body of a side."""
    settings = (config if isinstance(config, CfgNode) else load_config(config, base=HAND_CONFIG)).clone()
    path = settings.BODY.PATH
    own = side_of(load_body(path).skeleton)
    if own is None:
        raise ConfigError(f"BODY.PATH: {path} is no hand. Give a hand's file, such as free_hand or MANO_RIGHT.pkl.")
    if own != side:
        settings.defrost()
        settings.BODY.PATH = path.removeprefix(MIRROR) if path.startswith(MIRROR) else MIRROR + path
        settings.freeze()
    return settings
