"""hmrfit: from a photograph and 2D keypoints to an accurate 3D human body.

    import hmrfit
    result = hmrfit.fit("photo.jpg", "photo.json")  # or hmrfit.fit("photo.jpg"), with a detector installed

The names below are loaded on first use, so `import hmrfit` costs nothing.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hmrfit.io.budget import use_environment
from hmrfit.version import __version__

if TYPE_CHECKING:  # the same names, for type checkers and editors
    from hmrfit.adapt_detector import adapt as adapt
    from hmrfit.api import fit as fit
    from hmrfit.api import fit_sequence as fit_sequence
    from hmrfit.api import fit_views as fit_views
    from hmrfit.api import fit_views_sequence as fit_views_sequence
    from hmrfit.body.smpl import SmplBody as SmplBody
    from hmrfit.camera import Camera as Camera
    from hmrfit.config import load_config as load_config
    from hmrfit.detectors.detect import detect as detect
    from hmrfit.fitting.check_term import check_term as check_term
    from hmrfit.fitting.terms.base import FunctionTerm as FunctionTerm
    from hmrfit.fitting.terms.base import Measurement as Measurement
    from hmrfit.fitting.terms.base import Term as Term
    from hmrfit.fitting.terms.gender_age import Age as Age
    from hmrfit.fitting.terms.gender_age import Gender as Gender
    from hmrfit.fitting.terms.ground import Floor as Floor
    from hmrfit.fitting.terms.height import Height as Height
    from hmrfit.fitting.terms.keypoints_3d import Keypoints3D as Keypoints3D
    from hmrfit.fitting.terms.mask import Mask as Mask
    from hmrfit.fitting.terms.shape import Shape as Shape
    from hmrfit.fitting.terms.silhouette import Silhouette as Silhouette
    from hmrfit.fitting.terms.up import Up as Up
    from hmrfit.hand import fit_hand as fit_hand
    from hmrfit.hand import hand_pipeline as hand_pipeline
    from hmrfit.hand_files import read_hand_keypoints as read_hand_keypoints
    from hmrfit.hand_model import load_hand as load_hand
    from hmrfit.io.budget import file_limits as file_limits
    from hmrfit.io.calibration import read_calibration as read_calibration
    from hmrfit.io.calibration.rig import CameraCalibration as CameraCalibration
    from hmrfit.io.image import read_image as read_image
    from hmrfit.io.image import write_image as write_image
    from hmrfit.io.keypoint_files import read_keypoints as read_keypoints
    from hmrfit.io.photo import NoPeople as NoPeople
    from hmrfit.keypoints import keypoint_sets as keypoint_sets
    from hmrfit.keypoints import register_keypoint_set as register_keypoint_set
    from hmrfit.pipeline import Pipeline as Pipeline
    from hmrfit.report.live import view as view
    from hmrfit.result import FitResult as FitResult
    from hmrfit.result import WorldResult as WorldResult
    from hmrfit.types import BodyParams as BodyParams
    from hmrfit.types import Keypoints as Keypoints
    from hmrfit.video.track_files import read_tracks as read_tracks
    from hmrfit.video_fit import fit_video as fit_video
    from hmrfit.video_result import VideoResult as VideoResult

_HOMES = {
    "fit": "hmrfit.api",
    "fit_views": "hmrfit.api",
    "fit_views_sequence": "hmrfit.api",
    "fit_sequence": "hmrfit.api",
    "fit_hand": "hmrfit.hand",
    "hand_pipeline": "hmrfit.hand",
    "load_hand": "hmrfit.hand_model",
    "read_hand_keypoints": "hmrfit.hand_files",
    "adapt": "hmrfit.adapt_detector",
    "fit_video": "hmrfit.video_fit",
    "VideoResult": "hmrfit.video_result",
    "read_tracks": "hmrfit.video.track_files",
    "detect": "hmrfit.detectors.detect",
    "Pipeline": "hmrfit.pipeline",
    "FitResult": "hmrfit.result",
    "view": "hmrfit.report.live",
    "WorldResult": "hmrfit.result",
    "Mask": "hmrfit.fitting.terms.mask",
    "Silhouette": "hmrfit.fitting.terms.silhouette",
    "Height": "hmrfit.fitting.terms.height",
    "Shape": "hmrfit.fitting.terms.shape",
    "Keypoints3D": "hmrfit.fitting.terms.keypoints_3d",
    "Gender": "hmrfit.fitting.terms.gender_age",
    "Age": "hmrfit.fitting.terms.gender_age",
    "Floor": "hmrfit.fitting.terms.ground",
    "Up": "hmrfit.fitting.terms.up",
    "Measurement": "hmrfit.fitting.terms.base",
    "Term": "hmrfit.fitting.terms.base",
    "FunctionTerm": "hmrfit.fitting.terms.base",
    "check_term": "hmrfit.fitting.check_term",
    "Camera": "hmrfit.camera",
    "Keypoints": "hmrfit.types",
    "BodyParams": "hmrfit.types",
    "SmplBody": "hmrfit.body.smpl",
    "read_keypoints": "hmrfit.io.keypoint_files",
    "read_calibration": "hmrfit.io.calibration",
    "CameraCalibration": "hmrfit.io.calibration.rig",
    "read_image": "hmrfit.io.image",
    "write_image": "hmrfit.io.image",
    "file_limits": "hmrfit.io.budget",
    "NoPeople": "hmrfit.io.photo",
    "load_config": "hmrfit.config",
    "keypoint_sets": "hmrfit.keypoints",
    "register_keypoint_set": "hmrfit.keypoints",
}

__all__ = [*_HOMES, "__version__"]

use_environment(os.environ)


def __getattr__(name: str) -> Any:
    """Loads a public name from its home, once."""
    if name not in _HOMES:
        raise AttributeError(f"hmrfit has no '{name}'. It has: {', '.join(__all__)}.")
    globals()[name] = value = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
