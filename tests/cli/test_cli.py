"""The command line: folders are fitted in batches, runs go on and are reported; a mistake gets one error message."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.bodies import demo_points
from helpers.folder import report_of

import hmrfit
from hmrfit.cli import main
from hmrfit.cli.folder_report import Line
from hmrfit.cli.outputs import Outputs, output_names
from hmrfit.cli.photographs import inner_folders, photographs
from hmrfit.io.image import write_image
from hmrfit.pipeline import Pipeline

SIZE = (320, 240)


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return demo_points(SIZE[1])


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory, points: np.ndarray) -> Path:
    """Three photographs with keypoints (one has two people), one without, and one that is none."""
    folder = tmp_path_factory.mktemp("material")
    (folder / "images").mkdir()
    (folder / "keypoints").mkdir()
    for i, name in enumerate(("a.png", "b b.jpg", "c.png", "lonely.png")):
        write_image(folder / "images" / name, np.full((SIZE[1], SIZE[0], 3), 60 * i, np.uint8))
    (folder / "images" / "broken.jpg").write_bytes(b"\xff\xd8 not much")
    for stem, people in {"a": [points], "b b": [points, 0.7 * points], "c": [points[:, :]], "broken": [points]}.items():
        content = [{"pose_keypoints_2d": np.c_[p[:, :2], np.ones(17)].ravel().tolist()} for p in people]
        (folder / "keypoints" / f"{stem}_keypoints.json").write_text(json.dumps({"people": content}))
    return folder


def run(material: Path, out: Path, *flags: str, images: str = "images", keypoints: str = "keypoints") -> int:
    sources = [str(material / images), "--keypoints", str(material / keypoints), "-o", str(out)]
    return main(["fit", *sources, "--keypoint-set", "coco17", *flags])


@pytest.fixture(scope="module")
def fitted(material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    assert run(material, out, "--mesh", "glb") == 0
    return out


def test_everything_is_written(fitted: Path) -> None:
    names = {p.relative_to(fitted).as_posix() for p in fitted.rglob("*") if p.is_file()}
    stems = ("a", "b b", "c")
    expected = {f"{s}.{suffix}" for s in stems for suffix in ("npz", "jpg", "glb")}
    (body,) = {name for name in names if name.startswith("viewer_body_")}
    beside = {f"thumbnails/{s}.{suffix}" for s in stems for suffix in ("jpg", "js")}
    assert names == expected | beside | {"index.html", "viewer.js", body}
    assert len(hmrfit.FitResult.load(fitted / "b b.npz")) == 2


def test_the_page_links_what_is_there_and_names_what_failed(fitted: Path) -> None:
    page = (fitted / "index.html").read_text()
    assert "href='b%20b.npz'" in page and "src='thumbnails/b%20b.jpg'" in page and "href='c.glb'" in page
    assert "There is no keypoint file for &#x27;lonely.png&#x27;" in page and "broken.jpg" in page


def test_a_batch_gives_what_one_gives(fitted: Path, material: Path) -> None:
    single = hmrfit.fit(material / "images/a.png", material / "keypoints", keypoint_set="coco17")
    # the rest of the batch changes the last digits of sums only
    np.testing.assert_allclose(hmrfit.FitResult.load(fitted / "a.npz").vertices, single.vertices, atol=1e-6)


def test_a_second_run_leaves_what_is_there(
    material: Path, fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    shutil.copytree(fitted, out)
    (out / "c.npz").write_bytes((out / "c.npz").read_bytes()[:100])  # a damaged one is made again
    fits: list[int] = []
    fit_photos = Pipeline.fit_photos

    def counted(self: Pipeline, photos: list, *more: object) -> list:
        fits.append(len(photos))
        return fit_photos(self, photos, *more)

    monkeypatch.setattr(Pipeline, "fit_photos", counted)
    assert run(material, out, "--no-pictures") == 0
    assert fits == [1]
    assert capsys.readouterr().out.count("from before") == 2
    assert run(material, out, "--no-pictures", "--focal", "500") == 0  # made with another focal length: all again
    assert fits == [1, 3]
    assert run(material, out, "--no-pictures", "--focal", "500", "--overwrite") == 0
    assert run(material, out, "--no-pictures", "--focal", "500", "--keypoint-source", "labelled") == 0  # as sure: anew
    assert fits == [1, 3, 3, 3] and set(hmrfit.FitResult.load(out / "a.npz").keypoint_source) == {"labelled"}
    np.testing.assert_array_equal(hmrfit.FitResult.load(out / "a.npz").camera.focal[0], [500, 500])


def test_what_is_known_of_everybody(material: Path, tmp_path: Path) -> None:
    known = ("--gender", "female", "--age", "30", "--height", "1.6", "--pitch", "10")
    assert run(material, tmp_path / "out", "--no-pictures", *known) == 0
    first, second = (hmrfit.FitResult.load(tmp_path / "out" / f"{name}.npz") for name in ("a", "b b"))
    assert list(first.measurements) == ["gender", "age", "height", "up"] and len(second) == 2
    assert first.up is not None and first.up[2] == pytest.approx(-np.sin(np.radians(10)))
    given = (hmrfit.Gender("female"), hmrfit.Age(30), hmrfit.Height(1.6), hmrfit.Up(pitch=10))
    alone = hmrfit.fit(material / "images/a.png", material / "keypoints", keypoint_set="coco17", measurements=given)
    np.testing.assert_allclose(first.vertices, alone.vertices, atol=1e-6)
    before = (tmp_path / "out" / "a.npz").stat().st_mtime_ns
    assert run(material, tmp_path / "out", "--no-pictures", *known) == 0  # the same is known: nothing to do
    assert (tmp_path / "out" / "a.npz").stat().st_mtime_ns == before
    assert run(material, tmp_path / "out", "--no-pictures", *known[:-1], "20") == 0
    assert (tmp_path / "out" / "a.npz").stat().st_mtime_ns != before


def test_the_table(material: Path, fitted: Path, capsys: pytest.CaptureFixture) -> None:
    run(material, fitted)
    said = capsys.readouterr().out
    rows = {line.split("  ")[0].strip(): line for line in said.splitlines()}
    assert "2  " in rows["b b.jpg"] and "FAILED: There is no keypoint file" in rows["lonely.png"]
    assert "4 people, median reprojection" in said and "2 photographs could not be used" in said
    assert "with a focal length 20 % longer, for the 4 whose is not known: " in said and "m farther away" in said
    assert "3 of 5 photographs have a result" in said


def test_the_table_shows_warnings_as_whole_sentences(
    fitted: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However narrow the terminal is and however long the photograph's name."""
    monkeypatch.setenv("COLUMNS", "40")
    result = hmrfit.FitResult.load(fitted / "b b.npz")
    first = "The first of all warnings has a long sentence, and it ends here."
    origin = replace(result.origin, warnings=[[first] * 2, [f"Other {i}." for i in range(90)]])
    line = Line.of("a long name of a photograph " * 4, "a", replace(result, origin=origin), Outputs(fitted))
    report_of([line, Line("none", "none", error="No file. " * 30)]).print_table()
    said = capsys.readouterr().out
    text = " ".join(said.split())
    assert f"person 0: {first}" in text
    assert "person 1: Other 0." in text and "more, in index.html" in text and len(said.splitlines()) < 24
    assert text.count("No file.") == 30


