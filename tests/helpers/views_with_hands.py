"""People with bent fingers in the middle of a ring of calibrated cameras: what is true, and what the cameras see."""

from dataclasses import dataclass

import numpy as np
import torch

import hmrfit
from hmrfit.body.rigid import turned
from hmrfit.build import load_body
from hmrfit.camera import PIXEL_CENTER, Camera
from hmrfit.evaluate.metrics import pa_mpjpe
from hmrfit.hand_keypoints import hand_set
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.synthetic.people_with_hands import with_noise
from hmrfit.types import BodyParams, Keypoints

SIZE, FOCAL = (1280, 960), 1400.0


@dataclass(frozen=True)
class Ring:
    """One person in T frames, seen by C cameras all around, the first of which is the world."""

    truth: BodyParams  # (T,) in the world
    seen: np.ndarray  # (C, T, K, 3)
    names: tuple[str, ...]
    extrinsics: np.ndarray  # (C, 3, 4)

    @property
    def calibration(self) -> hmrfit.CameraCalibration:
        center = [(n / 2 - PIXEL_CENTER) for n in SIZE]
        K = np.array([[FOCAL, 0, center[0]], [0, FOCAL, center[1]], [0, 0, 1]])
        return hmrfit.CameraCalibration.of(K, self.extrinsics, SIZE, up=(0, -1, 0))

    def in_view(self, view: int) -> BodyParams:
        """The truth in a camera's frame."""
        pose = torch.tensor(self.extrinsics[view])
        return in_frame(self.truth, pose[:, :3], pose[:, 3])


def ring(truth: BodyParams, names: tuple[str, ...], count: int = 3, hand_noise: float = 0.02, seed: int = 0) -> Ring:
    """truth: (T,) four metres before the first camera, wherever it was."""
    truth = BodyParams(truth.global_orient, truth.body_pose, truth.betas, truth.transl - truth.transl[:1])
    middle = torch.tensor([0.0, 0.0, 4.0]).double()
    truth = BodyParams(truth.global_orient, truth.body_pose, truth.betas, truth.transl + middle)
    angle = torch.arange(count).double() * (2 * np.pi / count)
    R = rotvec_to_matrix(angle[:, None] * torch.tensor([0.0, 1.0, 0.0]).double())
    t = middle - R @ middle
    camera, generator = Camera.from_size(*SIZE, focal=FOCAL), torch.Generator().manual_seed(seed)
    points, seen = load_body("free_body_h").points(names), []
    for c in range(count):
        xy = camera.project(points.pose(in_frame(truth, R[c], t[c])).points)
        clean = Keypoints(xy, torch.ones(xy.shape[:2]).double(), names)
        noisy = with_noise(clean, 0.01, hand_noise, generator)
        seen.append(torch.cat([noisy.xy, noisy.confidence[..., None]], -1).numpy())
    return Ring(truth, np.stack(seen), names, torch.cat([R, t[..., None]], -1).numpy())


def in_frame(params: BodyParams, rotation: torch.Tensor, shift: torch.Tensor) -> BodyParams:
    """The body in the frame x -> R x + t."""
    body = load_body("free_body_h")
    return turned(params, body.rest_joints[0], body.joint_shapes[0], rotation, shift)


def hand_error(params: BodyParams, truth: BodyParams, side: str) -> torch.Tensor:
    """(T,) metres, after a similarity."""
    hand = load_body("free_body_h").points(hand_set("hand21", side).names)
    return pa_mpjpe(hand.pose(params).points, hand.pose(truth).points)


def about_the_wrist(params: BodyParams, truth: BodyParams, side: str) -> torch.Tensor:
    """(T,) metres, the points of a hand about its wrist, nothing else aligned."""
    hand = load_body("free_body_h").points(hand_set("hand21", side).names)
    x, y = (p - p[:, :1] for p in (hand.pose(params).points, hand.pose(truth).points))
    return (x - y).norm(dim=-1).mean(-1)
