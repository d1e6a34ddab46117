"""GLB files: valid, skinned as our bodies are, at the frames' own times; read back by readers that are not the writer.

`hmrfit.motion.glb` reads the tree and the animation; the skinning below is glTF's own, written from its specification.
"""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from hmrfit.body.smpl import SmplBody
from hmrfit.build import load_body
from hmrfit.camera import Camera
from hmrfit.export.glb import write_glb
from hmrfit.export.person_motion import PersonMotion
from hmrfit.fitting.starts import UPRIGHT
from hmrfit.motion.glb import Gltf, global_transforms, parse_glb
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams

T, FPS = 5, 25.0
Y_UP = np.array([1.0, -1.0, -1.0])
TYPES = {5121: "<u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}


@pytest.fixture(scope="module")
def body() -> SmplBody:
    return load_body("free_body")


def walk(body: SmplBody, seed: int = 0, **options: object) -> PersonMotion:
    """Upright before a level camera, going to its right and away, all joints moving; no pose correctives."""
    draw = torch.Generator().manual_seed(seed)
    rotvecs = 0.4 * torch.randn(T, len(body.parents), 3, generator=draw, dtype=torch.float64)
    rotvecs[:, 0] = torch.tensor([0.0, 0.5, 0.0])
    R = rotvec_to_matrix(rotvecs)
    orient = torch.tensor(UPRIGHT, dtype=torch.float64) @ R[:, 0]
    betas = torch.randn(1, body.shape_count, generator=draw, dtype=torch.float64).expand(T, -1)
    step = torch.arange(T, dtype=torch.float64)[:, None] * torch.tensor([0.02, 0.0, 0.05])
    params = BodyParams(orient, R[:, 1:], betas, torch.tensor([0.1, 0.4, 3.0]) + step)
    camera = Camera.from_size(640, 480, 600)
    return PersonMotion(params, body, FPS, name=f"person_{seed}", camera=camera, **options)


def without_correctives(body: SmplBody) -> SmplBody:
    other = body.to()
    other.posedirs = torch.zeros_like(body.posedirs)
    return other


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
    expected = without_correctives(body)(person.params).vertices.numpy() * Y_UP
    times = np.arange(T) / FPS
    for influences, most, mean in ((8, 2e-6, 1e-6), (4, 0.02, 2e-4)):
        write_glb(tmp_path / "walk.glb", [person], influences=influences)
        gltf = parse_glb((tmp_path / "walk.glb").read_bytes())
        off = np.linalg.norm(skinned(gltf, 0, times)[:, : len(body.v_template)] - expected, axis=-1)
        assert off.max() < most and off.mean() < mean
