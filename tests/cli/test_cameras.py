"""hmrfit fit --calibration: people in the world from videos and photographs; what is wrong is said before any work."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from helpers.groups import SIZE, joints_of
from helpers.rigs import K, calibration, view_of, walker

import hmrfit
from hmrfit.cli import main
from hmrfit.cli.camera_files import cameras_of, check_synchronous
from hmrfit.io.image import write_image
from hmrfit.video.reader import open_video
from hmrfit.video.writer import write_video

FRAMES, RATE = 3, 30.0
CAMERAS = ("cam_01", "cam_02", "cam_03")


def calibration_file(folder: Path, sizes: Sequence[tuple[int, int]] = (SIZE,) * 3) -> Path:
    """The ring of `helpers.rigs` as Pose2Sim writes it."""
    lines = []
    for name, E, size in zip(CAMERAS, calibration().extrinsics, sizes, strict=True):
        turn = hmrfit.io.opencv.cv2.Rodrigues(E[:, :3])[0].ravel().tolist()
        lines += [f"[{name}]", f'name = "{name}"', f"size = [{size[0]}.0, {size[1]}.0]", f"matrix = {K.tolist()}"]
        lines += ["distortions = [0.0, 0.0, 0.0, 0.0]", f"rotation = {turn}", f"translation = {E[:, 3].tolist()}", ""]
    (folder / "Calib.toml").write_text("\n".join(lines))
    return folder / "Calib.toml"


def keypoint_file(file: Path, view: int, frames: int = FRAMES) -> None:
    """AlphaPose's file of what one camera sees of two people; its pixels have their centres at integers."""
    people = [view_of(walker(), view), view_of(walker(beside=0.9), view, seed=1)]
    shift = np.array([0.5, 0.5, 0])
    rows = [
        {"image_id": f"{t}.jpg", "idx": i, "score": 1.0, "keypoints": (one[t] - shift).ravel().tolist()}
        for t in range(frames)
        for i, one in enumerate(people)
    ]
    file.write_text(json.dumps(rows))


