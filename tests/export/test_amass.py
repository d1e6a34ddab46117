"""Motion files: the body stands in them as it stood before the camera, and readers of AMASS find what they ask for."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.synthetic_body import synthetic_body, synthetic_smplh, synthetic_smplx

from hmrfit.body.skeleton import SMPL, SMPLH, SMPLX
from hmrfit.body.smpl import SmplBody
from hmrfit.build import load_body
from hmrfit.export.amass import laid_out, write_amass
from hmrfit.export.person_motion import Z_UP, PersonMotion
from hmrfit.fitting.starts import UPRIGHT
from hmrfit.motion import read_motion
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams

T = 7


@pytest.fixture(scope="module")
def body() -> SmplBody:
    return load_body("free_body")


def motion(body: SmplBody, seed: int = 0) -> BodyParams:
    """Upright before a level camera, walking away from it and to its right, all joints moving."""
    draw = torch.Generator().manual_seed(seed)
    rotvecs = 0.1 * torch.randn(T, len(body.parents), 3, generator=draw, dtype=torch.float64)
    rotvecs[:, 0] = torch.tensor([0.0, 0.5, 0.0])
    R = rotvec_to_matrix(rotvecs)
    orient = torch.tensor(UPRIGHT, dtype=torch.float64) @ R[:, 0]
    betas = torch.randn(1, body.shape_count, generator=draw, dtype=torch.float64).expand(T, -1)
    step = torch.arange(T, dtype=torch.float64)[:, None] * torch.tensor([0.02, 0.0, 0.05])
    return BodyParams(orient, R[:, 1:], betas, torch.tensor([0.1, 0.4, 3.0]) + step)


def held(params: BodyParams, body: SmplBody, degrees: float) -> tuple[BodyParams, np.ndarray]:
    """The same people before a camera that looks down by so much; and what points up in its frame."""
    tilt = rotvec_to_matrix(torch.tensor([np.deg2rad(degrees), 0.0, 0.0]).double())
    about = body.rest_joints[0] + params.betas @ body.joint_shapes[0].T
    transl = (about + params.transl) @ tilt.T - about
    return replace(params, global_orient=tilt @ params.global_orient, transl=transl), (-tilt[:, 1]).numpy()


def joints_of(path: Path, body: SmplBody) -> np.ndarray:
    """From the file as our reader has it, in its own world."""
    read = read_motion(path)
    R = rotvec_to_matrix(torch.tensor(read.poses))
    betas = torch.tensor(read.betas).expand(len(read), -1)
    return body(BodyParams(R[:, 0], R[:, 1:], betas, torch.tensor(read.transl)), vertices=False).joints.numpy()


@pytest.mark.parametrize("degrees", [0, 25, -40])
def test_the_body_stands_in_the_file_as_it_stood_in_the_world(tmp_path: Path, body: SmplBody, degrees: float) -> None:
    """x is the camera's right, y ahead of it, z up: of a level camera (x, y, z) -> (x, z, -y), to the last digits."""
    level = motion(body)
    params, up = held(level, body, degrees)
    write_amass(tmp_path / "walk.npz", PersonMotion(params, body, 30, up=up), columns=72)
    x, y, z = np.moveaxis(body(level, vertices=False).joints.numpy(), -1, 0)
    np.testing.assert_allclose(joints_of(tmp_path / "walk.npz", body), np.stack([x, z, -y], -1), atol=1e-9)
    read = read_motion(tmp_path / "walk.npz")
    assert read.up == "z" and read.fps == 30
    head, pelvis = body.joint_names.index("head"), 0
    upright = joints_of(tmp_path / "walk.npz", body)
    assert (upright[:, head, 2] - upright[:, pelvis, 2] > 0.4).all()
    np.testing.assert_allclose(upright[-1, 0] - upright[0, 0], [0.12, 0.3, 0], atol=1e-9)  # right, ahead, not up


def test_without_up_the_camera_is_taken_as_level_and_the_file_says_so(tmp_path: Path, body: SmplBody) -> None:
    for name, up in (("known", (0, -3, 0)), ("unknown", None)):
        write_amass(tmp_path / f"{name}.npz", PersonMotion(motion(body), body, 30, up=up))
    with np.load(tmp_path / "known.npz") as known, np.load(tmp_path / "unknown.npz") as unknown:
        np.testing.assert_allclose(known["poses"], unknown["poses"], atol=1e-12)
        assert known["up_is_known"] and not unknown["up_is_known"]
        assert "take the camera as level" in str(unknown["frame"]) and "as level" not in str(known["frame"])


