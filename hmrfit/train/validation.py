"""Scores and contact sheets of networks in training, on people whose truth is known and who are always the same.

PA-MPJPE and MPJPE over `keypoints.COMMON14` in millimetres; MPJPE with the pelvises together.

    keypoint HMR     people in held-out motion, as benchmarks/fit_accuracy.py takes them; by default COCO's keypoints,
                     1 % noise, a tenth missing, the focal length not known
    image HMR        synthetic scenes of held-out motion, rendered once

A contact sheet shows for each person: the estimate over the keypoints or the picture it was made from, the estimate
from the side, the truth from the side.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.evaluate.metrics import facing_wrong, mpjpe, pa_mpjpe, reprojection_error
from hmrfit.io.image import Crop, Image
from hmrfit.keypoints import COMMON14, resolve_set
from hmrfit.network.hmr import HMR, evaluating, in_full_image
from hmrfit.network.initial_estimate import KeypointHmr
from hmrfit.render.overlay import close_up, overlay, side_by_side, views
from hmrfit.synthetic.dataset import SceneDataset, SceneSample, collate_scenes
from hmrfit.synthetic.people import Corruption, People, Views, make_people
from hmrfit.train.objectives import as_input
from hmrfit.types import BodyParams, Keypoints, Regression

Predict = Callable[[Keypoints, Camera], BodyParams]
"""Keypoints in pixels and the full image's camera -> bodies before that camera."""

PANEL = (240, 320)
"""Width and height of one picture of a person given by keypoints, pixels."""

SCENE_PANEL = 224
"""The same of a person in a scene, whose crops are square."""

GREY = 96
"""The background where there is no photograph."""

CHUNK = 64
"""Images in one pass through the network."""


# ---- the keypoint HMR


