"""Mesh files read back by trimesh: the same vertices in the same order, in the frame that the file says."""

import json
import struct

import numpy as np
import pytest
import torch
import trimesh

from hmrfit.render.meshes import part_colors, write_mesh

SUFFIXES = (".obj", ".ply", ".glb")


@pytest.fixture
def body():
    """A person-sized egg in front of the camera, its head (least y) up in the picture."""
    egg = trimesh.creation.icosphere(subdivisions=2, radius=0.5)
    vertices = torch.tensor(np.array(egg.vertices)) * torch.tensor([0.5, 1.8, 0.4]) + torch.tensor([0.3, 0.2, 4.0])
    return vertices, torch.tensor(np.array(egg.faces))


def read(path):
    return trimesh.load(path, process=False, force="mesh")


def glb_tree(path):
    data = path.read_bytes()
    return json.loads(data[20 : 20 + struct.unpack_from("<I", data, 12)[0]])


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("frame", ["y_up", "camera"])
def test_round_trip(tmp_path, body, suffix, frame):
    vertices, faces = body
    write_mesh(tmp_path / f"body{suffix}", vertices, faces, frame=frame)
    mesh = read(tmp_path / f"body{suffix}")
    turn = [1, -1, -1] if frame == "y_up" else [1, 1, 1]
    np.testing.assert_allclose(mesh.vertices, vertices.numpy() * turn, atol=1e-6)  # float32, or 8 decimals in .obj
    assert (mesh.faces == faces.numpy()).all()
    assert mesh.volume > 0  # half a turn, not a mirror: the faces still point outwards


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_y_is_up_and_the_camera_at_plus_z(tmp_path, body, suffix):
    vertices, faces = body
    write_mesh(tmp_path / f"body{suffix}", vertices, faces)
    mesh = read(tmp_path / f"body{suffix}")
    highest, nearest = vertices[:, 1].argmin(), vertices[:, 2].argmin()
    assert mesh.vertices[:, 1].argmax() == highest
    assert mesh.vertices[nearest, 2] == mesh.vertices[:, 2].max()


def test_files_say_their_units_and_axes(tmp_path, body):
    for suffix in SUFFIXES:
        write_mesh(tmp_path / f"body{suffix}", *body)
    assert "metres; y up" in (tmp_path / "body.obj").read_text().splitlines()[0]
    assert b"comment hmrfit; metres; y up" in (tmp_path / "body.ply").read_bytes()[:200]
    assert glb_tree(tmp_path / "body.glb")["asset"]["extras"]["units_and_axes"].startswith("metres; y up")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_colours_of_parts(tmp_path, body, suffix):
    vertices, faces = body
    labels = 1 + (vertices[:, 1] > 0.2).long()
    colors = part_colors(labels)
    write_mesh(tmp_path / f"body{suffix}", vertices, faces, colors=colors)
    assert (read(tmp_path / f"body{suffix}").visual.vertex_colors[:, :3] == colors).all()


def test_several_people(tmp_path, body):
    vertices, faces = body
    people = torch.stack([vertices, vertices + 1])
    write_mesh(tmp_path / "all.glb", people, faces, names=["ann", "bob"])
    scene = trimesh.load(tmp_path / "all.glb", process=False)
    assert set(scene.geometry) == {"ann", "bob"}
    np.testing.assert_allclose(scene.geometry["bob"].vertices, people[1].numpy() * [1, -1, -1], atol=1e-6)  # float32
    write_mesh(tmp_path / "all.ply", people, faces)
    assert len(read(tmp_path / "all.ply").vertices) == 2 * len(vertices)


def test_errors(tmp_path, body):
    vertices, faces = body
    with pytest.raises(ValueError, match=r"should end in \.obj, \.ply or \.glb.*Did you mean '\.glb'"):
        write_mesh(tmp_path / "body.gltb", vertices, faces)
    with pytest.raises(ValueError, match="should end in"):
        write_mesh(tmp_path / "body", vertices, faces)
    with pytest.raises(ValueError, match="Did you mean 'camera'"):
        write_mesh(tmp_path / "body.obj", vertices, faces, frame="cameras")
    with pytest.raises(ValueError, match="vertices should have the shape"):
        write_mesh(tmp_path / "body.obj", vertices[:, :2], faces)
    with pytest.raises(ValueError, match="colors should have the shape"):
        write_mesh(tmp_path / "body.obj", vertices, faces, colors=np.zeros((3, 3)))
    with pytest.raises(ValueError, match="a name for each of 1 person"):
        write_mesh(tmp_path / "body.glb", vertices, faces, names=["ann", "bob"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_up_becomes_y(tmp_path, body, suffix):
    """A camera that looks down: y of the file is the height above it, and the shape stays as it is."""
    vertices, faces = body
    up = np.array([0.1, -0.9, -0.4])
    up /= np.linalg.norm(up)
    write_mesh(tmp_path / f"body{suffix}", vertices, faces, up=3 * up)
    found = read(tmp_path / f"body{suffix}").vertices
    np.testing.assert_allclose(found[:, 1], vertices.numpy() @ up, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), vertices.norm(dim=1), atol=1e-6)

    def edges(v: np.ndarray) -> np.ndarray:
        return np.linalg.det(v[faces.numpy()] - v.mean(0))

    np.testing.assert_allclose(edges(np.asarray(found)), edges(vertices.numpy()), atol=1e-5)  # not mirrored
    write_mesh(tmp_path / f"camera{suffix}", vertices, faces, "camera", up=up)
    np.testing.assert_allclose(read(tmp_path / f"camera{suffix}").vertices, vertices, atol=1e-6)
