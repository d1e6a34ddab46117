"""What other programs make of the files: the Khronos validator, three.js, Blender, Meshcapade's codec (make test-all).

HMRFIT_NODE_MODULES     a folder with the npm packages gltf-validator and three; else npm brings them, for the run
HMRFIT_BLENDER_PYTHON   a Python that has Blender's module bpy
HMRFIT_CODEC_PYTHON     a Python that has the package smplcodec; by default the tests' own
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.moving_people import skinned_with_mean_correctives, walk

import hmrfit
from hmrfit.body.smpl import SmplBody
from hmrfit.build import load_body
from hmrfit.export.glb import write_glb, write_posed_glb
from hmrfit.export.motion_files import write_motion

FPS, T = 25.0, 11
Y_UP = np.array([1.0, -1.0, -1.0])
HELPERS = Path(__file__).resolve().parents[1] / "helpers"


@pytest.fixture(scope="module")
def body() -> SmplBody:
    return load_body("free_body")


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with node_modules."""
    given = os.environ.get("HMRFIT_NODE_MODULES")
    if given:
        return Path(given)
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("npm")
    command = [npm, "install", "--no-audit", "--no-fund", "gltf-validator@2.0.0-dev.3.10", "three@0.180.0"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"npm could not bring gltf-validator and three: {done.stderr[-300:]}")
    return folder


