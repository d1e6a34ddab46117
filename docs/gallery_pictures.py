"""The pictures of docs/gallery.md, all of them our own renderings; `make_gallery.py` writes them.

Each function takes the folder that `make demo` wrote, and gives one picture.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import hmrfit
from hmrfit.body.parts import part_labels
from hmrfit.body.skeleton import SMPL
from hmrfit.build import build_fitter, load_body
from hmrfit.config import load_config
from hmrfit.io.image import Image
from hmrfit.io.opencv import cv2
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.render.backends.builtin import BuiltinRenderer
from hmrfit.render.meshes import part_colors
from hmrfit.render.overlay import overlay, side_by_side, views
from hmrfit.types import BodyParams

TALL = 420
"""Pixels of every panel."""

INK, LETTERS = (60, 60, 60), 0.85
HANGING = 1.2
"""Radians from the T-pose."""


def captioned(image: Image, text: str) -> Image:
    """The picture at `TALL` pixels, its caption below."""
    scaled = cv2.resize(image, (round(image.shape[1] * TALL / len(image)), TALL), interpolation=cv2.INTER_AREA)
    below = np.full((46, scaled.shape[1], 3), 255, np.uint8)
    left = max(4, (below.shape[1] - cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, LETTERS, 1)[0][0]) // 2)
    cv2.putText(below, text, (left, 31), cv2.FONT_HERSHEY_SIMPLEX, LETTERS, INK, 1, cv2.LINE_AA)
    return np.concatenate([scaled, below])


def demo_of(folder: Path) -> tuple[hmrfit.FitResult, Image]:
    """The demo's result and its photograph."""
    return hmrfit.FitResult.load(folder / "result.npz"), hmrfit.read_image(folder / "photo.png")


def on_the_way(folder: Path) -> Image:
    """The keypoints, the network's initial estimate, and the fit, over the demo's photograph."""
    result, photo = demo_of(folder)
    fitter = build_fitter(load_config())
    assert fitter.network is not None
    estimate = fitter.network.predict(result.keypoints, result.camera).params
    body, given = result.body_model, result.keypoints
    over = lambda params: overlay(photo, body(params).mesh, body.faces, result.camera, given=given)  # noqa: E731
    seen = hmrfit.FitResult.overlay(result, photo, sides=False)
    plain = overlay(photo, body(estimate).mesh[:0], body.faces, result.camera, given=given)
    panels = [(plain, "keypoints"), (over(estimate), "initial estimate"), (seen, "fit")]
    return side_by_side([captioned(*panel) for panel in panels], 255)


def other_answers(folder: Path) -> Image:
    """What else the demo's keypoints allow, from the right, with probabilities."""
    result, _ = demo_of(folder)
    body, probability = result.body_model, np.asarray(result.probability)[0]
    meshes = torch.cat([body(params).mesh for params in result.hypotheses])
    sides = [views(mesh[None], body.faces, [90], (300, TALL), up=result.up)[0] for mesh in meshes]
    names = ["returned"] + ["another"] * (len(sides) - 1)
    texts = [f"{name}, {100 * p:.0f} %" for name, p in zip(names, probability, strict=True)]
    return side_by_side([captioned(*panel) for panel in zip(sides, texts, strict=True)], 255)


def standing(betas: Tensor, apart: float = 1.165) -> BodyParams:
    """The free body in shapes (B, 10), arms hanging, side by side before a camera at so many metres."""
    B = len(betas)
    pose = torch.zeros(B, 23, 3, dtype=torch.float64)
    for side, sign in (("left", -1.0), ("right", 1.0)):
        pose[:, SMPL.index(f"{side}_shoulder") - 1, 2] = sign * HANGING
    place = apart * (torch.arange(B, dtype=torch.float64) - (B - 1) / 2)
    before = torch.stack([place, torch.zeros(B).double(), torch.full((B,), 8.0).double()], 1)
    upright = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)).expand(B, 3, 3)  # y up -> y down
    return BodyParams(upright, rotvec_to_matrix(pose), betas, before)


def shapes(_: Path) -> Image:
    """What the first four shape components of the free body do, two standard deviations to both sides."""
    body, count = load_body("free_body"), 4
    betas = torch.zeros(2 * count, 10, dtype=torch.float64)
    betas[torch.arange(2 * count), torch.arange(2 * count) // 2] = torch.tensor([-2.0, 2.0]).double().repeat(count)
    meshes = body(standing(betas)).mesh
    meshes = meshes - torch.nn.functional.pad(meshes[..., 1].amax(1)[:, None, None], (1, 1))  # feet on one floor
    (picture,) = views(meshes, body.faces, [0], (4 * TALL, TALL))
    columns = np.array_split(picture, 2 * count, axis=1)
    texts = [f"beta {i // 2 + 1} = {'-+'[i % 2]}2" for i in range(2 * count)]
    return np.concatenate([captioned(*panel) for panel in zip(columns, texts, strict=True)], 1)


def silhouette_and_parts(folder: Path) -> Image:
    """What segmentation benchmarks compare: foreground and six parts, as the rasteriser draws them."""
    result, photo = demo_of(folder)
    body, renderer = result.body_model, BuiltinRenderer()
    labels = part_labels(body)
    face = labels[body.faces].mode(1).values
    mask = renderer.silhouette(result.mesh_vertices, body.faces, result.camera)[0].numpy()
    parts = renderer.parts(result.mesh_vertices, body.faces, result.camera, face)[0].numpy()
    palette: NDArray[np.uint8] = np.concatenate([np.full((1, 3), 244, np.uint8), part_colors(np.arange(1, 7))])
    white = np.where(mask[..., None], np.uint8(90), np.uint8(244)).repeat(3, 2)
    panels = [(np.asarray(photo), "photograph"), (white, "foreground"), (palette[parts], "six parts")]
    return side_by_side([captioned(*panel) for panel in panels], 255)


PICTURES = {"steps": on_the_way, "answers": other_answers, "shapes": shapes, "parts": silhouette_and_parts}
"""docs/images/NAME.jpg -> how it is drawn."""
