"""The losses of HMR (Kanazawa et al., CVPR 2018, section 3), each named after its formula, and those of the shipped
keypoint HMR. Scalars, unweighted.

    L  =  λ_2d L_reproj + λ_adv L_adv(E) + [paired: λ_3d L_3d + λ_smpl L_smpl] + λ_s L_scale

    L_reproj  = Σ w |x − x̂| / #{w > 0}                  over visible coordinates, w = confidence · the source's weight
    L_3d      = ½ mean ‖(X − X_pelvis) − (X̂ − X̂_pelvis)‖²        over known coordinates, pelvis = middle of the hips
    L_smpl    = ½ mean ‖[R, β] − [R̂, β̂]‖²               over 24·9 + 10 numbers of the people whose truth is known
    L_adv(E)  = mean Σ_i (D_i(Θ̂) − 1)²                  over the fakes of every iteration, i = 1 … 25
    L(D)      = mean Σ_i (D_i(Θ) − 1)² + mean Σ_i D_i(Θ̂)²
    L_scale   = mean exp(−10 s)²                        keeps the scale of the weak camera positive (SPIN)

The mean of nothing is 0: a batch without any 3D truth has L_3d = L_smpl = 0. Reprojection, 3D and scale are of the last
iteration, the adversarial terms of every one. "Unpaired" is training without any 3D truth.

The keypoint HMR has distances as they are scored, of a body whose truth is fully known, and L_adv(E):

    L = λ_j mean ‖X − X̂‖ + λ_c mean ‖GᵀX − ĜᵀX̂‖ + λ_R mean ‖R − R̂‖² + λ_β mean ‖β − β̂‖²
      + λ_2d mean |x − x̂| + λ_s mean |log s/ŝ| + λ_adv L_adv(E)

X are joints and landmarks about the pelvis in metres, G the global orientation, x their projection by the true camera
in the box's [-1, 1]. Distances, not squares: an ambiguous pose should be estimated by one pose, not by the mean of two.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.body.skeleton import SMPL
from hmrfit.camera import pixels_to_crop, weak_project, weak_to_translation
from hmrfit.keypoints import COCO17, OPENPOSE25, SPIN24, find_part, resolve_set
from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.network.hmr import in_front, project_in_crop
from hmrfit.ops.how_many import how_many
from hmrfit.train.people_stream import Batch
from hmrfit.types import BodyParams, Regression, TensorRecord

LANDMARKS = (
    *(name for name in COCO17 if name not in SMPL),
    "left_big_toe",
    "right_big_toe",
    "left_heel",
    "right_heel",
)
"""Points that are no joints of the skeleton, and show the orientation of head and feet."""

FAR = 2.0
"""Half boxes from the middle. Points of the truth that lie farther out do not count in the reprojection."""


# ---- HMR's losses


@dataclass(frozen=True)
class LossWeights:
    """λ of every term: HMR's by default. `paired` False leaves out whatever needs 3D truth."""

    reprojection: float = 60.0
    joints_3d: float = 60.0
    smpl: float = 60.0
    adversarial: float = 1.0
    positive_scale: float = 0.0  # SPIN: 60
    paired: bool = True


@dataclass(frozen=True)
class Targets(TensorRecord):
    """What is known of B people. What is unknown has the confidence or flag 0; its numbers are not read, NaN or not."""

    keypoints: Tensor  # (B, K, 2) in the crop's [-1, 1]
    confidence: Tensor  # (B, K), already times the weights of its sources
    joints: Tensor  # (B, N, 3) metres
    joint_confidence: Tensor  # (B, N)
    params: BodyParams  # transl is not looked at
    has_params: Tensor  # (B,) bool


