"""SPIN's rules, beside an obvious slow twin that has one person, one number at a time."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.loop import NAMES, known, objective
from helpers.stored_fits import fits_of
from helpers.training import points
from torch.testing import assert_close

from hmrfit.build import build_fitter
from hmrfit.config import load_config
from hmrfit.train import spin_loop
from hmrfit.train.fit_store import FitStore
from hmrfit.train.images import SPIN49
from hmrfit.train.spin_loop import SeenCrop, SpinLoop, SpinSupervision, spin_losses
from hmrfit.train.turns import Turns
from hmrfit.types import BodyParams, Regression

B, K = 5, 49


def batch() -> SeenCrop:
    generator = torch.Generator().manual_seed(1)
    keypoints = torch.randn(B, K, 2, generator=generator) * 0.4
    confidence = torch.rand(B, K, generator=generator) * (torch.rand(B, K, generator=generator) < 0.7)
    truth = fits_of(B, seed=8).params.to(torch.float32)
    has = torch.tensor([False, True, False, False, False])
    turns = Turns(torch.tensor([0.0, 0.2, -0.3, 0.1, 0.0]).double(), torch.tensor([True, False, True, False, False]))
    return SeenCrop(torch.arange(B), keypoints, confidence, SPIN49, turns, truth, has)


def test_the_camera_of_a_stored_fit_is_least_squares_person_by_person():
    seen, X = batch(), 0.4 * torch.randn(B, K, 3, generator=torch.Generator().manual_seed(2)).double()
    found = spin_loop.spin_translation(X[:, 25:], seen.pixels[:, 25:], seen.confidence[:, 25:].double())
    for b in range(B):
        rows, right = [], []
        for k in range(25, K):
            for axis in range(2):
                x = seen.pixels[b, k, axis].item() - 112
                root = math.sqrt(seen.confidence[b, k].item())
                rows.append([root * (5000 * (axis == 0)), root * (5000 * (axis == 1)), -root * x])
                right.append(root * (x * X[b, k, 2].item() - 5000 * X[b, k, axis].item()))
        expected = np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0]
        np.testing.assert_allclose(found[b].numpy(), expected, rtol=1e-6)


def test_the_data_loss_is_gemans_and_mcclures_over_all_49_without_hips_and_neck():
    seen, X = batch(), 0.4 * torch.randn(B, K, 3, generator=torch.Generator().manual_seed(2)).double()
    t = torch.tensor([0.1, -0.2, 45.0]).double().expand(B, 3)
    before = seen.confidence.clone()
    found = spin_loop.data_loss(X, t, seen.pixels, seen.confidence.double(), SPIN49)
    ignored = {1, 9, 12, 25 + 2, 25 + 3}  # OpenPose's neck and hips, the labelled hips
    for b in range(B):
        total = 0.0
        for k in range(K):
            x, y, z = (X[b, k] + t[b]).tolist()
            for value, pixel in (
                (5000 * x / z + 112, seen.pixels[b, k, 0]),
                (5000 * y / z + 112, seen.pixels[b, k, 1]),
            ):
                e = (value - pixel.item()) ** 2
                total += 0.0 if k in ignored else seen.confidence[b, k].item() ** 2 * 1e4 * e / (1e4 + e)
        assert found[b].item() == pytest.approx(total / K, rel=1e-5)
    assert torch.equal(seen.confidence, before)  # SPIN's own code zeroes five of them for whoever comes after


def test_every_loss_is_spins_mean():
    seen = batch()
    params, should = (fits_of(B, seed).params.to(torch.float32) for seed in (3, 4))
    weak = torch.tensor([0.9, 0.1, -0.2]) + 0.05 * torch.randn(B, 3, generator=torch.Generator().manual_seed(5))
    X = 0.4 * torch.randn(B, K, 3, generator=torch.Generator().manual_seed(6))
    valid = torch.tensor([True, True, False, True, False])
    sources = torch.tensor([0.0] * 25 + [1.0] * 24)
    found = spin_losses(Regression(params, weak), X, SpinSupervision(should, valid, torch.zeros(B)), seen, sources)
    total, pose, betas, count = 0.0, 0.0, 0.0, 0
    for b in range(B):
        s, tx, ty = weak[b].tolist()
        tz = 2 * 5000 / (224 * s + 1e-9)
        for k in range(25, K):
            x, y, z = X[b, k].tolist()
            for value, target in zip(((x + tx), (y + ty)), seen.keypoints[b, k].tolist(), strict=True):
                total += seen.confidence[b, k].item() * (5000 * value / (z + tz) / 112 - target) ** 2
        if valid[b]:
            count += 1
            pose += (params.rotations[b] - should.rotations[b]).square().mean().item()
            betas += (params.betas[b] - should.betas[b]).square().mean().item()
    expected = {
        "reprojection": 60 * 5 * total / (B * K * 2),
        "rotations": 60 * pose / count,
        "betas": 60 * 0.001 * betas / count,
        "positive_scale": 60 * sum(math.exp(-20 * s) for s in weak[:, 0].tolist()) / B,
    }
    assert {name: value.item() for name, value in found.items()} == pytest.approx(expected, rel=2e-5)


def test_3d_labels_count_where_they_are_about_the_middle_of_the_hips():
    generator = torch.Generator().manual_seed(7)
    X, Y = (torch.randn(3, 24, 3, generator=generator) for _ in range(2))
    confidence = torch.tensor([[1.0] * 24, [0.0] * 24, [1.0] * 12 + [0.0] * 12])
    rows = []
    for b in (0, 2):
        a, c = (x[b] - (x[b, 2] + x[b, 3]) / 2 for x in (X, Y))
        rows.append((confidence[b, :, None] * (a - c) ** 2).mean().item())
    assert spin_loop.spin_joints_3d(X, Y, confidence).item() == pytest.approx(60 * 5 * sum(rows) / 2, rel=1e-5)


def test_nobody_valid_is_no_loss_of_parameters_and_a_gradient_of_0():
    seen, params = batch(), fits_of(B).params.to(torch.float32)
    betas = torch.zeros(B, 10, requires_grad=True)
    should = SpinSupervision(params, torch.zeros(B, dtype=torch.bool), torch.zeros(B))
    weak = torch.tensor([0.9, 0.0, 0.0]).expand(B, 3)
    losses = spin_losses(Regression(replace(params, betas=betas), weak), torch.zeros(B, K, 3), should, seen)
    assert losses["rotations"] == 0 and losses["betas"] == 0
    losses["betas"].backward()
    assert not betas.grad.any()


def test_extreme_shapes_are_the_mean_the_truth_wins_and_the_threshold_is_strict():
    params, truth = fits_of(5).params, fits_of(5, seed=2).params
    betas = torch.zeros(5, 10).double()
    betas[0, 3], betas[1, 3], betas[2, :2] = 3.01, 3.01, torch.tensor([2.99, 1.0])
    has = torch.tensor([False, True, False, False, False])
    loss = torch.tensor([1.0, 500.0, 99.99, 100.0, 1e300]).double()
    found = spin_loop.supervision(replace(params, betas=betas), loss, truth, has)
    assert found.valid.tolist() == [True, True, True, False, False]
    assert not found.params.betas[0].any()
    assert torch.equal(found.params.betas[1:3], torch.stack([truth.betas[1], betas[2]]))
    assert torch.equal(found.params.rotations[1], truth.rotations[1])
    assert torch.equal(found.params.rotations[0], params.rotations[0])


def test_a_fit_replaces_the_stored_one_where_its_loss_in_this_crop_is_less(tmp_path):
    off = [f"PRIORS.{name}=" for name in ("ERROR_MODEL", "MIXTURE")]
    people = known()
    made = objective(people, None).people.batch(4)
    truth = people.truth[made.seen.row].to(torch.float32)
    seen = SeenCrop(
        made.seen.row, made.target, made.confidence, NAMES, made.seen.turns, truth, torch.zeros(4, dtype=torch.bool)
    )
    with FitStore(tmp_path / "fits.sqlite", spin_loop.ENERGY) as store:
        loop = SpinLoop(build_fitter(load_config("fit_spin", off)), store, people.keys)
        params = fits_of(4).params.to(torch.float32)
        answer = Regression(params, torch.tensor([0.9, 0.0, 0.0]).expand(4, 3))
        first = loop.visit(seen, answer)
        keys = list(dict.fromkeys(people.keys[i] for i in seen.row.tolist()))
        energy = store.get(keys)[0].energy
        assert (first.loss < 1e5).all() and len(store) == len(keys)
        again = loop.visit(seen, Regression(BodyParams(*(vars(truth)[n] for n in vars(truth))), answer.weak_camera))
        assert (
            again.loss <= first.loss + 1e-9
        ).all()  # the same crop: what was stored has the loss it had, or a lower one
        assert (store.get(keys)[0].energy <= energy + 1e-9).all()
        assert_close(again.valid, again.loss < 100)
    assert points(NAMES).names == NAMES
