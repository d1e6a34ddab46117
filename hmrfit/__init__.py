"""hmrfit: from a photograph and 2D keypoints to an accurate 3D human body.

    import hmrfit
    result = hmrfit.fit("photo.jpg", "photo.json")

The names below are loaded on first use, so `import hmrfit` costs nothing.
"""

import os
from importlib import import_module
from typing import Any

from hmrfit.io.budget import use_environment
from hmrfit.version import __version__

_HOMES = {
    "fit": "hmrfit.api",
    "fit_views": "hmrfit.api_groups",
    "fit_sequence": "hmrfit.api_groups",
    "focal_effect": "hmrfit.free_focal",
    "FitResult": "hmrfit.result",
    "Floor": "hmrfit.evidence",
    "Fitter": "hmrfit.fitting.fitter",
    "check_term": "hmrfit.fitting.check",
    "Camera": "hmrfit.camera",
    "Keypoints": "hmrfit.types",
    "BodyParams": "hmrfit.types",
    "SmplBody": "hmrfit.body.smpl",
    "read_keypoints": "hmrfit.io.keypoint_files",
    "read_image": "hmrfit.io.image",
    "write_image": "hmrfit.io.image",
    "file_limits": "hmrfit.io.budget",
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
