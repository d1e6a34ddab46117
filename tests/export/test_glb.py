"""GLB files: valid, skinned as our bodies are, at the frames' own times; read back by readers that are not the writer.

`hmrfit.motion.glb` reads the tree and the animation; the skinning below is glTF's own, written from its specification.
"""

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from helpers.moving_people import skinned_with_mean_correctives, walk, without_correctives
from helpers.synthetic_body import synthetic_hand, synthetic_smplh, synthetic_smplx
from scipy.spatial.transform import Rotation

from hmrfit.body.smpl import SmplBody
from hmrfit.build import load_body
from hmrfit.camera import Camera
from hmrfit.export.glb import continuous_quaternions, write_glb, write_posed_glb
from hmrfit.export.person_motion import PersonMotion
from hmrfit.motion.glb import Gltf, global_transforms, parse_glb

T, FPS = 5, 25.0
Y_UP = np.array([1.0, -1.0, -1.0])
TYPES = {5121: "<u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}


@pytest.fixture(scope="module")
def body() -> SmplBody:
    return load_body("free_body")


def column(gltf: Gltf, index: int) -> np.ndarray:
    """An accessor's numbers, tightly packed."""
    accessor = gltf.content["accessors"][index]
    view = gltf.content["bufferViews"][accessor["bufferView"]]
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}[accessor["type"]]
    count = accessor["count"] * width
    values = np.frombuffer(gltf.binary, TYPES[accessor["componentType"]], count, view["byteOffset"])
    return values.reshape(accessor["count"], width)


def skinned(gltf: Gltf, number: int, times: np.ndarray) -> np.ndarray:
    """(T, V, 3): Σ_k w_k W_k B_k v, W the joint's node in the world, B the inverse of where it is bound."""
    node = next(n for n in gltf.content["nodes"] if n.get("skin") == number)
    skin, mesh = gltf.content["skins"][number], gltf.content["meshes"][node["mesh"]]
    attributes = mesh["primitives"][0]["attributes"]
    v = column(gltf, attributes["POSITION"]).astype(float)
    sets = range(2 if "JOINTS_1" in attributes else 1)
    joints = np.concatenate([column(gltf, attributes[f"JOINTS_{k}"]) for k in sets], 1)
    weights = np.concatenate([column(gltf, attributes[f"WEIGHTS_{k}"]) for k in sets], 1)
    inverse = column(gltf, skin["inverseBindMatrices"]).reshape(-1, 4, 4).swapaxes(1, 2).astype(float)
    world = transforms(gltf, skin["joints"], list(gltf.clips)[number] if gltf.clips else None, times)
    bones = world @ inverse  # (T, J, 4, 4)
    homogeneous = np.concatenate([v, np.ones((len(v), 1))], 1)
    blended = np.einsum("vk,tvkij->tvij", weights, bones[:, joints])
    return np.einsum("tvij,vj->tvi", blended, homogeneous)[..., :3]


def transforms(gltf: Gltf, joints: list[int], clip: str | None, times: np.ndarray) -> np.ndarray:
    """(T, J, 4, 4) of nodes in the world, by the reader in hmrfit.motion; names may stand twice, so by number."""
    renamed = [node | {"name": str(i)} for i, node in enumerate(gltf.content["nodes"])]
    gltf = Gltf(
        gltf.content | {"nodes": renamed}, gltf.binary, tuple(n["name"] for n in renamed), gltf.parents, gltf.order
    )
    found = global_transforms(gltf, clip, times)
    out = np.tile(np.eye(4), (len(times), len(joints), 1, 1))
    for k, joint in enumerate(joints):
        out[:, k, :3, :3], out[:, k, :3, 3] = found[str(joint)]
    return out


def tree(path: Path) -> dict:
    data = path.read_bytes()
    return json.loads(data[20 : 20 + struct.unpack_from("<I", data, 12)[0]])


