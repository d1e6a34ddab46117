"""Skinned, animated bodies as a binary glTF file: y up, metres, a person who faces the camera faces +z.

    scene
    ├── person_0           the armature, one a person, where the world is
    │   └── pelvis ...     a node for each joint of the body's skeleton, by its names
    ├── person_0_body      mesh: positions, normals, texture coordinates, joints and weights; skinned by the joints
    └── camera             where the photograph was taken from, with its field of view

    rest          T pose, the person's own shape:  v = T + S beta,   J = J_regressor v,   node j at J_j − J_parent(j)
    skinning      v' = Σ_b w_b (G_b (v − J_b) + x_b)            with the four (or eight) largest weights of a vertex
    animation     R_j(t) quaternions of every joint, J_0 + transl(t) of the pelvis;  keys at the frames' own seconds

which is the body of `body.smpl` but for its pose correctives.

How it is opened
    Blender     File > Import > glTF 2.0: one armature and one action for each person. glTF counts in seconds, so set
                the scene's frame rate (Output > Frame Rate) to the file's, which its `extras` state as `fps`, before
                the import; else keys lie between frames. Blender turns y up to its own z up.
    three.js    new GLTFLoader().load(url, ...): `gltf.scene`, `gltf.animations` (an AnimationMixer plays them),
                `gltf.cameras`. It takes four weights a vertex.
    Unity       with the package glTFast (com.unity.cloud.gltfast), or through Blender as FBX. Unity mirrors x.
    Godot, Unreal read .glb themselves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.export.gltf import ATTRIBUTE, INDEX, GltfFile, Json
from hmrfit.export.person_motion import Y_UP, PersonMotion, in_frame, lowest_point
from hmrfit.export.skin_weights import INFLUENCES, dense_weights, largest_weights
from hmrfit.io.atomic import atomic_write
from hmrfit.ops.check import did_you_mean
from hmrfit.render.shading import BODY_COLORS, hex_to_rgb, to_linear, vertex_normals
from hmrfit.types import BodyParams

Float = NDArray[np.float64]

MATERIALS: Mapping[str, tuple[str, ...]] = {"clay": BODY_COLORS, "skin": ("#d9a58c", "#b97a57", "#8d5a3c", "#e8c3ae")}
"""Name -> sRGB colours, one person after the other."""

ROUGHNESS = 0.65

FLOOR_SIZE, FLOOR_COLOR = 6.0, "#8c8c8c"
"""Metres along each side of the floor that is drawn."""

NEAR, FAR = 0.05, 1000.0
"""Metres, of the camera."""

AXES = "metres; y up, +z towards the camera"


def write_glb(
    path: str | PathLike[str],
    people: Sequence[PersonMotion],
    *,
    on_floor: bool = False,
    influences: int = 4,
    material: str = "clay",
) -> None:
    """Writes people who move, one armature, mesh and animation for each, as one .glb; whole or not at all.

    Args:
        people: in one world: the same `up` and camera. Their `times` are seconds of one clock, of which the earliest
            becomes 0; gaps in them stay, and viewers interpolate over them.
        on_floor: moves everything, the camera too, up or down until the lowest point of all frames is at y = 0, and
            draws the floor there.
        influences: joints that move a vertex: 4, which every viewer takes, or 8, which are exact for this body.
        material: "clay" (a colour for each person, as in pictures) or "skin".

    Raises:
        ValueError: says what was expected; nothing is written. OSError: see `atomic.atomic_write`.
    """
    people = list(people)
    check_people(people)
    if influences not in INFLUENCES:
        raise ValueError(f"influences should be 4 or 8 joints a vertex, not {influences!r}.")
    colors = material_colors(material)
    first = people[0]
    shift = np.zeros(3)
    if on_floor:
        shift[1] = -min(
            lowest_point(person, person.in_world(), dense_weights(person.body.weights, influences)) for person in people
        )
    begin = min(person.seconds[0] for person in people)
    file = GltfFile(
        {"units_and_axes": f"{AXES}; {first.level}", "fps": first.fps, "rest": "T pose, the person's own shape"}
    )
    roots: list[int] = []
    for number, person in enumerate(people):
        turn = person.world_rotation()
        roots += _add_moving_person(
            file, person, in_frame(person.params, person.body, turn, shift), begin, influences, _pbr(colors, number)
        )
    if on_floor:
        roots.append(add_floor(file, 0.0, _floor_center(people, first)))
    if first.camera is not None:
        roots.append(add_camera(file, first.camera, first.world_rotation(), shift))
    _finish(path, file, roots)


def check_people(people: Sequence[PersonMotion]) -> None:
    """That there are some, in one world, each with a name of its own. Raises ValueError."""
    if not people:
        raise ValueError("There is no person to write.")
    names = [person.name for person in people]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"Two people are called '{twice}'. Give each a name of its own: result.motion(name=...).")
    first = people[0].world_rotation()
    if any((p.up is None) != (people[0].up is None) or not p.world_rotation().allclose(first) for p in people):
        raise ValueError("People of one file stand in one world: `up` should be the same for all of them.")


def material_colors(material: str) -> tuple[str, ...]:
    """sRGB colours of a name. Raises ValueError: there is no such material."""
    if material not in MATERIALS:
        known = " or ".join(MATERIALS)
        raise ValueError(f"material should be {known}, not '{material}'.{did_you_mean(material, MATERIALS)}")
    return MATERIALS[material]


def _pbr(colors: Sequence[str], number: int) -> Json:
    """A material without metal, its colour in linear light."""
    srgb = torch.tensor(hex_to_rgb(colors[number % len(colors)]))
    return {
        "baseColorFactor": [*(round(c, 5) for c in to_linear(srgb).tolist()), 1.0],
        "metallicFactor": 0.0,
        "roughnessFactor": ROUGHNESS,
    }


# ---- one person


@dataclass(frozen=True)
class RestMesh:
    """What is skinned, and the joints that skin it, at rest. Vertices that a seam cuts stand several times."""

    vertices: Float  # (V, 3) metres
    normals: Float  # (V, 3)
    uv: Float | None  # (V, 2), (0, 0) the upper left corner, as glTF has it
    faces: NDArray[np.int64]  # (F, 3)
    joints: NDArray[np.int64]  # (V, N)
    weights: Float  # (V, N)


def rest_mesh(body: SmplBody, vertices: Tensor, influences: int) -> RestMesh:
    """A body's mesh. vertices: (V, 3), where they are at rest."""
    normals = vertex_normals(vertices[None], body.faces.cpu())[0].numpy()
    joints, weights = largest_weights(body.weights.detach().cpu().numpy(), influences)
    return RestMesh(vertices.numpy(), normals, None, body.faces.cpu().numpy(), joints, weights)


