"""Data sets made for the evaluation: SPIN-format rows of known people, and predictions that are the truth."""

import numpy as np
import torch

from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.datasets.download import spin_slots
from hmrfit.datasets.human36m import JOINTS
from hmrfit.datasets.spin_npz import SpinDataset
from hmrfit.evaluate.predictions import Predictions
from hmrfit.types import BodyParams


def as_predictions(params: BodyParams, **more: object) -> Predictions:
    """Of everybody, before a camera of 640 × 480."""
    return Predictions(params, Camera.from_size(640, 480, count=len(params)), torch.ones(len(params)).bool(), **more)


def human36m_people(body: SmplBody, params: BodyParams, images: list[str]) -> SpinDataset:
    """Rows whose S are the body's own points of Human3.6M's definitions, the pelvis at the origin."""
    points = body.points(tuple(JOINTS)).pose(params).points
    S = spin_slots((points - points[:, :1]).numpy(), tuple(JOINTS))
    N = len(images)
    return SpinDataset(np.array(images), np.full((N, 2), 100.0), np.ones(N), S=S)


def threedpw_people(params: BodyParams, genders: str) -> SpinDataset:
    """Rows with pose, shape and gender."""
    orient, pose = params.to_rotvecs()
    N = len(params)
    images = np.array([f"imageFiles/town_{i % 2}/image_{i:05d}.jpg" for i in range(N)])
    return SpinDataset(
        images,
        np.full((N, 2), 100.0),
        np.ones(N),
        pose=torch.cat([orient, pose], 1).numpy(),
        shape=params.betas.numpy(),
        gender=np.array(list(genders)),
    )
