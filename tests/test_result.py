"""FitResult: what is saved comes back, in a file that numpy alone understands; motion files, pictures and meshes."""

import dataclasses
import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from helpers.bodies import demo_points

import hmrfit
from hmrfit import result_file
from hmrfit.assets import locate
from hmrfit.fitting.uncertainty import GAUSSIAN
from hmrfit.io.image import write_image
from hmrfit.motion import read_motion
from hmrfit.ops.rotation import geodesic_angle, rotvec_to_matrix
from hmrfit.types import BodyParams

SIZE = (320, 240)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.full((SIZE[1], SIZE[0], 3), (40, 90, 60), np.uint8)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory, image: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("photos") / "ein bild.png"
    write_image(path, image)
    return path


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return demo_points(SIZE[1])


@pytest.fixture(scope="module")
def result(photo: Path, points: np.ndarray) -> hmrfit.FitResult:
    """Two people in one photograph, the second with a keypoint far off."""
    one = points.copy()
    other = one * [0.6, 0.6, 1]
    other[0] = [SIZE[0], 0, 0.9]
    return hmrfit.fit(photo, np.stack([one, other]), keypoint_set="coco17")


@pytest.fixture
def saved(result: hmrfit.FitResult, tmp_path: Path) -> Path:
    result.save(tmp_path / "result.npz")
    return tmp_path / "result.npz"


def test_what_is_saved_comes_back(result: hmrfit.FitResult, saved: Path, photo: Path) -> None:
    loaded = hmrfit.FitResult.load(saved)
    # rotations are written as rotation vectors in float64: back to within rounding
    np.testing.assert_allclose(loaded.vertices, result.vertices, atol=1e-12)
    for name in ("betas", "trans", "cost", "steps", "status_code", "hypothesis_cost"):
        assert np.array_equal(getattr(loaded, name), getattr(result, name)), name
    for name in ("warnings", "person_ids", "versions", "focal_source", "focal_known", "body", "image_size", "status"):
        assert getattr(loaded, name) == getattr(result, name), name
    assert loaded.image_path == photo and loaded.keypoints.names == result.keypoints.names
    assert torch.equal(loaded.keypoints.xy, result.keypoints.xy)
    assert {k: v.tolist() for k, v in loaded.term_cost.items()} == {k: v.tolist() for k, v in result.term_cost.items()}
    assert len(loaded.hypotheses) == len(result.hypotheses)
    angle = geodesic_angle(loaded.hypotheses[-1].body_pose, result.hypotheses[-1].body_pose)
    assert angle.max() < 1e-6  # an angle from a cosine near 1 has half the digits
    assert np.array_equal(loaded.overlay(sides=False), result.overlay(sides=False))


def test_saving_twice_gives_the_same_numbers(saved: Path, tmp_path: Path) -> None:
    hmrfit.FitResult.load(saved).save(tmp_path / "again.npz")
    with np.load(saved) as first, np.load(tmp_path / "again.npz") as second:
        assert first.files == second.files
        for key in first.files:
            if first[key].dtype.kind == "f":
                np.testing.assert_allclose(first[key], second[key], atol=1e-12, err_msg=key)
            else:
                assert np.array_equal(first[key], second[key]), key


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
    assert hmrfit.FitResult.load(tmp_path / "result.npz").gender == fitted.gender == name.removeprefix("smpl_")


def test_results_of_earlier_versions_are_read(result: hmrfit.FitResult, saved: Path, tmp_path: Path) -> None:
    """They name every body neutral, have no up and the rate 1, and say by `apart` only that they are a sequence."""
    with np.load(saved) as data:
        arrays = {k: data[k] for k in data.files if k != "rows"} | {"mocap_framerate": np.array(1.0)}
    np.savez(tmp_path / "a.npz", **arrays | {"body": np.array("bodies/SMPL_FEMALE.pkl")})
    loaded = hmrfit.FitResult.load(tmp_path / "a.npz")
    assert (loaded.rows, loaded.fps, loaded.up, loaded.gender) == ("people", None, None, "female")
    np.savez(tmp_path / "b.npz", **arrays | {"apart": np.array("the other frames")})
    loaded = hmrfit.FitResult.load(tmp_path / "b.npz")
    assert loaded.is_sequence and loaded.fps is None and str(loaded).splitlines()[0].endswith(": 2 frames")
    with pytest.raises(ValueError, match="frame rate of this sequence is not known"):
        loaded.save_motion(tmp_path / "walk.npz")


@pytest.mark.parametrize(
    ("source", "known"),
    [
        ("given, in pixels", True),
        ("the keypoints' file (K)", True),
        ("the photograph's EXIF: 28 mm (35 mm)", True),
        ("assumed, the image's diagonal; depth and lean depend on it", False),
        ("fitted beside the people, about given: right to about 30 %", False),
    ],
)
def test_earlier_versions_say_in_a_sentence_whether_the_focal_length_is_known(
    saved: Path, tmp_path: Path, source: str, known: bool
) -> None:
    with np.load(saved) as data:
        arrays = {k: data[k] for k in data.files if k != "focal_known"} | {"focal_source": np.array(source)}
    np.savez(tmp_path / "a.npz", **arrays)
    assert hmrfit.FitResult.load(tmp_path / "a.npz").focal_known == known