def blender_add_on(path: Path) -> tuple[np.ndarray, str, int]:
    """The conditions of the SMPL-X and Meshcapade add-ons, in the order in which they ask."""
    with np.load(path) as data:
        rate = [name for name in ("mocap_frame_rate", "mocap_framerate") if name in data]
        assert rate and all(name in data for name in ("trans", "gender", "betas", "poses"))
        gender, fps = str(data["gender"]), int(data[rate[0]])
        assert gender in ("female", "male", "neutral") and fps >= 30
        shapes = [float(beta) for beta in data["betas"]]  # a key block's value each
        assert len(shapes) == 10 and len(data["trans"]) == len(data["poses"])
        return np.stack([pose.reshape(-1, 3) for pose in data["poses"]]), gender, fps


@pytest.mark.parametrize(("columns", "joints"), [(156, 52), (165, 55)])
def test_blender_takes_it(tmp_path: Path, body: SmplBody, columns: int, joints: int) -> None:
    params = motion(body)
    write_amass(tmp_path / "walk.npz", PersonMotion(params, body, 60, gender="female"), columns=columns)
    poses, gender, fps = blender_add_on(tmp_path / "walk.npz")
    assert poses.shape == (T, joints, 3) and gender == "female" and fps == 60
    assert not poses[:, 22:].any()  # hands and face at rest
    np.testing.assert_allclose(rotvec_to_matrix(torch.tensor(poses[:, 1:22])), params.body_pose[:, :21], atol=1e-9)


def test_aitviewer_and_stagewise_readers_take_it(tmp_path: Path, body: SmplBody) -> None:
    write_amass(tmp_path / "walk.npz", PersonMotion(motion(body), body, 29.97))
    with np.load(tmp_path / "walk.npz") as data:
        assert data["gender"].item() == "neutral" and data["mocap_framerate"].tolist() == 29.97
        assert data["betas"][None].shape == (1, 10) and data["betas"].shape[0] == data["num_betas"]
        assert data["poses"][:, 66:111].shape == data["poses"][:, 111:156].shape == (T, 45)
        assert str(data["surface_model_type"]) == "smplh"
        assert np.round(data["mocap_frame_rate"] * data["mocap_time_length"]) == T
    write_amass(tmp_path / "x.npz", PersonMotion(motion(body), body, 30), columns=165)
    with np.load(tmp_path / "x.npz") as data:
        names = ("root_orient", "pose_body", "pose_jaw", "pose_eye", "pose_hand")
        np.testing.assert_array_equal(np.concatenate([data[name] for name in names], 1), data["poses"])
        assert data["pose_body"].shape == (T, 63) and str(data["surface_model_type"]) == "smplx"


def test_columns_of_other_bodies() -> None:
    """Equal joints keep their turns: fingers in the last ninety columns, palms of SMPL nowhere else."""
    smpl, smplh, smplx = (np.random.default_rng(0).normal(size=(2, J, 3)) for J in (24, 52, 55))
    assert np.array_equal(laid_out(smpl, SMPL, SMPL), smpl.reshape(2, 72))
    assert np.array_equal(laid_out(smplh, SMPLH, SMPLH), smplh.reshape(2, 156))
    assert np.array_equal(laid_out(smplx, SMPLX, SMPLX), smplx.reshape(2, 165))
    assert np.array_equal(laid_out(smplx, SMPLX, SMPLH)[:, 66:], smplx[:, 25:].reshape(2, 90))
    assert np.array_equal(laid_out(smplh, SMPLH, SMPLX)[:, 75:], smplh[:, 22:].reshape(2, 90))
    assert not laid_out(smplh, SMPLH, SMPLX)[:, 66:75].any() and not laid_out(smplh, SMPLH, SMPL)[:, 66:].any()
    assert not laid_out(smpl, SMPL, SMPLH)[:, 66:].any()


@pytest.mark.parametrize(("make", "columns"), [(synthetic_smplh, 156), (synthetic_smplx, 165)])
def test_bodies_with_fingers_are_written_with_their_full_pose(tmp_path: Path, make: Callable, columns: int) -> None:
    body = SmplBody(make())
    params = motion(body)
    write_amass(tmp_path / "x.npz", PersonMotion(params, body, 30))
    with np.load(tmp_path / "x.npz") as data:
        assert data["poses"].shape == (T, columns)
        np.testing.assert_allclose(data["poses"][:, 3:], params.to_rotvecs()[1], atol=1e-12)


