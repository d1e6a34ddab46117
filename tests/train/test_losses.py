"""The losses by slow twins, their floors, what unknown targets do, and what the gradients reach; the keypoint HMR's are
nothing for the truth, and the distance that was made for a body that is off."""

import math
from dataclasses import replace

import pytest
import torch
from helpers.bodies import free_body
from helpers.training import stream
from hypothesis import given, settings
from hypothesis import strategies as st

from hmrfit.keypoints import COMMON14, LSP14, resolve_set
from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.network.hmr import project_in_crop
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.train.losses import (
    LANDMARKS,
    KeypointLossWeights,
    LossWeights,
    Targets,
    adversarial_discriminator,
    adversarial_encoder,
    batch_truth,
    discriminator_loss,
    encoder_losses,
    every_iteration,
    hips_of,
    in_box,
    keypoint_losses,
    l1_reprojection,
    positive_scale,
    source_weights,
    squared_betas,
    squared_joints_3d,
    squared_rotations,
    squared_smpl,
)
from hmrfit.train.people_stream import Batch
from hmrfit.types import BodyParams, Regression

NAN = float("nan")


def params(count: int, spread: float = 1.0) -> BodyParams:
    rotations = rotvec_to_matrix(spread * torch.randn(count, 24, 3).double())
    return BodyParams(
        rotations[:, 0], rotations[:, 1:], torch.randn(count, 10).double(), torch.zeros(count, 3).double()
    )


def regressions(count: int) -> list[Regression]:
    """Three iterations that carry gradients."""
    return [
        Regression(params(count).map(lambda t: t.requires_grad_()), torch.rand(count, 3).double().requires_grad_())
        for _ in range(3)
    ]


def targets(count: int) -> Targets:
    return Targets(
        torch.randn(count, 17, 2).double(),
        torch.rand(count, 17).double(),
        torch.randn(count, 14, 3).double(),
        torch.ones(count, 14).double(),
        params(count),
        torch.ones(count, dtype=torch.bool),
    )


@given(st.integers(0, 2**31))
@settings(max_examples=20)
def test_reprojection_is_the_weighted_sum_over_visible_coordinates(seed: int):
    torch.manual_seed(seed)
    projected, keypoints = torch.randn(3, 5, 2), torch.randn(3, 5, 2)
    confidence = torch.rand(3, 5) * (torch.rand(3, 5) < 0.6)
    total, visible = 0.0, 0
    for b in range(3):
        for k in range(5):
            if confidence[b, k] > 0:
                visible += 2
                total += (confidence[b, k] * (projected[b, k] - keypoints[b, k]).abs().sum()).item()
    expected = total / visible if visible else 0.0
    assert l1_reprojection(projected, keypoints, confidence).item() == pytest.approx(expected, rel=1e-4)


def test_sources_are_mixed_by_their_weights():
    """The OpenPose half of spin49 at weight 0 neither adds nor dilutes."""
    projected, keypoints, confidence = torch.randn(2, 49, 2), torch.randn(2, 49, 2), torch.rand(2, 49) + 0.1
    mixed = l1_reprojection(projected, keypoints, confidence * source_weights())
    alone = l1_reprojection(projected[:, 25:], keypoints[:, 25:], confidence[:, 25:])
    torch.testing.assert_close(mixed, alone)
    weights = source_weights(openpose_weight=0.5, gt_weight=2.0)
    assert weights.tolist() == [0.5] * 25 + [2.0] * 24 and len(resolve_set("spin49")) == len(weights)


def slow_joints_3d(predicted, joints, confidence, hips) -> float:
    total, known = 0.0, 0
    for X, Y, c in zip(predicted, joints, confidence, strict=True):
        if min(c[h] for h in hips) <= 0:
            continue
        X, Y = (Z - (Z[hips[0]] + Z[hips[1]]) / 2 for Z in (X, Y))
        for k in range(len(c)):
            if c[k] > 0:
                known += 3
                total += (c[k] * ((X[k] - Y[k]) ** 2).sum()).item()
    return 0.5 * total / known if known else 0.0


@pytest.mark.parametrize("names", ["lsp14", COMMON14, "smpl24", "h36m17"])
def test_joints_are_compared_about_the_middle_of_the_hips(names):
    names = resolve_set(names)
    predicted, joints = torch.randn(4, len(names), 3).double(), torch.randn(4, len(names), 3).double()
    confidence = (torch.rand(4, len(names)) < 0.8).double()
    hips = hips_of(names)
    confidence[:3, hips] = 1
    confidence[3, hips[0]] = 0
    found = squared_joints_3d(predicted, joints, confidence, names)
    assert found.item() == pytest.approx(slow_joints_3d(predicted, joints, confidence, hips), rel=1e-12)
    shifted = squared_joints_3d(predicted + 3.0, joints - 5.0, confidence, names)
    torch.testing.assert_close(shifted, found)


