"""Synthetic hands small enough for a test, and a folder of them as FreiHAND is laid out."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import torch
from helpers.bodies import PRIORS

from hmrfit.body.smpl import SmplBody
from hmrfit.camera import PIXEL_CENTER
from hmrfit.io.image import write_image
from hmrfit.priors.biomechanics import HandLimits
from hmrfit.priors.gmm import PoseGmm
from hmrfit.synthetic.hand_scenes import HandScenes, hand_poses


@cache
def right_hand() -> SmplBody:
    """The free hand, float64; never changed by a test."""
    return SmplBody.from_file(PRIORS / "free_hand.npz")


@cache
def hand_limits() -> HandLimits:
    return HandLimits.from_file(PRIORS / "hand_limits.npz")


@cache
def some_poses() -> torch.Tensor:
    """(20, 45)."""
    return hand_poses(PoseGmm.from_file(PRIORS / "hand_pose_gmm.npz"), hand_limits(), right_hand(), 20)


@cache
def hand_scenes(count: int = 8, resolution: int = 40, seed: int = 0) -> HandScenes:
    return HandScenes(right_hand(), some_poses(), count, resolution, seed=seed)


def write_freihand(folder: Path, count: int = 2, copies: int = 2, resolution: int = 96) -> Path:
    """Hands whose picture is their crop, by an orthographic camera far away."""
    scenes, K, xyz = hand_scenes(count, resolution), [], []
    for i in range(count):
        hand = scenes[i]
        far, pixels = 2.0, hand.keypoints[0].double() - PIXEL_CENTER  # exact in the picture, whatever its depth
        depth = far + hand.points[0, :, 2:].double()
        focal = 4.0 * resolution
        xyz.append(torch.cat([(pixels - resolution / 2) / focal * depth, depth], 1).tolist())
        K.append([[focal, 0, resolution / 2], [0, focal, resolution / 2], [0, 0, 1]])
        picture = hand.images[0].permute(1, 2, 0).numpy()
        mask = np.repeat(255 * hand.masks[0].numpy().astype(np.uint8)[..., None], 3, 2)
        for copy in range(copies):
            write_image(folder / "training" / "rgb" / f"{i + copy * count:08d}.jpg", picture)
        write_image(folder / "training" / "mask" / f"{i:08d}.jpg", mask)
    (folder / "training_K.json").write_text(json.dumps(K))
    (folder / "training_xyz.json").write_text(json.dumps(xyz))
    return folder
