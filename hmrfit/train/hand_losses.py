"""The losses of Boukhayma et al. (CVPR 2019) for the hand of one image, means over the hands of which each is known.

    L = λ_2d Σ_k |x_k − x̂_k|₁ / R  +  λ_3d Σ_k ‖(X_k − X_0) − (X̂_k − X̂_0)‖²  +  λ_m L_mask  +  λ_c ‖c‖² + λ_β ‖β‖²
      + λ_Θ (‖c − ĉ‖² + ‖β − β̂‖² + ‖R − R̂‖²)

x in pixels of the crop, which is R wide, X in metres about the wrist. L_mask is one of `hand_masks`. The released code
has no training and the weights of the paper are not known here: those of 2D, 3D and mask are of a re-implementation for
video, the others our own. λ_Θ is for the pre-training on synthetic hands, whose parameters are known.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hmrfit.body.smpl import SmplBody
from hmrfit.network.hand_regressor import HandLayout, HandRegression, project_to_pixels
from hmrfit.ops.rotation import matrix_to_rotvec
from hmrfit.synthetic.hand_scenes import HAND21, HandSample
from hmrfit.train.hand_masks import MASK_LOSSES


@dataclass(frozen=True)
class HandLossWeights:
    """λ of every term."""

    keypoints_2d: float = 5.0
    points_3d: float = 100.0
    mask: float = 10.0
    pose: float = 0.1
    betas: float = 0.1
    parameters: float = 0.0
    mask_kind: str = "published"


class HandLosses:
    """The losses of a body. It poses the mesh only where a mask wants it."""

    def __init__(self, body: SmplBody, weights: HandLossWeights | None = None) -> None:
        """body: a right hand, float32."""
        self.body, self.weights, self.points = body, weights or HandLossWeights(), body.points(HAND21)

    def to(self, device: torch.device) -> "HandLosses":
        return HandLosses(self.body.to(device=device), self.weights)

    def __call__(self, found: HandRegression, batch: HandSample, layout: HandLayout) -> dict[str, Tensor]:
        """Every term times its weight, by name."""
        weights, camera = self.weights, found.pixel_camera
        _, _, pose, betas = layout.split(found.numbers)
        points = self.points.pose(found.params).points
        xy = project_to_pixels(points, camera)
        losses = {
            "keypoints_2d": weights.keypoints_2d * l1_pixels(xy, batch.keypoints, batch.confidence, layout.resolution),
            "pose": weights.pose * pose.square().sum(1).mean(),
            "betas": weights.betas * betas.square().sum(1).mean(),
        }
        if weights.points_3d:
            losses["points_3d"] = weights.points_3d * squared_about_wrist(points, batch.points, batch.has_points)
        if weights.mask:
            vertices = project_to_pixels(self.body(found.params).mesh, camera)
            each = MASK_LOSSES[weights.mask_kind](vertices, batch.masks)
            losses["mask"] = weights.mask * mean_of(each, batch.has_mask)
        if weights.parameters:
            losses["parameters"] = weights.parameters * mean_of(_apart(found, batch, layout), batch.has_params)
        return losses


def mean_of(values: Tensor, known: Tensor) -> Tensor:
    """The mean of values (B,) over those that are known (B,); 0 of none, whatever the others hold."""
    return torch.where(known, values, 0.0).sum() / known.sum().clamp_min(1)


def l1_pixels(xy: Tensor, keypoints: Tensor, confidence: Tensor, resolution: int) -> Tensor:
    """Σ_k q_k |x_k − x̂_k|₁ / R, the mean over hands. xy, keypoints: (B, 21, 2). confidence: (B, 21)."""
    q = confidence[..., None]
    return torch.where(q > 0, q * (xy - keypoints).abs(), 0.0).sum((1, 2)).mean() / resolution


def squared_about_wrist(points: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Σ_k ‖(X_k − X_0) − (X̂_k − X̂_0)‖², the mean over hands that are known (B,). points, truth: (B, 21, 3) metres."""
    apart = (points - points[:, :1]) - (truth - truth[:, :1])
    return mean_of(apart.square().sum((1, 2)), known)


def _apart(found: HandRegression, batch: HandSample, layout: HandLayout) -> Tensor:
    """‖c − ĉ‖² + ‖β − β̂‖² + ‖R − R̂‖² (B,): ĉ are the coefficients of the true pose, whose rest no component holds."""
    truth, poses = batch.params, layout.poses
    true_pose = (matrix_to_rotvec(truth.body_pose).flatten(1) - poses.mean) @ poses.components.T
    _, _, pose, betas = layout.split(found.numbers)
    turn = (found.params.global_orient - truth.global_orient).square().sum((1, 2))
    return (pose - true_pose).square().sum(1) + (betas - truth.betas).square().sum(1) + turn
