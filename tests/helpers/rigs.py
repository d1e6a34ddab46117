"""People who move before a ring of calibrated cameras, seen with noise: what is true, and what the cameras see."""

from functools import cache

import numpy as np
import torch
from helpers.bodies import free_body
from helpers.groups import SIZE, moved, rig, walk

import hmrfit
from hmrfit.keypoints import COCO17
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.synthetic.people import Corruption, corrupt
from hmrfit.types import BodyParams, Keypoints

K = np.array([[900.0, 0, SIZE[0] / 2 - 0.5], [0, 900, SIZE[1] / 2 - 0.5], [0, 0, 1]])


@cache
def calibration(count: int = 3) -> hmrfit.CameraCalibration:
    """The ring of `helpers.groups.rig`, level: y of the world points down."""
    return hmrfit.CameraCalibration.of(K, rig(count)[0], SIZE, up=(0, -1, 0))


@cache
def walker(T: int = 8, beside: float = 0.0) -> BodyParams:
    """A person who moves in the world, `beside` metres to the side."""
    params = walk(T)[0]
    turn = rotvec_to_matrix(torch.tensor([0.0, 2.0 * beside, 0.0]).double())
    there = torch.tensor([0.1, 0.2, 3.5]).double()
    return moved(params, turn, there - turn @ there + torch.tensor([beside, 0.0, 0.3 * beside]).double())


def view_of(params: BodyParams, view: int, noise: float = 0.01, seed: int = 0) -> np.ndarray:
    """(T, 17, 3) what one camera of the ring sees of them."""
    pose, camera = torch.tensor(calibration().extrinsics[view]), calibration().camera[[view] * len(params)]
    points = free_body().points(COCO17).pose(moved(params, pose[:, :3], pose[:, 3])).points
    clean = Keypoints(camera.project(points), torch.ones(points.shape[:2]).double(), COCO17)
    found = corrupt(clean, Corruption(noise, 0.0), torch.Generator().manual_seed(10 * seed + view))
    return torch.cat([found.xy, found.confidence[..., None]], -1).numpy()


def jitter(joints: np.ndarray, fps: float = 30.0) -> float:
    """Mean acceleration of the joints, m/s²."""
    return float(np.linalg.norm(np.diff(joints, n=2, axis=0), axis=-1).mean() * fps**2)
