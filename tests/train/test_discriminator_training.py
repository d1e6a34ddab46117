"""Negatives of the discriminators: what each kind is, and that training tells them from real people."""

import numpy as np
import pytest
import torch
from helpers.bodies import free_body
from helpers.fits import gmm, limits

from hmrfit.keypoints import COCO17, SMPL24, flip_permutation
from hmrfit.pipeline import Pipeline
from hmrfit.train.discriminator_training import (
    STEPS,
    _exchanged,
    fooled,
    perturbed,
    real_people,
    separation,
    train_discriminators,
)
from hmrfit.train.discriminator_training import unfinished as unfinished_fits
from hmrfit.train.people_stream import PosePool
from hmrfit.types import BodyParams


def pool() -> PosePool:
    """Samples of the mixture as if they were motion."""
    theta = gmm().sample(300, torch.Generator().manual_seed(0)).unflatten(1, (-1, 3)).numpy()
    poses = np.concatenate([np.zeros((300, 1, 3)), theta], 1)
    frames = {"poses": poses, "driven": np.ones((300, 24), bool), "weight": np.ones(300)}
    return PosePool.build(frames, gmm(), limits())


@pytest.fixture(scope="module")
def people():
    return real_people(free_body().points(COCO17), pool(), 400, torch.Generator().manual_seed(1))


def test_perturbed_poses_are_rotations_other_than_the_real(people):
    bad = perturbed(people, free_body().skeleton, torch.Generator().manual_seed(2)).body_pose
    torch.testing.assert_close(bad @ bad.mT, torch.eye(3).double().expand_as(bad), atol=1e-9, rtol=0)
    assert (torch.linalg.det(bad) > 0).all()
    moved = (bad - people.params.body_pose).abs().amax((1, 2, 3)) > 1e-3
    assert moved.double().mean() > 0.95
    again = perturbed(people, free_body().skeleton, torch.Generator().manual_seed(2)).body_pose
    assert torch.equal(bad, again)


def test_exchanged_limbs_are_the_other_sides_and_nothing_else_moves(people):
    pose = people.params.body_pose
    other = _exchanged(pose, torch.Generator().manual_seed(0))
    mirrored = [j - 1 for j in flip_permutation(SMPL24)[1:]]
    same = (other == pose).all(-1).all(-1)
    crossed = (other == pose[:, mirrored]).all(-1).all(-1)
    assert (same | crossed).all()
    limbs = [j for j, name in enumerate(SMPL24[1:]) if "left" in name]
    assert (crossed & ~same)[:, limbs].any(1).all()


def test_unfinished_fits_are_four_states_of_each_person(people):
    states = unfinished_fits(Pipeline().fitter, people[:4], torch.Generator().manual_seed(0))
    assert len(states) == 4 * len(STEPS) and states.body_pose.isfinite().all()
    first, last = states.body_pose[:4], states.body_pose[-4:]
    assert (first - last).abs().amax((1, 2, 3)).min() > 1e-3


def test_fooling_fits_please_the_discriminators_more_at_the_end(people):
    net = train_discriminators(people.params, people.params, 5, hidden=16, batch=16)
    few = people[:8]
    states = fooled(Pipeline().fitter, few, torch.Generator().manual_seed(0), net)
    assert len(states) == 8 * len(STEPS)
    again = fooled(Pipeline().fitter, few, torch.Generator().manual_seed(0), net)
    assert torch.equal(states.body_pose, again.body_pose)
    energy = (net(states.body_pose.float(), states.betas.float()) - 1).square().sum(-1)
    assert energy[-8:].mean() < energy[:8].mean()


def test_training_tells_real_from_perturbed(people):
    half = len(people.camera) // 2
    fake = perturbed(people, free_body().skeleton, torch.Generator().manual_seed(3))
    found = train_discriminators(people.params[:half], fake[:half], 100, hidden=16, batch=64, rate=1e-2)
    assert separation(found, people.params[half:], fake[half:]) > 0.68


def test_training_is_the_same_every_time(people):
    fake = people.params.map(torch.clone)
    nets = [train_discriminators(people.params, fake, 5, hidden=16, batch=16) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True))


def test_separation_counts_pairs(people):
    """The slow obvious twin."""
    real = people.params[:30]
    fake = perturbed(people[:40], free_body().skeleton, torch.Generator().manual_seed(4))
    net = train_discriminators(real, fake, 5, hidden=16, batch=16)
    energy = lambda p: (net(p.body_pose.float(), p.betas.float()) - 1).square().sum(-1).detach()  # noqa: E731
    more = (energy(fake)[:, None] > energy(real)).double().mean().item()
    assert separation(net, real, fake) == pytest.approx(more)


def test_a_record_of_parameters_is_not_changed(people):
    before = BodyParams.cat([people.params])
    perturbed(people, free_body().skeleton, torch.Generator().manual_seed(5))
    assert torch.equal(before.body_pose, people.params.body_pose)
