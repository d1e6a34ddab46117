"""Turns of a batch: each row as `augmentation.Change` has it, undone by their inverse, exact under the camera."""

import torch
from helpers.bodies import free_body
from helpers.loop import NAMES
from helpers.stored_fits import fits_of
from torch.testing import assert_close

from hmrfit.camera import Camera
from hmrfit.ops.skinning import world_rotations
from hmrfit.train.augmentation import Change, change_params, change_points
from hmrfit.train.fit_loop import root_of
from hmrfit.train.turns import Turns
from hmrfit.types import BodyParams

TURNS = Turns(torch.tensor([0.0, 0.7, -0.4, 0.3]).double(), torch.tensor([True, True, False, False]))


def people() -> BodyParams:
    params = fits_of(4).params
    away = torch.tensor([0.2, -0.1, 4.0]).double()
    return BodyParams(params.global_orient, params.body_pose, params.betas, 0.1 * params.transl + away)


def same(a: BodyParams, b: BodyParams) -> None:
    for mine, theirs in ((a.rotations, b.rotations), (a.betas, b.betas), (a.transl, b.transl)):
        assert_close(mine, theirs, rtol=0, atol=1e-12)


def test_rows_are_changed_as_one_person_is():
    params, body = people(), free_body().points(NAMES)
    root = root_of(body, params.betas)
    turned = TURNS.params(params, root)
    xy = torch.randn(4, 17, 2).double()
    for i in range(4):
        change = Change(angle=float(TURNS.angle[i]), flip=bool(TURNS.flip[i]))
        same(turned[i], change_params(params[i], root[i : i + 1], change))
        assert_close(TURNS.points(xy, NAMES)[i], change_points(xy[i], NAMES, change), rtol=0, atol=1e-12)


def test_there_and_back_is_where_it_was():
    params = people()
    root = root_of(free_body().points(NAMES), params.betas)
    same(TURNS.inverse.params(TURNS.params(params, root), root), params)
    covariance = fits_of(4).covariance
    assert_close(TURNS.inverse.covariances(TURNS.covariances(covariance)), covariance, rtol=0, atol=1e-12)


def test_what_the_turned_person_projects_to_is_the_turned_projection():
    """The body's landmarks are symmetric to a tenth of a millimetre."""
    params, body = people(), free_body().points(NAMES)
    camera = Camera.from_size(640, 480, count=4)
    turned = TURNS.params(params, root_of(body, params.betas))
    center = camera.center[:, None]
    expected = center + TURNS.points(camera.project(body.pose(params).points) - center, NAMES)
    assert_close(camera.project(body.pose(turned).points), expected, rtol=0, atol=0.05)


def test_a_covariance_turns_with_the_errors_it_is_of():
    """Errors are turns about the camera's axes: of the turned person, the same errors as a mirror shows them."""
    params, parents = people(), free_body().skeleton.parents
    root = root_of(free_body().points(NAMES), params.betas)
    step = 1e-6 * torch.randn(4, 24, 3).double()

    def moved(by: torch.Tensor) -> BodyParams:
        world = world_rotations(params.rotations, parents)
        own = (world.mT @ by[..., None]).squeeze(-1)
        rotations = params.rotations @ torch.matrix_exp(_hat(own))
        return BodyParams(rotations[:, 0], rotations[:, 1:], params.betas, params.transl)

    there, near = TURNS.params(params, root), TURNS.params(moved(step), root)
    world = world_rotations(there.rotations, parents)
    found = (world @ _vee(there.rotations.mT @ near.rotations)[..., None]).squeeze(-1)
    outer = step[..., None] @ step[..., None, :]
    assert_close(found[..., None] @ found[..., None, :], TURNS.covariances(outer), rtol=1e-3, atol=1e-17)


def _hat(v: torch.Tensor) -> torch.Tensor:
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


def _vee(R: torch.Tensor) -> torch.Tensor:
    return torch.stack([R[..., 2, 1] - R[..., 1, 2], R[..., 0, 2] - R[..., 2, 0], R[..., 1, 0] - R[..., 0, 1]], -1) / 2