def test_the_hips_are_found_by_name():
    assert [LSP14[i] for i in hips_of(LSP14)] == ["left_hip_lsp", "right_hip_lsp"]
    assert [COMMON14[i] for i in hips_of(COMMON14)] == ["left_hip", "right_hip"]
    with pytest.raises(ValueError, match="lsp14"):
        hips_of(("nose", "left_hip"))


def test_parameters_are_226_numbers():
    one, other, known = params(4), params(4), torch.tensor([1, 0, 1, 0])
    total = 0.0
    for b in (0, 2):
        vectors = [
            torch.cat([p.global_orient[b].flatten(), p.body_pose[b].flatten(), p.betas[b]]) for p in (one, other)
        ]
        assert len(vectors[0]) == 226
        total += (vectors[0] - vectors[1]).square().sum().item()
    assert squared_smpl(one, other, known).item() == pytest.approx(0.5 * total / (2 * 226), rel=1e-12)
    betas = (one.betas - other.betas)[[0, 2]].square().mean()
    torch.testing.assert_close(squared_betas(one, other, known), betas)
    rotations = (one.rotations - other.rotations)[[0, 2]].square().mean()
    torch.testing.assert_close(squared_rotations(one, other, known), rotations)


def test_adversarial_losses_are_least_squares_summed_over_25():
    real, fake = torch.randn(6, 25), torch.randn(4, 25)
    expected = sum(sum((v - 1) ** 2 for v in row) for row in real.tolist()) / 6
    assert adversarial_encoder(real).item() == pytest.approx(expected, rel=1e-5)
    expected += sum(sum(v**2 for v in row) for row in fake.tolist()) / 4
    assert adversarial_discriminator(real, fake).item() == pytest.approx(expected, rel=1e-5)


def test_floors():
    """0 where everything is right; discriminators that say 1/2 of everyone are where the game ends."""
    X, people = torch.randn(2, 14, 3), params(2)
    assert l1_reprojection(X[..., :2], X[..., :2], torch.ones(2, 14)) == 0
    assert squared_joints_3d(X, X + 1, torch.ones(2, 14)).item() == pytest.approx(0, abs=1e-12)
    assert squared_smpl(people, people, torch.ones(2)) == 0
    assert adversarial_encoder(torch.ones(2, 25)) == 0
    assert adversarial_discriminator(torch.ones(2, 25), torch.zeros(2, 25)) == 0
    half = torch.full((2, 25), 0.5)
    assert adversarial_discriminator(half, half).item() == pytest.approx(12.5)


def test_a_scale_below_zero_meets_a_wall():
    weak = torch.tensor([[0.9, 5.0, 5.0], [-0.1, 0.0, 0.0]])
    expected = (math.exp(-9) ** 2 + math.exp(1) ** 2) / 2
    assert positive_scale(weak).item() == pytest.approx(expected, rel=1e-5)


def test_unknown_targets_may_hold_anything_and_give_no_gradient():
    projected = torch.randn(2, 5, 2, requires_grad=True)
    keypoints, confidence = torch.randn(2, 5, 2), torch.ones(2, 5)
    keypoints[0, 3], confidence[0, 3] = NAN, 0
    l1_reprojection(projected, keypoints, confidence).backward()
    assert torch.isfinite(projected.grad).all() and not projected.grad[0, 3].any() and projected.grad[1].all()

    predicted = torch.randn(2, 14, 3, requires_grad=True)
    joints, confidence = torch.full((2, 14, 3), NAN), torch.zeros(2, 14)
    joints[0], confidence[0] = 1.0, 1.0
    squared_joints_3d(predicted, joints, confidence).backward()
    assert torch.isfinite(predicted.grad).all() and not predicted.grad[1].any() and predicted.grad[0].any()

    people = params(2).map(lambda t: t.requires_grad_())
    squared_smpl(people, params(2).map(lambda t: torch.full_like(t, NAN)), torch.zeros(2)).backward()
    assert torch.isfinite(people.betas.grad).all() and not people.body_pose.grad.any()