def test_another_rate_is_the_same_motion(body: SmplBody) -> None:
    """A body that turns and moves evenly: every frame of the new rate is where the old motion is at that time."""
    angle = torch.arange(T).double()[:, None] * torch.tensor([0.0, 0.1, 0.0]).double()
    R = rotvec_to_matrix(angle)
    pose = rotvec_to_matrix(2 * angle)[:, None].expand(T, len(body.parents) - 1, 3, 3)
    params = BodyParams(
        R, pose, torch.zeros(T, 10).double(), torch.arange(T).double()[:, None] * torch.ones(3).double()
    )
    given = PersonMotion(params, body, 25)
    faster = given.even(30).params
    assert len(faster) == int((T - 1) * 30 / 25) + 1
    at = torch.arange(len(faster)).double() * 25 / 30
    torch.testing.assert_close(faster.transl, at[:, None].expand(-1, 3), rtol=0, atol=1e-9)
    torch.testing.assert_close(faster.global_orient, rotvec_to_matrix(at[:, None] * angle[1]), rtol=0, atol=1e-9)
    torch.testing.assert_close(faster.body_pose[:, 4], rotvec_to_matrix(2 * at[:, None] * angle[1]), rtol=0, atol=1e-9)
    assert len(PersonMotion(params, body, 30).even(10)) == 3 and given.even(25).params is params
    assert len(PersonMotion(params, body, 29.97).even(59.94)) == len(given.even(50)) == 2 * T - 1


def test_a_rate_that_blender_refuses_gets_a_warning(
    tmp_path: Path, body: SmplBody, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "hmrfit"):
        write_amass(tmp_path / "a.npz", PersonMotion(motion(body), body, 29.97))
        assert "29.97" in caplog.text and "fps=30" in caplog.text
        caplog.clear()
        write_amass(tmp_path / "b.npz", PersonMotion(motion(body), body, 29.97).even(30))
        write_amass(tmp_path / "c.npz", PersonMotion(motion(body)[0], body, 30))
        assert not caplog.records
    assert blender_add_on(tmp_path / "b.npz")[2] == 30


def test_on_the_floor_the_lowest_point_is_at_zero(tmp_path: Path, body: SmplBody) -> None:
    params, up = held(motion(body), body, 25)
    person = PersonMotion(params, body, 30, up=up)
    write_amass(tmp_path / "walk.npz", person, on_floor=True, columns=72)
    write_amass(tmp_path / "there.npz", person, columns=72)
    shift = joints_of(tmp_path / "walk.npz", body) - joints_of(tmp_path / "there.npz", body)
    lowest = float(body(person.in_world(Z_UP)).vertices[..., 2].min())
    np.testing.assert_allclose(shift, np.broadcast_to([0, 0, -lowest], shift.shape), atol=1e-9)


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ({}, {"columns": 66}, r"columns should be one of 72 \(smpl\)"),
        ({}, {"gender": "f"}, "gender should be one of"),
        ({}, {"fps": 0}, "fps should be frames a second"),
        ({}, {"fps": None}, "fps should be"),
        ({}, {"times": [0.0] * T}, "ascending seconds"),
        ({}, {"up": (0, 0, 0)}, "up should point up"),
        ({}, {"path": "walk.pkl"}, r"saved as \.npz"),
        ({"transl": torch.full((T, 3), torch.nan)}, {}, "transl holds"),
        ({"betas": torch.arange(T)[:, None] * torch.ones(10)}, {}, "one shape"),
    ],
)
def test_what_is_no_motion_is_refused_and_nothing_is_written(
    tmp_path: Path, body: SmplBody, change: dict, options: dict, said: str
) -> None:
    params = replace(motion(body), **{k: v.double() for k, v in change.items()})
    given = {"fps": 30} | options
    path, columns = tmp_path / given.pop("path", "walk.npz"), given.pop("columns", None)
    with pytest.raises(ValueError, match=said):
        write_amass(path, PersonMotion(params, body, **given), columns=columns)
    assert not list(tmp_path.iterdir())


def test_bodies_of_other_kinds_are_refused(tmp_path: Path) -> None:
    body = SmplBody(synthetic_body((-1, 0, 1)) | {"joint_names": np.array(["a", "b", "c"])})
    with pytest.raises(ValueError, match="has 3 joints"):
        write_amass(tmp_path / "x.npz", PersonMotion(body.neutral(), body, 30))


def test_the_caller_keeps_what_is_given(tmp_path: Path, body: SmplBody) -> None:
    params = motion(body)
    before = params.map(torch.clone)
    write_amass(tmp_path / "walk.npz", PersonMotion(params, body, 30, up=(0, -1, 0.3)).even(60), on_floor=True)
    assert all(torch.equal(getattr(params, n), getattr(before, n)) for n in ("global_orient", "transl", "betas"))
