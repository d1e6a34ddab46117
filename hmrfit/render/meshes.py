"""Bodies as mesh files, through trimesh: .obj, .ply, .glb by the suffix.

Written: metres, right-handed, y up, a person who faces the camera faces +z (what glTF prescribes and Blender's, Unity's
and Unreal's importers expect of it). From the camera frame (x right, y down, z forward) that is half a turn about x,

    (x, y, z) -> (x, −y, −z),

after the turn to the level frame where the up direction is known (`ops.level`): then bodies stand upright although the
camera was not level. The camera stands at the origin and, where it is level, looks along −z. With `frame="camera"` the
vertices are written unchanged. The file states its frame: glTF in its asset's extras, obj and ply in a comment.
Vertices keep their number and order.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hmrfit.io.atomic import atomic_write
from hmrfit.ops.check import check_shape, did_you_mean
from hmrfit.ops.how_many import how_many
from hmrfit.ops.level import level_rotation, upright_in_words
from hmrfit.render import MESHES

FRAMES = {
    "y_up": "y up, +z towards the camera (glTF); the camera at the origin looks along -z",
    "camera": "OpenCV camera frame: +x right, +y down, +z forward",
}

PART_COLORS = ((239, 201, 165), (94, 131, 197), (224, 122, 95), (242, 177, 96), (88, 163, 132), (150, 112, 178))
"""sRGB for labels 1, 2, ... in turn."""


def write_mesh(
    path: str | os.PathLike,
    vertices: Tensor | Sequence[Tensor],
    faces: Tensor,
    frame: str = "y_up",
    colors: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    up: ArrayLike | None = None,
    up_std: float | None = None,
) -> None:
    """Writes one body, or several as one file (.glb: one named node each; .obj and .ply: one mesh after the other).

    Args:
        path: ends in .obj, .ply or .glb; the file is written whole or not at all.
        vertices: (V, 3) or (P, V, 3), camera frame, metres.
        faces: (F, 3) counterclockwise seen from outside.
        frame: "y_up" (see above) or "camera".
        colors: (V, 3) sRGB uint8, for every person; see `part_colors`.
        names: of the people, for .glb; default person_0, person_1, ...
        up: (3,) the up direction in the camera frame, which becomes +y; None takes the camera as level.
        up_std: degrees, where it is an estimate; the file says so.

    Raises:
        ValueError: unknown suffix or frame, wrong shapes. OSError: see `atomic.atomic_write`.
    """
    export = _exporter(path)
    if frame not in FRAMES:
        raise ValueError(f"frame should be one of {', '.join(FRAMES)}, not '{frame}'.{did_you_mean(frame, FRAMES)}")
    meshes = _meshes(vertices, faces, _turn(frame, up), colors)
    names = names or [f"person_{p}" for p in range(len(meshes))]
    if len(names) != len(meshes):
        raise ValueError(f"Expected a name for each of {how_many(len(meshes), 'people')}, got {len(names)}.")
    level = f"; {upright_in_words('bodies', up is not None, up_std)}" if frame == "y_up" else ""
    data = export(meshes, names, f"metres; {FRAMES[frame]}{level}")
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def part_colors(vertex_labels: Tensor) -> NDArray[np.uint8]:
    """Labels of vertices (V,), from 1 -> sRGB (V, 3) for `write_mesh`, a colour for each part."""
    return np.array(PART_COLORS, np.uint8)[(np.asarray(vertex_labels) - 1) % len(PART_COLORS)]


def _exporter(path: str | os.PathLike) -> Callable[[list[trimesh.Trimesh], Sequence[str], str], bytes]:
    exporters = dict(zip((f".{kind}" for kind in MESHES), (_obj, _ply, _glb), strict=True))
    suffix = Path(path).suffix.lower()
    if suffix not in exporters:
        *others, last = exporters
        near = did_you_mean(suffix, exporters) if suffix else ""
        raise ValueError(f"'{path}' should end in {', '.join(others)} or {last}, which names the kind of file.{near}")
    return exporters[suffix]


def _turn(frame: str, up: ArrayLike | None) -> NDArray[np.float64]:
    """(3, 3) camera frame -> the file's."""
    return np.eye(3) if frame == "camera" else np.diag([1.0, -1.0, -1.0]) @ level_rotation(up).numpy()


def _meshes(
    vertices: Tensor | Sequence[Tensor], faces: Tensor, turn: NDArray[np.float64], colors: ArrayLike | None
) -> list[trimesh.Trimesh]:
    """One mesh per person in the file's frame, vertices untouched by trimesh's clean-up."""
    people = torch.as_tensor(np.asarray(vertices)) if not isinstance(vertices, Tensor) else vertices.detach().cpu()
    people = people[None] if people.ndim == 2 else people
    sizes = check_shape(people, "P V 3", "vertices", hint="Camera frame, metres.")
    check_shape(faces, "F 3", "faces")
    if colors is not None:
        check_shape(colors := np.asarray(colors, np.uint8), "V 3", "colors", {"V": sizes["V"]})
    corners = faces.detach().cpu().numpy()
    return [trimesh.Trimesh(p.numpy() @ turn.T, corners, vertex_colors=colors, process=False) for p in people]


def _obj(meshes: list[trimesh.Trimesh], names: Sequence[str], note: str) -> bytes:
    """Text; vertex colours follow the coordinates, as MeshLab and Blender read them."""
    text = trimesh.exchange.obj.export_obj(_one(meshes), header=f"hmrfit; {note}", include_normals=False)
    return text.encode()


def _ply(meshes: list[trimesh.Trimesh], names: Sequence[str], note: str) -> bytes:
    """Binary, little-endian."""
    data = trimesh.exchange.ply.export_ply(_one(meshes))
    first, second, rest = data.split(b"\n", 2)
    return b"\n".join([first, second, f"comment hmrfit; {note}".encode(), rest])


def _glb(meshes: list[trimesh.Trimesh], names: Sequence[str], note: str) -> bytes:
    scene = trimesh.Scene()
    for mesh, name in zip(meshes, names, strict=True):
        scene.add_geometry(mesh, node_name=name, geom_name=name)

    def describe(tree: dict[str, Any]) -> None:
        tree["asset"]["extras"] = {"generator": "hmrfit", "units_and_axes": note}

    return trimesh.exchange.gltf.export_glb(scene, tree_postprocessor=describe, include_normals=True)


def _one(meshes: list[trimesh.Trimesh]) -> trimesh.Trimesh:
    """One mesh after the other."""
    joined = meshes[0] if len(meshes) == 1 else trimesh.util.concatenate(meshes)
    assert isinstance(joined, trimesh.Trimesh)
    return joined
