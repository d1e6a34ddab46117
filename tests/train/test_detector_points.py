"""Offsets learned of keypoints alone: those that a detector has are found, and a detector without any has none."""

import torch
from helpers.bodies import PRIORS, free_body
from helpers.training import gmm
from torch.testing import assert_close

from hmrfit.keypoints import COCO17, flip_permutation
from hmrfit.network.checkpoints import load_error_model
from hmrfit.network.inference import packed
from hmrfit.network.initial_estimate import KeypointHmr
from hmrfit.synthetic.people import Corruption, People, make_people
from hmrfit.train.detector_points import DetectorPoints, SeenBy, mirror_tie
from hmrfit.train.fit_store import FitKey
from hmrfit.train.keypoint_people import KnownPeople
from hmrfit.train.people_stream import assumed_camera


def made(count: int, seed: int) -> People:
    """People in poses of the prior."""
    generator = torch.Generator().manual_seed(seed)
    poses = gmm().sample(count, generator).unflatten(1, (-1, 3))
    poses = torch.cat([torch.zeros(count, 1, 3).double(), poses], 1)
    return make_people(free_body(), poses, COCO17, generator, corruption=Corruption(noise=0.01, missing=0.1))


def seen_by_a_detector(people: People, d: torch.Tensor) -> KnownPeople:
    """The same people by points that lie off."""
    points = free_body().points(COCO17).with_offsets(d)
    noise = 0.01 * torch.ones_like(people.keypoints.confidence)
    keypoints = SeenBy(people.keypoints.confidence, noise).of(people, points, torch.Generator().manual_seed(3))
    camera = assumed_camera(people.camera, torch.zeros(len(people.joints), dtype=torch.bool))
    return KnownPeople.without_truth(keypoints, camera, [FitKey("made", str(i), "0") for i in range(len(keypoints))])


def test_what_lies_off_is_found_and_nothing_else():
    d = torch.zeros(17, 3).double()
    for side, sign in (("left", 1.0), ("right", -1.0)):
        d[COCO17.index(f"{side}_hip_coco")] = torch.tensor([0.04 * sign, 0.03, 0.0])
        d[COCO17.index(f"{side}_ear")] = torch.tensor([0.0, 0.05, 0.0])
    network = KeypointHmr.from_file(PRIORS / "keypoint_hmr.npz")
    learner = DetectorPoints(free_body(), network, packed(load_error_model(PRIORS / "error_model.npz")), made(90, 1))
    people = made(80, 2)
    found = learner.learn(seen_by_a_detector(people, d), rounds=1).offsets
    none = learner.learn(seen_by_a_detector(people, torch.zeros_like(d)), rounds=1).offsets
    assert none.norm(dim=1).mean() < 0.012
    off = [i for i, row in enumerate(d) if row.any()]
    away = (found - none - d).norm(dim=1)
    assert away.mean() < 0.011 and away[off].max() < 0.6 * d[off].norm(dim=1).min()
    left, right = (found[COCO17.index(f"{side}_hip_coco")] for side in ("left", "right"))
    assert_close(left * torch.tensor([-1.0, 1, 1]).double(), right, rtol=0, atol=1e-12)  # tied by the mirror
    few = seen_by_a_detector(people[:10], d)
    one, again = (learner.learn(few, seed=4, rounds=1) for _ in range(2))
    assert torch.equal(again.offsets, one.offsets) and one.notes["people"] == 10  # and seeded


def test_the_tie_keeps_what_is_its_own_mirror_image():
    tie = mirror_tie(COCO17)
    assert_close(tie @ tie, tie, rtol=0, atol=1e-12)
    d = (tie @ torch.randn(51).double()).view(17, 3)
    assert_close(d[list(flip_permutation(COCO17))] * torch.tensor([-1.0, 1, 1]).double(), d, rtol=0, atol=1e-12)
    assert d[COCO17.index("nose"), 0].abs() < 1e-12


def test_people_are_seen_as_the_detector_saw_others():
    people = made(40, 5)
    confidence = torch.ones(2, 17).double()
    confidence[0, :4] = 0.0
    found = SeenBy(confidence, torch.zeros(2, 17).double()).of(
        people, free_body().points(COCO17), torch.Generator().manual_seed(0)
    )
    hidden = found.confidence[:, 0] == 0
    assert 5 < int(hidden.sum()) < 35 and (found.confidence[hidden][:, :4] == 0).all()
    assert_close(found.xy[~hidden], people.clean.xy[~hidden])
