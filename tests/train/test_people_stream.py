"""What the keypoint HMR is trained on: poses made of motion, people as they were posed, batches as the network sees."""

from dataclasses import replace

import pytest
import torch
from helpers.bodies import free_body
from helpers.training import UNDRIVEN, frames, gmm, pool, stream

from hmrfit.camera import weak_to_translation
from hmrfit.keypoints import COCO17, keypoint_sets
from hmrfit.motion import mirror_poses
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.synthetic.people import Corruption
from hmrfit.train.losses import in_box
from hmrfit.train.people_stream import (
    CHANGE,
    LEFT_ARM,
    LEFT_LEG,
    NEARER,
    RIGHT_ARM,
    RIGHT_LEG,
    WIDE,
    Mixture,
    fill_undriven,
)

PLAIN = Mixture(other_legs=0, other_arm=0, jitter=0, from_prior=0, filled=0)
QUIET = Corruption(noise=0.0, missing=0.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def belongs(poses: torch.Tensor, joints: tuple[int, ...]) -> torch.Tensor:
    """(B, N) does the pose have those joints of that frame of the pool?"""
    known = torch.as_tensor(frames()["poses"])
    known = torch.cat([known, torch.as_tensor(mirror_poses(known.numpy()))]).float()
    return (poses[:, None, list(joints)] == known[None, :, list(joints)]).flatten(2).all(-1)


def test_plain_poses_are_frames_or_their_mirror_images():
    own = belongs(pool().sample(200, generator(), PLAIN), tuple(range(24)))
    assert own.any(1).all()
    assert own[:, :60].any() and own[:, 60:].any()


def test_frames_come_as_often_as_they_weigh():
    drawn = belongs(pool().sample(20000, generator(), PLAIN), tuple(range(24))).sum(0)
    weight = torch.as_tensor(frames()["weight"]).repeat(2)
    expected = 20000 * weight / weight.sum()
    assert ((drawn - expected).square() / expected).sum() < 170  # chi-square of 119: mean 119, five deviations above


@pytest.mark.parametrize(
    "change, joints", [("other_legs", (LEFT_LEG + RIGHT_LEG)), ("other_arm", LEFT_ARM), ("other_arm", RIGHT_ARM)]
)
def test_halves_are_exchanged_whole(change, joints):
    poses = pool().sample(300, generator(), Mixture(**{**vars(PLAIN), change: 1.0}))
    rest = tuple(j for j in range(24) if j not in (*(LEFT_LEG + RIGHT_LEG), *LEFT_ARM, *RIGHT_ARM))
    part, body = belongs(poses, joints), belongs(poses, rest)
    assert part.any(1).all() and body.any(1).all()
    assert not (part & body).any(1).all()


def test_what_is_not_driven_is_drawn_and_the_rest_stays():
    data = frames()
    poses, driven = (torch.as_tensor(data[key])[:, 1:] for key in ("poses", "driven"))
    filled = fill_undriven(gmm(), poses, driven, generator())
    assert torch.equal(filled[driven], poses[driven])
    assert (filled[~driven].abs().sum(-1) > 0).all()
    again = fill_undriven(gmm(), poses, driven, generator(1))
    assert not torch.equal(filled, again)


def test_filled_values_have_the_spread_of_the_mixture():
    """Given nothing but all others at a component's mean, the spread is the conditional one of that component."""
    prior = gmm()
    driven = torch.ones(4000, 23, dtype=torch.bool)
    driven[:, [j - 1 for j in UNDRIVEN]] = False
    theta = prior.means[0].view(1, 23, 3).expand(4000, -1, -1)
    filled = fill_undriven(prior, theta, driven, generator())[~driven].view(4000, -1)
    rest = (~driven[0]).repeat_interleave(3)
    spread = torch.linalg.inv(prior.precisions[0][rest][:, rest])
    torch.testing.assert_close(filled.T.cov().diagonal(), spread.diagonal(), rtol=0.12, atol=0)  # 5 errors of 4,000
    error = (filled.mean(0) - prior.means[0][rest]) / (spread.diagonal() / 4000).sqrt()
    assert error.abs().max() < 5


def test_a_sample_of_the_prior_keeps_the_limits():
    how = Mixture(**{**vars(PLAIN), "from_prior": 1.0})
    source = pool()
    theta = source.sample(500, generator(), how)[:, 1:].flatten(1)
    assert (theta >= source.limits.lower.float()).all() and (theta <= source.limits.upper.float()).all()


def test_a_batch_shows_its_own_truth():
    people = stream(early=replace(WIDE, corruption=QUIET))
    batch = people.batch(40)
    posed = people.body.pose(batch.params)
    torch.testing.assert_close(in_box(posed.points, batch), batch.clean, rtol=0, atol=1e-4)  # float32, near lenses
    seen = batch.points[..., 2] > 0
    torch.testing.assert_close(batch.points[..., :2][seen], batch.clean[seen], rtol=0, atol=1e-5)
    transl = weak_to_translation(batch.weak_camera, batch.box_center, batch.box_side, batch.camera)
    torch.testing.assert_close(transl, batch.params.transl, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(posed.joints, batch.joints, rtol=0, atol=1e-5)


def test_everybody_has_one_of_the_sets():
    people = stream(early=replace(WIDE, corruption=QUIET))
    seen = people.batch(300).points[..., 2] > 0
    sets = torch.tensor([[name in names for name in people.body.names] for names in keypoint_sets().values()])
    which = (seen[:, None] == sets).all(-1)
    assert which.any(1).all()
    coco = torch.tensor([name in COCO17 for name in people.body.names])
    assert (seen == coco).all(1).double().mean() > 0.15  # drawn more often than the others


def test_a_run_changes_its_people_once():
    a, b, c = (stream(1).batch(20, progress) for progress in (0.0, CHANGE - 0.01, CHANGE))
    d = stream(1, early=NEARER).batch(20)
    assert torch.equal(a.points, b.points) and torch.equal(c.points, d.points)
    assert not torch.equal(a.points, c.points)


def test_streams_depend_on_their_seed_alone():
    a, b, c = (stream(seed).batch(20) for seed in (3, 3, 4))
    assert torch.equal(a.points, b.points) and torch.equal(a.params.body_pose, b.params.body_pose)
    assert not torch.equal(a.points, c.points)


def test_nothing_in_a_batch_is_missing_or_endless():
    batch = stream().batch(200)
    for value in (batch.points, batch.view, batch.weak_camera, batch.clean, batch.joints):
        assert value.dtype == torch.float32 and value.isfinite().all()
    assert ((batch.points[..., 2] > 0).sum(1) >= 4).all()
    eye = torch.eye(3).expand(200, 3, 3)
    orient = batch.params.global_orient
    torch.testing.assert_close(orient @ orient.mT, eye, rtol=0, atol=1e-5)


def test_who_is_told_the_focal_length_sees_it_in_the_view():
    known, unknown = (stream(early=replace(WIDE, known_focal=share)).batch(100) for share in (1.0, 0.0))
    size = known.box_side / known.camera.focal[:, 0]
    torch.testing.assert_close(known.view[:, 2], size)
    diagonal = unknown.camera.size.norm(dim=1)
    torch.testing.assert_close(unknown.view[:, 2], unknown.box_side / diagonal)


def test_mirrored_pool_is_mirrored():
    poses = pool().poses
    n = len(poses) // 2
    body = free_body()
    a, b = (rotvec_to_matrix(p.double()) for p in (poses[:n], poses[n:]))
    assert a.shape == b.shape == (n, 24, 3, 3)
    assert [body.joint_names[j] for j in UNDRIVEN] == ["left_collar", "right_collar", "left_hand", "right_hand"]
