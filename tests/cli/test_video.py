"""hmrfit fit VIDEO: who is who, files of each person, runs that go on, corrections that count."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from helpers.bodies import free_body
from helpers.keypoint_cases import flat

import hmrfit
from hmrfit.cli import main
from hmrfit.io.keypoint_files import PersonKeypoints
from hmrfit.motion.read import read_motion
from hmrfit.synthetic.walking import DetectorErrors, Footage, observe, walkers
from hmrfit.video.reader import open_video
from hmrfit.video.writer import write_video

FRAMES, RATE, SIZE = 10, 10.0, (160, 100)


@cache
def footage() -> Footage:
    paths = (((0, -0.8, 4.0), (1.0, 0.1, 4.0)), ((0, 0.9, 5.0), (1.0, 0.5, 5.0)))
    scene = walkers(free_body(), paths, RATE, SIZE)
    return observe(scene, free_body(), DetectorErrors(0.005, 0, 0, 0), np.random.default_rng(0))


def video_in(folder: Path) -> tuple[Path, Path]:
    """A video, and AlphaPose's file of it without tracks, its frames in the order of their names."""
    seen = footage().seen
    write_video(folder / "v.mp4", (np.full((SIZE[1], SIZE[0], 3), 90, np.uint8) for _ in range(FRAMES)), RATE, "scene")
    rows = np.concatenate([seen.xy - 0.5, seen.confidence[..., None]], -1)
    found = [
        {"image_id": f"{f}.jpg", "keypoints": flat(r), "score": 1.0} for f, r in zip(seen.frame, rows, strict=True)
    ]
    (folder / "k.json").write_text(json.dumps(sorted(found, key=lambda one: one["image_id"])))
    return folder / "v.mp4", folder / "k.json"


def detector(image: np.ndarray) -> list[PersonKeypoints]:
    """The people of the frame whose number the picture's brightness says."""
    seen, frame = footage().seen, round(float(image.mean()) / 20)
    rows = np.flatnonzero(seen.frame == frame)
    return [PersonKeypoints(seen.names, seen.xy[r], seen.confidence[r], Path("image")) for r in rows]


def test_a_video_from_its_pixels(tmp_path: Path) -> None:
    frames = [np.full((SIZE[1], SIZE[0], 3), 20 * i, np.uint8) for i in range(FRAMES)]
    write_video(tmp_path / "v.mp4", frames, RATE, "scene")
    result = hmrfit.fit_video(tmp_path / "v.mp4", detector=detector)
    assert len(result) == 2 and "camera's frame" in result.notes[-1]
    for track in result:
        assert track.seen.all() and len(track) == FRAMES and track.result.rows == "frames"
        rows = footage().clean[:, :, 0]  # (P, T, 2) of the first keypoint
        own = np.abs(track.result.keypoints.xy.numpy()[:, 0] - rows).max((1, 2)).argmin()
        np.testing.assert_allclose(track.result.projected.xy.numpy()[:, 0], rows[own], atol=6)
    assert result["1"] is result[0] and result.rate == RATE
    with pytest.raises(ValueError, match="There are: rtmlib, movenet"):
        hmrfit.fit_video(tmp_path / "v.mp4", detector="nobody knows this one")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--every", "0"], "every= should be a whole number above 0"),
        (["--start", "nan"], "0 <= start <= end"),
        (["--end", "nan"], "0 <= start <= end"),
        (["--start", "5", "--end", "1"], "0 <= start <= end"),
    ],
)
def test_a_part_of_the_video_that_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture, flags: list[str], said: str
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"some video"), (tmp_path / "a.json").write_text("[]")
    given = [str(tmp_path / "a.mp4"), "-k", str(tmp_path / "a.json"), "-o", str(tmp_path / "out")]
    assert main(["fit", *given, *flags]) == 2
    assert said in capsys.readouterr().err


