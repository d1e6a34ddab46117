"""Skinned, animated bodies as a binary glTF file: y up, metres, a person who faces the camera faces +z.

    scene
    ├── person_0           the armature, one a person, where the world is
    │   └── pelvis ...     a node for each joint of the body's skeleton, by its names
    ├── person_0_body      mesh: positions, normals, texture coordinates, joints and weights; skinned by the joints
    └── camera             where the photograph was taken from, with its field of view

    rest          T pose, the person's own shape:  v = T + S beta,   J = J_regressor v,   node j at J_j − J_parent(j)
    skinning      v' = Σ_b w_b (G_b (v − J_b) + x_b)            four (or eight) weights a vertex, see `skin_weights`
    animation     R_j(t) quaternions of every joint, J_0 + transl(t) of the pelvis;  keys at the frames' own seconds
    correctives   their mean over the frames, in the mesh at rest; or morph targets M_k with weights that are animated
                  too:  v + Σ_k a_k(t) M_k

which is the body of `body.smpl`, without what its pose correctives change from frame to frame, or with it. Without it,
the free body is 1.3 mm off in the mean over vertices and frames, on 18 clips of motion (0.4 to 2.6; without the mean in
the mesh 2.4).

Of a still, the joints are where the pose has them when the mesh is bound: every program shows the fitted body, and its
joints can be turned from there. The first V vertices are the body's own, in its order; copies at seams follow.

How it is opened
    Blender     File > Import > glTF 2.0: an armature with its action for each person (from 4.4 on, one action that has
                a slot for each). glTF counts in seconds, so set the scene's frame rate (Output > Frame Rate) to the
                file's, which its `extras` state as `fps`, before the import; else keys lie between frames. Blender
                turns y up to its own z up.
    three.js    new GLTFLoader().load(url, ...): `gltf.scene`, `gltf.animations` (an AnimationMixer plays them),
                `gltf.cameras`. It takes four weights a vertex.
    Unity       with the package glTFast (com.unity.cloud.gltfast), or through Blender as FBX. Unity mirrors x.
    Godot, Unreal read .glb themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from hmrfit.body.smpl import SmplBody
from hmrfit.export.correctives import Correctives, corrective_targets, mean_correctives
from hmrfit.export.gltf import ATTRIBUTE, INDEX, GltfFile, Json
from hmrfit.export.gltf_scene import WHITE, add_camera, add_floor, add_material, material_colors
from hmrfit.export.person_motion import PersonMotion, in_frame, lowest_point
from hmrfit.export.skin_weights import INFLUENCES, few_weights, largest_weights
from hmrfit.export.uv_atlas import uv_atlas
from hmrfit.io.atomic import atomic_write
from hmrfit.ops.check import check_shape
from hmrfit.ops.skinning import forward_kinematics
from hmrfit.render.shading import to_linear, vertex_normals
from hmrfit.types import BodyParams

Float = NDArray[np.float64]

AXES = "metres; y up, +z towards the camera"
CAMERA_AXES = "metres; OpenCV camera frame: +x right, +y down, +z forward"


def write_glb(
    path: str | PathLike[str],
    people: Sequence[PersonMotion],
    *,
    on_floor: bool = False,
    influences: int = 4,
    material: str = "clay",
    correctives: bool = False,
) -> None:
    """Writes people who move, one armature and mesh for each, as one .glb; whole or not at all.

    Args:
        people: in one world: the same `up` and camera. Their `times` are seconds of one clock, of which the earliest
            becomes 0; gaps in them stay, and viewers interpolate over them.
        on_floor: moves everything, the camera too, up or down until the lowest point of all frames is at y = 0, and
            draws the floor there. Else a floor is drawn where it is known.
        influences: joints that move a vertex: 4, which every viewer takes, or 8.
        material: "clay" (a colour for each person, as in pictures) or "skin".
        correctives: bakes pose correctives as morph targets, 1 to 3 MB a person; see `correctives`.

    Raises:
        ValueError: says what was expected; nothing is written. OSError: see `atomic.atomic_write`.
    """
    people = list(people)
    _check_people(people)
    if influences not in INFLUENCES:
        raise ValueError(f"influences should be 4 or 8 joints a vertex, not {influences!r}.")
    colors, first = material_colors(material), people[0]
    bodies = [_moving(person, influences, correctives) for person in people]
    shift = np.zeros(3)
    if on_floor:
        shift[1] = -min(lowest_point(body.person, body.world, body.weights, body.bound) for body in bodies)
    begin = min(person.seconds[0] for person in people)
    rest = "T pose, the person's own shape"
    file = GltfFile({"units_and_axes": f"{AXES}; {first.level}", "fps": first.fps, "rest": rest})
    animation, roots = _Animation(file), []
    for number, body in enumerate(bodies):
        name = body.person.name
        paint = add_material(file, f"{name}_material", colors[number % len(colors)])
        roots += _add_moving(animation, body, shift, body.person.seconds - begin, paint)
    animation.finish(first.name if len(people) == 1 else "motion", first.fps)
    _finish(path, file, roots, people, shift, on_floor)


def write_posed_glb(
    path: str | PathLike[str],
    people: Sequence[PersonMotion],
    vertices: Sequence[Tensor] | Tensor,
    *,
    frame: str = "y_up",
    colors: ArrayLike | None = None,
    on_floor: bool = False,
    material: str = "clay",
) -> None:
    """Writes people as they stand in one moment, each with skeleton, normals, texture coordinates and material, and
    the camera that saw them, as one .glb; whole or not at all.

    Args:
        people: of one frame each, with the same `up` and camera. vertices: of each (V, 3), camera frame, metres.
        frame: "y_up", or "camera" for the camera frame as it is (y down), where on_floor has no meaning.
        colors: (V, 3) sRGB uint8, for every person, instead of the material's.
        on_floor: moves everything until the lowest vertex is at y = 0, and draws the floor there.

    Raises:
        ValueError: says what was expected; nothing is written. OSError: see `atomic.atomic_write`.
    """
    people = list(people)
    _check_people(people)
    if frame == "camera" and on_floor:
        raise ValueError("on_floor= needs a frame with y up; leave it out with frame='camera'.")
    tints, first = material_colors(material), people[0]
    turn = first.world_rotation() if frame == "y_up" else torch.eye(3, dtype=torch.float64)
    placed = [torch.as_tensor(v).detach().cpu().double() @ turn.T for v in vertices]
    shift = np.zeros(3)
    if on_floor:
        shift[1] = -min(float(v[:, 1].min()) for v in placed)
    axes = f"{AXES}; {first.level}" if frame == "y_up" else CAMERA_AXES
    file = GltfFile({"units_and_axes": axes, "rest": "as posed"})
    roots: list[int] = []
    for number, (person, points) in enumerate(zip(people, placed, strict=True)):
        world = in_frame(person.params[0], person.body, turn, shift)
        turns, joints = _forward(person, world)
        weights = person.body.weights.detach().cpu().double().numpy()
        mesh = _rest_mesh(person.body, points + torch.tensor(shift), weights, 4)
        paint = add_material(file, f"{person.name}_material", tints[number % len(tints)] if colors is None else WHITE)
        place = _add_mesh(file, person.name, mesh, paint, colors=colors)
        armature, _, skin = _add_skeleton(file, person.name, person.body, joints[0], turns[0])
        node = file.add("nodes", name=f"{person.name}_body", mesh=place, skin=skin)
        roots += [armature, node]
    _finish(path, file, roots, people, shift, on_floor, frame)


def _check_people(people: Sequence[PersonMotion]) -> None:
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


def _finish(
    path: str | PathLike[str],
    file: GltfFile,
    roots: list[int],
    people: Sequence[PersonMotion],
    shift: Float,
    on_floor: bool,
    frame: str = "y_up",
) -> None:
    """Adds floor and camera, and writes the file."""
    first = people[0]
    height = 0.0 if on_floor else first.floor
    if height is not None and frame == "y_up":
        ways = np.concatenate([person.in_world().transl.numpy() for person in people])
        x, _, z = (ways.min(0) + ways.max(0)) / 2
        roots.append(add_floor(file, height, (float(x), float(z))))
    if first.camera is not None:
        turn = first.world_rotation() if frame == "y_up" else torch.eye(3, dtype=torch.float64)
        roots.append(add_camera(file, first.camera, turn, shift))
    file.tree["scene"] = file.add("scenes", name="hmrfit", nodes=roots)
    data = file.data()
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


# ---- the mesh


@dataclass(frozen=True)
class _RestMesh:
    """What is skinned, as it is bound to the joints. The first V of N vertices are the body's; copies follow."""

    vertices: Float  # (N, 3) metres
    normals: Float  # (N, 3)
    uv: Float  # (N, 2)
    faces: NDArray[np.int64]  # (F, 3)
    joints: NDArray[np.int64]  # (N, 4 or 8)
    weights: Float  # (N, 4 or 8)
    source: NDArray[np.int64]  # (N,) which of the body's vertices each is