@pytest.mark.parametrize(
    "name, value",
    [("status", 77), ("status", np.nan), ("reason", -500), ("steps", -3), ("steps", np.inf), ("image_size", np.nan),
     ("warnings", '"low"'), ("warnings", "[[3]]"), ("warnings", "[]"), ("versions", "[1]")],
)  # fmt: skip
def test_what_no_fit_gives_is_refused_when_it_is_read(
    saved: Path, tmp_path: Path, name: str, value: float | str
) -> None:
    with np.load(saved) as data:
        changed = dict(data)
    changed[name] = np.array(value) if isinstance(value, str) else np.full(changed[name].shape, value)
    np.savez(tmp_path / "changed.npz", **changed)
    with pytest.raises(ValueError, match=f"damaged result: .*{name}"):
        hmrfit.FitResult.load(tmp_path / "changed.npz")


@pytest.mark.parametrize(
    "change",
    [{"rows": "animals"}, {"gender": "both"}, {"fps": -1.0}, {"fps": np.nan}, {"up": np.zeros(3)}, {"up": np.zeros(2)}],
)
def test_damaged_words_are_noticed(saved: Path, tmp_path: Path, change: dict) -> None:
    with np.load(saved) as data:
        arrays = {k: data[k] for k in data.files}
    np.savez(tmp_path / "bad.npz", **arrays | {k: np.array(v) for k, v in change.items()})
    with pytest.raises(ValueError, match="damaged result"):
        hmrfit.FitResult.load(tmp_path / "bad.npz")


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
    assert b"camera was taken as level" in (tmp_path / "level.ply").read_bytes()[:400]
    assert "(0.00, -0.89, -0.45) in the camera frame" in str(loaded)
    assert "stand upright" in loaded.entry({}).text and "camera's own axes" in result.entry({}).text
    with pytest.raises(ValueError, match="up should point up"):
        result.with_up((0, 0, 0))


def test_the_file_explains_itself_to_numpy(result: hmrfit.FitResult, saved: Path) -> None:
    with np.load(saved, allow_pickle=False) as data:
        assert data["image_size"].tolist() == list(SIZE)
        assert data["keypoints"].shape == (2, 17, 3) and data["keypoint_names"][0] == "nose"
        np.testing.assert_allclose(data["term_cost"].sum(1), data["cost"], rtol=1e-9)  # sums in another order
        assert dict(zip(data["term_names"], data["term_cost"][0], strict=True))["anchor"] >= 0
        assert data["image"] == "ein bild.png"


