"""FitResult: pictures, meshes, motion files and pages of what was fitted."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from helpers.bodies import demo_points
from helpers.two_people import SIZE, fit_two_people, plain_image, write_photo

import hmrfit
from hmrfit.assets import locate
from hmrfit.io.image import write_image
from hmrfit.motion import read_motion
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return plain_image()


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photo(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return demo_points(SIZE[1])


@pytest.fixture(scope="module")
def result(photo: Path) -> hmrfit.FitResult:
    return fit_two_people(photo)


@pytest.fixture
def saved(result: hmrfit.FitResult, tmp_path: Path) -> Path:
    result.save(tmp_path / "result.npz")
    return tmp_path / "result.npz"


def test_a_result_is_no_motion_file(result: hmrfit.FitResult, saved: Path) -> None:
    """It is in the camera's frame, where y points down: our own reader refuses it, others find no rate."""
    with pytest.raises(ValueError, match=r"saved result.*save_motion"):
        read_motion(saved)
    with np.load(saved, allow_pickle=False) as data:
        assert not {"mocap_framerate", "mocap_frame_rate", "fps"} & set(data.files) and str(data["rows"]) == "people"
        assert str(data["gender"]) == "neutral" and str(data["body"]) == "free_body" and data["betas"].shape == (2, 10)
        turned = rotvec_to_matrix(torch.tensor(data["poses"][:, :3]))
    np.testing.assert_allclose(turned, result.params.global_orient, atol=1e-12)


def test_one_person_as_a_motion_file(result: hmrfit.FitResult, tmp_path: Path) -> None:
    """A pose without a rate of its own is one frame at 30 a second, with which every reader opens it."""
    result.with_up((0, -1, 0)).save_motion(tmp_path / "pose.npz", person=1, columns=72)
    read = read_motion(tmp_path / "pose.npz")
    assert read.fps == 30 and read.up == "z" and read.poses.shape == (1, 24, 3) and read.betas.shape == (10,)
    body, R = result.body_model, rotvec_to_matrix(torch.tensor(read.poses))
    params = BodyParams(R[:, 0], R[:, 1:], torch.tensor(read.betas)[None], torch.tensor(read.transl))
    x, y, z = result.joints[1].T
    np.testing.assert_allclose(body(params).joints[0], np.stack([x, z, -y], -1), atol=1e-9)
    with pytest.raises(ValueError, match=r"2 people.*person=0"):
        result.save_motion(tmp_path / "both.npz")
    with pytest.raises(IndexError, match="2 people"):
        result.save_motion(tmp_path / "third.npz", person=2)
    result[0].save_motion(tmp_path / "alone.npz", fps=60)
    with np.load(tmp_path / "alone.npz") as data:
        assert data["mocap_framerate"] == 60 and data["poses"].shape == (1, 156) and str(data["body"]) == "free_body"