def test_a_folder_of_photographs_and_their_keypoints_needs_no_more(material: Path, tmp_path: Path) -> None:
    shutil.copytree(material / "images", tmp_path / "all" / "images")
    for file in (material / "keypoints").iterdir():
        shutil.copy(file, tmp_path / "all")
    flags = ["-o", str(tmp_path / "out"), "--keypoint-set", "coco17", "--no-pictures"]
    assert main(["fit", str(tmp_path / "all"), *flags]) == 0
    assert {p.stem for p in (tmp_path / "out").glob("*.npz")} == {"a", "b b", "c"}


def test_lines_of_json_say_what_the_table_says(material: Path, fitted: Path, capsys: pytest.CaptureFixture) -> None:
    """One for each photograph, one for all; nothing else is on stdout, quiet or not."""
    assert run(material, fitted, "--json", "--quiet") == 0
    *photographs, whole = map(json.loads, capsys.readouterr().out.splitlines())
    states = {line["image"]: line["state"] for line in photographs}
    assert states == {
        "a.png": "done",
        "b b.jpg": "done",
        "broken.jpg": "failed",
        "c.png": "done",
        "lonely.png": "failed",
    }
    two = photographs[1]
    result = hmrfit.FitResult.load(two["result"])
    assert two["people"] == 2 and two["from_before"]
    np.testing.assert_allclose(two["reprojection_error"], result.reprojection_error)
    assert "no keypoint file" in photographs[-1]["error"]
    assert (whole["photographs"], whole["done"], whole["failed"], whole["people"]) == (5, 3, 2, 4)
    assert whole["page"] == str(fitted / "index.html")


