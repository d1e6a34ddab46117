"""hmrfit fit: the user's files stay, whatever the folders hold; a run goes on where it stopped."""

import hashlib
import json
import os
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.bodies import demo_points

import hmrfit
from hmrfit.assets import shipped
from hmrfit.cli import batches as batches_module
from hmrfit.cli import folder as folder_module
from hmrfit.cli import main
from hmrfit.cli.fit_flags import Shard
from hmrfit.io.image import write_image
from hmrfit.pipeline import Pipeline

SIZE = (160, 120)
PRIORS = shipped("priors")


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    """(17, 3) COCO's keypoints of a person in a photograph of SIZE, cv2's pixels."""
    return demo_points(SIZE[1]) - np.array([0.5, 0.5, 0])


@pytest.fixture
def place(tmp_path: Path, points: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the photographs a and b, and their keypoints beside them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        hmrfit.FitResult, "overlay", lambda result, **_: result.picture()
    )  # the pictures have tests of their own
    monkeypatch.setattr(hmrfit.FitResult, "turntable", lambda result: [result.picture()])
    for name in ("a", "b"):
        photograph(tmp_path / "p" / f"{name}.jpg", points)
    return tmp_path


def photograph(path: Path, points: np.ndarray | None, shade: int = 90) -> Path:
    """An image file, and beside it the keypoints of a person."""
    write_image(path, np.full((SIZE[1], SIZE[0], 3), shade, np.uint8))
    if points is not None:
        write_keypoints(path.with_suffix(".json"), points)
    return path


def write_keypoints(path: Path, *people: np.ndarray) -> None:
    """One person in our own format, several as COCO's results."""
    if len(people) == 1:
        path.write_text(json.dumps({"format": "coco17", "keypoints": people[0].tolist()}))
    else:
        path.write_text(json.dumps([{"image_id": path.stem, "keypoints": p.ravel().tolist()} for p in people]))


def moved(points: np.ndarray, pixels: float) -> np.ndarray:
    """To the right."""
    return points + np.array([pixels, 0, 0])


def fit(*arguments: str, pictures: bool = False) -> int:
    return main(["fit", *arguments, *([] if pictures else ["--no-pictures"])])


