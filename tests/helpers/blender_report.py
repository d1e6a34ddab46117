"""Run by Blender's own Python: opens a .glb or .bvh as its File > Import does, and writes what it finds as an npz.

    python blender_report.py FILE FPS FRAME OUT.npz

`report` is JSON: scene frame rate, armatures with bones and actions, cameras, meshes. Vertices are those of the mesh as
it is posed in the frame, joints the heads of the posed bones; both turned from Blender's z up to y up.
"""

import json
import sys

import bpy
import numpy as np

file, fps, frame, out = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.render.fps, scene.render.fps_base = max(1, round(fps)), max(1, round(fps)) / fps
if file.endswith(".glb"):
    bpy.ops.import_scene.gltf(filepath=file)
else:
    bpy.ops.import_anim.bvh(filepath=file, update_scene_fps=False, use_fps_scale=False)
scene.frame_set(frame)
graph = bpy.context.evaluated_depsgraph_get()


def y_up(points: np.ndarray) -> np.ndarray:
    return points[..., [0, 2, 1]] * [1, 1, -1]


def action_of(thing: bpy.types.Object) -> dict:
    action = thing.animation_data.action if thing.animation_data else None
    if action is None:
        return {}
    return {"name": action.name, "range": list(action.frame_range), "curves": len(action.fcurves)}


report = {"actions": len(bpy.data.actions), "armatures": [], "meshes": [], "cameras": []}
arrays = {}
for thing in scene.objects:
    placed = np.array(thing.evaluated_get(graph).matrix_world)
    if thing.type == "ARMATURE":
        bones = [bone.name for bone in thing.data.bones]
        tracks = [track.name for track in thing.animation_data.nla_tracks] if thing.animation_data else []
        report["armatures"].append({"name": thing.name, "bones": bones, "action": action_of(thing), "tracks": tracks})
        posed = thing.evaluated_get(graph).pose.bones
        heads = np.array([(placed @ np.array([*posed[bone].head, 1.0]))[:3] for bone in bones])
        arrays[f"joints {thing.name}"] = y_up(heads)
    elif thing.type == "MESH" and not thing.hide_get():
        mesh = thing.evaluated_get(graph).to_mesh()
        vertices = np.empty(3 * len(mesh.vertices))
        mesh.vertices.foreach_get("co", vertices)
        vertices = vertices.reshape(-1, 3) @ placed[:3, :3].T + placed[:3, 3]
        layers, materials = [layer.name for layer in mesh.uv_layers], [m.name for m in thing.data.materials]
        keys = len(thing.data.shape_keys.key_blocks) - 1 if thing.data.shape_keys else 0
        report["meshes"].append({"name": thing.name, "uv": layers, "materials": materials, "shape_keys": keys})
        arrays[f"vertices {thing.name}"] = y_up(vertices)
    elif thing.type == "CAMERA":
        report["cameras"].append({"name": thing.name, "angle_y": thing.data.angle_y, "angle_x": thing.data.angle_x})
        arrays[f"camera {thing.name}"] = placed
np.savez(out, report=json.dumps(report), **arrays)
