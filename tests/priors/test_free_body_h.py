"""The free body with hands: SMPL-H's format, its hands are the free hand's, the seam at the wrist is whole."""

from functools import cache

import numpy as np
import pytest
import torch

from hmrfit.assets import locate
from hmrfit.body.mirrored import mirrored_hand, mirrored_turns
from hmrfit.body.skeleton import SMPL, SMPLH
from hmrfit.body.smpl import SmplBody
from hmrfit.keypoints import find_set
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams


@cache
def body() -> SmplBody:
    return SmplBody.from_file(locate("free_body_h"))


@cache
def arrays() -> dict[str, np.ndarray]:
    with np.load(locate("free_body_h")) as data:
        return {name: data[name] for name in ("f", "mirror", "hand_betas", "weights")}


def posed(betas: torch.Tensor, fingers: torch.Tensor, wrist: torch.Tensor) -> BodyParams:
    """Both hands bent alike, the right one's rotation vectors (15, 3) and (3,) given."""
    neutral = body().neutral()
    pose = neutral.body_pose.clone()
    for side in ("left", "right"):
        turn = (lambda v: mirrored_turns(v.flatten()).view_as(v)) if side == "left" else (lambda v: v)
        pose[0, [j - 1 for j in SMPLH.fingers[side]]] = rotvec_to_matrix(turn(fingers))
        pose[0, SMPLH.index(f"{side}_wrist") - 1] = rotvec_to_matrix(turn(wrist))
    return BodyParams(neutral.global_orient, pose, betas[None], neutral.transl)


def random_hand() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(3)
    return torch.randn(20, generator=draw).double(), 0.4 * torch.randn(15, 3, generator=draw).double()


def test_it_is_smpl_h_s_format_and_small() -> None:
    assert body().skeleton == SMPLH and locate("free_body_h").stat().st_size < 3e6
    assert (body().shape_count, body().hand_shapes) == (20, 10) and set(body().hands) == {"left", "right"}


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_hand_alone_and_the_body_s_hand_agree(side: str) -> None:
    right = SmplBody.from_file(locate("free_hand"))
    hand = right if side == "right" else mirrored_hand(right)
    betas, fingers = random_hand()
    of_body = body()(posed(betas, fingers, torch.tensor([0.2, -0.3, 0.5]).double()))
    M = torch.as_tensor(arrays()["hand_betas"]).double()
    pose = hand.neutral()
    own = fingers if side == "right" else mirrored_turns(fingers.flatten()).view(15, 3)
    bent = BodyParams(pose.global_orient, rotvec_to_matrix(own)[None], (M @ betas)[None], pose.transl)
    alone = hand(bent)
    # the wrist's turn is the hand's; its place too
    wrist = SMPLH.index(f"{side}_wrist")
    turn = posed(betas, fingers, torch.tensor([0.2, -0.3, 0.5]).double()).rotations[0, wrist]
    at, start = of_body.joints[0, wrist], alone.joints[0, 0]
    joints = (alone.joints[0] - start) @ turn.T + at
    both = [wrist, *SMPLH.fingers[side]]
    assert (joints - of_body.joints[0, both]).norm(dim=-1).max() < 5e-4
    rigid = torch.as_tensor(arrays()["weights"])[:, both].sum(1) > 0.9999
    vertices = (alone.vertices[0] - start) @ turn.T + at
    apart = torch.cdist(of_body.vertices[0, rigid], vertices).amin(1)
    assert rigid.sum() > 900 and apart.max() < 1e-3


def test_left_is_the_mirror_image_of_right() -> None:
    betas, fingers = random_hand()
    vertices = body()(posed(betas, fingers, torch.tensor([0.5, 0.2, 1.0]).double())).vertices[0].numpy()
    flipped = vertices[arrays()["mirror"]] * [-1, 1, 1]
    assert np.abs(flipped - vertices).max() < 1e-6


def test_the_mesh_is_closed_and_looks_outwards() -> None:
    edges = np.concatenate([arrays()["f"][:, pair] for pair in ([0, 1], [1, 2], [2, 0])]).astype(np.int64)
    known = set(map(tuple, edges.tolist()))
    assert len(known) == len(edges) and all((b, a) in known for a, b in known)
    v = body().v_template.numpy()
    a, b, c = (v[arrays()["f"][:, k]] for k in range(3))
    assert (np.cross(a, b) * c).sum() > 0


@pytest.mark.parametrize("bend", [-60, 60])
def test_a_bent_wrist_has_no_crease(bend: int) -> None:
    """No triangle near the wrist turns its back to the neighbours it had beside it at rest."""
    faces = torch.as_tensor(arrays()["f"].astype(np.int64))
    wrist = SMPLH.index("right_wrist")
    near = (body().v_template[faces].mean(1) - body().rest_joints[wrist]).norm(dim=-1) < 0.07
    zero = torch.zeros(15, 3).double()
    params = posed(torch.zeros(20).double(), zero, torch.tensor([0.0, 0.0, np.deg2rad(bend)]))
    corners = body()(params).vertices[0][faces[near]]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = normals / normals.norm(dim=-1, keepdim=True)
    shared = (faces[near][:, None, :, None] == faces[near][None, :, None]).any(-1).sum(-1) == 2
    assert (normals @ normals.T)[shared].min() > 0.2


def test_its_body_is_the_free_body() -> None:
    other = SmplBody.from_file(locate("free_body"))
    betas = random_hand()[0]
    joints = body().rest_joints + torch.einsum("jcs,s->jc", body().joint_shapes, betas)
    theirs = other.rest_joints + torch.einsum("jcs,s->jc", other.joint_shapes, betas[:10])
    shared = [SMPL.index(name) for name in SMPLH.names[:22]]
    assert (joints[:22] - theirs[shared]).norm(dim=-1).max() < 5e-4


@pytest.mark.parametrize("keypoint_set", ["coco17", "openpose25", "coco_wholebody133", "openpose135", "mediapipe33"])
def test_keypoint_sets_are_points_of_it(keypoint_set: str) -> None:
    names = find_set(keypoint_set).names
    assert body().points(names).pose(body().neutral()).points.isfinite().all()