def contents(folder: Path) -> dict[Path, str]:
    return {p: hashlib.md5(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


def rows(said: str) -> dict[str, str]:
    """The table's lines by photograph."""
    return {line.split("  ")[0].strip(): line for line in said.splitlines() if "  " in line}


def names_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many photographs each call of the fit had."""
    counts: list[int] = []
    real = Pipeline.fit_photos
    monkeypatch.setattr(
        Pipeline, "fit_photos", lambda self, photos, *more: counts.append(len(photos)) or real(self, photos, *more)
    )
    return counts


# Nothing of the user's is overwritten


def test_the_photographs_own_folder(place: Path, capsys: pytest.CaptureFixture, fits: list[int]) -> None:
    before = contents(place)
    for run in range(2):
        assert fit("p", "-o", "p", "--mesh", "ply", pictures=True) == 0
        assert contents(place).items() >= before.items()
        said = capsys.readouterr().out
        assert "2 of 2 photographs have a result" in said
        assert said.count("from before") == 2 * run
    assert fits == [2]
    made = {f"p/{s}.hmrfit.{suffix}" for s in "ab" for suffix in ("npz", "jpg", "ply")} | {"p/index.html"}
    made |= {f"p/thumbnails/{s}.hmrfit.{suffix}" for s in "ab" for suffix in ("jpg", "js")}
    made |= {"p/viewer.js", *(f"p/{path.name}" for path in Path("p").glob("viewer_body_*.js"))}
    assert set(names_in(place)) == made | {p.relative_to(place).as_posix() for p in before}
    # nor are our pictures photographs when they are named, lie elsewhere, or are all there is
    shutil.copy("p/a.hmrfit.jpg", "p/copied.jpg")
    assert fit(*map(str, sorted(Path("p").glob("*.*"))), "p/thumbnails", "-k", "p", "-o", "else") == 0
    said = capsys.readouterr().out
    assert {"a.jpg", "b.jpg"} <= set(rows(said)) and "copied.jpg" not in said and "hmrfit.jpg" not in said
    assert fit("p/thumbnails", "-k", "p", "-o", "else") == 2
    assert "only files that hmrfit wrote itself" in capsys.readouterr().err


def test_a_page_of_the_users_stays(place: Path) -> None:
    Path("p/index.html").write_text("my gallery")
    assert fit("p", "-o", "p") == 0
    assert Path("p/index.html").read_text() == "my gallery"
    assert "2 people" in Path("p/index.hmrfit.html").read_text()


def test_the_keypoints_own_folder(place: Path, points: np.ndarray) -> None:
    Path("kp").mkdir()
    for name in "ab":
        np.savez(f"kp/{name}.npz", keypoints=points, keypoint_set=np.array("coco17"))
        Path(f"p/{name}.json").unlink()
    before = contents(place)
    for _ in range(2):
        assert fit("p", "-k", "kp", "-o", "kp", pictures=True) == 0
        assert contents(place).items() >= before.items()


def test_a_parent_of_both(place: Path) -> None:
    shutil.move("p", "images")
    os.makedirs("all")
    shutil.move("images", "all/images")
    before = contents(place)
    for _ in range(2):
        assert fit("all", "-k", "all/images", "-o", "all", pictures=True) == 0
        assert contents(place).items() >= before.items()
    assert {p.name for p in Path("all").glob("*.npz")} == {"a.npz", "b.npz"}


@pytest.mark.parametrize(
    "taken", ["a.jpg", "a.npz", "a.glb", "thumbnails/b.jpg", "thumbnails", "index.html", "viewer.js"]
)
def test_what_is_in_the_way_is_refused_before_any_work(
    place: Path, capsys: pytest.CaptureFixture, fits: list[int], taken: str
) -> None:
    theirs = Path("out", taken)
    theirs.parent.mkdir(parents=True)
    theirs.write_text("mine")
    assert fit("p", "-o", "out", "--mesh", "glb", pictures=True) == 2
    said = capsys.readouterr().err
    assert said.startswith("hmrfit: ") and taken in said and "did not write itself" in said
    assert names_in(Path("out")) == [taken] and theirs.read_text() == "mine" and not fits


def test_what_is_not_asked_for_is_not_in_the_way(place: Path) -> None:
    Path("out").mkdir()
    Path("out/a.jpg").write_text("mine")
    assert fit("p", "-o", "out") == 0
    assert Path("out/a.jpg").read_text() == "mine"


def test_an_edited_picture_is_the_users(place: Path, points: np.ndarray, capsys: pytest.CaptureFixture) -> None:
    assert fit("p", "-o", "out", pictures=True) == 0
    edited = Path("out/a.jpg")
    edited.write_bytes(edited.read_bytes() + b"a note")
    before = edited.read_bytes()
    assert fit("p", "-o", "out", pictures=True) == 0  # all is there
    write_keypoints(Path("p/a.json"), moved(points, 1))
    write_keypoints(Path("p/b.json"), moved(points, 1))
    capsys.readouterr()
    assert fit("p", "-o", "out", pictures=True) == 0
    said = rows(capsys.readouterr().out)
    assert "a.jpg' is not hmrfit's" in said["a.jpg"] and "converged" in said["b.jpg"]
    assert edited.read_bytes() == before


def test_another_photographs_result_is_not_replaced(
    place: Path, points: np.ndarray, capsys: pytest.CaptureFixture
) -> None:
    assert fit("p", "-o", "out") == 0
    before = contents(Path("out"))
    photograph(place / "q" / "a.jpg", points, shade=10)
    assert fit("q", "-o", "out") == 1
    assert "is the result of" in capsys.readouterr().out
    assert contents(Path("out"))[Path("out/a.npz")] == before[Path("out/a.npz")]
    assert fit("q", "-o", "out", "--overwrite") == 0
    assert contents(Path("out"))[Path("out/a.npz")] != before[Path("out/a.npz")]


# Every bad item is that item's failure


def make_bad_items(folder: Path, points: np.ndarray) -> dict[str, str]:
    """File name as the table shows it -> part of its error message."""

    def beside(name: str, text: str) -> None:
        photograph(folder / f"{name}.jpg", None)
        (folder / f"{name}.json").write_text(text)

    os.mkfifo(folder / "pipe.jpg")
    (folder / "device.jpg").symlink_to("/dev/zero")
    (folder / "dangling.jpg").symlink_to("nothing")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "folder.jpg").mkdir()
    server = socket.socket(socket.AF_UNIX)
    server.bind("p/socket.jpg")  # its path may not be long
    server.close()
    for name in ("pipe", "device", "dangling", "loop", "folder", "socket", "empty", "cut"):
        write_keypoints(folder / f"{name}.json", points)
    photograph(folder / "lonely.jpg", None)
    (folder / "empty.jpg").touch()
    (folder / "cut.jpg").write_bytes((folder / "a.jpg").read_bytes()[:300])
    beside("text", json.dumps([{"image_id": "other", "keypoints": [1] * 51}]))
    photograph(folder / "pipes.jpg", None)
    os.mkfifo(folder / "pipes.json")
    beside("deep", "[" * 100_000)
    beside("digits", json.dumps({"format": "coco17", "keypoints": [[10**400, 1, 1]] * 17}))
    return {
        "pipe.jpg": "is a pipe",
        "device.jpg": "is a device",
        "dangling.jpg": "is a link to nothing",
        "folder.jpg": "is a folder",
        "socket.jpg": "is a socket",
        "loop.jpg": "symbolic links",
        "lonely.jpg": "no keypoint file",
        "empty.jpg": "is empty",
        "cut.jpg": "cut off",
        "text.jpg": "no person",
        "pipes.jpg": "none that can be read",
        "deep.jpg": "JSON",
        "digits.jpg": "",
    }


@pytest.mark.skipif(os.name != "posix", reason="needs pipes, devices and names of any bytes")
def test_a_folder_of_everything_that_is_wrong(place: Path, points: np.ndarray, capsys: pytest.CaptureFixture) -> None:
    bad = make_bad_items(place / "p", points)
    odd = {"caf\\xe9.jpg", "\\x1b[2J\\x1b]0;title\\x07.jpg", "two\\nlines.jpg", "gpj.\\u202e.jpg", "<b>'&\".jpg"}
    good = {"a.jpg", "b.jpg", *odd}
    for name in (b"caf\xe9", b"\x1b[2J\x1b]0;title\x07", b"two\nlines", "gpj.\u202e".encode(), b"<b>'&\"", b"x" * 245):
        photograph(Path(os.fsdecode(b"p/" + name + b".jpg")), points)
    assert fit("p", "-o", "out") == 0
    printed, errors = capsys.readouterr()
    said = rows(printed)
    for name, reason in bad.items():
        assert "FAILED" in said[name], name
        assert any(line.startswith(f"{name}: ") and reason in line for line in printed.splitlines()), name
    assert good <= set(said)
    assert f"{len(good) + 1} of {len(good) + 1 + len(bad)} photographs have a result" in printed
    assert "Traceback" not in printed + errors and "\x1b" not in printed + errors
    page = Path("out/index.html").read_text()
    assert page.count("<section>") == len(good) + 1 + len(bad)
    assert "\x1b" not in page and "<b>" not in page and "&lt;b&gt;" in page
    assert len(list(Path("out").glob("*.npz"))) == len(good) + 1
    assert fit("p", "-o", "out") == 0
    assert capsys.readouterr().out.count("from before") == len(good) + 1


@pytest.mark.parametrize("fails_for, left", [("second", 1), ("all", 0), ("the two together", 0)])
def test_a_person_who_cannot_be_read_is_left_out(
    place: Path,
    points: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    fails_for: str,
    left: int,
) -> None:
    """Whatever the error. Where reading fails for all, or only for both together, the photograph has failed."""
    write_keypoints(place / "p" / "a.json", points, points + 4)
    read = batches_module.read_photo

    def fails(path: Path, people: list, **given: object) -> object:
        is_second = any(np.allclose(person.xy[0], points[0, :2] + 4.5) for person in people)
        if {"second": is_second, "all": True, "the two together": len(people) > 1}[fails_for] and path.stem == "a":
            raise ZeroDivisionError("unforeseen")
        return read(path, people, **given)

    monkeypatch.setattr(batches_module, "read_photo", fails)
    assert fit("p", "-o", "out") == 0
    printed = capsys.readouterr().out
    if left:
        result = hmrfit.FitResult.load("out/a.npz")
        assert len(result) == left and "was left out: unforeseen" in str(result.warnings)
    else:
        assert "FAILED" in rows(printed)["a.jpg"] and not Path("out/a.npz").exists()
    assert "converged" in rows(printed)["b.jpg"]


@pytest.mark.parametrize(
    "error", [RuntimeError("odd"), MemoryError(), RecursionError(), KeyError("k"), AssertionError()]
)
@pytest.mark.parametrize("where", ["read_photo", "fit_photos", "fingerprint_of", "finished"])
def test_an_error_of_any_kind_is_one_photographs(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, where: str, error: Exception
) -> None:
    home = Pipeline if where == "fit_photos" else batches_module
    real = getattr(home, where)

    def concerns_a(given: object) -> bool:
        """Whether a call's first argument is the photograph a, or several photographs."""
        photos = given if isinstance(given, list) else [given]
        return len(photos) > 1 or "a." in str(getattr(photos[0], "path", photos[0])).rsplit("/", 1)[-1]

    def broken(*given: object, **named: object) -> object:
        if concerns_a(next(one for one in given if not isinstance(one, Pipeline))):
            raise error
        return real(*given, **named)

    monkeypatch.setattr(home, where, broken)
    assert fit("p", "-o", "out", "--debug") == 0
    printed, errors = capsys.readouterr()
    said = rows(printed)
    assert "FAILED" in said["a.jpg"] and "converged" in said["b.jpg"]
    assert f"a.jpg: {type(error).__name__}" in printed and "error of hmrfit" in printed
    assert "Traceback" in errors
    assert "<section>" in Path("out/index.html").read_text()


def test_a_photograph_that_vanishes(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    real = Pipeline.fit_photos

    def vanishing(self: Pipeline, photos: list, *more: object) -> list:
        Path("p/a.jpg").unlink(missing_ok=True)
        return real(self, photos, *more)

    monkeypatch.setattr(Pipeline, "fit_photos", vanishing)
    assert fit("p", "-o", "out", pictures=True) == 0
    said = rows(capsys.readouterr().out)
    assert "FAILED" in said["a.jpg"] and "converged" in said["b.jpg"]


def test_one_output_that_cannot_be_written(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    real = hmrfit.FitResult.save

    def full(result: hmrfit.FitResult, path: Path) -> None:
        if result.name == "a.jpg":
            raise OSError(28, "No space left on device")
        real(result, path)

    monkeypatch.setattr(hmrfit.FitResult, "save", full)
    assert fit("p", "-o", "out") == 0
    said = rows(capsys.readouterr().out)
    assert "FAILED" in said["a.jpg"] and "converged" in said["b.jpg"]
    assert [n for n in names_in(Path("out")) if n.endswith("npz")] == ["b.npz"]


def test_a_page_that_cannot_be_written_is_reported(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def full(report: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder_module.FolderReport, "write_page", full)
    assert fit("p", "-o", "out") == 0
    said = capsys.readouterr().out
    assert "2 of 2 photographs have a result. There is no page" in said


def test_one_person_whose_fit_fails_leaves_the_others(
    place: Path, points: np.ndarray, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write_keypoints(Path("p/a.json"), points, moved(points, 5000), moved(points, 1))  # far outside
    assert fit("p", "-o", "out") == 0
    assert len(hmrfit.FitResult.load("out/a.npz")) == 2
    real = Pipeline.fit_photos

    def failing(self: Pipeline, photos: list, *more: object) -> list:
        if any(p.xy[0, 0] > 300 for photo in photos for p in photo.people):
            raise ZeroDivisionError("hopeless")
        return real(self, photos, *more)

    monkeypatch.setattr(Pipeline, "fit_photos", failing)
    hopeless = points.copy()
    hopeless[0, 0] = 310.0
    write_keypoints(Path("p/a.json"), points, hopeless, moved(points, 1))
    assert fit("p", "-o", "out") == 0
    result = hmrfit.FitResult.load("out/a.npz")
    assert len(result) == 2
    assert any("Person '1' was left out: ZeroDivisionError: hopeless" in w for w in result.warnings[0])
    assert "left out" in Path("out/index.html").read_text()
    capsys.readouterr()
    assert fit("p", "-o", "out") == 0
    assert rows(capsys.readouterr().out)["a.jpg"].count("from before") == 1


# A run that goes on


def change_photograph(place: Path, points: np.ndarray) -> list[str]:
    photograph(place / "p" / "a.jpg", None, shade=91)
    return []


def change_keypoints(place: Path, points: np.ndarray) -> list[str]:
    write_keypoints(place / "p" / "a.json", moved(points, 0.25))
    return []


def change_confidence(place: Path, points: np.ndarray) -> list[str]:
    write_keypoints(place / "p" / "a.json", points * [1, 1, 0.75])
    return []


def change_camera(place: Path, points: np.ndarray) -> list[str]:
    return ["--focal", "201"]


def change_setting(place: Path, points: np.ndarray) -> list[str]:
    return ["SEED=1"]


def change_names(place: Path, points: np.ndarray) -> list[str]:
    return ["--keypoint-set", "h36m17"]


def change_version(place: Path, points: np.ndarray) -> list[str]:
    batches_module.__version__ += "x"  # the test puts it back
    return []


def change_prior_file(place: Path, points: np.ndarray) -> list[str]:
    with np.load(place / "limits.npz") as limits:
        arrays = dict(limits)
    np.savez(place / "limits.npz", remark=np.array("another content"), **arrays)
    return []


CHANGES = [
    change_photograph,
    change_keypoints,
    change_confidence,
    change_names,
    change_camera,
    change_setting,
    change_version,
    change_prior_file,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_result_is_made_again_when_what_it_depends_on_changes(
    place: Path, points: np.ndarray, fits: list[int], monkeypatch: pytest.MonkeyPatch, change: Callable
) -> None:
    monkeypatch.setattr(batches_module, "__version__", "1")
    shutil.copy(PRIORS / "joint_limits.npz", "limits.npz")
    own = ["PRIORS.LIMITS=./limits.npz"] if change is change_prior_file else []
    settings = ["--set", "SEED=0", *own]
    for _ in range(2):
        assert fit("p/a.jpg", "-o", "out", "--focal", "200", *settings) == 0
    assert fits == [1]
    assert fit("p/a.jpg", "-o", "out", "--focal", "200", *settings, *change(place, points)) == 0, "with the change"
    assert fits == [1, 1]


def test_another_body_of_the_same_name_is_read_again(place: Path, fits: list[int]) -> None:
    with np.load(PRIORS / "free_body.npz") as body:
        arrays = dict(body)
    for i, size in enumerate((1.0, 1.01)):
        np.savez("body.npz", **arrays | {"v_template": arrays["v_template"] * np.float32(size)})
        for _ in range(2):
            assert fit("p/a.jpg", "-o", "out", "--set", "BODY.PATH=./body.npz") == 0
        assert fits == [1] * (i + 1)
        template = hmrfit.FitResult.load("out/a.npz").body_model.v_template.numpy()
        np.testing.assert_allclose(template, arrays["v_template"] * size, atol=1e-6)


def test_what_is_missing_is_made_from_the_result(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert fit("p", "-o", "out") == 0
    monkeypatch.setattr(Pipeline, "fit_photos", None)  # no fit any more
    assert fit("p", "-o", "out", "--mesh", "glb") == 0
    assert {"a.glb", "b.glb"} <= set(names_in(Path("out")))
    capsys.readouterr()
    assert fit("p", "-o", "out", pictures=True) == 0
    assert capsys.readouterr().out.count("what was missing is drawn") == 2
    Path("out/a.jpg").unlink()
    Path("out/thumbnails/b.jpg").unlink()
    before = contents(Path("out"))
    assert fit("p", "-o", "out", pictures=True) == 0
    assert {"a.jpg", "thumbnails/a.jpg", "b.jpg", "thumbnails/b.jpg"} <= set(names_in(Path("out")))
    assert "thumbnails/b.jpg" in Path("out/index.html").read_text()
    after = contents(Path("out"))
    assert all(after[p] == digest for p, digest in before.items() if p.name != "index.html")


def test_old_pictures_never_stay_beside_new_numbers(place: Path, points: np.ndarray) -> None:
    assert fit("p", "-o", "out", "--mesh", "obj", pictures=True) == 0
    assert main(["render", "out/a.npz", "--mesh", "glb"]) == 0
    assert {"a.html", "a.glb", "a.obj", "a.jpg", "thumbnails/a.jpg"} <= set(names_in(Path("out")))
    write_keypoints(Path("p/a.json"), moved(points, 1))
    assert fit("p", "-o", "out") == 0
    assert [n for n in names_in(Path("out")) if "a." in n] == ["a.npz"]
    assert {"b.obj", "b.jpg", "thumbnails/b.jpg"} <= set(names_in(Path("out")))


@pytest.mark.parametrize(("stop", "code"), [("ctrl-c", 130), ("terminate", 143)])
def test_a_stopped_run_leaves_its_page(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, stop: str, code: int
) -> None:
    monkeypatch.setattr(folder_module, "PEOPLE_AT_ONCE", 1)
    monkeypatch.setattr(folder_module, "WITHOUT_PIXELS", 1)
    real, handler = Pipeline.fit_photos, signal.getsignal(signal.SIGTERM)

    def stopping(self: Pipeline, photos: list, *more: object) -> list:
        if photos[0].path.name == "b.jpg":
            if stop == "ctrl-c":
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, photos, *more)

    monkeypatch.setattr(Pipeline, "fit_photos", stopping)
    assert fit("p", "-o", "out") == code
    printed, errors = capsys.readouterr()
    assert "1 of 2 photographs have a result" in printed and "goes on where it stopped" in errors
    page = Path("out/index.html").read_text()
    assert page.count("<section>") == 1 and "1 photograph is to come" in page
    assert signal.getsignal(signal.SIGTERM) == handler
    monkeypatch.setattr(Pipeline, "fit_photos", real)
    assert fit("p", "-o", "out") == 0
    assert capsys.readouterr().out.count("from before") == 1


def test_a_killed_run_leaves_the_page_written_so_far(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "PEOPLE_AT_ONCE", 1)
    monkeypatch.setattr(folder_module, "WITHOUT_PIXELS", 1)
    real = Pipeline.fit_photos
    pages = []

    def watched(self: Pipeline, photos: list, *more: object) -> list:
        pages.append(Path("out/index.html").is_file())
        return real(self, photos, *more)

    monkeypatch.setattr(Pipeline, "fit_photos", watched)
    Path("out").mkdir()
    Path("out/.hmrfit-00000000-1-abcd1234.npz").touch()
    os.utime("out/.hmrfit-00000000-1-abcd1234.npz", (0, 0))
    assert fit("p", "-o", "out") == 0
    assert pages == [False, True]
    assert not [name for name in names_in(Path("out")) if name.startswith(".")]


# Two cameras


def test_two_cameras_in_one_call(place: Path, points: np.ndarray, capsys: pytest.CaptureFixture) -> None:
    for camera, shift in (("cam1", 0), ("cam2", 9)):
        photograph(place / camera / "0001.jpg", moved(points, shift))
    assert fit("cam1", "cam2", "-o", "out") == 0
    noses = {p.stem: hmrfit.FitResult.load(p).keypoints.xy[0, 0, 0].item() for p in Path("out").glob("*.npz")}
    assert noses == pytest.approx({"0001": points[0, 0] + 0.5, "cam2_0001": points[0, 0] + 9.5})
    assert {"cam1/0001.jpg", "cam2/0001.jpg"} <= set(rows(capsys.readouterr().out))
    Path("flat").mkdir()
    shutil.copy("cam1/0001.json", "flat/0001.json")
    assert fit("cam1", "cam2", "-k", "flat", "-o", "none") == 1  # whose is it?
    assert capsys.readouterr().out.count("have one name") == 4
    content = {
        "images": [{"id": i, "file_name": f"rec\\cam{i}\\0001.jpg"} for i in (1, 2)],
        "annotations": [
            {"id": i, "image_id": i, "keypoints": (moved(points, 9 * (i - 1))).ravel().tolist()} for i in (1, 2)
        ],
    }
    Path("both.json").write_text(json.dumps(content))
    assert fit("cam1", "cam2", "-k", "both.json", "-o", "named") == 0
    again = {p.stem: hmrfit.FitResult.load(p).keypoints.xy[0, 0, 0].item() for p in Path("named").glob("*.npz")}
    assert again == pytest.approx(noses)


def test_hidden_files_are_no_photographs(place: Path, points: np.ndarray) -> None:
    Path("p/._a.jpg").write_bytes(b"\0\5\x16\7")  # what macOS leaves on other disks
    assert fit("p", "-o", "out") == 0
    assert {p.name for p in Path("out").glob("*.npz")} == {"a.npz", "b.npz"}


def test_an_unknown_keypoint_set_is_refused_at_once(place: Path, capsys: pytest.CaptureFixture) -> None:
    assert fit("p", "-o", "out", "--keypoint-set", "coco19") == 2
    assert "coco19" in capsys.readouterr().err and not Path("out").exists()


# Several machines


def test_shards_share_a_folder_and_their_page_is_made_of_what_is_there(
    place: Path, points: np.ndarray, capsys: pytest.CaptureFixture, fits: list[int]
) -> None:
    for name in ("c", "d", "e"):
        photograph(place / "p" / f"{name}.jpg", points)
    for number in (1, 2, 3):
        assert fit("p", "-o", "out", "--shard", f"{number}/3") == 0
    assert sum(fits) == 5  # each once
    pages = [Path(f"out/index.shard-{i}-of-3.html").read_text().count("<section>") for i in (1, 2, 3)]
    assert sum(pages) == 5 and not Path("out/index.html").exists()
    capsys.readouterr()
    assert fit("p", "-o", "out") == 0
    assert sum(fits) == 5 and capsys.readouterr().out.count("from before") == 5
    assert Path("out/index.html").read_text().count("<section>") == 5
    assert fit("p", "-o", "out", "--shard", "0/3") == 2
    assert "--shard should be i/n" in capsys.readouterr().err


def test_a_shard_holds_the_same_photographs_whatever_else_there_is() -> None:
    photographs = [Path(f"{i}.jpg") for i in range(200)]
    held = [[photo for photo in photographs if Shard(i, 4).holds(photo)] for i in range(1, 5)]
    assert sorted(photo for part in held for photo in part) == sorted(photographs)
    assert all(30 < len(part) < 70 for part in held)
    assert Shard(1, 4).holds(Path("else") / held[0][0])


def test_the_table_of_people_holds_what_the_results_hold(place: Path, points: np.ndarray) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    photograph(place / "p" / "c.jpg", points)
    (place / "p" / "c.json").write_text("{")
    write_keypoints(place / "p" / "b.json", points, moved(points, 5))
    assert fit("p", "-o", "out", "--format", "parquet") == 0
    for _ in range(2):  # of results from before too
        rows = parquet.read_table("out/people.parquet").to_pylist()
        assert [row["id"] for row in rows] == ["a#0", "b#0", "b#1", "c"]
        result = hmrfit.FitResult.load("out/b.npz")
        for name in ("poses", "betas", "joints", "joint_std"):
            expected = getattr(result, name).reshape(2, -1)
            np.testing.assert_allclose([row[name] for row in rows[1:3]], expected, atol=1e-6)  # the file: float32
        np.testing.assert_allclose([*rows[1]["up"], rows[1]["up_std"]], [*result.up, result.up_std], atol=1e-12)
        assert rows[1]["transl"] == result.params.transl[0].tolist() and rows[1]["reason"] is None
        assert "JSON" in rows[3]["reason"] and rows[3]["poses"] is None
        assert fit("p", "-o", "out", "--format", "parquet") == 0
    known = parquet.read_schema("out/people.parquet").metadata
    assert known[b"hmrfit_schema"] == b"people 3" and len(known[b"joint_names"].split()) == 24
