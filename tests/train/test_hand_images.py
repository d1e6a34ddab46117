"""Hands of data sets and of scenes in one form: masks and their losses, left hands, augmentation, FreiHAND."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.hand_pictures import hand_scenes, right_hand, write_freihand

from hmrfit.datasets import read_hands
from hmrfit.hand_keypoints import HAND_SETS
from hmrfit.io.image import Crop, write_image
from hmrfit.network.hand_regressor import HandRegressor
from hmrfit.synthetic.hand_scenes import HAND21
from hmrfit.train.augmentation import Augmentation, Change
from hmrfit.train.hand_images import HandFiles, HandImages, SceneHands, cut_hand
from hmrfit.train.hand_losses import HandLosses, HandLossWeights
from hmrfit.train.hand_masks import distance_outside, fraction_outside, grabcut_mask
from hmrfit.train.hand_picture_files import hand_files

DISC = torch.zeros(1, 40, 40, dtype=torch.bool)
DISC[:, 10:30, 10:30] = True


def test_the_published_mask_loss_counts_vertices_and_has_no_gradient():
    xy = torch.tensor([[[20.0, 20.0], [5.0, 20.0], [-3.0, 20.0], [29.9, 10.1]]], requires_grad=True)
    loss = fraction_outside(xy, DISC)
    assert loss.item() == 0.5 and not loss.requires_grad


def test_the_distance_mask_loss_is_zero_inside_and_pulls_inside():
    xy = torch.tensor([[[20.0, 20.0], [5.2, 20.3], [-6.0, 18.0]]], dtype=torch.float64, requires_grad=True)
    loss = distance_outside(xy, DISC)
    expected = (0 + (10.5 - 5.2) + (10.5 + 6.0)) / 3 / 4  # to the middle of the mask's first pixel, over a tenth of 40
    assert loss.item() == pytest.approx(expected, abs=0.02)
    (gradient,) = torch.autograd.grad(loss.sum(), xy)
    assert gradient[0, 0].abs().max() == 0 and (gradient[0, 1:, 0] < 0).all()
    step = 1e-4
    for k in (1, 2):
        moved = xy.detach().clone()
        moved[0, k, 0] += step
        slope = (distance_outside(moved, DISC) - loss.detach()) / step
        assert slope.item() == pytest.approx(gradient[0, k, 0].item(), abs=1e-4)
    assert distance_outside(xy, torch.zeros_like(DISC)).item() == 0


def test_grabcut_finds_the_hand_along_its_bones():
    overlaps = []
    scenes = hand_scenes(6, 128)
    for i in range(6):
        hand = scenes[i]
        picture, truth = hand.images[0].permute(1, 2, 0).numpy(), hand.masks[0].numpy()
        found = grabcut_mask(picture, hand.keypoints[0].numpy(), hand.confidence[0].numpy())
        assert np.array_equal(found, grabcut_mask(picture, hand.keypoints[0].numpy(), hand.confidence[0].numpy()))
        overlaps.append((found & truth).sum() / (found | truth).sum())
    assert np.median(overlaps) > 0.75
    assert not grabcut_mask(picture, np.full((21, 2), np.nan)).any()


def test_a_changed_hand_is_still_true_about_itself():
    """A quarter turn: the mask goes with the keypoints, and the parameters with the points."""
    hand, body = hand_scenes(8, 64)[0], right_hand()
    change = Change(scale=1.2, angle=torch.pi / 2)
    picture = hand.images[0].permute(1, 2, 0).numpy()
    mask = 255 * hand.masks[0].numpy().astype(np.uint8)
    known = (hand.keypoints, hand.confidence)
    new = cut_hand(picture, *known, Crop((32, 32), 64, 64), change, hand.points, mask, params=hand.params)
    again = body.points(HAND21).pose(new.params.to(torch.float64)).points
    torch.testing.assert_close((again - again[:, :1]).float(), new.points, atol=1e-5, rtol=0)
    about = lambda xy: xy - xy[:, :1]  # noqa: E731
    turned = torch.stack([-about(hand.keypoints)[..., 1], about(hand.keypoints)[..., 0]], -1) / 1.2
    torch.testing.assert_close(about(new.keypoints), turned, atol=1e-3, rtol=0)
    before, after = (h.masks[0].double().mean().item() for h in (hand, new))
    assert after == pytest.approx(before / 1.44, rel=0.06)
    middle = lambda h: h.masks[0].nonzero().double().mean(0).flip(0) + 0.5  # noqa: E731
    from_wrist = middle(new) - new.keypoints[0, 0]
    was = middle(hand) - hand.keypoints[0, 0]
    torch.testing.assert_close(from_wrist, torch.stack([-was[1], was[0]]) / 1.2, atol=0.25, rtol=0)


def test_a_left_hand_is_the_right_hand_of_its_mirror_image(tmp_path):
    hand = hand_scenes(8, 64)[1]
    picture = hand.images[0].permute(1, 2, 0).numpy()
    write_image(tmp_path / "right.png", picture)
    write_image(tmp_path / "left.png", picture[:, ::-1])
    for side in ("right", "left"):
        white = np.repeat(255 * hand.masks[0].numpy().astype(np.uint8)[..., None], 3, 2)
        write_image(tmp_path / f"{side}_mask.png", white if side == "right" else white[:, ::-1])
    xy, xyz = hand.keypoints.double().numpy(), hand.points.double().numpy() + np.array([0, 0, 1])
    both = HandFiles(
        [tmp_path / "right.png", tmp_path / "left.png"],
        np.concatenate([xy, [64, 0] + xy * [-1, 1]]),
        np.ones((2, 21)),
        np.concatenate([xyz, xyz * [-1, 1, 1]]),
        np.array([False, True]),
        [tmp_path / "right_mask.png", tmp_path / "left_mask.png"],
    )
    hands = HandImages(both, resolution=48)
    a, b = hands[0], hands[1]
    assert torch.equal(a.images, b.images) and torch.equal(a.masks, b.masks) and a.masks.any()
    torch.testing.assert_close(a.keypoints, b.keypoints, atol=1e-6, rtol=0)
    torch.testing.assert_close(a.points, b.points, atol=1e-6, rtol=0)
    assert a.has_points.all() and not a.has_params.any()


def test_freihand_is_read_with_its_copies_and_masks(tmp_path):
    files = hand_files(read_hands("freihand", write_freihand(tmp_path), "training"))
    assert len(files) == 4 and np.array_equal(files.keypoints[0], files.keypoints[2])
    truth = hand_scenes(2, 96)[1]
    np.testing.assert_allclose(files.keypoints[1], truth.keypoints[0].numpy(), atol=1e-3)
    hands = HandImages(files, resolution=96)
    cut = hands[1]
    assert cut.has_mask.all() and 0.5 < cut.masks.double().mean() / truth.masks.double().mean() < 2
    kept = HandImages(files, Augmentation(rotation=40, rotated=1.0, flipped=0), 64, masks="grabcut")
    one, two = kept.take(1, 5), kept.take(1, 6)
    assert not torch.equal(one.images, two.images) and one.masks.any() and len(kept._grabcut) == 1
    assert torch.equal(one.images, kept.take(1, 5).images)
    assert not HandImages(files, masks="none")[0].has_mask.any()


def test_other_orders_and_sides_are_brought_to_hand21(tmp_path):
    """The same hand in RHD's order, as a left one whose wrist is not known."""
    data = read_hands("freihand", write_freihand(tmp_path, copies=1), "training")
    places = [HAND_SETS["hand21"].index(name) for name in HAND_SETS["rhd21"]]
    valid = np.ones((2, 21), bool)
    valid[:, 0] = False
    other = replace(data, order="rhd21", joints=data.joints[:, places], valid=valid, side=np.full(2, "left"))
    a, b = hand_files(data), hand_files(other)
    np.testing.assert_allclose(a.keypoints[:, 1:], b.keypoints[:, 1:])
    assert len(a) == len(b) == 2 and b.left.all() and not a.left.any()
    assert (b.confidence[:, 0] == 0).all() and np.isnan(b.points[:, 0]).all() and np.isfinite(b.points[:, 1:]).all()
    assert not HandImages(b, resolution=32)[0].has_points.any()
    with pytest.raises(ValueError, match="names no pictures"):
        hand_files(replace(data, image=None))


def test_what_is_not_known_does_not_count():
    """Half of a batch without 3D, mask and parameters: absurd numbers there change nothing."""
    body = right_hand().to(dtype=torch.float32)
    scenes = SceneHands(hand_scenes())
    batch = type(scenes[0]).cat([scenes[0], scenes[1]])
    flags = torch.tensor([True, False])
    batch = replace(batch, has_points=flags, has_mask=flags, has_params=flags)
    layout = HandRegressor(4, body.hands["right"], resolution=40).layout
    found = layout.regression(layout.mean().expand(2, -1))
    losses = HandLosses(body, HandLossWeights(mask_kind="distance", parameters=1.0))
    usual = losses(found, batch, layout)
    wrong = lambda t: torch.cat([t[:1], torch.full_like(t[1:], torch.nan)])  # noqa: E731
    masks = torch.cat([batch.masks[:1], ~batch.masks[1:]])
    changed = replace(batch, points=wrong(batch.points), masks=masks, params=batch.params.map(wrong))
    again = losses(found, changed, layout)
    assert set(usual) == {"keypoints_2d", "points_3d", "mask", "pose", "betas", "parameters"}
    assert all(torch.equal(usual[name], again[name]) and usual[name].isfinite() for name in usual)