def black(count: int, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    return [np.full((size[1], size[0], 3), 40, np.uint8) for _ in range(count)]


def away(result: hmrfit.WorldResult) -> float:
    """Metres from the nearer of the two people, frame after frame."""
    people = [joints_of(walker(beside=b)).numpy()[: len(result)] for b in (0.0, 0.9)]
    return min(float(np.linalg.norm(result.joints - one, axis=-1).mean()) for one in people)


def test_videos_of_three_cameras(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rig, keypoints, out = calibration_file(tmp_path), tmp_path / "k", tmp_path / "out"
    keypoints.mkdir()
    videos = [tmp_path / f"cam{i}.mp4" for i in (1, 2, 3)]
    for i, video in enumerate(videos):
        write_video(video, black(FRAMES), RATE, "scene")
        keypoint_file(keypoints / f"cam{i + 1}.json", i)
    names = [str(videos[i]) for i in (2, 0, 1)]  # in any order
    command = [
        "fit",
        *names,
        "--calibration",
        str(rig),
        "-k",
        str(keypoints),
        "--keypoint-set",
        "coco17",
        "-o",
        str(out),
    ]
    assert main(command) == 0
    assert "2 people in 3 frames of 3 cameras" in capsys.readouterr().out
    people = [hmrfit.WorldResult.load(out / f"person_{n}.npz") for n in (1, 2)]
    assert all(away(one) < 0.05 and len(one) == FRAMES and one.fps == RATE for one in people)
    assert people[0].calibration.names == CAMERAS and list(people[0].frames) == ["0", "1", "2"]
    files = [f"person_{n}{e}" for n in (1, 2) for e in (".npz", ".trc", ".mot", "_amass.npz", ".glb", ".bvh")]
    files += ["index.html", "view.js", "viewer.js", *(f"overlay_{c}.mp4" for c in CAMERAS)]
    assert {*files, *CAMERAS} < {path.name for path in out.iterdir()}
    for camera in CAMERAS:
        drawn = open_video(out / f"overlay_{camera}.mp4")
        assert drawn.length == FRAMES and next(drawn.frames()).image.std() > 10  # somebody is drawn
    assert "person_1.trc" in (out / "person_1.trc").read_text().splitlines()[0]

    times = {name: (out / name).stat().st_mtime_ns for name in files}
    (out / "person_2.trc").unlink()
    (out / "person_1.mot").write_text("mine")
    assert main([*command, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["people"] == ["1", "2"] and said["frames"] == FRAMES and set(said["cameras"]) == set(CAMERAS)
    again = {name for name in files if (out / name).stat().st_mtime_ns != times[name]}
    assert again == {"person_2.trc", "person_1.mot", "index.html"}

    assert main([*command, "--max-people", "1", "--no-pictures"]) == 0
    assert not list(out.glob("overlay*")) and not list(out.glob("person_2*"))
    assert (out / "person_1.mot").read_text() == "mine"


def test_photographs_of_one_instant(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rig, out = calibration_file(tmp_path), tmp_path / "out"
    photographs = []
    for i, name in enumerate(("a", "b", "c")):
        photographs += [str(tmp_path / f"{name}.png")]
        write_image(tmp_path / f"{name}.png", black(1)[0])
        people = [view_of(walker(beside=b), i, seed=s)[0].ravel().tolist() for s, b in enumerate((0.0, 0.9))]
        (tmp_path / f"{name}.json").write_text(json.dumps({"people": [{"pose_keypoints_2d": p} for p in people]}))
    command = ["fit", *photographs, "--calibration", str(rig), "--keypoint-set", "coco17", "-o", str(out)]
    assert main(command) == 2
    assert "no camera" in (said := capsys.readouterr().err) and "--cameras" in said
    assert main([*command, "--cameras", *CAMERAS]) == 0
    assert "2 people of 3 cameras" in capsys.readouterr().out
    people = [hmrfit.WorldResult.load(out / f"person_{n}.npz") for n in (1, 2)]
    assert all(away(one) < 0.06 and len(one) == 1 and one.fps is None for one in people)
    assert {f"person_1{e}" for e in (".trc", ".mot", "_amass.npz", ".glb")} < {path.name for path in out.iterdir()}
    assert all((out / f"overlay_{camera}.jpg").is_file() for camera in CAMERAS)
    assert main([*command, "--cameras", *CAMERAS, "--focal", "900"]) == 2
    assert "--focal has no meaning" in capsys.readouterr().err


def test_files_are_known_by_the_names_of_their_cameras() -> None:
    rig = calibration()  # cam01, cam02, cam03
    assert cameras_of(["x/CAM_2.avi", "x/cam1.avi"], rig, None) == {"cam01": "x/cam1.avi", "cam02": "x/CAM_2.avi"}
    assert cameras_of(["walk cam3 left.mp4", "cam01-walk.mp4"], rig, None)["cam03"] == "walk cam3 left.mp4"
    assert cameras_of(["cam1/0001.jpg", "cam2/0001.jpg"], rig, None)["cam02"] == "cam2/0001.jpg"
    assert cameras_of(["a.mp4", "b.mp4"], rig, ["cam03", "cam01"]) == {"cam01": "b.mp4", "cam03": "a.mp4"}
    for files, named, message in (
        (["cam01.mp4"], None, "only 'cam01.mp4'"),
        (["cam01.mp4", "cam09.mp4"], None, "'cam09.mp4' has the name of no camera"),
        (["cam01.mp4", "cam1.mp4"], None, "are both"),
        (["a.mp4", "b.mp4"], ["cam01"], "names 1 camera for 2 files"),
        (["a.mp4", "b.mp4"], ["cam01", "cam4"], "no camera 'cam4'"),
    ):
        with pytest.raises(ValueError, match=message):
            cameras_of(files, rig, named)


def test_what_does_not_belong_together_is_said(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rig, out = calibration_file(tmp_path), tmp_path / "out"
    videos = [("cam1", 4, 30.0, SIZE), ("cam2", 6, 30.0, SIZE), ("cam3", 4, 25.0, SIZE)]
    for name, count, rate, size in (*videos, ("other_cam3", 4, 30.0, (400, 300))):
        write_video(tmp_path / f"{name}.mp4", black(count, size), rate, "scene")
    for names, said in (
        (("cam1", "cam2"), "'cam_01' 4, 'cam_02' 6 frames"),
        (("cam1", "cam3"), "'cam_01' 30, 'cam_03' 25 frames a second"),
        (("cam1", "other_cam3"), "400 × 300 pixels, but it was calibrated for 800 × 600"),
    ):
        files = [str(tmp_path / f"{name}.mp4") for name in names]
        assert main(["fit", *files, "--calibration", str(rig), "-o", str(out)]) == 2
        assert said in capsys.readouterr().err
    assert main(["fit", str(tmp_path / "cam1.mp4"), "--up", "0", "1", "0", "-o", str(out)]) == 2
    assert "--calibration" in capsys.readouterr().err
    assert not out.exists()
    opened = {name: open_video(tmp_path / f"{name}.mp4") for name in ("cam1", "cam2")}
    check_synchronous(opened, 0.1)  # the seconds that both have
    with pytest.raises(ValueError, match=r"--end 0\.100"):
        check_synchronous(opened, 0.15)