def add_mesh(file: GltfFile, name: str, mesh: RestMesh, pbr: Json) -> int:
    """The mesh with its material; returns its place."""
    f32 = np.float32
    attributes = {
        "POSITION": file.accessor(mesh.vertices.astype(f32), ATTRIBUTE, bounds=True),
        "NORMAL": file.accessor(mesh.normals.astype(f32), ATTRIBUTE),
    }
    if mesh.uv is not None:
        attributes["TEXCOORD_0"] = file.accessor(mesh.uv.astype(f32), ATTRIBUTE)
    whole = np.uint8 if mesh.joints.max() < 256 else np.uint16
    for k in range(mesh.joints.shape[1] // 4):
        four = slice(4 * k, 4 * k + 4)
        attributes[f"JOINTS_{k}"] = file.accessor(mesh.joints[:, four].astype(whole), ATTRIBUTE)
        attributes[f"WEIGHTS_{k}"] = file.accessor(mesh.weights[:, four].astype(f32), ATTRIBUTE)
    corners = np.uint16 if len(mesh.vertices) < 65535 else np.uint32
    indices = file.accessor(mesh.faces.reshape(-1).astype(corners), INDEX)
    material = file.add("materials", name=f"{name}_material", pbrMetallicRoughness=pbr)
    primitive = {"attributes": attributes, "indices": indices, "material": material}
    return file.add("meshes", name=f"{name}_body", primitives=[primitive])


def add_skeleton(
    file: GltfFile, name: str, body: SmplBody, places: Float, turns: Float | None = None
) -> tuple[int, list[int], int]:
    """A node for each joint below one for the armature, and the skin that has them at rest there.

    Args:
        places: (J, 3) of the joints, metres. turns: (J, 3, 3) how they are turned against the world; not at all.

    Returns: the armature's node, the joints', and the skin.
    """
    parents, J = body.parents, len(places)
    turns = np.broadcast_to(np.eye(3), (J, 3, 3)) if turns is None else turns
    first = len(file.tree.setdefault("nodes", []))
    children = [[first + k for k, p in enumerate(parents) if p == j] or None for j in range(J)]
    for j, parent in enumerate(parents):
        above, origin = (np.eye(3), np.zeros(3)) if parent < 0 else (turns[parent], places[parent])
        quaternion = Rotation.from_matrix(above.T @ turns[j]).as_quat()
        moved = not np.allclose(quaternion, [0, 0, 0, 1], atol=1e-9)
        file.add(
            "nodes",
            name=body.joint_names[j],
            translation=(above.T @ (places[j] - origin)).tolist(),
            rotation=quaternion.tolist() if moved else None,
            children=children[j],
        )
    joints = list(range(first, first + J))
    armature = file.add("nodes", name=name, children=[first])
    inverse = np.tile(np.eye(4, dtype=np.float32), (J, 1, 1))
    inverse[:, :3, :3] = turns.swapaxes(1, 2)
    inverse[:, :3, 3] = -(turns.swapaxes(1, 2) @ places[..., None])[..., 0]
    skin = file.add("skins", name=name, joints=joints, skeleton=first, inverseBindMatrices=file.accessor(inverse))
    return armature, joints, skin


def _add_moving_person(
    file: GltfFile, person: PersonMotion, world: BodyParams, begin: float, influences: int, pbr: Json
) -> list[int]:
    """Returns the nodes that stand directly in the scene."""
    places = person.rest_joints.numpy()
    mesh = add_mesh(file, person.name, rest_mesh(person.body, person.rest_vertices, influences), pbr)
    armature, joints, skin = add_skeleton(file, person.name, person.body, places)
    node = file.add("nodes", name=f"{person.name}_body", mesh=mesh, skin=skin)
    keys = file.accessor((person.seconds - begin).astype(np.float32), bounds=True)
    samplers, channels = [], []

    def animate(joint: int, path: str, values: NDArray) -> None:
        samplers.append({"input": keys, "output": file.accessor(values.astype(np.float32)), "interpolation": "LINEAR"})
        channels.append({"sampler": len(samplers) - 1, "target": {"node": joints[joint], "path": path}})

    animate(0, "translation", places[0] + world.transl.numpy())
    for j, quaternions in enumerate(continuous_quaternions(world.rotations.numpy())):
        animate(j, "rotation", quaternions)
    file.add("animations", name=person.name, channels=channels, samplers=samplers, extras={"fps": person.fps})
    return [armature, node]


def continuous_quaternions(rotations: Float) -> Float:
    """(T, J, 3, 3) -> (J, T, 4), x y z w, of the two signs the one that is nearer to the frame before: viewers that
    interpolate number by number then go the shortest way, too."""
    T, J = rotations.shape[:2]
    q = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_quat().reshape(T, J, 4)
    q[0] *= np.where(q[0, :, 3:] < 0, -1, 1)
    flips = np.where((q[1:] * q[:-1]).sum(-1) < 0, -1, 1)
    q[1:] *= np.cumprod(flips, 0)[..., None]
    return q.swapaxes(0, 1)


# ---- what stands beside the people


def add_camera(file: GltfFile, camera: Camera, world: Tensor, shift: Float) -> int:
    """The camera that took the photograph, with its field of view; returns its node.

    glTF has no principal point: where it is not the image's middle, the view is the smallest one about it that holds
    the whole image, and `extras` say where in it the image is. world: (3, 3) from the camera frame to the file's.
    """
    (fx, fy), (cx, cy), (width, height) = (v[0].tolist() for v in (camera.focal, camera.center, camera.size))
    half_width, half_height = max(cx, width - cx), max(cy, height - cy)
    perspective = {
        "yfov": 2 * float(np.arctan(half_height / fy)),
        "aspectRatio": (half_width / fx) / (half_height / fy),
        "znear": NEAR,
        "zfar": FAR,
    }
    extras = {"focal": [fx, fy], "center": [cx, cy], "image_size": [width, height]}
    place = file.add("cameras", name="camera", type="perspective", perspective=perspective, extras=extras)
    flip = np.array(Y_UP)  # a camera of glTF looks along its own -z, with y up
    turn = Rotation.from_matrix(world.numpy() @ flip).as_quat()
    return file.add("nodes", name="camera", camera=place, rotation=turn.tolist(), translation=list(map(float, shift)))


def add_floor(file: GltfFile, height: float, center: tuple[float, float]) -> int:
    """A square at y = height about (x, z); returns its node."""
    half = FLOOR_SIZE / 2
    corners = np.array([[-half, 0, half], [half, 0, half], [half, 0, -half], [-half, 0, -half]], np.float32)
    attributes = {
        "POSITION": file.accessor(corners, ATTRIBUTE, bounds=True),
        "NORMAL": file.accessor(np.tile(np.array([0, 1, 0], np.float32), (4, 1)), ATTRIBUTE),
    }
    indices = file.accessor(np.array([0, 1, 2, 0, 2, 3], np.uint16), INDEX)
    material = file.add("materials", name="floor", pbrMetallicRoughness=_pbr((FLOOR_COLOR,), 0))
    primitive = {"attributes": attributes, "indices": indices, "material": material}
    mesh = file.add("meshes", name="floor", primitives=[primitive])
    return file.add("nodes", name="floor", mesh=mesh, translation=[center[0], height, center[1]])


def _floor_center(people: Sequence[PersonMotion], first: PersonMotion) -> tuple[float, float]:
    """x and z of the middle of where everybody goes."""
    ways = np.concatenate([person.in_world().transl.numpy() for person in people])
    x, _, z = (ways.min(0) + ways.max(0)) / 2
    return float(x), float(z)


def _finish(path: str | PathLike[str], file: GltfFile, roots: Sequence[int]) -> None:
    file.tree["scene"] = 0
    file.add("scenes", name="hmrfit", nodes=list(roots))
    data = file.data()
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
