"""Whatever is wrong with the input is answered by an error message before any work, through fit() as users call it.

The readers' own tests (images, keypoint files, bodies, atomic writes) go into each format; here it is one each.
"""

import errno
import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.bodies import demo_points

import hmrfit
from hmrfit.config import load_config
from hmrfit.io.image import write_image

SIZE = (320, 240)


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return demo_points(SIZE[1])


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test when a fit begins."""

    def begun(*_: object) -> None:
        pytest.fail("the fit began")

    monkeypatch.setattr("hmrfit.pipeline.prepare", begun)


def fit(points: object, image: object = None, **asked: object) -> hmrfit.FitResult:
    asked = {"keypoint_set": "coco17"} | ({"image_size": SIZE} if image is None else {}) | asked
    return hmrfit.fit(image, points, **asked)


def changed(points: np.ndarray, row: object, values: object) -> np.ndarray:
    points = points.copy()
    points[row] = values
    return points


@pytest.mark.usefixtures("no_work")
def test_no_keypoints_and_no_detector_names_the_command_that_brings_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HMRFIT_HOME", str(tmp_path))
    with pytest.raises(ValueError, match="This command brings one: hmrfit detector install movenet"):
        hmrfit.fit("holiday.jpg")


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("row", "values", "said"),
    [
        (3, [np.nan, 10, 1], r"keypoint 3 is at \[nan, 10.0\] with confidence 1, .*Give unseen keypoints confidence 0"),
        (3, [np.inf, 10, 0.5], "keypoint 3 is at"),
        (4, [10, 10, np.nan], "keypoint 4 has NaN as its confidence"),
        (slice(None), [50, 50, 0], "no keypoint has a confidence above 0"),
        ((slice(None), 2), -3.0, "run from -3 to -3, and none is above 0"),
    ],
)
def test_broken_numbers(points: np.ndarray, row: object, values: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fit(changed(points, row, values))


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((16, 3), r"holds 16 keypoints, but 'coco17' has 17\. For 16: keypoint_set='mpii16'"),
        ((17, 4), r"should have the shape \(K, 3\).*shape is \(17, 4\)"),
        ((17,), r"shape is \(17,\)"),
        ((0, 17, 3), "no people to fit"),
        ((0, 3), "holds 0 keypoints"),
    ],
)
def test_wrong_counts_and_shapes(shape: tuple, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fit(np.full(shape, 50.0))


@pytest.mark.usefixtures("no_work")
def test_which_keypoints_they_are_is_asked_for(points: np.ndarray) -> None:
    with pytest.raises(
        ValueError, match=r"holds 17 keypoints, but does not say which.*'coco17' or keypoint_set='h36m17'"
    ):
        fit(points, keypoint_set=None)
    with pytest.raises(ValueError, match=r"Unknown keypoint set 'coco_71'\. Did you mean 'coco17'"):
        fit(points, keypoint_set="coco_71")
    with pytest.raises(TypeError, match="keypoints should be numbers"):
        fit([{"x": 1}])


@pytest.mark.usefixtures("no_work")
def test_keypoints_outside_of_the_image(points: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"Person 0: no keypoint lies inside the image.*another image, crop or scale"):
        fit(points + [1000, 0, 0])  # noqa: RUF005
    with pytest.raises(ValueError, match="they look normalised"):
        fit(points / [*SIZE, 1])
    with pytest.raises(ValueError, match="no keypoint lies inside the image"):
        fit(changed(points * [1, 1, 0], 0, [5000, 5000, 1]))


def test_keypoints_partly_outside_are_warned_of(points: np.ndarray) -> None:
    result = fit(points + np.array([160, 0, 0]))
    assert any("lie far outside of the image" in warning for warning in result.warnings[0])
    assert np.isfinite(result.vertices).all()


@pytest.mark.parametrize("seen", [1, 2])
def test_one_keypoint_gets_the_priors_answer_and_a_warning(points: np.ndarray, seen: int) -> None:
    result = fit(points * np.r_[np.ones(seen), np.zeros(17 - seen)][:, None] ** [0, 0, 1])
    assert any(f"Only {seen} of 17 keypoints" in warning for warning in result.warnings[0])
    assert np.isfinite(result.vertices).all() and (result.vertices[..., 2] > 0).all()
    distance = np.linalg.norm(result.projected.xy[0, :seen].numpy() - points[:seen, :2], axis=1)
    assert distance.max() < 5  # pixels: the body is where the keypoints are


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.jpg", b"", "is empty"),
        ("text.jpg", b"hello", "is not an image"),
        ("cut.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "damaged or cut off"),
    ],
)
def test_unreadable_images(points: np.ndarray, tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=said):
        fit(points, tmp_path / name)


@pytest.mark.usefixtures("no_work")
def test_missing_images_and_sizes(points: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no image"):
        fit(points, tmp_path / "none.jpg")
    with pytest.raises(ValueError, match="give its size in pixels: image_size"):
        hmrfit.fit(None, points, keypoint_set="coco17")
    with pytest.raises(ValueError, match="image_size should be"):
        fit(points, image_size=(0, 240))
    with pytest.raises(ValueError, match="sizes of the image do not agree"):
        fit(points, np.zeros((100, 100, 3), np.uint8), image_size=SIZE)
    with pytest.raises(ValueError, match="is empty"):
        fit(points, np.zeros((0, 0, 3), np.uint8))


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"focal": -5}, ValueError, "focal should be one number above 0"),
        ({"focal": "wide"}, ValueError, "focal should be one number"),
        ({"focal": float("nan")}, ValueError, "focal should be one number"),
        ({"focal": 500, "focal_35mm": 28}, ValueError, "Give one of camera, focal"),
        ({"camera": hmrfit.Camera.from_size(640, 480)}, ValueError, r"image of \[640.0, 480.0\] pixels.*\[320, 240\]"),
        ({"camera": np.eye(3)}, TypeError, r"Camera\.from_intrinsics"),
    ],
)
def test_broken_cameras(points: np.ndarray, asked: dict, error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        fit(points, **asked)


@pytest.mark.parametrize("kind", ["grey", "16 bit", "RGBA", "float"])
def test_all_kinds_of_pixels_fit_and_draw(points: np.ndarray, tmp_path: Path, kind: str) -> None:
    pixels = {
        "grey": np.full((240, 320), 90, np.uint8),
        "16 bit": np.full((240, 320, 3), 90 * 257, np.uint16),
        "RGBA": np.full((240, 320, 4), (90, 90, 90, 255), np.uint8),
        "float": np.full((240, 320, 3), 90 / 255, np.float32),
    }[kind]
    result = fit(points, pixels)
    assert (result.image == 90).all()
    assert result.overlay(sides=False).shape == (240, 320, 3)
    if kind != "float":
        cv2.imwrite(str(tmp_path / "a.png"), pixels)
        assert (fit(points, tmp_path / "a.png").image == 90).all()


def test_a_photograph_that_exif_turns(points: np.ndarray, tmp_path: Path) -> None:
    """A phone held upright writes 320 × 240 pixels and a note to turn them; keypoints are the upright image's."""
    write_image(tmp_path / "a.jpg", np.zeros((240, 320, 3), np.uint8))
    tags = b"MM\0*\0\0\0\x08\0\x01" + b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0" + b"\0" * 4
    block, jpeg = b"Exif\0\0" + tags, (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(jpeg[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + jpeg[2:])
    result = fit(points * [0.7, 0.7, 1], tmp_path / "a.jpg")
    assert result.image_size == (240, 320) and result.picture().shape == (320, 240, 3)
    np.testing.assert_array_equal(result.camera.center[0], [120, 160])
    assert not any("as it is stored" in text for text in result.warnings[0])
    unturned = points.copy()
    unturned[:, 0] += 310 - points[:, 0].max()  # within 320 × 240, as a program that ignores EXIF finds them
    said = "Some keypoints lie outside of the photograph, 240 × 320 as its EXIF turns it, and all within 320 × 240"
    assert any(said in text for text in fit(unturned, tmp_path / "a.jpg").warnings[0])


def test_an_image_12000_pixels_wide(points: np.ndarray) -> None:
    result = fit(points * [37.5, 37.5, 1], np.zeros((9000, 12000, 3), np.uint8))
    small = fit(points)
    # the same person in the same picture, 37.5 times larger: the same body
    np.testing.assert_allclose(result.joints, small.joints, atol=1e-3)  # the solver stops at a gain of 1e-4
    assert result.overlay(sides=False).shape == (1200, 1600, 3)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("suffix", [".npz", ".npy", ".json"])
def test_truncated_keypoint_files(points: np.ndarray, tmp_path: Path, suffix: str) -> None:
    np.savez(tmp_path / "a.npz", keypoints=points)
    np.save(tmp_path / "a.npy", points)
    (tmp_path / "a.json").write_text('{"people": [{"pose_keypoints_2d": [1, 2')
    path = tmp_path / f"a{suffix}"
    path.write_bytes(path.read_bytes()[:-30] if suffix != ".json" else path.read_bytes())
    with pytest.raises(ValueError, match="cut off"):
        fit(path)


@pytest.mark.usefixtures("no_work")
def test_keypoint_files_without_anybody(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"people": []}')
    with pytest.raises(ValueError, match=r"no people to fit in '.*a\.json'"):
        fit(tmp_path / "a.json", keypoint_set=None)
    (tmp_path / "photos").mkdir()
    write_image(tmp_path / "b.png", np.zeros((240, 320, 3), np.uint8))
    with pytest.raises(FileNotFoundError, match=r"no keypoint file for 'b\.png'.*looked for b with \.json"):
        fit(tmp_path / "photos", tmp_path / "b.png")


class Evil:
    """A pickle of it makes a folder when it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.folder),)


def test_a_hostile_pickle_as_body_or_keypoints_runs_nothing(points: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "body.pkl").write_bytes(pickle.dumps({"v_template": Evil(tmp_path / "ran")}))
    with pytest.raises(ValueError, match=r"refused|mkdir"):
        fit(points, config=load_config(None, [f"BODY.PATH={tmp_path / 'body.pkl'}"]))
    np.save(tmp_path / "keypoints.npy", np.array([Evil(tmp_path / "ran")], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        fit(tmp_path / "keypoints.npy")
    assert not (tmp_path / "ran").exists()


def test_a_body_that_is_not_there(points: np.ndarray) -> None:
    with pytest.raises(FileNotFoundError, match="after registration"):
        fit(points, config=load_config(None, ["BODY.PATH=mano_right"]))


@pytest.fixture(scope="module")
def result(points: np.ndarray) -> hmrfit.FitResult:
    return fit(points, np.zeros((240, 320, 3), np.uint8))


WRITERS = {
    "result.npz": lambda result, path: result.save(path),
    "body.obj": lambda result, path: result.mesh(path),
    "body.glb": lambda result, path: result.mesh(path),
    "overlay.png": lambda result, path: write_image(path, result.overlay(sides=False)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_where_nothing_can_be_written(result: hmrfit.FitResult, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=rf"Could not write '.*{name}'.*is a file, not a folder"):
        WRITERS[name](result, tmp_path / "file" / name)


@pytest.mark.parametrize("name", WRITERS)
def test_a_disk_that_is_full_leaves_what_was_there(
    result: hmrfit.FitResult, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_text("before")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=rf"Could not write '.*{name}'.*The disk is full"):
        WRITERS[name](result, tmp_path / name)
    assert (tmp_path / name).read_text() == "before" and len(list(tmp_path.iterdir())) == 1