def test_the_skinned_body_is_ours_but_for_the_correctives(tmp_path: Path, body: SmplBody) -> None:
    """With eight weights a vertex to the digits of 32 bits; with four, to millimetres on a few vertices."""
    person = walk(body)
    expected = skinned_with_mean_correctives(person).numpy() * Y_UP
    times = np.arange(T) / FPS
    for influences, most, mean in ((8, 2e-6, 1e-6), (4, 0.02, 2e-4)):
        write_glb(tmp_path / "walk.glb", [person], influences=influences)
        gltf = parse_glb((tmp_path / "walk.glb").read_bytes())
        off = np.linalg.norm(skinned(gltf, 0, times)[:, : len(body.v_template)] - expected, axis=-1)
        assert off.max() < most and off.mean() < mean


def test_the_mean_of_the_correctives_is_in_the_mesh(tmp_path: Path, body: SmplBody) -> None:
    """It is nearer to the body than the mesh without it; of a pose that is held, exactly the body."""
    person = walk(body)
    write_glb(tmp_path / "walk.glb", [person], influences=8)
    of_file = lambda: skinned(parse_glb((tmp_path / "walk.glb").read_bytes()), 0, np.arange(T) / FPS)  # noqa: E731
    V, truth = len(body.v_template), body(person.params).vertices.numpy() * Y_UP
    bare = without_correctives(body)(person.params).vertices.numpy() * Y_UP
    away = [np.linalg.norm(found - truth, axis=-1).mean() for found in (of_file()[:, :V], bare)]
    assert away[0] < 0.9 * away[1]
    held = replace(person, params=person.params[[2] * T])
    write_glb(tmp_path / "walk.glb", [held], influences=8)
    np.testing.assert_allclose(of_file()[:, :V], truth[[2] * T], atol=2e-6)


def test_every_vertex_has_a_place_in_the_texture_and_copies_are_the_same_point(tmp_path: Path, body: SmplBody) -> None:
    write_glb(tmp_path / "walk.glb", [walk(body)])
    gltf = parse_glb((tmp_path / "walk.glb").read_bytes())
    attributes = gltf.content["meshes"][0]["primitives"][0]["attributes"]
    position, normal, uv = (column(gltf, attributes[name]) for name in ("POSITION", "NORMAL", "TEXCOORD_0"))
    V = len(body.v_template)
    assert len(position) == len(normal) == len(uv) > V and uv.min() >= 0 and uv.max() <= 1
    np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1, atol=1e-5)
    copies = np.concatenate([position, normal], 1)
    own = {row.tobytes() for row in copies[:V]}
    assert all(row.tobytes() in own for row in copies[V:])
    faces = column(gltf, gltf.content["meshes"][0]["primitives"][0]["indices"]).reshape(-1, 3)
    back = {row.tobytes(): i for i, row in reversed(list(enumerate(copies[:V])))}
    source = np.array([back[row.tobytes()] for row in copies])
    assert (position[source[faces]] == position[body.faces.numpy()]).all()  # the same triangles in the same order


def test_pose_correctives_as_morph_targets(tmp_path: Path, body: SmplBody) -> None:
    """v + Σ a_k M_k before the skinning is the whole body, to the fraction of a millimetre that is stated."""
    person = walk(body)
    write_glb(tmp_path / "walk.glb", [person], influences=8, correctives=True)
    gltf = parse_glb((tmp_path / "walk.glb").read_bytes())
    primitive = gltf.content["meshes"][0]["primitives"][0]
    targets = np.stack([column(gltf, target["POSITION"]) for target in primitive["targets"]])
    animation = gltf.content["animations"][0]
    channel = next(c for c in animation["channels"] if c["target"]["path"] == "weights")
    amounts = column(gltf, animation["samplers"][channel["sampler"]]["output"]).reshape(T, -1)
    assert "skin" in gltf.content["nodes"][channel["target"]["node"]] and amounts.shape[1] == len(targets)
    assert amounts.min() >= 0 and amounts.max() <= 1  # programs clamp what is beyond
    R = person.params.body_pose
    offsets = torch.einsum("vcp,tp->tvc", body.posedirs, (R - torch.eye(3)).flatten(1)).numpy()
    made = np.einsum("tk,kvc->tvc", amounts, targets)[:, : len(body.v_template)]
    assert np.linalg.norm(made - offsets, axis=-1).max() < 3e-4


