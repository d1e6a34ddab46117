"""Soft silhouettes of bodies: their gradients point the right way, whichever renderer draws; and both draw alike."""

import pytest
import torch
from helpers.bodies import free_body, random_params

from hmrfit.camera import Camera
from hmrfit.render.backends.builtin import BuiltinRenderer
from hmrfit.render.backends.pytorch3d import Pytorch3dRenderer
from hmrfit.types import BodyParams

BODIES, SOFTNESS = 2, 0.5


@pytest.fixture(params=["builtin", pytest.param("pytorch3d", marks=pytest.mark.pytorch3d)])
def renderer(request):
    if request.param == "builtin":
        return BuiltinRenderer()
    pytest.importorskip("pytorch3d", reason="needs pytorch3d, which is not on PyPI")
    return Pytorch3dRenderer()


@pytest.fixture(scope="module")
def scene():
    """Bodies four metres away that fill about half of a small picture, and their faces."""
    body = free_body()
    params = random_params(body, BODIES, pose=0.3, seed=3)
    away = torch.tensor([0.0, 0.0, 4.0]).double()
    vertices = body(params).vertices
    vertices = vertices - vertices.mean(1, keepdim=True) + away
    return vertices, body.faces, Camera.from_size(48, 40, focal=64, count=BODIES)


def overlap(soft, mask):
    """(B,) intersection over union of a soft and a hard mask."""
    return (soft * mask).flatten(1).sum(1) / (soft + mask - soft * mask).flatten(1).sum(1)


@pytest.mark.parametrize("shift", [(0.15, 0.0, 0.0), (0.05, -0.12, 0.3)])
def test_moving_against_the_gradient_raises_the_overlap(renderer, scene, shift):
    vertices, faces, camera = scene
    target = BuiltinRenderer().silhouette(vertices, faces, camera).double()
    moved = torch.tensor(shift, dtype=torch.float64).expand(BODIES, 3).clone().requires_grad_()
    soft = renderer.soft_silhouette(vertices + moved[:, None], faces, camera, SOFTNESS)
    (gradient,) = torch.autograd.grad((soft - target).square().sum(), moved)
    step = 0.06 * gradient / gradient.norm(dim=1, keepdim=True)
    before, after = (
        overlap(BuiltinRenderer().silhouette(vertices + at[:, None], faces, camera).double(), target)
        for at in (moved.detach(), moved.detach() - step)
    )
    assert (after > before + 0.01).all()


def test_the_gradient_by_every_vertex_is_that_of_finite_differences(scene):
    """Along random directions; the step is so small that no edge comes within reach on the way."""
    vertices, faces, camera = scene
    generator = torch.Generator().manual_seed(0)
    x = vertices.clone().requires_grad_()
    weight = torch.randn(BODIES, 40, 48, generator=generator, dtype=torch.float64)

    def energy(v: torch.Tensor) -> torch.Tensor:
        return (weight * BuiltinRenderer().soft_silhouette(v, faces, camera, SOFTNESS)).sum()

    energy(x).backward()
    direction = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        numeric = (energy(vertices + 1e-9 * direction) - energy(vertices - 1e-9 * direction)) / 2e-9
    torch.testing.assert_close((x.grad * direction).sum(), numeric, rtol=1e-3, atol=1e-3 * x.grad.norm().item())


def test_the_camera_gets_gradients_too(scene):
    vertices, faces, camera = scene
    focal = camera.focal.clone().requires_grad_()
    soft = BuiltinRenderer().soft_silhouette(vertices, faces, Camera(focal, camera.center, camera.size))
    soft.sum().backward()
    assert (focal.grad > 0).all()  # a longer lens makes the body larger


@pytest.mark.pytorch3d
@pytest.mark.parametrize("softness", [0.3, 0.6])
def test_both_renderers_agree(scene, softness):
    """Coverage to 1e-3, gradients to 1 %: pytorch3d computes in float32, where distances to edges cancel."""
    pytest.importorskip("pytorch3d", reason="needs pytorch3d, which is not on PyPI")
    vertices, faces, camera = scene
    pictures, gradients = [], []
    for renderer in (BuiltinRenderer(), Pytorch3dRenderer()):
        x = vertices.clone().requires_grad_()
        soft = renderer.soft_silhouette(x, faces, camera, softness)
        weight = torch.linspace(-1, 1, soft.numel(), dtype=torch.float64).view_as(soft)
        (soft * weight).sum().backward()
        pictures.append(soft.detach())
        gradients.append(x.grad)
    torch.testing.assert_close(*pictures, atol=1e-3, rtol=0)
    assert (gradients[0] - gradients[1]).norm() < 1e-2 * gradients[0].norm()


def test_behind_the_camera_nothing_is_covered(scene):
    vertices, faces, camera = scene
    soft = BuiltinRenderer().soft_silhouette(vertices * torch.tensor([1.0, 1.0, -1.0]), faces, camera)
    assert not soft.any()


def test_the_body_itself_can_be_moved(scene):
    """From the mask back to the parameters: the gradient reaches the pose."""
    _, faces, camera = scene
    body = free_body()
    params = random_params(body, 1, pose=0.2)
    betas = params.betas.clone().requires_grad_()
    vertices = body(BodyParams(params.global_orient, params.body_pose, betas, params.transl)).vertices
    BuiltinRenderer().soft_silhouette(vertices, faces, camera[0]).sum().backward()
    assert betas.grad.isfinite().all() and betas.grad.abs().max() > 0
