"""A detector's keypoints brought to the body's own points: exact of the true body, and the estimate sees them."""

import torch
from helpers.bodies import PRIORS, free_body
from torch.testing import assert_close

from hmrfit.body.point_offsets import PointOffsets
from hmrfit.camera import Camera
from hmrfit.keypoints import COCO17
from hmrfit.network.initial_estimate import KeypointHmr
from hmrfit.network.moved_keypoints import MovedKeypoints
from hmrfit.synthetic.people import Corruption, make_people
from hmrfit.types import BodyParams, Keypoints


def seen_with_offsets(count: int = 6):
    body, generator = free_body(), torch.Generator().manual_seed(0)
    poses = 0.2 * torch.randn(count, 24, 3, generator=generator).double()
    poses[:, 0] = 0
    people = make_people(body, poses, COCO17, generator, corruption=Corruption(noise=0.0, missing=0.1))
    offsets = PointOffsets(COCO17, 0.03 * torch.randn(17, 3, generator=generator).double())
    theirs = people.camera.project(body.points(COCO17).with_offsets(offsets.offsets).pose(people.params).points)
    seen = people.keypoints.confidence > 0
    keypoints = Keypoints(torch.where(seen[..., None], theirs, 0.0), people.keypoints.confidence, COCO17)
    return people, offsets, keypoints


def test_keypoints_come_to_where_the_body_has_them():
    people, offsets, keypoints = seen_with_offsets()
    ours = MovedKeypoints(free_body(), offsets).as_ours(keypoints, people.camera, people.params)
    seen = keypoints.confidence > 0
    assert_close(ours.xy[seen], people.clean.xy[seen], rtol=0, atol=1e-8)
    assert not ours.xy[~seen].any()


def test_the_estimate_is_nearly_that_of_the_bodys_own_points():
    """In the median: whoever has a limb the other way then is far off by that."""
    people, offsets, keypoints = seen_with_offsets(40)
    network = KeypointHmr.from_file(PRIORS / "keypoint_hmr.npz")
    camera = Camera.from_size(1024, 768, count=40)
    own = network.predict(people.keypoints, camera).params
    joints = free_body().points(COCO17)

    def away(found: BodyParams) -> float:
        mine, theirs = (joints.pose(params).joints for params in (found, own))
        return ((mine - mine[:, :1]) - (theirs - theirs[:, :1])).norm(dim=-1).mean(1).median().item()

    moved = network.seeing(MovedKeypoints(free_body(), offsets))
    assert away(moved.predict(keypoints, camera).params) < 0.5 * away(network.predict(keypoints, camera).params)
    assert network.moved is None  # it never changes


def test_no_offsets_change_nothing():
    people, _, _ = seen_with_offsets(2)
    network = KeypointHmr.from_file(PRIORS / "keypoint_hmr.npz")
    camera = Camera.from_size(1024, 768, count=2)
    nothing = PointOffsets(COCO17, torch.zeros(17, 3).double())
    found = network.seeing(MovedKeypoints(free_body(), nothing)).predict(people.keypoints, camera)
    assert_close(found.params.rotations, network.predict(people.keypoints, camera).params.rotations, rtol=0, atol=1e-6)