def test_frames_keep_their_times_where_some_are_missing(tmp_path: Path, body: SmplBody) -> None:
    person = walk(body, times=[0.4, 0.44, 0.48, 1.0, 1.04])
    other = walk(body, 1, times=np.arange(T) / FPS + 2.4)
    write_glb(tmp_path / "two.glb", [person, other])
    content = tree(tmp_path / "two.glb")
    spans = sorted(
        (a["min"][0], a["max"][0], a["count"]) for a in content["accessors"] if a["type"] == "SCALAR" and "min" in a
    )
    np.testing.assert_allclose(spans, [(0, 0.64, T), (2.0, 2.16, T)], atol=1e-6)
    assert content["asset"]["extras"]["fps"] == FPS
    filled = person.even()
    assert len(filled) == 17 and filled.fps == FPS  # the gap of twelve frames is interpolated
    np.testing.assert_allclose(filled.params.transl[[0, 1, 2, 15, 16]], person.params.transl, atol=1e-12)


def test_several_people_have_one_armature_each(tmp_path: Path, body: SmplBody) -> None:
    people = [walk(body, seed) for seed in (0, 3)]
    write_glb(tmp_path / "two.glb", people)
    gltf = parse_glb((tmp_path / "two.glb").read_bytes())
    content = gltf.content
    assert [skin["name"] for skin in content["skins"]] == ["person_0", "person_3"]
    assert [len(skin["joints"]) for skin in content["skins"]] == [24, 24]
    for skin in content["skins"]:
        assert tuple(content["nodes"][j]["name"] for j in skin["joints"]) == body.joint_names
    (animation,) = content["animations"]
    assert len(animation["channels"]) == 2 * 25 and not set(content["skins"][0]["joints"]) & set(
        content["skins"][1]["joints"]
    )
    with pytest.raises(ValueError, match=r"Two people are called 'person_0'"):
        write_glb(tmp_path / "same.glb", [people[0], people[0]])


def test_the_camera_sees_the_body_where_the_photograph_does(tmp_path: Path, body: SmplBody) -> None:
    """Projected by glTF's own camera, for a camera that looks down and whose principal point is off the middle."""
    K = [[700, 0, 280], [0, 720, 200], [0, 0, 1]]
    camera = Camera.from_intrinsics(K, 640, 480, pixel_centers_at_integers=False)
    person = replace(walk(body), camera=camera, up=(0.1, -0.9, -0.4))
    write_glb(tmp_path / "walk.glb", [person], on_floor=True)
    gltf = parse_glb((tmp_path / "walk.glb").read_bytes())
    node = next(n for n in gltf.content["nodes"] if "camera" in n)
    lens = gltf.content["cameras"][0]["perspective"]
    X = skinned(gltf, 0, np.arange(T) / FPS)[:, : len(body.v_template)]
    assert abs(X[..., 1].min()) < 2e-5  # on the floor
    local = (X - node["translation"]) @ Rotation.from_quat(node["rotation"]).as_matrix()
    half = np.tan(lens["yfov"] / 2)
    device = np.stack([local[..., 0] / (half * lens["aspectRatio"]), local[..., 1] / half], -1) / -local[..., 2:]
    window = np.array([2 * max(280, 640 - 280), 2 * max(200, 480 - 200)])  # pixels that the view holds
    pixels = np.array([280, 200]) + device * [0.5, -0.5] * window
    expected = camera[[0] * T].project(skinned_with_mean_correctives(person)).numpy()
    off = np.linalg.norm(pixels - expected, axis=-1)
    assert off.mean() < 0.1 and off.max() < 3  # of four weights a vertex


def test_the_same_person_is_the_same_file(tmp_path: Path, body: SmplBody) -> None:
    for name in "ab":
        write_glb(tmp_path / f"{name}.glb", [walk(body)])
    assert (tmp_path / "a.glb").read_bytes() == (tmp_path / "b.glb").read_bytes()