def test_quiet_says_nothing(material: Path, fitted: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(material, fitted, "--quiet") == 0
    said = capsys.readouterr()
    assert said.out == "" and "Traceback" not in said.err


def test_no_result_is_exit_code_1(material: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(material, tmp_path, images="images/lonely.png") == 1
    assert "0 of 1 photograph has" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["nowhere.jpg", "-k", "{m}/keypoints", "-o", "{o}"], "There is no photograph or folder 'nowhere.jpg'"),
        (["{m}/keypoints", "-k", "{m}/keypoints", "-o", "{o}"], "holds photographs"),
        (["{m}/images", "-k", "{m}/none", "-o", "{o}"], "There is no keypoint file or folder"),
        (["{m}/images", "-o", "{o}"], "Keypoints are missing"),
        (["{m}/images", "-k", "{m}/keypoints", "-o", "{o}", "--set", "FIT.SIGMAS=3"], "Did you mean 'FIT.SIGMA'"),
        (["{m}/images", "-k", "{m}/keypoints", "-o", "{o}", "--config", "fits"], "Did you mean 'fit'"),
        (["{m}/images", "-k", "{m}/keypoints", "-o", "{m}/images/a.png/out"], "a.png"),
        (
            ["{m}/images", "-k", "{m}/keypoints", "-o", "{o}", "--config", "fit_spin", "--keypoint-std", "0.02"],
            "--keypoint-std changes nothing here",
        ),
    ],
)
def test_a_mistake_gets_one_error_message(
    material: Path, tmp_path: Path, capsys: pytest.CaptureFixture, flags: list[str], message: str
) -> None:
    flags = [flag.format(m=material, o=tmp_path / "out") for flag in flags]
    assert main(["fit", *flags]) == 2
    said = capsys.readouterr().err
    assert said.startswith("hmrfit: ") and message in said and "Traceback" not in said
    with pytest.raises((ValueError, OSError)):
        main(["fit", *flags, "--debug"])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--focal", "0"], "focal should be one number above 0"),
        (["--focal", "500", "--focal-35mm", "35"], "Give one of camera, focal"),
        (["--height", "182"], "between 0.5 and 2.6, but is 182"),
        (["--roll", "20"], r"For a camera that is held level: Up(pitch=0)"),
        (["--keypoint-std", "5"], "between 0.0001 and 0.5, but is 5"),
        (["--workers", "-3"], "--workers should be 0"),
        (["--fps", "25"], "--fps is about videos"),
    ],
)
def test_values_are_tried_once_before_any_work(
    material: Path, tmp_path: Path, capsys: pytest.CaptureFixture, flags: list[str], said: str
) -> None:
    """Not once a photograph, as a failure of each."""
    sources = [str(material / "images" / "a.png"), "-k", str(material / "keypoints"), "-o", str(tmp_path / "out")]
    assert main(["fit", *sources, *flags]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_place_for_results_is_asked_for(material: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "taken").write_text("mine")
    for out, said in (("", "--out is empty"), (str(tmp_path / "taken"), "is a file. Name another one")):
        assert main(["fit", str(material / "images" / "a.png"), "-o", out]) == 2
        assert said in capsys.readouterr().err
    assert (tmp_path / "taken").read_text() == "mine"


def test_folders_that_were_not_looked_into_are_named(
    material: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for place in ("", "images", "day 2"):
        (tmp_path / place).mkdir(exist_ok=True)
        shutil.copy(material / "images" / "a.png", tmp_path / place / "a.png")
    (tmp_path / "same").symlink_to(tmp_path)
    assert inner_folders([str(tmp_path)], tmp_path / "out") == [tmp_path / "day 2", tmp_path / "images"]
    assert inner_folders([str(tmp_path), str(tmp_path / "images")], tmp_path / "day 2") == []
    (tmp_path / "a.png").unlink()
    assert inner_folders([str(tmp_path)], tmp_path / "out") == [tmp_path / "day 2"]  # its folder `images` was read
    assert run(tmp_path, tmp_path / "out", "--no-pictures", images="", keypoints="") == 1
    assert f"Not looked into, although photographs lie there: {tmp_path / 'day 2'}." in capsys.readouterr().out


@pytest.mark.parametrize(("command", "goes_on"), [("_run_fit", True), ("_run_demo", False)])
def test_ctrl_c_is_answered_with_what_is_true(
    command: str, goes_on: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """A folder goes on; a demo begins anew, and so nothing is promised."""

    def stopped(**_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"hmrfit.cli.{command}", stopped)
    monkeypatch.setattr("hmrfit.cli.RESUMING", (stopped,) if goes_on else ())
    assert main(["fit", "x", "-o", "y"] if goes_on else ["demo"]) == 130
    said = capsys.readouterr().err
    assert "hmrfit: stopped." in said and ("goes on where it stopped" in said) == goes_on


def test_render_draws_again(fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture, material: Path) -> None:
    assert main(["render", str(fitted / "a.npz"), "-o", str(tmp_path), "--mesh", "obj"]) == 0
    *made, viewer, body = sorted(p.name for p in tmp_path.iterdir())
    assert made == ["a.html", "a.jpg", "a.obj"] and viewer == "viewer.js" and body.startswith("viewer_body_")
    assert main(["render", str(fitted / "none.npz")]) == 2
    assert "There is no result" in capsys.readouterr().err
    assert main(["render", str(fitted / "a.npz"), str(fitted / "c.npz"), "--image", "x.png"]) == 2


def test_render_stands_upright_and_writes_motion(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hmrfit.FitResult, "turntable", lambda self: [])
    flags = ["-o", str(tmp_path), "--mesh", "obj", "--up", "0", "-1", "-0.5", "--motion"]
    assert main(["render", str(fitted / "a.npz"), str(fitted / "b b.npz"), *flags]) == 0
    names = {"a_motion.npz", "b b_motion_0.npz", "b b_motion_1.npz"}
    assert {p.name for p in tmp_path.glob("*.npz")} == names and "a_motion.npz" in capsys.readouterr().out
    for name in names:
        with np.load(tmp_path / name) as data:
            assert data["up_is_known"] and data["poses"].shape == (1, 156)
    assert "stand upright" in (tmp_path / "a.obj").read_text()[:200]
    assert "stand upright" in (tmp_path / "a.html").read_text()
    assert main(["render", "--up", "likely", str(fitted / "a.npz"), "-o", str(tmp_path / "likely"), "--motion"]) == 0
    with np.load(tmp_path / "likely" / "a_motion.npz") as data:
        assert not data["up_is_known"] and "estimate" in str(data["frame"])
    assert main(["render", str(fitted / "a.npz"), "-o", str(tmp_path / "no"), "--up", "0", "0", "0"]) == 2
    assert "up should point up" in capsys.readouterr().err


def test_render_of_a_sequence_is_its_page(points: np.ndarray, tmp_path: Path) -> None:
    frames = hmrfit.fit_sequence(np.stack([points] * 3), fps=30, keypoint_set="coco17", image_size=SIZE)
    frames.save(tmp_path / "walk.npz")
    assert main(["render", str(tmp_path / "walk.npz"), "-o", str(tmp_path / "out"), "--motion"]) == 0
    viewer, body, *made = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert made == ["walk.html", "walk_motion.npz"] and viewer == "viewer.js" and body.startswith("viewer_body_")


def test_convert_writes_a_body_that_reads_back(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = Path(hmrfit.__file__).resolve().parents[1] / "priors" / "free_body.npz"
    assert main(["convert", str(source), str(tmp_path / "body.npz")]) == 0
    assert "6900 vertices, 24 joints" in capsys.readouterr().out
    assert np.array_equal(
        hmrfit.SmplBody.from_file(tmp_path / "body.npz").faces, hmrfit.SmplBody.from_file(source).faces
    )
    (tmp_path / "evil.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert main(["convert", str(tmp_path / "evil.pkl"), str(tmp_path / "other.npz")]) == 2
    assert not (tmp_path / "other.npz").exists()


def test_help_lists_the_commands(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert all(f"\n    {name} " in said for name in ("fit", "demo", "render", "train", "evaluate", "convert"))


def test_output_names_never_meet() -> None:
    paths = [Path("x/a.jpg"), Path("x/a.png"), Path("y/a.png"), Path("y/a_png.jpg"), Path("z/a.png")]
    names = list(output_names(paths).values())
    assert names[:2] == ["a", "a_png"] and len(set(names)) == 5


def test_photographs_in_order_and_once(material: Path) -> None:
    found = list(photographs([str(material / "images/c.png"), str(material / "images")]))
    assert [p.name for p in found] == ["c.png", "a.png", "b b.jpg", "broken.jpg", "lonely.png"]


def test_all_photographs_of_the_shared_folder(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """22 people, COCO's and the calibrated cameras'. Every one is fitted; the median is what the issue asks for."""
    photos = shared / "photos"
    assert main(["fit", str(photos / "images"), "-k", str(photos), "-o", str(tmp_path), "--no-pictures"]) == 0
    results = [hmrfit.FitResult.load(p) for p in sorted(tmp_path.glob("*.npz"))]
    assert len(results) == 22 and "22 of 22 photographs" in capsys.readouterr().out
    errors = np.concatenate([r.reprojection_error for r in results])
    assert np.median(errors) < 0.03 and errors.max() < 0.06
    sources = {r.origin.focal_source[:7] for r in results}
    assert sources == {"assumed", "the key"}