@pytest.mark.parametrize("name", ["smpl_female", "smpl_male", "smpl_neutral"])
def test_the_gender_of_the_body_is_written(
    points: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The free body under the name of SMPL's: readers of AMASS choose the body by this word."""
    monkeypatch.setenv("HMRFIT_HOME", str(tmp_path))
    file = {"smpl_female": "SMPL_FEMALE", "smpl_male": "basicmodel_m_lbs_10_207_0_v1.1.0"}.get(name, "SMPL_NEUTRAL")
    shutil.copy(locate("free_body"), tmp_path / f"{file}.npz")
    config = hmrfit.load_config(None, [f"BODY.PATH={name}"])
    fitted = hmrfit.fit(None, points, keypoint_set="coco17", image_size=SIZE, config=config)
    fitted.save(tmp_path / "result.npz")
    fitted.save_motion(tmp_path / "pose.npz")
    for path in (tmp_path / "result.npz", tmp_path / "pose.npz"):
        with np.load(path) as data:
            assert (str(data["gender"]), str(data["body"])) == (name.removeprefix("smpl_"), name)
    loaded = hmrfit.FitResult.load(tmp_path / "result.npz")
    assert loaded.origin.gender == fitted.origin.gender == name.removeprefix("smpl_")


def test_what_is_up_is_saved_and_meshes_stand_upright(result: hmrfit.FitResult, tmp_path: Path) -> None:
    upright = result.with_up([0, -2, -1])
    assert result.up is None and np.allclose(upright.up, np.array([0, -2, -1]) / 5**0.5)
    assert np.array_equal(upright.trans, result.trans)
    upright.save(tmp_path / "up.npz")
    loaded = hmrfit.FitResult.load(tmp_path / "up.npz")
    np.testing.assert_allclose(loaded.up, upright.up, atol=1e-15)
    loaded.mesh(tmp_path / "up.ply")
    mesh = trimesh.load(tmp_path / "up.ply", process=False)
    np.testing.assert_allclose(mesh.vertices[:, 1], (result.vertices @ upright.up).reshape(-1), atol=1e-5)
    assert b"stand upright" in (tmp_path / "up.ply").read_bytes()[:400]
    result.mesh(tmp_path / "level.ply")
    assert b"take the camera as level" in (tmp_path / "level.ply").read_bytes()[:400]
    assert "(0.00, -0.89, -0.45) in the camera frame" in str(loaded)
    assert "stand upright" in loaded.entry({}).text and "take the camera as level" in result.entry({}).text
    with pytest.raises(ValueError, match="up should point up"):
        result.with_up((0, 0, 0))


def test_pictures(result: hmrfit.FitResult, image: np.ndarray) -> None:
    plain = result.overlay(sides=False, keypoints=False)
    assert plain.shape == image.shape and plain.dtype == np.uint8
    covered = (plain != image).any(-1)
    assert 0.02 < covered.mean() < 0.4
    middle = result.projected.xy[0, 11:13].mean(0).int().tolist()  # between the hips
    assert covered[middle[1], middle[0]]
    assert result.overlay().shape[1] > image.shape[1]  # with views beside it
    views = result.turntable(4, (60, 80))
    assert [v.shape for v in views] == [(80, 60, 3)] * 4


def test_drawing_on_another_picture_and_on_none(result: hmrfit.FitResult, saved: Path, tmp_path: Path) -> None:
    loaded = hmrfit.FitResult.load(saved)
    loaded.origin = dataclasses.replace(loaded.origin, image_path=None)
    with pytest.raises(ValueError, match=r"no photograph.*overlay\(image\)"):
        loaded.overlay()
    assert loaded.overlay(np.zeros((SIZE[1], SIZE[0], 3), np.uint8), sides=False).shape == (SIZE[1], SIZE[0], 3)
    write_image(tmp_path / "small.png", np.zeros((20, 30, 3), np.uint8))
    loaded.origin = dataclasses.replace(loaded.origin, image_path=tmp_path / "small.png")
    with pytest.raises(ValueError, match="has 30 × 20 pixels, but the fit was made on 320 × 240"):
        loaded.overlay()


@pytest.mark.parametrize("suffix", ["obj", "ply", "glb"])
def test_meshes(result: hmrfit.FitResult, tmp_path: Path, suffix: str) -> None:
    result.mesh(tmp_path / f"body.{suffix}")
    scene = trimesh.load(tmp_path / f"body.{suffix}", process=False, force="scene")
    flip = np.array([1, -1, -1])  # the file has y up and looks along -z
    people = result.vertices * flip
    # of a .glb each person's own vertices come first, copies at the seams of its texture follow
    found = [mesh.vertices[: people.shape[1]] if suffix == "glb" else mesh.vertices for mesh in scene.geometry.values()]
    # obj and glb keep six to eight digits: hundredths of a millimetre at some metres
    np.testing.assert_allclose(np.sort(np.concatenate(found), 0), np.sort(people.reshape(-1, 3), 0), atol=1e-4)


def test_the_page_has_its_pictures_inside(
    result: hmrfit.FitResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = result.turntable(2, (20, 30))
    monkeypatch.setattr(hmrfit.FitResult, "turntable", lambda self: small)
    result.page(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    # overlay, two views, an uncertainty plot a person, the photograph of the 3D view
    assert text.count("data:image/jpeg;base64,") == 4 + len(result) and "src='http" not in text
    assert "ein bild.png" in text and "% of the box" in text
    assert text.count("m farther away, joints moved by") == len(result) and "if the focal length is 20 % longer" in text
    page, viewer, body = sorted(p.name for p in tmp_path.iterdir())
    assert page == "page.html" and viewer == "viewer.js" and body.startswith("viewer_body_")


def test_a_known_focal_length_is_not_called_into_question(result: hmrfit.FitResult) -> None:
    camera = dataclasses.replace(result.camera, focal_known=torch.ones(len(result), dtype=torch.bool))
    fit = dataclasses.replace(result.fit, state=dataclasses.replace(result.fit.state, camera=camera))
    origin = dataclasses.replace(result.origin, focal_source="given, in pixels")
    known = dataclasses.replace(result, fit=fit, origin=origin, focal_moves=None)
    assert not any("focal" in heading for row in known.entry({}).rows for heading in row) and known.focal_moves is None
    origin = dataclasses.replace(result.origin, conditioned_on="the other frames")
    assert "are conditioned on the other frames." in dataclasses.replace(result, origin=origin).entry({}).text


def test_a_far_off_keypoint_is_spoken_of_only_when_the_fit_is_poor(result: hmrfit.FitResult) -> None:
    assert result.reprojection_error[1] > result.reprojection_error[0]
    assert any("away from its keypoints" in w for w in result.warnings[1]) == (result.reprojection_error[1] > 0.06)
    assert "2 people" in repr(result)
