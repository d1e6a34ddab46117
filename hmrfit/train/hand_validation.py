"""Scores and contact sheets of the image network of hands, on hands that it is not trained on, always the same ones.

    pa_mpjpe_mm        over the 21 points, after a similarity
    mpjpe_mm           over the 21 points, wrists together, every hand at its own size
    error_2d_percent   distance of projected points to keypoints, % of the keypoints' box
    auc_2d             area under the PCK curve of these distances from 0 to 30 px of a crop of 256 (Boukhayma's figure)
    mask_iou           overlap of the projected mesh with the mask

A contact sheet shows for each hand: the picture with the points of the truth (white) and of the network, the mesh over
the picture, the mesh from the side, the true hand from the side where it is known.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.io.image import Image
from hmrfit.io.opencv import cv2
from hmrfit.network.encoders import HeatmapEncoder, heatmaps_of
from hmrfit.network.hand_regressor import HandRegression, project_to_pixels
from hmrfit.network.hmr import HMR, evaluating
from hmrfit.ops.procrustes import similarity_align
from hmrfit.ops.raster import silhouette
from hmrfit.render.overlay import overlay, side_by_side, views
from hmrfit.synthetic.hand_scenes import HAND21, HandSample
from hmrfit.train.hand_images import HandImages, SceneHands
from hmrfit.train.objectives import as_input

CHUNK = 64
"""Images in one pass through the network."""

PANEL = 224

AUC_PIXELS = 30.0
"""Of a crop of 256."""

FAR = 10.0
"""Metres: where the mesh stands before the camera of the drawing, which is nearly orthographic."""


def held_out(hands: SceneHands | HandImages, count: int) -> HandSample:
    """The first `count` hands as one batch."""
    return HandSample.cat([hands[i] for i in range(min(count, len(hands)))])


@torch.no_grad()
def regress_hands(hmr: HMR, hands: HandSample) -> HandRegression:
    """What the network says of pictures; heat maps are those of the given keypoints."""
    found = []
    with evaluating(hmr):
        for start in range(0, len(hands), CHUNK):
            part = hands[slice(start, start + CHUNK)]
            images = as_input(part.images)
            if isinstance(hmr.encoder, HeatmapEncoder):
                one = hmr(images, heatmaps_of(part.keypoints, part.confidence, images.shape[-1]))[-1]
            else:
                one = hmr(images)[-1]
            if not isinstance(one, HandRegression):
                raise TypeError("This network is not one of hands: its regressor is no HandRegressor.")
            found.append(one)
    return HandRegression.cat(found)


def score_hands(body: SmplBody, hands: HandSample, found: HandRegression) -> dict[str, float]:
    """Means over the hands, of 3D over those whose points are known. body: float32."""
    points = body.points(HAND21).pose(found.params).points
    about = points - points[:, :1]
    known, size = hands.has_points, hands.images.shape[-1]
    truth = hands.points[known]
    xy = project_to_pixels(points, found.pixel_camera)
    seen = hands.confidence > 0
    apart = (xy - hands.keypoints).norm(dim=-1)
    far = torch.where(seen[..., None], hands.keypoints, torch.nan)
    extent = (_nan_max(far) - -_nan_max(-far)).amax(-1).clamp_min(1.0)
    fraction = (apart / extent[:, None])[seen]
    steps = torch.linspace(0, AUC_PIXELS * size / 256, 100)
    pck = (apart[seen][:, None] <= steps).double().mean(0)
    scores = {
        "error_2d_percent": 100 * fraction.mean().item(),
        "auc_2d": torch.trapezoid(pck, dx=1 / 99).item(),
    }
    if len(truth):
        aligned = similarity_align(about[known].double(), truth.double())
        scores["pa_mpjpe_mm"] = 1e3 * (aligned - truth).norm(dim=-1).mean().item()
        scores["mpjpe_mm"] = 1e3 * (about[known] - truth).norm(dim=-1).mean().item()
    if hands.has_mask.any():
        scores["mask_iou"] = mask_overlap(body, hands, found).mean().item()
    return scores


def _nan_max(values: Tensor) -> Tensor:
    """(B, 2) of (B, K, 2), NaN left out."""
    return values.nan_to_num(nan=-torch.inf).amax(1)


def mask_overlap(body: SmplBody, hands: HandSample, found: HandRegression) -> Tensor:
    """(B',) of the hands that have a mask: intersection over union with the mesh."""
    known, size = hands.has_mask, hands.images.shape[-1]
    mesh = body(found.params).mesh[known]
    xy = project_to_pixels(mesh, found.pixel_camera[known])
    screen = torch.cat([xy, FAR + mesh[..., 2:]], -1).double()
    drawn = torch.cat([silhouette(one[None], body.faces, (size, size)) for one in screen])
    masks = hands.masks[known]
    both, either = (drawn & masks).sum((1, 2)), (drawn | masks).sum((1, 2))
    return both / either.clamp_min(1)


def hand_score(body: SmplBody, hands: HandSample) -> Callable[[HMR], dict[str, float]]:
    """The function that scores a network in training. body: float32."""
    return lambda hmr: score_hands(body, hands, regress_hands(hmr, hands))


def hand_sheet(body: SmplBody, hands: HandSample) -> Callable[[HMR], Image]:
    """The function that draws all of these hands with a network's estimates. body: float32."""
    return lambda hmr: draw_hands(body, hands, regress_hands(hmr, hands))


def draw_hands(body: SmplBody, hands: HandSample, found: HandRegression, across: int = 3) -> Image:
    """The contact sheet, `across` hands beside each other."""
    panels = [_panel(body, hands[i], found[i]) for i in range(len(hands))]
    panels += [np.full_like(panels[0], 255)] * (-len(panels) % across)
    return np.concatenate([side_by_side(panels[i : i + across]) for i in range(0, len(panels), across)])


def _panel(body: SmplBody, hand: HandSample, found: HandRegression) -> Image:
    size = hand.images.shape[-1]
    picture = hand.images[0].permute(1, 2, 0).numpy()
    picture = np.ascontiguousarray(cv2.resize(picture, (PANEL, PANEL), interpolation=cv2.INTER_LINEAR))
    ratio = PANEL / size
    posed = body(found.params).mesh
    scale, x, y = (found.pixel_camera[0] * ratio).double().tolist()
    place = posed.new_tensor([[[(x - PANEL / 2) / scale, (y - PANEL / 2) / scale, FAR]]])
    camera = Camera.from_size(PANEL, PANEL, abs(scale) * FAR)
    points = body.points(HAND21).pose(found.params).points
    xy = project_to_pixels(points, found.pixel_camera)[0] * ratio
    dots = picture.copy()
    for color, where in (((255, 255, 255), hand.keypoints[0] * ratio), ((255, 80, 60), xy)):
        for u, v in where.tolist():
            cv2.circle(dots, (int(u), int(v)), 3, color, -1)
    mesh = (posed + place).double()
    over = overlay(picture, mesh, body.faces, camera, opacity=0.8)
    panels = [dots, over, *views(mesh, body.faces, (90,), (PANEL, PANEL))]
    if bool(hand.has_params):
        panels += views(body(hand.params).mesh.double(), body.faces, (90,), (PANEL, PANEL))
    return side_by_side(panels)
