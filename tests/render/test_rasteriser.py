"""Silhouettes, part maps and depth of spheres and bodies whose picture is known."""

import pytest
import torch
import trimesh

from hmrfit.assets import locate
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import MIN_DEPTH, Camera
from hmrfit.render.backends.builtin import BuiltinRenderer
from hmrfit.render.rasteriser import label_faces, picture_size

RENDERER = BuiltinRenderer()


@pytest.fixture(scope="module")
def ball():
    """Radius 0.5 m, 3 m before the camera, off the axis."""
    mesh = trimesh.creation.icosphere(subdivisions=5, radius=0.5)
    return torch.tensor(mesh.vertices)[None] + torch.tensor([0.4, -0.2, 3.0]), torch.tensor(mesh.faces)


@pytest.fixture(scope="module")
def camera():
    return Camera.from_size(160, 120, focal=200)


def rays(camera):
    """(H, W, 3) through the pixel centres, depth 1."""
    width, height = picture_size(camera)
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    xy = (torch.stack([x, y], -1).double() - camera.center[0]) / camera.focal[0]
    return torch.cat([xy, torch.ones_like(xy[..., :1])], -1)


def test_a_ball_is_the_ellipse_it_should_be(ball, camera):
    """A ray hits the ball where (r·c)² ≥ |r|² (|c|² − R²); the depth is the smaller root."""
    vertices, faces = ball
    center, ray = torch.tensor([0.4, -0.2, 3.0], dtype=torch.float64), rays(camera)
    along, squared = ray @ center, (ray * ray).sum(-1)
    under_root = along**2 - squared * (center @ center - 0.25)
    expected = under_root > 0
    mask = RENDERER.silhouette(vertices, faces, camera)[0]
    assert (mask != expected).sum() <= 0.01 * expected.sum()  # the polyhedron lies up to 0.15 mm inside the ball
    depth = RENDERER.depth(vertices, faces, camera)[0]
    well_inside = expected & (under_root > 0.02)
    root = (along - under_root.clamp_min(0).sqrt()) / squared
    torch.testing.assert_close(depth[well_inside].double(), root[well_inside], atol=2e-3, rtol=0)  # facets, as above
    assert torch.isinf(depth[~mask]).all()


def test_parts_and_depth_agree_with_the_silhouette(ball, camera):
    vertices, faces = ball
    labels = torch.arange(len(faces)) % 255 + 1
    mask = RENDERER.silhouette(vertices, faces, camera)
    assert torch.equal(RENDERER.parts(vertices, faces, camera, labels) > 0, mask)
    assert torch.equal(RENDERER.depth(vertices, faces, camera).isfinite(), mask)


def test_left_is_left_of_a_person_who_faces_the_camera():
    """The body's left arm comes out on the picture's right, the head above the legs, each part somewhere."""
    body = SmplBody.from_file(locate("free_body"))
    vertices = body(body.neutral()).vertices * torch.tensor([1.0, -1, -1]) + torch.tensor([0, 0, 3.0])
    labels = label_faces(body.part_labels, body.faces)
    parts = RENDERER.parts(vertices, body.faces, Camera.from_size(200, 200), labels)[0]
    row, column = (
        {part: where[parts == number].double().mean() for number, part in enumerate(PARTS, 1)}
        for where in torch.meshgrid(torch.arange(200), torch.arange(200), indexing="ij")
    )
    assert column["left_arm"] > column["torso"] > column["right_arm"]
    assert column["left_leg"] > column["right_leg"]
    assert row["head"] < row["torso"] < row["left_leg"]


PARTS = ("head", "torso", "right_arm", "left_arm", "right_leg", "left_leg")


def test_each_picture_has_its_own_camera(ball):
    vertices, faces = ball
    cameras = Camera.cat([Camera.from_size(80, 60, focal=f) for f in (60.0, 120.0)])
    both = RENDERER.silhouette(vertices.expand(2, -1, -1), faces, cameras)
    assert torch.equal(both[1:], RENDERER.silhouette(vertices, faces, cameras[1]))
    assert both[1].sum() > 3 * both[0].sum()


def test_cropping_the_camera_crops_the_picture(ball, camera):
    vertices, faces = ball
    low, size = torch.tensor([[40.0, 20.0]]), torch.tensor([[70.0, 50.0]])
    part = RENDERER.silhouette(vertices, faces, camera.crop(low, size))
    assert torch.equal(part, RENDERER.silhouette(vertices, faces, camera)[:, 20:70, 40:110])


def test_bodies_around_the_camera_do_not_crash(ball, camera):
    vertices, faces = ball
    inside = vertices - torch.tensor([0.4, -0.2, 3.0])
    behind = vertices - torch.tensor([0, 0, 6.0])
    assert not RENDERER.silhouette(behind, faces, camera).any()
    depth = RENDERER.depth(inside, faces, camera)
    assert (depth[depth.isfinite()] >= MIN_DEPTH).all()
    assert depth.isfinite().float().mean() > 0.9


def test_labels_of_faces_are_the_majority_else_the_lowest():
    labels = torch.tensor([3, 3, 1, 2])
    faces = torch.tensor([[0, 1, 2], [2, 0, 1], [0, 2, 3], [3, 3, 0], [0, 0, 1]])
    assert label_faces(labels, faces).tolist() == [3, 3, 1, 2, 3]


def test_errors(ball, camera):
    vertices, faces = ball
    with pytest.raises(ValueError, match="must have one size"):
        two = Camera.cat([camera, Camera.from_size(80, 60)])
        RENDERER.silhouette(vertices.expand(2, -1, -1), faces, two)
    with pytest.raises(ValueError, match="whole pixels"):
        RENDERER.silhouette(vertices, faces, Camera.from_size(80.5, 60))
    with pytest.raises(ValueError, match="one camera for all or one per body"):
        RENDERER.silhouette(vertices.expand(3, -1, -1), faces, camera[[0, 0]])
    with pytest.raises(ValueError, match=r"should lie in 1\.\.255"):
        RENDERER.parts(vertices, faces, camera, torch.zeros(len(faces)))
    with pytest.raises(ValueError, match="label_faces"):
        RENDERER.parts(vertices, faces, camera, torch.ones(vertices.shape[1]))
    with pytest.raises(ValueError, match="vertices should have the shape"):
        RENDERER.depth(vertices[0], faces, camera)


@pytest.mark.gpu
def test_cuda_draws_the_same(ball, camera):
    vertices, faces = ball
    here, there = (RENDERER.fragments(vertices.to(d), faces.to(d), camera) for d in ("cpu", "cuda"))
    assert torch.equal(here.face, there.face.cpu())