def people_of(
    body: SmplBody,
    frames: Mapping[str, np.ndarray],
    count: int = 1000,
    names: str | Sequence[str] = "coco17",
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
    posed = body.points(people.keypoints.names).pose(params)
    keypoints, box = people.keypoints, people.clean.box_size()
    error = reprojection_error(camera.project(posed.points), keypoints.xy, keypoints.confidence, box)
    return {
        **_joint_scores(body, posed.joints, people.joints),
        "reprojection_percent": 100 * error.mean().item(),
        "facing_wrong_percent": _facing_wrong_percent(params, people.params),
    }


def _joint_scores(body: SmplBody, joints: Tensor, truth: Tensor) -> dict[str, float]:
    """Mean errors of joints (B, J, 3), metres, in millimetres."""
    common = [body.skeleton.index(name) for name in COMMON14]
    found, true = joints[:, common], truth[:, common]
    return {
        "pa_mpjpe_mm": 1e3 * pa_mpjpe(found, true).mean().item(),
        "mpjpe_mm": 1e3 * mpjpe(found, true, joints[:, 0], truth[:, 0]).mean().item(),
    }


def _facing_wrong_percent(params: BodyParams, truth: BodyParams) -> float:
    return 100 * facing_wrong(params.global_orient, truth.global_orient).double().mean().item()


def validation_score(
    body: SmplBody, frames: Mapping[str, np.ndarray], count: int = 1000
) -> Callable[[HMR], dict[str, float]]:
    """The function that scores a network in training, always on the same people.

    Args:
        body: in float64. frames: of `load_frames`, of a split that is not trained on.
    """
    people = people_of(body, frames, count)
    return lambda hmr: score_people(body, people, prediction_of(hmr))


def prediction_of(hmr: HMR) -> Predict:
    """The estimates of a network in training, without flip test-time augmentation."""
    estimate = KeypointHmr(hmr, flip_test=False)
    return lambda keypoints, camera: estimate.predict(keypoints, camera).params


def validation_sheet(
    body: SmplBody, frames: Mapping[str, np.ndarray], count: int = 12
) -> Callable[[HMR], Image] | None:
    """The function that draws `count` people with a network's estimates, always the same; None for nobody.

    Args:
        body: in float64. frames: of `load_frames`, of a split that is not trained on.
    """
    if not count:
        return None
    people = people_of(body, frames, count, seed=1)
    return lambda hmr: draw_people(body, people, prediction_of(hmr))


def draw_people(body: SmplBody, people: People, predict: Predict, across: int = 3) -> Image:
    """The contact sheet, `across` people beside each other; a few dozen at most."""
    width, height = (int(n) for n in people.camera.size[0])
    estimates = predict(people.keypoints, Camera.from_size(width, height, count=len(people.joints)))
    blank = np.full((height, width, 3), GREY, np.uint8)
    return _sheet(
        [_panel_of_keypoints(body, people[i], estimates[i], blank) for i in range(len(people.joints))], across
    )


def _panel_of_keypoints(body: SmplBody, person: People, estimate: BodyParams, blank: Image) -> Image:
    camera = Camera.from_size(*(int(n) for n in person.camera.size[0]))
    found, truth = body(estimate).mesh, body(person.params).mesh
    front = close_up(blank, found, body.faces, camera, PANEL, given=person.keypoints)
    return _panel(front, found, truth, body, PANEL)


# ---- the image HMR


def scenes_of(dataset: SceneDataset, count: int) -> SceneSample:
    """The first `count` scenes as one batch."""
    return collate_scenes([dataset[i] for i in range(count)])


@torch.no_grad()
def regress_images(hmr: HMR, images: Tensor) -> Regression:
    """The last iteration for pixels (B, 3, R, R) uint8; dropout is off for the call."""
    with evaluating(hmr):
        return Regression.cat([hmr(as_input(part))[-1] for part in images.split(CHUNK)])


def score_scenes(body: SmplBody, scenes: SceneSample, params: BodyParams) -> dict[str, float]:
    """Means over the people of the estimates `params`, whose translation does not count."""
    joints = body.points(COMMON14).pose(params.to(torch.float64)).joints
    return {
        **_joint_scores(body, joints, scenes.smpl_joints.double()),
        "facing_wrong_percent": _facing_wrong_percent(params, scenes.params),
    }


def scene_score(body: SmplBody, dataset: SceneDataset, count: int) -> Callable[[HMR], dict[str, float]]:
    """The function that scores a network in training on `count` people of a dataset that it is not trained on.

    Args:
        body: in float64.
    """
    scenes = scenes_of(dataset, count)
    return lambda hmr: score_scenes(body, scenes, regress_images(hmr, scenes.images).params)


def scene_sheet(body: SmplBody, dataset: SceneDataset, count: int) -> Callable[[HMR], Image] | None:
    """The function that draws the first `count` people with a network's estimates; None for nobody."""
    if not count:
        return None
    scenes = scenes_of(dataset, count)
    return lambda hmr: draw_scenes(body, scenes, regress_images(hmr, scenes.images))


def draw_scenes(body: SmplBody, scenes: SceneSample, regression: Regression, across: int = 3) -> Image:
    """The contact sheet, `across` people beside each other."""
    estimates = in_full_image(regression, scenes.box_center, scenes.box_side, scenes.camera).to(torch.float64)
    return _sheet([_panel_of_scene(body, scenes[i], estimates[i]) for i in range(len(scenes))], across)


def _panel_of_scene(body: SmplBody, scene: SceneSample, estimate: BodyParams) -> Image:
    size = torch.full((1, 2), float(SCENE_PANEL), dtype=torch.float64)
    corner, side = scene.box_center - scene.box_side[:, None] / 2, scene.box_side[:, None].expand(1, 2)
    camera = scene.camera.crop(corner, side).resize(size)
    found, truth = body(estimate).mesh, body(scene.params.to(torch.float64)).mesh
    resolution = scene.images.shape[-1]
    crop = Crop((resolution / 2, resolution / 2), resolution, SCENE_PANEL)
    front = overlay(crop.image(scene.images[0].permute(1, 2, 0).numpy()), found, body.faces, camera, opacity=0.75)
    return _panel(front, found, truth, body, (SCENE_PANEL, SCENE_PANEL))


# ---- contact sheets


def _panel(front: Image, found: Tensor, truth: Tensor, body: SmplBody, size: tuple[int, int]) -> Image:
    """One person's three pictures."""
    return side_by_side([front, *(view for mesh in (found, truth) for view in views(mesh, body.faces, (90,), size))])


def _sheet(panels: Sequence[Image], across: int) -> Image:
    """Rows of `across` panels; places that are left over are white."""
    panels = [*panels, *[np.full_like(panels[0], 255)] * (-len(panels) % across)]
    return np.concatenate([side_by_side(panels[i : i + across]) for i in range(0, len(panels), across)])
