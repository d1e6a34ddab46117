"""What the shipped keypoint HMR is trained with: distances as they are scored, of a body whose truth is fully known.

    L = λ_j mean ‖X − X̂‖ + λ_c mean ‖GᵀX − ĜᵀX̂‖ + λ_R mean ‖R − R̂‖² + λ_β mean ‖β − β̂‖²
      + λ_2d mean |x − x̂| + λ_s mean |log s/ŝ| + λ_adv L_adv(E)

X are joints and landmarks about the pelvis in metres, G the global orientation, x their projection by the true camera
in the box's [-1, 1]. Distances, not squares: what is ambiguous should be answered by one pose, not by the mean of two.
`losses` has the losses of HMR and SPIN; of those, only the adversarial ones are used here.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.body.skeleton import SMPL
from hmrfit.camera import weak_to_translation
from hmrfit.keypoints import COCO17
from hmrfit.train.people import Batch
from hmrfit.types import Regression

LANDMARKS = (
    *(name for name in COCO17 if name not in SMPL),
    "left_big_toe",
    "right_big_toe",
    "left_heel",
    "right_heel",
)
"""Points that are no joints of the skeleton, and say how the head and the feet are turned."""

FAR = 2.0
"""Boxes. Points of the truth that lie farther out than this have no say in the reprojection."""

MIN_SCALE = 0.05


@dataclass(frozen=True)
class KeypointLossWeights:
    """λ of every term."""

    joints: float = 10.0
    canonical: float = 5.0
    rotations: float = 1.0
    betas: float = 0.02
    reprojection: float = 3.0
    scale: float = 1.0
    adversarial: float = 0.01

    @classmethod
    def unpaired(cls, adversarial: float = 0.1) -> "KeypointLossWeights":
        """What is left without any 3D truth: the projection, and the discriminators."""
        return cls(joints=0.0, canonical=0.0, rotations=0.0, betas=0.0, scale=0.0, adversarial=adversarial)


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """‖a − b‖ over the last dimension, with a derivative at 0."""
    return ((a - b).square().sum(-1) + 1e-8).sqrt()


def keypoint_losses(
    regression: Regression, batch: Batch, body: PointBody, weights: KeypointLossWeights
) -> dict[str, Tensor]:
    """Every weighted term but the adversarial one, by name.

    Args:
        body: with the points `LANDMARKS`.
    """
    found, truth = body.pose(regression.params), batch_truth(batch, body)
    root, true_root = found.joints[:, :1], truth[:, :1]
    points = torch.cat([found.joints, found.points], 1)
    about, true_about = points - root, truth - true_root
    weak = torch.cat([regression.weak_camera[:, :1].clamp_min(MIN_SCALE), regression.weak_camera[:, 1:]], -1)
    transl = weak_to_translation(weak, batch.box_center, batch.box_side, batch.camera)
    turned, true_turned = about @ regression.params.global_orient, true_about @ batch.params.global_orient
    target = in_box(truth, batch)
    near = (target.abs() < FAR).all(-1, keepdim=True)
    apart = torch.where(near, in_box(points + transl[:, None], batch) - target, 0.0).clamp(-FAR, FAR)
    return {
        "joints": weights.joints * _distance(about, true_about).mean(),
        "canonical": weights.canonical * _distance(turned, true_turned).mean(),
        "rotations": weights.rotations * (regression.params.rotations - batch.params.rotations).square().mean(),
        "betas": weights.betas * (regression.params.betas - batch.params.betas).square().mean(),
        "reprojection": weights.reprojection * apart.abs().mean(),
        "scale": weights.scale * (weak[:, 0] / batch.weak_camera[:, 0]).log().abs().mean(),
    }


@torch.no_grad()
def batch_truth(batch: Batch, body: PointBody) -> Tensor:
    """(B, J + K, 3) joints and points of the truth, camera frame, metres."""
    posed = body.pose(batch.params)
    return torch.cat([posed.joints, posed.points], 1)


def in_box(points: Tensor, batch: Batch) -> Tensor:
    """Camera-frame points (B, K, 3) -> (B, K, 2) in the box's [-1, 1], by the true camera."""
    pixels = batch.camera.project(points)
    return 2 * (pixels - batch.box_center[:, None]) / batch.box_side[:, None, None]