def test_the_command_writes_everything_once(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    video, keypoints = video_in(tmp_path)
    out = tmp_path / "out"
    command = ["fit", str(video), "-k", str(keypoints), "--keypoint-set", "coco17", "-o", str(out)]
    assert main(command) == 0
    assert "2 people in 10 frames" in capsys.readouterr().out
    people = [f"person_{n}{suffix}" for n in (1, 2) for suffix in (".npz", "_amass.npz", ".glb", ".bvh")]
    made = {"tracks.json", "overlay.mp4", "index.html", "view.js", *people}
    assert made < {path.name for path in out.iterdir()}
    drawn = open_video(out / "overlay.mp4")
    assert drawn.length == FRAMES and drawn.fps == RATE and drawn.size == SIZE
    result = hmrfit.FitResult.load(out / "person_1.npz")
    assert len(result) == FRAMES and result.fps == RATE
    assert read_motion(out / "person_1_amass.npz").fps == 30  # Blender's add-ons refuse less

    times = {name: (out / name).stat().st_mtime_ns for name in made}
    (out / "person_2.glb").unlink()
    capsys.readouterr()
    assert main([*command, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["people"] == ["1", "2"] and said["results"] == [str(out / f"person_{n}.npz") for n in (1, 2)]
    assert said["frames"] == FRAMES and said["state"] == "done" and said["page"] == str(out / "index.html")
    again = {name for name in made if (out / name).stat().st_mtime_ns != times[name]}
    assert "person_2.glb" in again and not {"person_1.npz", "person_2.npz", "tracks.json", "overlay.mp4"} & again

    text = (out / "tracks.json").read_text()
    (out / "tracks.json").write_text(text.replace('"track": "2"', '"track": null'))
    (out / "person_1.bvh").write_text("mine")
    assert main(command) == 0
    assert "corrected" in capsys.readouterr().err
    assert not (out / "person_2.npz").exists() and not (out / "person_2.bvh").exists()
    assert (out / "person_1.bvh").read_text() == "mine"


def test_a_run_that_was_stopped_goes_on(tmp_path: Path) -> None:
    from hmrfit.video.finding import DetectionLog, Window, find_people

    write_video(tmp_path / "v.mp4", [np.full((100, 160, 3), 20 * i, np.uint8) for i in range(FRAMES)], RATE, "scene")
    video, looked = open_video(tmp_path / "v.mp4"), []

    def stopping(image: np.ndarray) -> list[PersonKeypoints]:
        looked.append(round(float(image.mean()) / 20))
        if len(looked) == 5:
            raise KeyboardInterrupt
        return detector(image)

    log = DetectionLog(tmp_path / "log.jsonl", "a")
    with pytest.raises(KeyboardInterrupt):
        find_people(video, stopping, Window(), log)
    with log.path.open("a") as file:
        file.write('{"frame": 4, "ti')  # cut off
    found = find_people(video, stopping, Window(), log)
    whole = find_people(video, detector, Window())
    assert looked == [0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9] and found.numbers == whole.numbers
    np.testing.assert_array_equal(found.seen().xy, whole.seen().xy)
    np.testing.assert_array_equal(found.seen().looks, whole.seen().looks)
    assert len(DetectionLog(log.path, "another").read().numbers) == 0
    (tmp_path / "mine.jsonl").write_text("mine")
    with pytest.raises(FileExistsError):
        DetectionLog(tmp_path / "mine.jsonl", "a").read()


def test_what_is_no_video_is_said(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    video, _ = video_in(tmp_path)
    assert main(["fit", str(video), "a.jpg", "-o", str(tmp_path / "out")]) == 2
    assert "not both" in capsys.readouterr().err
    assert main(["fit", "a.jpg", "--start", "2", "-o", str(tmp_path / "out")]) == 2
    assert "--start" in capsys.readouterr().err
    assert main(["fit", str(video), "--workers", "2", "-o", str(tmp_path / "out")]) == 2
    assert "--workers has no meaning with videos" in capsys.readouterr().err
