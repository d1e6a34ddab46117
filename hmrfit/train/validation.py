"""What a keypoint HMR is worth: joint errors on people in motion it was not trained on.

PA-MPJPE and MPJPE over `keypoints.COMMON14` in millimetres, as benchmarks/fit_accuracy.py takes them; by default COCO's
keypoints, 1 % noise, a tenth missing. The focal length is not told.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch

from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.evaluate.metrics import facing_wrong, mpjpe, pa_mpjpe, reprojection_error
from hmrfit.keypoints import COMMON14, resolve_set
from hmrfit.network.hmr import HMR
from hmrfit.network.initial_estimate import KeypointHmr
from hmrfit.synthetic.people import Corruption, People, Views, make_people
from hmrfit.types import BodyParams, Keypoints

Predict = Callable[[Keypoints, Camera], BodyParams]
"""Keypoints in pixels and the full image's camera -> bodies before that camera."""


def people_of(
    body: SmplBody,
    frames: Mapping[str, np.ndarray],
    count: int = 1000,
    names: str = "coco17",
    corruption: Corruption | None = None,
    seed: int = 0,
) -> People:
    """People posed by frames of `load_frames`, drawn by the weights of their classes."""
    rng = np.random.default_rng(seed)
    weight = frames["weight"] / frames["weight"].sum()
    poses = torch.as_tensor(frames["poses"][rng.choice(len(weight), count, replace=count > len(weight), p=weight)])
    return make_people(body, poses, resolve_set(names), torch.Generator().manual_seed(seed), corruption=corruption)


def score_people(body: SmplBody, people: People, predict: Predict) -> dict[str, float]:
    """Means over the people: two joint errors (mm), distance to the given keypoints and facing (%)."""
    camera = Camera.from_size(*Views().size, count=len(people.joints))
    params = predict(people.keypoints, camera)
    index = [body.joint_names.index(name) for name in COMMON14]
    posed = body.points(people.keypoints.names).pose(params)
    found, truth = posed.joints[:, index], people.joints[:, index]
    keypoints, box = people.keypoints, people.clean.box_size()
    apart = reprojection_error(camera.project(posed.points), keypoints.xy, keypoints.confidence, box)
    turned = facing_wrong(params.global_orient, people.params.global_orient)
    return {
        "pa_mpjpe_mm": 1e3 * pa_mpjpe(found, truth).mean().item(),
        "mpjpe_mm": 1e3 * mpjpe(found, truth, posed.joints[:, 0], people.joints[:, 0]).mean().item(),
        "reprojection_percent": 100 * apart.mean().item(),
        "facing_wrong_percent": 100 * turned.double().mean().item(),
    }


def validation_score(
    body: SmplBody, frames: Mapping[str, np.ndarray], count: int = 1000
) -> Callable[[HMR], dict[str, float]]:
    """The function that scores a network in training, always on the same people.

    Args:
        body: in float64. frames: of `load_frames`, of a split that is not trained on.
    """
    people = people_of(body, frames, count)
    return lambda hmr: score_people(body, people, estimate_of(hmr))


def estimate_of(hmr: HMR) -> Predict:
    """What a network in training says of a person, its mirror image not asked about."""
    guess = KeypointHmr(hmr, flip_test=False)
    return lambda keypoints, camera: guess.predict(keypoints, camera).params
