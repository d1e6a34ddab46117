"""Flips: the same picture, another depth, and the rest of the body left alone."""

import pytest
import torch
from helpers.bodies import free_body, random_params
from helpers.fingered_body import fingered_body
from helpers.fits import people
from helpers.synthetic_body import synthetic_hand

from hmrfit.body.skeleton import LIMBS, MANO_LEFT, SMPL, SMPLX
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.fitting.depth_flips import flip_names, flips
from hmrfit.types import BodyParams

FLIPS = flip_names(SMPL)
FAR = 1000.0
"""Metres away the camera is as good as orthographic: a flip moves a joint by 0.8 m × 1 m / FAR at most."""


def joints_of(params: BodyParams) -> torch.Tensor:
    return free_body().points(SMPL.names).pose(params).joints


@pytest.fixture(scope="module")
def distant() -> tuple[BodyParams, Camera, list[BodyParams]]:
    params = people(16).params
    away = torch.tensor([[0.0, 0.0, FAR]]).double().expand(16, 3)
    params = BodyParams(params.global_orient, params.body_pose, params.betas, away)
    camera = Camera.from_size(1024, 768, focal=FAR * 400, count=16)
    return params, camera, flips(params, joints_of(params), free_body().skeleton)


def limb_of(where: str) -> tuple[int, ...]:
    return tuple(SMPL.index(name) for limb in LIMBS if limb.name == where for name in limb.joints)


@pytest.mark.parametrize(("index", "flip"), list(enumerate(FLIPS)), ids=[f"{a}-{b}" for a, b in FLIPS])
def test_the_picture_stays_and_the_depth_turns(distant, index, flip):
    params, camera, flipped = distant
    before, after = joints_of(params), joints_of(flipped[index])
    where, part = flip
    joints = limb_of(where) or tuple(SMPL.index(name) for name in ("pelvis", "neck"))
    if where == "torso" and part == "lower":
        joints = (SMPL.index("pelvis"),)
    moved = (camera.project(before) - camera.project(after))[:, joints].norm(dim=-1)
    assert moved.max() < 0.4  # pixels, 400 a metre: perspective's share at this distance
    depth = lambda x, a, b: x[:, b, 2] - x[:, a, 2]  # noqa: E731
    if where != "torso":
        first, second, third = joints
        for name, a, b in (("upper", first, second), ("lower", second, third)):
            sign = -1.0 if part in (name, "both") else 1.0
            torch.testing.assert_close(depth(after, a, b), sign * depth(before, a, b), rtol=0, atol=0.002)  # metres


def test_other_limbs_keep_their_place(distant):
    params, _, flipped = distant
    before = joints_of(params)
    for (where, _), other in zip(FLIPS, flipped, strict=True):
        if where == "torso":
            continue
        start = SMPL.index({"arm": "shoulder", "leg": "hip"}[where[-3:]].join((where[:-3], "")))
        mine = SMPL.below(SMPL.names[start])
        rest = [j for j in range(len(SMPL)) if j not in mine or j == start]
        torch.testing.assert_close(joints_of(other)[:, rest], before[:, rest], rtol=0, atol=1e-9)


def test_twice_is_once_more_the_same_limb(distant):
    params, _, flipped = distant
    for (where, part), other in zip(FLIPS, flipped, strict=True):
        if where == "torso" or part == "lower":
            continue  # a straightened limb bends about the body's own axis, which is not where it began
        again = flips(other, joints_of(other), free_body().skeleton)[FLIPS.index((where, part))]
        limb = limb_of(where)
        torch.testing.assert_close(joints_of(again)[:, limb], joints_of(params)[:, limb], rtol=0, atol=0.004)


def test_flips_are_rotations(distant):
    for other in distant[2]:
        R = other.rotations
        torch.testing.assert_close(R @ R.mT, torch.eye(3).double().expand_as(R), rtol=0, atol=1e-9)
        torch.testing.assert_close(torch.linalg.det(R), torch.ones(R.shape[:2]).double(), rtol=0, atol=1e-9)


def test_bodies_with_fingers_flip_as_smpl_does():
    """Fingers go with the forearm."""
    body = fingered_body(SMPLX)
    params = random_params(body, 3)
    assert flip_names(SMPLX) == FLIPS
    everything = flips(params, body(params, vertices=False).joints, SMPLX)
    for (where, _), other in zip(FLIPS, everything, strict=True):
        if where == "left_arm":
            fingers = [j - 1 for j in SMPLX.fingers["left"]]
            torch.testing.assert_close(other.body_pose[:, fingers], params.body_pose[:, fingers], rtol=0, atol=1e-9)


def test_a_hand_has_nothing_to_flip():
    body = SmplBody(synthetic_hand("left"))
    params = random_params(body, 2)
    assert flip_names(MANO_LEFT) == ()
    assert flips(params, body(params, vertices=False).joints, MANO_LEFT) == []