def _difference(predicted: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """predicted − target where known, else 0 (with the gradient 0, whatever the target holds there)."""
    return torch.where(known, predicted - target, 0.0)


def _mean_of(values: Tensor, known: Tensor) -> Tensor:
    """Σ values / how many are known; values are 0 where they are not. 0 where nothing is."""
    return values.sum() / known.expand_as(values).sum().clamp_min(1)


def source_weights(openpose_weight: float = 0.0, gt_weight: float = 1.0) -> Tensor:
    """(49,) weights of the keypoints of `spin49`: 25 detected by OpenPose, then 24 annotated (SPIN's defaults)."""
    return torch.tensor([openpose_weight] * len(OPENPOSE25) + [gt_weight] * len(SPIN24))


def l1_reprojection(projected: Tensor, keypoints: Tensor, confidence: Tensor) -> Tensor:
    """Σ w |x − x̂| / #{w > 0} over the coordinates of visible keypoints.

    Args:
        projected, keypoints: (B, K, 2) in the crop's [-1, 1].
        confidence: (B, K), 0 for invisible; for mixed sources times `source_weights`.
    """
    weight = confidence[..., None]
    return _mean_of(weight * _difference(projected, keypoints, weight > 0).abs(), weight > 0)


def squared_joints_3d(
    predicted: Tensor, joints: Tensor, confidence: Tensor, names: str | Sequence[str] = "lsp14"
) -> Tensor:
    """½ Σ w ‖(X − X_pelvis) − (X̂ − X̂_pelvis)‖² / #{w > 0}, the pelvis the middle of the set's two hips.

    Args:
        predicted, joints: (B, N, 3) metres. confidence: (B, N), 0 for unknown joints.
        names: the N names, or a set's name. People with an unknown hip do not count.
    """
    hips = hips_of(resolve_set(names))
    weight = (confidence * (confidence[:, hips] > 0).all(1, keepdim=True))[..., None]
    centred = predicted - predicted[:, hips].mean(1, keepdim=True)
    difference = _difference(centred, joints - joints[:, hips].mean(1, keepdim=True), weight > 0)
    return 0.5 * _mean_of(weight * difference.square(), weight > 0)


def hips_of(names: Sequence[str]) -> list[int]:
    """Where the two hips stand, whichever definition of them the set has.

    Raises:
        ValueError: the set lacks one.
    """
    left, right = find_part(names, "left_hip"), find_part(names, "right_hip")
    if left is None or right is None:
        raise ValueError(
            f"3D joints are aligned by the middle of the hips, but there are not both among {', '.join(names)}. Use a "
            "set with hips, such as lsp14."
        )
    return [left, right]


def squared_rotations(predicted: BodyParams, target: BodyParams, known: Tensor) -> Tensor:
    """mean ‖R − R̂‖² over the 24·9 numbers of the people that are known (B,), the global orientation included."""
    known = known.bool()[:, None, None, None]
    return _mean_of(_difference(predicted.rotations, target.rotations, known).square(), known)


def squared_betas(predicted: BodyParams, target: BodyParams, known: Tensor) -> Tensor:
    """mean ‖β − β̂‖² over the people that are known (B,)."""
    known = known.bool()[:, None]
    return _mean_of(_difference(predicted.betas, target.betas, known).square(), known)


def squared_smpl(predicted: BodyParams, target: BodyParams, known: Tensor) -> Tensor:
    """½ mean ‖[R, β] − [R̂, β̂]‖² over 226 numbers (SMPL) of the people that are known (B,)."""
    rotations, betas = predicted.rotations[0].numel(), predicted.betas.shape[1]
    total = rotations * squared_rotations(predicted, target, known) + betas * squared_betas(predicted, target, known)
    return 0.5 * total / (rotations + betas)


def positive_scale(weak_camera: Tensor) -> Tensor:
    """mean exp(−10 s)²: negligible at s ≈ 1, a wall at s < 0 (SPIN)."""
    return (-10 * weak_camera[:, 0]).exp().square().mean()


def adversarial_encoder(scores: Tensor) -> Tensor:
    """mean Σ_i (D_i(Θ̂) − 1)²: the encoder wants its people taken for real. scores (N, 25)."""
    return (scores - 1).square().sum(-1).mean()


def adversarial_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """mean Σ_i (D_i(Θ) − 1)² + mean Σ_i D_i(Θ̂)². real, fake (N, 25): real people as 1, the encoder's as 0."""
    return (real - 1).square().sum(-1).mean() + fake.square().sum(-1).mean()


def every_iteration(regressions: Sequence[Regression]) -> BodyParams:
    """The people of all iterations as one batch (3B): what the discriminators see."""
    return BodyParams.cat([regression.params for regression in regressions])


def discriminator_loss(
    discriminator: FactorizedDiscriminator, real: BodyParams, regressions: Sequence[Regression]
) -> Tensor:
    """L(D); its gradient stops at the regressions.

    Args:
        real: people from motion, as many as the fakes of all iterations together, so that neither side outweighs.
    Raises:
        ValueError: another number of real people.
    """
    fake = every_iteration(regressions).map(Tensor.detach)
    if len(real) != len(fake):
        raise ValueError(
            f"The discriminators take as many real people as fakes: {len(fake)} "
            f"({how_many(len(regressions), 'iterations')} of "
            f"{how_many(len(regressions[0]), 'people')}), but {len(real)} came."
        )
    return adversarial_discriminator(
        discriminator(real.body_pose, real.betas), discriminator(fake.body_pose, fake.betas)
    )


def encoder_losses(
    regressions: Sequence[Regression],
    points: Tensor,
    joints: Tensor,
    targets: Targets,
    joint_names: str | Sequence[str] = "lsp14",
    weights: LossWeights | None = None,
    discriminator: FactorizedDiscriminator | None = None,
    view: Tensor | None = None,
) -> dict[str, Tensor]:
    """Every term of L times its weight, by name; their sum is what the encoder and regressor are trained with.

    Args:
        regressions: every iteration.
        points: (B, K, 3) metres, the targets' 2D keypoints on the LAST iteration's body. joints: (B, N, 3) metres, the
            targets' 3D joints on it; `joint_names` their names.
        discriminator: None for training without. Its own parameters get gradients too: set them to zero before its
            own step.
        view: (B, 3) from `view_of_box`: the keypoints are projected through the full image's camera. None for the weak
            projection, as HMR and SPIN train; it bends bodies that were seen through a short lens (32 people before
            lenses of 20 to 110 mm, overfitted for 1500 steps: 41 mm PA-MPJPE weakly, 2.7 mm this way).
    """
    weights = weights or LossWeights()
    last = regressions[-1]
    weak = last.weak_camera
    projected = weak_project(points, weak) if view is None else project_in_crop(points, weak, view)
    losses = {"reprojection": weights.reprojection * l1_reprojection(projected, targets.keypoints, targets.confidence)}
    if weights.paired:
        squared = squared_joints_3d(joints, targets.joints, targets.joint_confidence, joint_names)
        losses["joints_3d"] = weights.joints_3d * squared
        losses["smpl"] = weights.smpl * squared_smpl(last.params, targets.params, targets.has_params)
    if discriminator is not None:
        fakes = every_iteration(regressions)
        losses["adversarial"] = weights.adversarial * adversarial_encoder(discriminator(fakes.body_pose, fakes.betas))
    if weights.positive_scale:
        losses["positive_scale"] = weights.positive_scale * positive_scale(last.weak_camera)
    return losses


# ---- the keypoint HMR's losses


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


def distance(a: Tensor, b: Tensor) -> Tensor:
    """‖a − b‖ over the last dimension, with a derivative at 0."""
    return ((a - b).square().sum(-1) + 1e-8).sqrt()


def keypoint_losses(
    regression: Regression, batch: Batch, body: PointBody, weights: KeypointLossWeights
) -> dict[str, Tensor]:
    """Every weighted term but the adversarial one, by name: means over the batch of `each_keypoint_loss`."""
    return {name: each.mean() for name, each in each_keypoint_loss(regression, batch, body, weights).items()}


def each_keypoint_loss(
    regression: Regression, batch: Batch, body: PointBody, weights: KeypointLossWeights
) -> dict[str, Tensor]:
    """Every weighted term but the adversarial one, by name, of each person (B,).

    Args:
        body: with the points `LANDMARKS`.
    """
    found, truth = body.pose(regression.params), batch_truth(batch, body)
    root, true_root = found.joints[:, :1], truth[:, :1]
    points = torch.cat([found.joints, found.points], 1)
    about, true_about = points - root, truth - true_root
    weak = in_front(regression.weak_camera)
    transl = weak_to_translation(weak, batch.box_center, batch.box_side, batch.camera)
    canonical, true_canonical = about @ regression.params.global_orient, true_about @ batch.params.global_orient
    target = in_box(truth, batch)
    near = (target.abs() < FAR).all(-1, keepdim=True)
    residuals = torch.where(near, in_box(points + transl[:, None], batch) - target, 0.0).clamp(-FAR, FAR)
    rotations, betas = (
        regression.params.rotations - batch.params.rotations,
        regression.params.betas - batch.params.betas,
    )
    return {
        "joints": weights.joints * distance(about, true_about).mean(1),
        "canonical": weights.canonical * distance(canonical, true_canonical).mean(1),
        "rotations": weights.rotations * rotations.square().mean((1, 2, 3)),
        "betas": weights.betas * betas.square().mean(1),
        "reprojection": weights.reprojection * residuals.abs().mean((1, 2)),
        "scale": weights.scale * (weak[:, 0] / batch.weak_camera[:, 0]).log().abs(),
    }


@torch.no_grad()
def batch_truth(batch: Batch, body: PointBody) -> Tensor:
    """(B, J + K, 3) joints and points of the truth, camera frame, metres."""
    posed = body.pose(batch.params)
    return torch.cat([posed.joints, posed.points], 1)


def in_box(points: Tensor, batch: Batch) -> Tensor:
    """Camera-frame points (B, K, 3) -> (B, K, 2) in the box's [-1, 1], by the true camera."""
    return pixels_to_crop(batch.camera.project(points), batch.box_center, batch.box_side)
