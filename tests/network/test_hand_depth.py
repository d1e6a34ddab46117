"""2.5D: the truth comes back in space, the limits are obeyed by it, and the refinement learns what noise does."""

import torch
from helpers.hand_pictures import hand_limits, right_hand, some_poses

from hmrfit.camera import Camera, pixels_to_crop
from hmrfit.hand_keypoints import hand_set
from hmrfit.network.encoders import KeypointEncoder, normalise_keypoints, view_of_box
from hmrfit.network.hand_depth import BONE, DepthNetwork, Depths, RootDepthRefinement, closed_form, in_space
from hmrfit.ops.root_depth import normalised
from hmrfit.train.hand_depth_training import DepthLossWeights, DepthTargets, boxes_of, depth_losses, refinement_loss
from hmrfit.types import BodyParams, Keypoints

HAND21 = hand_set("hand21", "right").names
CAMERA = Camera.from_size(640, 480, 600.0)


def hands(count: int = 6) -> torch.Tensor:
    """(count, 21, 3) metres, half a metre away."""
    generator = torch.Generator().manual_seed(0)
    turn = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    zero = torch.zeros(count, 10, dtype=torch.float64)
    place = torch.tensor([[0.05, -0.03, 0.5]], dtype=torch.float64).expand(count, 3)
    params = BodyParams.from_rotvecs(turn, some_poses()[:count], zero, place)
    return right_hand().points(HAND21).pose(params).points


def given(points: torch.Tensor):
    """(exact 2.5D, its box, the unit)."""
    keypoints = Keypoints(CAMERA.project(points), torch.ones(points.shape[:2]).double(), HAND21)
    made, center, side = normalise_keypoints(keypoints)
    unit = (points[:, BONE[0]] - points[:, BONE[1]]).norm(dim=1)
    z = (points[..., 2] - points[:, :1, 2]) / unit[:, None]
    return Depths(pixels_to_crop(keypoints.xy, center, side), z), (center, side, CAMERA), unit, made


def test_the_truth_comes_back_and_has_no_loss():
    points = hands()
    found, box, unit, _ = given(points)
    P, Z = in_space(found, *box)
    torch.testing.assert_close(P * unit[:, None, None], points, atol=1e-6, rtol=0)
    targets = DepthTargets(found.xy, found.z, Z, torch.ones(len(points)).bool())
    limits = hand_limits().scaled(1 / float(unit.mean()))
    losses = depth_losses(found, P, Z, targets, limits, DepthLossWeights())
    assert losses.pop("palm") < 0.01  # the free hand's own is at the edge of its interval
    assert sum(losses.values()) < 1e-4 and set(losses) == {"keypoints_2d", "z", "depth", "bone_length", "angles"}
    bent = depth_losses(Depths(found.xy, -found.z), P, Z + 1, targets, limits, DepthLossWeights())
    assert bent["z"] > 0.5 and bent["depth"].item() == 1
    nobody = DepthTargets(found.xy, found.z * torch.nan, Z, torch.zeros(len(points)).bool())
    assert depth_losses(found, P, Z, nobody, limits, DepthLossWeights.without_biomechanics())["z"].item() == 0


def test_boxes_hold_the_hulls():
    hulls, boxes = hand_limits(), boxes_of(hand_limits())
    corners = hulls.corners.transpose(0, 1)  # of every hull one
    assert boxes.hulls.signed_distance(corners).amax() < 1e-9
    angles = torch.rand(200, 15, 2, dtype=torch.float64) * 4 - 2
    assert (boxes.hulls.distance(angles) <= hulls.hulls.distance(angles) + 1e-9).all()


def test_the_network_of_keypoints_learns_depths():
    points = hands(6)
    found, box, _, made = given(points)
    torch.manual_seed(0)
    network = DepthNetwork(KeypointEncoder(32, 1, names=HAND21))
    view = view_of_box(box[0], box[1], CAMERA)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    errors = []
    for _ in range(60):
        answer = network(made.float(), HAND21, view.float())
        loss = (answer.z - found.z.float()).abs().mean() + (answer.xy - found.xy.float()).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(loss.item())
    assert errors[-1] < 0.3 * errors[0] and (answer.z[:, 0] == 0).all()


def test_the_refinement_learns_and_follows_no_gradient_into_the_closed_form():
    points = hands(20)
    found, _, unit, _ = given(points)
    xy = normalised(CAMERA.project(points), CAMERA.focal, CAMERA.center).float()
    truth, generator = (points[:, 0, 2] / unit).float(), torch.Generator().manual_seed(0)
    noisy = lambda: found.z.float() + 0.3 * torch.randn(20, 21, generator=generator)  # noqa: E731
    torch.manual_seed(0)
    refine = RootDepthRefinement(32)
    z = noisy().requires_grad_()
    start = closed_form(xy, z)
    refine(xy.detach(), z.detach(), start).sum().backward()
    assert z.grad is None or z.grad.abs().max() == 0
    optimizer = torch.optim.Adam(refine.parameters(), 3e-3)
    for _ in range(250):
        loss = refinement_loss(refine, xy, noisy(), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    z = noisy()  # running statistics come late in so short a run
    before = (closed_form(xy, z) - truth).abs().mean()
    assert refinement_loss(refine, xy, z, truth) < 0.7 * before