def test_joints_and_what_is_said_of_them_pose_no_mesh(
    result: hmrfit.FitResult, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For 1,800 frames the mesh takes eight seconds and 2 GB. To the last digit but one they are the mesh's own."""
    np.testing.assert_allclose(result.joints, result.output.joints, rtol=0, atol=2e-15)
    loaded = hmrfit.FitResult.load(saved)

    def posed(*_: object, **__: object) -> None:
        pytest.fail("a mesh was posed")

    monkeypatch.setattr("hmrfit.body.smpl.SmplBody.__call__", posed)
    assert loaded.joints.shape == (2, 24, 3) and loaded.joints is loaded.joints
    assert loaded.joint_std.shape == (2, 24) and loaded.projected.xy.shape == (2, 17, 2)
    assert loaded.landmark_std.shape == (2, 17) and loaded.focal_effect.joints.shape == (2, 24)


def test_projection_is_where_the_mesh_is(result: hmrfit.FitResult) -> None:
    wrist = result.joint_names.index("left_wrist")
    place = result.keypoints.names.index("left_wrist")
    focal, center = result.camera.focal[0].numpy(), result.camera.center[0].numpy()
    joint = result.joints[0, wrist]
    np.testing.assert_allclose(result.projected.xy[0, place], focal * joint[:2] / joint[2] + center, atol=1e-6)


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
    loaded.image_path = None
    with pytest.raises(ValueError, match=r"no photograph.*overlay\(image\)"):
        loaded.overlay()
    assert loaded.overlay(np.zeros((SIZE[1], SIZE[0], 3), np.uint8), sides=False).shape == (SIZE[1], SIZE[0], 3)
    write_image(tmp_path / "small.png", np.zeros((20, 30, 3), np.uint8))
    loaded.image_path = tmp_path / "small.png"
    with pytest.raises(ValueError, match="has 30 × 20 pixels, but the fit was made on 320 × 240"):
        loaded.overlay()


@pytest.mark.parametrize("suffix", ["obj", "ply", "glb"])
def test_meshes(result: hmrfit.FitResult, tmp_path: Path, suffix: str) -> None:
    result.mesh(tmp_path / f"body.{suffix}")
    mesh = trimesh.load(tmp_path / f"body.{suffix}", process=False, force="mesh")
    flip = np.array([1, -1, -1])  # the file has y up and looks along -z
    expected = (result.vertices * flip).reshape(-1, 3)
    # obj and glb keep six to eight digits: hundredths of a millimetre at some metres
    np.testing.assert_allclose(np.sort(mesh.vertices, 0), np.sort(expected, 0), atol=1e-4)


def test_the_page_is_one_file(result: hmrfit.FitResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = result.turntable(2, (20, 30))
    monkeypatch.setattr(hmrfit.FitResult, "turntable", lambda self: small)
    result.page(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert text.count("data:image/jpeg;base64,") == 3 + len(result) and "src='http" not in text
    assert "ein bild.png" in text and "% of the box" in text
    assert text.count("m farther away, joints moved by") == len(result) and "if the focal length is 20 % longer" in text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["page.html"]


def test_a_known_focal_length_is_not_called_into_question(result: hmrfit.FitResult) -> None:
    camera = dataclasses.replace(result.camera, focal_known=torch.ones(len(result), dtype=torch.bool))
    known = dataclasses.replace(result, camera=camera, focal_source="given, in pixels", focal_moves=None)
    assert not any("focal" in heading for row in known.entry({}).rows for heading in row) and known.focal_moves is None
    apart = dataclasses.replace(result, apart="the other frames").entry({})
    assert "are conditioned on the other frames." in apart.text


def test_what_was_not_counted_is_called_so(result: hmrfit.FitResult) -> None:
    bold = dataclasses.replace(result, spread=dataclasses.replace(result.spread, nu=GAUSSIAN))
    said = [r.entry({}).rows[0]["uncertain by"] for r in (result, bold)]
    assert result.counted and not bold.counted
    assert "not calibrated" in said[1] and "not calibrated" not in said[0]


def test_a_far_off_keypoint_is_spoken_of_only_when_the_fit_is_poor(result: hmrfit.FitResult) -> None:
    assert result.reprojection_error[1] > result.reprojection_error[0]
    assert any("away from its keypoints" in w for w in result.warnings[1]) == (result.reprojection_error[1] > 0.06)
    assert "2 people" in repr(result)


def test_other_suffixes_are_refused(result: hmrfit.FitResult, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"saved as \.npz"):
        result.save(tmp_path / "result.json")
    assert not list(tmp_path.iterdir())


def test_files_cut_off_anywhere(saved: Path) -> None:
    whole = saved.read_bytes()
    for share in np.linspace(0, 0.999, 15):
        saved.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ValueError, match=r"result\.npz"):
            hmrfit.FitResult.load(saved)


def test_flipped_bytes_are_noticed_or_harmless(saved: Path) -> None:
    whole = saved.read_bytes()
    for at in np.random.default_rng(0).integers(0, len(whole), 25):
        broken = bytearray(whole)
        broken[at] ^= 0xFF
        saved.write_bytes(bytes(broken))
        try:
            hmrfit.FitResult.load(saved)
        except ValueError as error:
            assert "result.npz" in str(error)


def test_what_is_no_result(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no result"):
        hmrfit.FitResult.load(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", poses=np.zeros((3, 72)))
    with pytest.raises(ValueError, match=r"is no result of hmrfit.*It holds poses"):
        hmrfit.FitResult.load(tmp_path / "other.npz")
    with np.load(saved) as data:
        arrays = {k: data[k] for k in data.files}
    np.savez(tmp_path / "less.npz", **{k: v for k, v in arrays.items() if k != "betas"})
    with pytest.raises(ValueError, match="damaged result: it lacks 'betas'"):
        hmrfit.FitResult.load(tmp_path / "less.npz")
    np.savez(tmp_path / "nan.npz", **arrays | {"trans": np.full((2, 3), np.nan)})
    with pytest.raises(ValueError, match="trans holds 6 NaN"):
        hmrfit.FitResult.load(tmp_path / "nan.npz")
    np.savez(tmp_path / "shape.npz", **arrays | {"poses": np.zeros((2, 72, 1))})
    with pytest.raises(ValueError, match="poses should have the shape"):
        hmrfit.FitResult.load(tmp_path / "shape.npz")


def test_python_objects_are_refused_and_nothing_runs(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    np.savez(tmp_path / "evil.npz", format=np.array(result_file.FORMAT), poses=np.array([Evil()], dtype=object))
    with pytest.raises(ValueError, match="Python objects"):
        hmrfit.FitResult.load(tmp_path / "evil.npz")
    assert not (tmp_path / "ran").exists()


def test_a_disk_full_in_the_middle_keeps_the_old_result(
    result: hmrfit.FitResult, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, write = saved.read_bytes(), Path.write_bytes

    def half(path: Path, data: bytes) -> int:
        write(path, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match=r"result\.npz.*disk is full"):
        result.save(saved)
    assert saved.read_bytes() == before and len(list(saved.parent.iterdir())) == 1