def _rest_mesh(body: SmplBody, vertices: Tensor, weights: Float, influences: int) -> _RestMesh:
    """A body's mesh. vertices: (V, 3) where they are bound. weights: (V, J)."""
    atlas = uv_atlas(body)
    normals = vertex_normals(vertices[None], body.faces.cpu())[0].numpy()
    joints, few = largest_weights(weights, influences)
    source = atlas.source
    return _RestMesh(
        vertices.numpy()[source], normals[source], atlas.uv, atlas.faces, joints[source], few[source], source
    )


def _add_mesh(
    file: GltfFile,
    name: str,
    mesh: _RestMesh,
    material: int,
    targets: Float | None = None,
    colors: ArrayLike | None = None,
) -> int:
    """The mesh in its material; returns its place. targets: (K, V, 3) of morphs, metres. colors: (V, 3) sRGB uint8."""
    f32 = np.float32
    attributes = {
        "POSITION": file.accessor(mesh.vertices.astype(f32), ATTRIBUTE, bounds=True),
        "NORMAL": file.accessor(mesh.normals.astype(f32), ATTRIBUTE),
        "TEXCOORD_0": file.accessor(mesh.uv.astype(f32), ATTRIBUTE),
    }
    if colors is not None:
        srgb = np.asarray(colors, np.uint8)
        check_shape(srgb, "V 3", "colors", {"V": int(mesh.source.max()) + 1})
        linear = to_linear(torch.tensor(srgb / 255.0)).numpy()[mesh.source]
        four = np.concatenate([linear, np.ones((len(linear), 1))], 1)
        attributes["COLOR_0"] = file.accessor((four * 65535 + 0.5).astype(np.uint16), ATTRIBUTE, normalized=True)
    whole = np.uint8 if mesh.joints.max() < 256 else np.uint16
    for k in range(mesh.joints.shape[1] // 4):
        four_joints = slice(4 * k, 4 * k + 4)
        attributes[f"JOINTS_{k}"] = file.accessor(mesh.joints[:, four_joints].astype(whole), ATTRIBUTE)
        attributes[f"WEIGHTS_{k}"] = file.accessor(mesh.weights[:, four_joints].astype(f32), ATTRIBUTE)
    corners = np.uint16 if len(mesh.vertices) < 65535 else np.uint32
    indices = file.accessor(mesh.faces.reshape(-1).astype(corners), INDEX)
    primitive: Json = {"attributes": attributes, "indices": indices, "material": material}
    weights = None
    if targets is not None:
        moved = [target[mesh.source].astype(f32) for target in targets]
        primitive["targets"] = [{"POSITION": file.accessor(target, ATTRIBUTE, bounds=True)} for target in moved]
        weights = [0.0] * len(moved)
    return file.add("meshes", name=f"{name}_body", primitives=[primitive], weights=weights)


# ---- the skeleton and its movement


def _add_skeleton(
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


class _Animation:
    """Everybody's movement, as one animation: programs play one at a time. Blender makes an action for each person."""

    def __init__(self, file: GltfFile) -> None:
        self.file = file
        self.samplers: list[Json] = []
        self.channels: list[Json] = []

    def add(self, node: int, path: str, keys: int, values: NDArray) -> None:
        """What a node's translation, rotation, ... (`path`) is at the seconds of the accessor `keys`."""
        output = self.file.accessor(values.astype(np.float32))
        self.samplers.append({"input": keys, "output": output, "interpolation": "LINEAR"})
        self.channels.append({"sampler": len(self.samplers) - 1, "target": {"node": node, "path": path}})

    def finish(self, name: str, fps: float) -> None:
        """Writes it into the file's tree."""
        self.file.add("animations", name=name, channels=self.channels, samplers=self.samplers, extras={"fps": fps})


@dataclass(frozen=True)
class _Moving:
    """A person in the file's world, before it is moved onto the floor."""

    person: PersonMotion
    world: BodyParams
    weights: Float  # (V, J), few of them not 0
    influences: int
    morphs: Correctives | None
    bound: Tensor  # (V, 3) the mesh at rest


def _moving(person: PersonMotion, influences: int, correctives: bool) -> _Moving:
    world = person.in_world()
    rest = person.rest_vertices.numpy(), person.rest_joints.numpy()
    weights = few_weights(
        person.body.weights.detach().cpu().double().numpy(), influences, rest, _forward(person, world)
    )
    morphs = corrective_targets(person.body, person.params.body_pose) if correctives else None
    bound = person.rest_vertices
    if morphs is None:
        bound = bound + mean_correctives(person.body, person.params.body_pose)
    return _Moving(person, world, weights, influences, morphs, bound)


def _forward(person: PersonMotion, world: BodyParams) -> tuple[Float, Float]:
    """World rotations (T, J, 3, 3) and joints (T, J, 3)."""
    turns, joints = forward_kinematics(world.rotations, person.rest_joints, person.body.parents)
    return turns.numpy(), (joints + world.transl[:, None]).numpy()


def _add_moving(animation: _Animation, body: _Moving, shift: Float, seconds: Float, material: int) -> list[int]:
    """Returns the nodes that stand directly in the scene."""
    file, person, world = animation.file, body.person, body.world
    places = person.rest_joints.numpy()
    mesh = _rest_mesh(person.body, body.bound, body.weights, body.influences)
    place = _add_mesh(file, person.name, mesh, material, None if body.morphs is None else body.morphs.targets)
    armature, joints, skin = _add_skeleton(file, person.name, person.body, places)
    node = file.add("nodes", name=f"{person.name}_body", mesh=place, skin=skin)
    keys = file.accessor(seconds.astype(np.float32), bounds=True)
    animation.add(joints[0], "translation", keys, places[0] + world.transl.numpy() + shift)
    for j, quaternions in enumerate(continuous_quaternions(world.rotations.numpy())):
        animation.add(joints[j], "rotation", keys, quaternions)
    if body.morphs is not None:
        animation.add(node, "weights", keys, body.morphs.amounts.reshape(-1))
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