def node(script: str, folder: Path, *arguments: Path | float) -> dict:
    """What a script of tests/helpers prints, run by Node where the packages are."""
    copy = folder / script
    shutil.copy(HELPERS / script, copy)
    done = subprocess.run(
        ["node", str(copy), *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def everything(folder: Path, body: SmplBody) -> list[Path]:
    """A file of every kind of GLB."""
    people = [walk(body, seed, T, FPS) for seed in (0, 1)]
    write_glb(folder / "two.glb", people, on_floor=True)
    write_glb(folder / "eight.glb", people[:1], influences=8, material="skin", correctives=True)
    one = replace(people[0], params=people[0].params[0], times=None, up=(0.1, -0.9, -0.3), name="Zoë 走る")
    write_glb(folder / "one.glb", [one])
    colors = np.full((len(body.v_template), 3), 200, np.uint8)
    write_posed_glb(folder / "still.glb", [one], body(one.params).vertices, colors=colors, on_floor=True)
    write_posed_glb(folder / "camera.glb", [one], body(one.params).vertices, frame="camera")
    return sorted(folder.glob("*.glb"))


@pytest.mark.npm
def test_the_khronos_validator_finds_nothing(tmp_path: Path, body: SmplBody, modules: Path) -> None:
    """No errors and no warnings; it remarks that no texture uses the texture coordinates."""
    for path in everything(tmp_path, body):
        report = node("validate_glb.cjs", modules, path)
        assert report["numErrors"] == report["numWarnings"] == 0, f"{path.name}: {report['messages'][:5]}"
        assert {message["code"] for message in report["messages"]} <= {"UNUSED_OBJECT"}


@pytest.mark.npm
def test_three_poses_the_same_body(tmp_path: Path, body: SmplBody, modules: Path) -> None:
    """Its own loader, mixer and skinning, at a frame in the middle, of two people in one file."""
    people = [walk(body, seed, T, FPS) for seed in (0, 1)]
    write_glb(tmp_path / "two.glb", people)
    found = node("pose_glb.mjs", modules, tmp_path / "two.glb", 5 / FPS)
    assert found["clips"] == 1 and found["duration"] == pytest.approx((T - 1) / FPS)
    assert found["camera"]["fov"] == pytest.approx(np.degrees(2 * np.arctan(240 / 600)), abs=1e-4)
    for person, mesh in zip(people, found["meshes"], strict=True):
        vertices = np.array(mesh["vertices"]).reshape(-1, 3)[: len(body.v_template)]
        off = np.linalg.norm(vertices - skinned_with_mean_correctives(person)[5].numpy() * Y_UP, axis=1)
        assert off.mean() < 5e-4 and off.max() < 0.02
        assert mesh["bones"] == len(body.parents)


# ---- Blender


@pytest.fixture(scope="module")
def blender() -> str:
    """A Python that imports bpy."""
    python = os.environ.get("HMRFIT_BLENDER_PYTHON")
    if not python:
        pytest.skip("HMRFIT_BLENDER_PYTHON names no Python that has bpy (Python 3.11: pip install bpy==4.4.0)")
    return python


def opened(blender: str, path: Path, frame: int) -> tuple[dict, dict[str, np.ndarray]]:
    out = path.with_suffix(".npz")
    command = [blender, str(HELPERS / "blender_report.py"), str(path), str(FPS), str(frame), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and out.is_file(), done.stdout[-1000:] + done.stderr[-2000:]
    with np.load(out) as data:
        return json.loads(str(data["report"])), {name: data[name] for name in data if name != "report"}


@pytest.mark.blender
def test_blender_plays_everybody(tmp_path: Path, body: SmplBody, blender: str) -> None:
    """An armature of our joints and an action for each, whole frames, the camera's view, vertices in a middle frame.

    Without pose correctives the mesh is that of linear blend skinning with their mean; with them the body's own.
    """
    people = [walk(body, seed, T, FPS) for seed in (0, 1)]
    for correctives, most in ((False, 5e-4), (True, 5e-4)):
        write_glb(tmp_path / "two.glb", people, correctives=correctives)
        report, arrays = opened(blender, tmp_path / "two.glb", 5)
        assert [armature["name"] for armature in report["armatures"]] == ["person_0", "person_1"]
        for person, armature in zip(people, report["armatures"], strict=True):
            assert set(armature["bones"]) == set(body.joint_names)
            assert armature["action"]["range"] == [0, T - 1]
            posed = body(person.params[5])
            expected = posed.vertices[0] if correctives else skinned_with_mean_correctives(person)[5]
            vertices = arrays[f"vertices {person.name}_body"][: len(body.v_template)]
            off = np.linalg.norm(vertices - expected.numpy() * Y_UP, axis=1)
            assert off.mean() < most and off.max() < 0.02
            heads = arrays[f"joints {person.name}"][[armature["bones"].index(name) for name in body.joint_names]]
            np.testing.assert_allclose(heads, posed.joints[0].numpy() * Y_UP, atol=1e-4)
        whole = body(people[0].params[5]).vertices[0].numpy() * Y_UP
        beside = np.linalg.norm(arrays["vertices person_0_body"][: len(whole)] - whole, axis=1)
        assert beside.mean() < (5e-4 if correctives else 5e-3)  # rotations at random: more than people's
    mesh = next(mesh for mesh in report["meshes"] if mesh["name"] == "person_0_body")
    assert mesh["uv"] and mesh["materials"] == ["person_0_material"]
    assert report["cameras"][0]["angle_y"] == pytest.approx(2 * np.arctan(240 / 600), abs=1e-4)


@pytest.mark.blender
@pytest.mark.parametrize("order", ["ZXY", "XYZ"])
def test_blender_reads_the_bvh_upright(tmp_path: Path, body: SmplBody, blender: str, order: str) -> None:
    person = walk(body, 0, T, FPS)
    write_motion(tmp_path / "walk.bvh", person, order=order)
    report, arrays = opened(blender, tmp_path / "walk.bvh", 6)  # it counts from 1
    (armature,) = report["armatures"]
    assert set(armature["bones"]) == set(body.joint_names) and armature["action"]["range"] == [1, T]
    (heads,) = arrays.values()
    expected = body(person.params[5]).joints[0].numpy() * Y_UP
    np.testing.assert_allclose(heads[[armature["bones"].index(name) for name in body.joint_names]], expected, atol=1e-4)


@pytest.mark.packages
def test_meshcapades_codec_reads_its_format(tmp_path: Path, body: SmplBody) -> None:
    python = os.environ.get("HMRFIT_CODEC_PYTHON", sys.executable)
    person = replace(walk(body, 0, T, FPS), gender="male")
    write_motion(tmp_path / "walk.smpl", person)
    read = (
        "import sys, json; from smplcodec import SMPLCodec; c = SMPLCodec.from_file(sys.argv[1]); "
        "print(json.dumps([c.smpl_version.name, c.gender.name, c.frame_count, c.frame_rate, c.full_pose.tolist(), "
        "c.body_translation.tolist()]))"
    )
    done = subprocess.run([python, "-c", read, str(tmp_path / "walk.smpl")], capture_output=True, text=True)
    if "No module named 'smplcodec'" in done.stderr:
        pytest.skip("the package smplcodec is not installed (HMRFIT_CODEC_PYTHON names a Python that has it)")
    version, gender, count, rate, pose, translation = json.loads(done.stdout)
    assert (version, gender, count, rate) == ("SMPL", "MALE", T, FPS)
    world = person.in_world()
    np.testing.assert_allclose(pose, torch.cat(world.to_rotvecs(), 1).unflatten(1, (-1, 3)), atol=1e-5)
    np.testing.assert_allclose(translation, world.transl, atol=1e-5)


def test_the_formats_are_those_that_the_command_line_names() -> None:
    from hmrfit.export import MOTIONS
    from hmrfit.export.motion_files import MOTION_FILES

    assert tuple(MOTION_FILES) == tuple(f".{kind}" for kind in MOTIONS) and hmrfit.__version__