@pytest.mark.parametrize("make", [synthetic_smplh, synthetic_smplx, synthetic_hand])
def test_bodies_with_fingers_and_hands(tmp_path: Path, make: Callable) -> None:
    body = SmplBody(make())
    write_glb(tmp_path / "x.glb", [walk(body)], influences=8)
    content = tree(tmp_path / "x.glb")
    assert [content["nodes"][j]["name"] for j in content["skins"][0]["joints"]] == list(body.joint_names)


def test_quaternions_go_the_shortest_way_number_by_number() -> None:
    angle = np.linspace(0, 4 * np.pi, 50)
    q = continuous_quaternions(Rotation.from_rotvec(angle[:, None] * [0, 0, 1]).as_matrix()[:, None])
    assert q.shape == (1, 50, 4) and ((q[0, 1:] * q[0, :-1]).sum(-1) > 0.9).all()


def test_a_still_is_bound_in_its_pose(tmp_path: Path, body: SmplBody) -> None:
    """Programs that know no skins show the fitted body; those that do have its skeleton there, and the same mesh."""
    people = [replace(p, params=p.params[0], times=None) for p in (walk(body, 0), walk(body, 1))]
    vertices = torch.cat([body(person.params).vertices for person in people])
    write_posed_glb(tmp_path / "still.glb", people, vertices, on_floor=True)
    scene = trimesh.load(tmp_path / "still.glb", process=False)
    V = len(body.v_template)
    lowest = (vertices[..., 1].max()).item()
    gltf = parse_glb((tmp_path / "still.glb").read_bytes())
    assert "animations" not in gltf.content and {"floor", "camera"} <= set(gltf.names)
    joints = torch.cat([body(person.params).joints for person in people]).numpy()
    for number in range(2):
        expected = vertices[number].numpy() * Y_UP + [0, lowest, 0]
        found = scene.geometry[f"person_{number}_body"].vertices[:V]
        np.testing.assert_allclose(found, expected, atol=2e-6)
        skin = gltf.content["skins"][number]
        B = column(gltf, skin["inverseBindMatrices"]).reshape(-1, 4, 4).swapaxes(1, 2)
        places = np.linalg.inv(B)[:, :3, 3]
        np.testing.assert_allclose(places, joints[number] * Y_UP + [0, lowest, 0], atol=2e-6)
        for parent, child in ((body.parents[j], j) for j in range(1, 24)):
            node = gltf.content["nodes"][skin["joints"][child]]
            local = np.array([*node["translation"], 1.0])
            np.testing.assert_allclose((np.linalg.inv(B)[parent] @ local)[:3], places[child], atol=2e-6)


def test_colours_of_a_still_are_linear(tmp_path: Path, body: SmplBody) -> None:
    person = replace(walk(body), params=walk(body).params[0], times=None)
    colors = np.tile(np.array([[255, 128, 0]], np.uint8), (len(body.v_template), 1))
    write_posed_glb(tmp_path / "a.glb", [person], body(person.params).vertices, colors=colors)
    gltf = parse_glb((tmp_path / "a.glb").read_bytes())
    found = column(gltf, gltf.content["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"]) / 65535
    np.testing.assert_allclose(found[0], [1, 0.2159, 0, 1], atol=1e-4)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"influences": 5}, "influences should be 4 or 8"),
        ({"material": "klay"}, r"material should be clay or skin.*Did you mean 'clay'"),
        ({"people": []}, "no person"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path: Path, body: SmplBody, options: dict, said: str) -> None:
    given = {"people": [walk(body)]} | options
    with pytest.raises(ValueError, match=said):
        write_glb(tmp_path / "x.glb", **given)
    tilted = replace(walk(body, 1), up=(0, -1, 0.2))
    with pytest.raises(ValueError, match="in one world"):
        write_glb(tmp_path / "x.glb", [walk(body), tilted])
    assert not list(tmp_path.iterdir())


def test_long_clips_are_small_enough_to_send(tmp_path: Path, body: SmplBody) -> None:
    """300 frames under 1.5 MB; every further frame is 25 joints' numbers."""
    person = walk(body)
    rows = torch.arange(300) % T
    write_glb(tmp_path / "long.glb", [PersonMotion(person.params[rows], body, 30)])
    assert (tmp_path / "long.glb").stat().st_size < 700_000