def test_the_mean_of_nothing_is_nothing():
    assert l1_reprojection(torch.ones(2, 5, 2), torch.zeros(2, 5, 2), torch.zeros(2, 5)) == 0
    assert squared_joints_3d(torch.ones(2, 14, 3), torch.zeros(2, 14, 3), torch.zeros(2, 14)) == 0
    assert squared_smpl(params(2), params(2), torch.zeros(2)) == 0


def test_paired_and_unpaired_by_one_switch():
    found, known = regressions(2), targets(2)
    points, joints = torch.randn(2, 17, 3).double(), torch.randn(2, 14, 3).double()
    paired = encoder_losses(found, points, joints, known, discriminator=FactorizedDiscriminator().double())
    assert list(paired) == ["reprojection", "joints_3d", "smpl", "adversarial"]
    unpaired = encoder_losses(found, points, joints, known, weights=LossWeights(paired=False, positive_scale=60.0))
    assert list(unpaired) == ["reprojection", "positive_scale"]
    assert unpaired["reprojection"] == paired["reprojection"]
    squared = squared_joints_3d(joints, known.joints, known.joint_confidence, "lsp14")
    torch.testing.assert_close(paired["joints_3d"], 60 * squared)


def test_data_terms_look_at_the_last_iteration_adversarial_ones_at_all():
    found, known = regressions(2), targets(2)
    points, joints = torch.randn(2, 17, 3).double(), torch.randn(2, 14, 3).double()
    data = encoder_losses(found, points, joints, known)
    sum(data.values()).backward()
    assert [r.weak_camera.grad is not None for r in found] == [False, False, True]
    assert [r.params.betas.grad is not None for r in found] == [False, False, True]
    found = regressions(2)
    discriminator = FactorizedDiscriminator().double()
    encoder_losses(found, points, joints, known, discriminator=discriminator)["adversarial"].backward()
    assert all(r.params.body_pose.grad.any() and r.params.betas.grad.any() for r in found)
    assert all(r.params.global_orient.grad is None or not r.params.global_orient.grad.any() for r in found)


def test_the_reprojection_is_in_the_crop_as_released():
    """s (X_xy + t), the translation before the scale."""
    found, known = regressions(1)[-1], targets(1)
    points = torch.randn(1, 17, 3).double()
    s, tx, ty = found.weak_camera[0].tolist()
    x = torch.stack([s * (points[..., 0] + tx), s * (points[..., 1] + ty)], -1)
    losses = encoder_losses([found], points, torch.zeros(1, 14, 3).double(), known, weights=LossWeights(paired=False))
    expected = 60 * (known.confidence[..., None] * (x - known.keypoints).abs()).mean()
    torch.testing.assert_close(losses["reprojection"].detach(), expected)


def test_with_a_view_the_keypoints_are_seen_in_perspective():
    found, known, view = regressions(2), targets(2), torch.tensor([[0.1, 0.2, 0.3]] * 2).double()
    points, joints = 0.3 * torch.randn(2, 17, 3).double(), torch.zeros(2, 14, 3).double()
    losses = encoder_losses(found, points, joints, known, view=view)
    seen = project_in_crop(points, found[-1].weak_camera, view)
    expected = 60 * l1_reprojection(seen, known.keypoints, known.confidence)
    torch.testing.assert_close(losses["reprojection"], expected)


def test_the_discriminators_learn_from_both_and_the_encoder_from_neither():
    found, discriminator = regressions(2), FactorizedDiscriminator().double()
    real = params(6)
    loss = discriminator_loss(discriminator, real, found)
    fake = every_iteration(found)
    assert len(fake) == 6 and torch.equal(fake.betas[2:4], found[1].params.betas)
    expected = adversarial_discriminator(
        discriminator(real.body_pose, real.betas), discriminator(fake.body_pose, fake.betas)
    )
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert all(r.params.body_pose.grad is None for r in found)
    assert all(p.grad.any() for p in discriminator.parameters())
    with pytest.raises(ValueError, match=r"6 \(3 iterations of 2 people\), but 2 came"):
        discriminator_loss(discriminator, real[:2], found)


def test_gradients_equal_finite_differences():
    known, betas = targets(2), torch.randn(2, 10).double()
    body_pose = params(2).body_pose

    def total(points, joints, weak):
        people = BodyParams(body_pose[:, 0], body_pose, betas, torch.zeros(2, 3).double())
        weights = LossWeights(positive_scale=1.0)
        return sum(encoder_losses([Regression(people, weak)], points, joints, known, weights=weights).values())

    inputs = (torch.randn(2, 17, 3), torch.randn(2, 14, 3), torch.rand(2, 3) + 0.3)
    assert torch.autograd.gradcheck(total, tuple(x.double().requires_grad_() for x in inputs))


