"""The built-in renderer's pixels are pytorch3d's: as it drew them once (stored), and where it is installed, now."""

import sys

import pytest
import torch
from helpers import agreed_masks

from hmrfit.camera import Camera
from hmrfit.render.base import BuiltinRenderer, to_screen
from hmrfit.render.pytorch3d_backend import Pytorch3dRenderer

NEAR_EDGE = 1e-3
"""Pixels. pytorch3d computes in float32, good to 1e-5 px at 100 px, and grows faces by 5e-5 px."""

BUILTIN = BuiltinRenderer()


@pytest.fixture(scope="module")
def stored():
    return agreed_masks.load()


def edge_distance(points, faces, pixels):
    """(P,) pixels from each centre of pixels (P, 2: row, column) to the nearest edge of any face."""
    corners = points[0, faces, :2]
    a, b = corners, corners.roll(-1, 1)
    p = (pixels.flip(1).double() + 0.5)[:, None, None]
    along = ((p - a) * (b - a)).sum(-1) / ((b - a) ** 2).sum(-1).clamp_min(1e-12)
    return (a + along.clamp(0, 1)[..., None] * (b - a) - p).norm(dim=-1).flatten(1).amin(1)


def assert_same_but_on_edges(ours, theirs, points, faces):
    pixels = (ours != theirs).nonzero()
    if len(pixels):
        assert edge_distance(points, faces, pixels).max() < NEAR_EDGE


def test_stored_pictures_are_worth_comparing_with(stored):
    scenes, masks, parts = stored
    share = masks.flatten(1).double().mean(1)
    assert len(scenes) >= 200
    assert (share > 0.02).sum() >= 200
    assert torch.equal(parts > 0, masks)
    assert set(parts.unique().tolist()) == set(range(7))


def test_silhouettes_equal_pytorch3d_as_stored(stored):
    scenes, masks, _ = stored
    different = 0
    for i in range(len(scenes)):
        ours = BUILTIN.silhouette(scenes.vertices(i), scenes.faces, scenes.camera[i])[0]
        different += (ours != masks[i]).sum().item()
        assert_same_but_on_edges(ours, masks[i], to_screen(scenes.vertices(i), scenes.camera[i]), scenes.faces)
    assert different <= 1e-5 * masks.numel()  # an edge passes within 1e-4 px of a centre that rarely


def test_parts_equal_pytorch3d_as_stored(stored):
    scenes, _, parts = stored
    different = 0
    for i in range(len(scenes)):
        ours = BUILTIN.parts(scenes.vertices(i), scenes.faces, scenes.camera[i], scenes.face_labels)[0]
        different += (ours != parts[i]).sum().item()
        assert_same_but_on_edges(ours, parts[i], to_screen(scenes.vertices(i), scenes.camera[i]), scenes.faces)
    assert different <= 1e-5 * parts.numel()  # as above


@pytest.mark.pytorch3d
def test_pytorch3d_draws_the_same_now(stored):
    pytest.importorskip("pytorch3d", reason="needs pytorch3d, which is not on PyPI")
    scenes, _, _ = stored
    theirs = Pytorch3dRenderer()
    for i in range(0, len(scenes), 60):
        vertices, small = scenes.vertices(i), scenes.camera[i].resize(torch.tensor([[56.0, 48.0]]))
        arguments = (vertices, scenes.faces, small)
        points = to_screen(vertices, small)
        ours = BUILTIN.parts(*arguments, scenes.face_labels)[0]
        assert_same_but_on_edges(ours, theirs.parts(*arguments, scenes.face_labels)[0], points, scenes.faces)
        depth, their_depth = BUILTIN.depth(*arguments), theirs.depth(*arguments)
        seen = depth.isfinite() & their_depth.isfinite()
        torch.testing.assert_close(depth[seen], their_depth[seen], atol=1e-4, rtol=0)  # float32 barycentrics


@pytest.mark.pytorch3d
def test_pytorch3d_batches_and_leaves_out_what_is_near():
    pytest.importorskip("pytorch3d", reason="needs pytorch3d, which is not on PyPI")
    points = torch.tensor([[[-1.0, -1, 1], [1, -1, 1], [0, 1, 1], [0, 0, 0.01]]]).expand(2, -1, -1).clone()
    points[1, 0, 2] = -1  # leaves no face of the second
    faces = torch.tensor([[0, 1, 3], [0, 1, 2]])
    labels, camera = torch.tensor([7, 9]), Camera.from_size(12, 10, focal=6)
    theirs, ours = (r.parts(points, faces, camera, labels) for r in (Pytorch3dRenderer(), BUILTIN))
    assert torch.equal(theirs, ours)
    assert set(theirs.unique().tolist()) == {0, 9}


def test_without_pytorch3d_there_is_a_letter(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch3d.renderer", None)
    with pytest.raises(ImportError, match=r"INSTALL\.md.*BuiltinRenderer"):
        Pytorch3dRenderer()
