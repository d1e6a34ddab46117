"""hmrfit fit --hand: hands of keypoint files, in folders of photographs; and the same in Python."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.hand_scenes import SIZE, hand_scene

import hmrfit
from hmrfit.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs; beside them both hands of one person as MediaPipe has them, and one as OpenPose does."""
    folder, left, right = tmp_path_factory.mktemp("hands"), hand_scene("left", 2), hand_scene("right", 1)
    for name in ("a", "b"):
        hmrfit.write_image(folder / f"{name}.png", np.full((SIZE[1], SIZE[0], 3), 128, np.uint8))
    marks = [
        [{"x": x / SIZE[0], "y": y / SIZE[1], "z": 0.0} for x, y, _ in own] for own in (left.array[0], right.array[0])
    ]
    sides = [[{"category_name": name, "score": 0.9}] for name in ("Right", "Left")]  # of a selfie
    (folder / "a.json").write_text(json.dumps({"hand_landmarks": marks, "handedness": sides}))
    flat = (left.array[1] - [0.5, 0.5, 0]).ravel().tolist()
    (folder / "b_keypoints.json").write_text(json.dumps({"people": [{"hand_left_keypoints_2d": flat}]}))
    return folder


def test_hands_of_one_side_are_fitted(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    focal = ["--focal", str(hand_scene("left", 2).focal)]
    args = ["fit", str(folder), "--hand", "left", *focal, "-o", str(tmp_path), "--workers", "0"]
    assert main([*args, "--mesh", "glb"]) == 0
    assert "2 of 2 photographs have a result" in capsys.readouterr().out
    scene = hand_scene("left", 2)
    for i, name in enumerate(("a", "b")):
        result = hmrfit.FitResult.load(tmp_path / f"{name}.npz")
        assert len(result) == 1 and result.joint_names[0] == "left_wrist"
        assert result.reprojection_error[0] < 0.01
        found, truth = result.points(scene.names)[0][0], scene.points[i].numpy()
        assert np.median(np.linalg.norm((found - found[0]) - (truth - truth[0]), axis=1)) < 0.02  # size and depth aside
        assert (tmp_path / f"{name}.glb").stat().st_size > 10_000 and (tmp_path / f"{name}.jpg").is_file()


def test_a_photograph_without_that_hand_loses_only_itself(folder: Path, tmp_path: Path, capsys) -> None:
    args = ["fit", str(folder), "--hand", "right", "-o", str(tmp_path), "--no-pictures", "--workers", "0"]
    assert main(args) == 0
    said = capsys.readouterr().out
    assert "1 of 2 photographs have a result" in said and "b.png" in said


def test_both_hands_have_folders_of_their_own(folder: Path, tmp_path: Path, capsys) -> None:
    args = ["fit", str(folder), "--hand", "both", "-o", str(tmp_path), "--no-pictures", "--workers", "0"]
    assert main(args) == 0
    for side, names in (("left", {"a", "b"}), ("right", {"a"})):
        found = {path.stem: hmrfit.FitResult.load(path) for path in (tmp_path / side).glob("*.npz")}
        assert set(found) == names and (tmp_path / side / "index.html").is_file()
        assert all(result.joint_names[0] == f"{side}_wrist" for result in found.values())


def test_a_selfies_hand_is_the_other_one(folder: Path, tmp_path: Path, capsys) -> None:
    args = ["fit", str(folder / "a.png"), "--hand", "right", "--mirrored", "-o", str(tmp_path), "--no-pictures"]
    assert main(args) == 0
    found = hmrfit.FitResult.load(tmp_path / "a.npz")
    shown = found.origin.keypoints.xy[0].numpy()
    np.testing.assert_allclose(shown, hand_scene("left", 2).array[0, :, :2], atol=1e-6)


def test_fit_hand_reads_files_too(folder: Path) -> None:
    result = hmrfit.fit_hand(folder / "a.png", folder / "a.json", side="left", focal=700.0)
    again = hmrfit.fit_hand(folder / "a.png", hand_scene("left", 2).array[0], side="left", focal=700.0)
    np.testing.assert_allclose(result.joints, again.joints, atol=1e-6)
    without = hmrfit.fit_hand(None, folder / "b_keypoints.json", side="left", image_size=SIZE, focal=700.0)
    assert without.reprojection_error[0] < 0.01


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--hand", "left", "--age", "3"], "takes no --age"),
        (["--hand", "left", "--keypoint-set", "hand22"], "no keypoint set of hands 'hand22'. Did you mean 'hand21'"),
        (["--hand", "left", "--fps", "30"], "--hand is for photographs"),
        (["--mirrored"], "give --hand left, right or both"),
    ],
)
def test_what_is_refused(folder: Path, flags: list[str], message: str, tmp_path: Path, capsys) -> None:
    assert main(["fit", str(folder), *flags, "-o", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