# ---- the keypoint HMR's


UNIT = KeypointLossWeights(1.0, 1.0, 1.0, 1.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def body():
    return free_body().points(LANDMARKS)


@pytest.fixture(scope="module")
def batch() -> Batch:
    """In float64, so that small differences can be distinguished from rounding; the truth's joints and box are made
    anew."""
    return stream().batch(12).to(torch.float64)


def truth(batch: Batch) -> Regression:
    zero = torch.zeros_like(batch.params.transl)
    return Regression(replace(batch.params, transl=zero), batch.weak_camera.clone())


def test_the_truth_costs_nothing(body, batch):
    losses = keypoint_losses(truth(batch), batch, body, UNIT)
    assert losses["joints"] == pytest.approx(1e-4, rel=0.01) and losses["canonical"] == pytest.approx(1e-4, rel=0.01)
    assert losses["rotations"] == 0 and losses["betas"] == 0  # the root of 1e-8 keeps distances differentiable at 0
    assert losses["reprojection"] < 1e-4 and losses["scale"] < 1e-6  # the batch was made in float32


def test_a_turned_body_is_off_in_the_camera_and_right_in_its_own_frame(body, batch):
    """Half a turn about the camera's axis: every point is off by twice its distance from that axis."""
    turn = rotvec_to_matrix(torch.tensor([0.0, 0.0, torch.pi]).double())
    right = truth(batch)
    wrong = Regression(replace(right.params, global_orient=turn @ right.params.global_orient), right.weak_camera)
    losses = keypoint_losses(wrong, batch, body, UNIT)
    points = batch_truth(batch, body)
    expected = 2 * (points - points[:, :1])[..., :2].norm(dim=-1).mean()
    assert losses["joints"] == pytest.approx(expected.item(), rel=1e-3)
    assert losses["canonical"] == pytest.approx(1e-4, rel=0.01)


def test_betas_scale_and_rotations_cost_what_they_differ(body, batch):
    right = truth(batch)
    betas = replace(right.params, betas=right.params.betas + 0.5)
    assert keypoint_losses(Regression(betas, right.weak_camera), batch, body, UNIT)["betas"] == pytest.approx(0.25)
    half = right.weak_camera * torch.tensor([0.5, 1.0, 1.0]).double()
    off = keypoint_losses(Regression(right.params, half), batch, body, UNIT)
    assert off["scale"] == pytest.approx(torch.tensor(2.0).log().item(), rel=1e-4) and off["joints"] < 2e-4
    eye = torch.eye(3).double().expand_as(right.params.body_pose)
    straight = Regression(replace(right.params, body_pose=eye), right.weak_camera)
    expected = (eye - right.params.body_pose).square().sum() / (12 * 24 * 9)
    assert keypoint_losses(straight, batch, body, UNIT)["rotations"] == pytest.approx(expected.item())


def test_the_projection_is_that_of_the_true_camera(body, batch):
    points = batch_truth(batch, body)[:, :24]
    pixels = batch.camera.project(points)
    box = 2 * (pixels - batch.box_center[:, None]) / batch.box_side[:, None, None]
    torch.testing.assert_close(in_box(points, batch), box)


def test_weights_are_factors_and_every_beta_has_a_gradient(body, batch):
    weights = KeypointLossWeights()
    right = truth(batch)
    betas = (right.params.betas + 0.1).requires_grad_()
    estimate = Regression(replace(right.params, betas=betas), right.weak_camera)
    one, weighted = (keypoint_losses(estimate, batch, body, w) for w in (UNIT, weights))
    for name, value in one.items():
        assert weighted[name].item() == pytest.approx(getattr(weights, name) * value.item())
    torch.stack(list(weighted.values())).sum().backward()
    assert betas.grad.isfinite().all() and (betas.grad != 0).all()


def test_the_gradient_is_the_derivative(body, batch):
    right = truth(batch)

    def loss(betas: torch.Tensor, weak: torch.Tensor) -> torch.Tensor:
        estimate = Regression(replace(right.params[:2], betas=betas), weak)
        return torch.stack(list(keypoint_losses(estimate, batch[:2], body, UNIT).values())).sum()

    start = right.params.betas[:2] + 0.3, right.weak_camera[:2] * 1.1 + 0.05
    assert torch.autograd.gradcheck(loss, [x.clone().requires_grad_() for x in start], eps=1e-6, atol=1e-5)
