"""What an image HMR is worth on made-up people whose truth is known, and a sheet of what it sees.

PA-MPJPE and MPJPE over `keypoints.COMMON14` in millimetres, as `hmrfit.train.validation` takes them; MPJPE with the
pelvises together. The people are rendered once, and are always the same.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from hmrfit.body.smpl import SmplBody
from hmrfit.evaluate.metrics import facing_wrong, mpjpe, pa_mpjpe
from hmrfit.io.image import Crop, Image
from hmrfit.keypoints import COMMON14
from hmrfit.network.hmr import HMR, evaluating, in_full_image
from hmrfit.render.overlay import overlay, side_by_side, views
from hmrfit.synthetic.dataset import SceneDataset, SceneSample, collate_scenes
from hmrfit.train.image_objective import as_input
from hmrfit.types import BodyParams, Regression

PANEL = 224
"""Width and height of one picture of the sheet, pixels."""

AT_ONCE = 64


def scenes_of(dataset: SceneDataset, count: int) -> SceneSample:
    """The first `count` scenes as one batch."""
    return collate_scenes([dataset[i] for i in range(count)])


@torch.no_grad()
def regress_images(hmr: HMR, images: Tensor) -> Regression:
    """The last iteration for pixels (B, 3, R, R) uint8; dropout is off for the call."""
    with evaluating(hmr):
        return Regression.cat([hmr(as_input(part))[-1] for part in images.split(AT_ONCE)])


def score_scenes(body: SmplBody, scenes: SceneSample, params: BodyParams) -> dict[str, float]:
    """Means over the people of a guess `params`, whose translation is not looked at."""
    index = [body.joint_names.index(name) for name in COMMON14]
    found, truth = body.points(COMMON14).pose(params.to(torch.float64)).joints, scenes.smpl_joints.double()
    apart = mpjpe(found[:, index], truth[:, index], found[:, 0], truth[:, 0])
    return {
        "pa_mpjpe_mm": 1e3 * pa_mpjpe(found[:, index], truth[:, index]).mean().item(),
        "mpjpe_mm": 1e3 * apart.mean().item(),
        "facing_wrong_percent": 100
        * facing_wrong(params.global_orient, scenes.params.global_orient).double().mean().item(),
    }


def scene_score(body: SmplBody, dataset: SceneDataset, count: int) -> Callable[[HMR], dict[str, float]]:
    """The function that scores a network in training on `count` people of a dataset that it is not trained on.

    Args:
        body: in float64.
    """
    scenes = scenes_of(dataset, count)
    return lambda hmr: score_scenes(body, scenes, regress_images(hmr, scenes.images).params)


def scene_sheet(body: SmplBody, dataset: SceneDataset, count: int) -> Callable[[HMR], Image] | None:
    """The function that draws the first `count` people as a network sees them; None for nobody."""
    if not count:
        return None
    scenes = scenes_of(dataset, count)
    return lambda hmr: draw_scenes(body, scenes, regress_images(hmr, scenes.images))


def draw_scenes(body: SmplBody, scenes: SceneSample, regression: Regression, across: int = 3) -> Image:
    """All people, `across` beside each other: the guess over the picture, the guess and the truth from the side."""
    guessed = in_full_image(regression, scenes.box_center, scenes.box_side, scenes.camera).to(torch.float64)
    panels = [_person(body, scenes[i], guessed[i]) for i in range(len(scenes))]
    panels += [np.full_like(panels[0], 255)] * (-len(panels) % across)
    return np.concatenate([side_by_side(panels[i : i + across]) for i in range(0, len(panels), across)])


def _person(body: SmplBody, scene: SceneSample, guessed: BodyParams) -> Image:
    """One person's three pictures."""
    size = torch.full((1, 2), float(PANEL), dtype=torch.float64)
    corner, side = scene.box_center - scene.box_side[:, None] / 2, scene.box_side[:, None].expand(1, 2)
    camera = scene.camera.crop(corner, side).resize(size)
    found, truth = (body(params).vertices for params in (guessed, scene.params.to(torch.float64)))
    picture = Crop((scene.images.shape[-1] / 2,) * 2, scene.images.shape[-1], PANEL).image(
        scene.images[0].permute(1, 2, 0).numpy()
    )
    front = overlay(picture, found, body.faces, camera, opacity=0.75)
    aside = (view for mesh in (found, truth) for view in views(mesh, body.faces, (90,), (PANEL, PANEL)))
    return side_by_side([front, *aside])
