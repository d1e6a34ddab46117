"""render, demo, convert, evaluate and train: nothing of the user's is overwritten by any of them."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.bodies import demo_points

import hmrfit
from hmrfit.assets import shipped
from hmrfit.cli import main
from hmrfit.cli.demo import FILES
from hmrfit.cli.evaluate import refuse_in_the_way
from hmrfit.io.image import read_image, write_image
from hmrfit.io.own_files import is_own

SIZE = (160, 120)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph a.png and, saved from Python beside it, its result a.npz."""
    folder = tmp_path_factory.mktemp("saved")
    write_image(folder / "a.png", np.full((SIZE[1], SIZE[0], 3), 200, np.uint8))
    points = demo_points(SIZE[1])
    hmrfit.fit(folder / "a.png", points, keypoint_set="coco17").save(folder / "a.npz")
    return folder


@pytest.fixture(autouse=True)
def _cheap_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn is tested elsewhere."""
    monkeypatch.setattr(hmrfit.FitResult, "overlay", lambda result, **_: result.picture())
    monkeypatch.setattr(hmrfit.FitResult, "turntable", lambda result: [result.picture()])
    monkeypatch.setattr("hmrfit.cli.demo.uncertainty_pictures", lambda result: {})


@pytest.fixture
def photos(saved: Path, tmp_path: Path) -> Path:
    """The same in a folder of its own, the photograph a .jpg: what an overlay would be called."""
    folder = tmp_path / "photos"
    shutil.copytree(saved, folder)
    write_image(folder / "a.jpg", read_image(folder / "a.png"))
    result = hmrfit.FitResult.load(folder / "a.npz")
    origin = dataclasses.replace(result.origin, image_path=folder / "a.jpg")
    dataclasses.replace(result, origin=origin).save(folder / "a.npz")
    return folder


def test_render_beside_the_photograph(photos: Path) -> None:
    before = {p: p.read_bytes() for p in photos.iterdir()}
    for _ in range(2):
        assert main(["render", str(photos / "a.npz"), "--mesh", "obj"]) == 0
    assert all(p.read_bytes() == data for p, data in before.items())
    made = {"a.hmrfit.jpg", "a.hmrfit.html", "a.hmrfit.obj"}
    scripts = {p.name for p in photos.iterdir() if p.suffix == ".js"}
    assert {p.name for p in photos.iterdir()} == made | scripts | {p.name for p in before} and "viewer.js" in scripts


def test_render_refuses_what_is_in_the_way(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.html").write_text("mine")
    assert main(["render", str(photos / "a.npz"), "-o", str(out)]) == 2
    assert "a.html" in capsys.readouterr().err and [p.name for p in out.iterdir()] == ["a.html"]


def test_render_of_a_photograph_is_told_what_to_call(photos: Path, capsys: pytest.CaptureFixture) -> None:
    photograph = next(path for path in photos.rglob("*") if path.suffix in (".jpg", ".png"))
    assert main(["render", str(photograph)]) == 2
    assert "is no result, which ends in .npz. To fit photographs and videos: `hmrfit fit`" in capsys.readouterr().err


def test_render_goes_on_after_a_damaged_result(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    other = tmp_path / "other" / "a.npz"
    other.parent.mkdir()
    shutil.copy(photos / "a.npz", other)
    (photos / "bad.npz").write_bytes((photos / "a.npz").read_bytes()[:500])
    results = [str(photos / "bad.npz"), str(photos / "a.npz"), str(other)]
    assert main(["render", *results, "-o", str(tmp_path / "out")]) == 0
    assert {p.name for p in (tmp_path / "out").glob("*.jpg")} == {"a.jpg", "other_a.jpg"}
    assert "bad.npz: FAILED: ValueError" in capsys.readouterr().err
    assert main(["render", str(photos / "bad.npz"), "-o", str(tmp_path / "out")]) == 2


@pytest.mark.parametrize("name", FILES)
def test_the_demo_refuses_what_is_in_the_way(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    assert main(["demo", "-o", str(tmp_path)]) == 2
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(name, "mine")]


def test_convert_replaces_only_its_own(tmp_path: Path) -> None:
    body, target = tmp_path / "body.npz", tmp_path / "target.npz"
    shutil.copy(shipped("priors") / "free_body.npz", body)
    before = body.read_bytes()
    assert main(["convert", str(body), str(body)]) == 2
    assert body.read_bytes() == before
    for _ in range(2):
        assert main(["convert", str(body), str(target)]) == 0
    assert is_own(target)


@pytest.mark.parametrize("name", ["x.npz", "x.json", "x.md", "table.md", "page/index.html"])
def test_evaluate_refuses_what_is_in_the_way(tmp_path: Path, name: str) -> None:
    (tmp_path / "page").mkdir()
    (tmp_path / name).write_text("mine")
    with pytest.raises(FileExistsError, match=name):
        refuse_in_the_way(tmp_path, ["x"], ["x"], str(tmp_path / "page"))


def test_evaluate_goes_on_with_its_own_predictions(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", format=np.array("hmrfit predictions 1"))
    refuse_in_the_way(tmp_path, ["x"], ["x"], None)


@pytest.mark.parametrize("name", ["hmr.npz", "contact_sheet.png", "motion.npz"])
def test_train_refuses_a_folder_that_is_no_run(tmp_path: Path, name: str, capsys: pytest.CaptureFixture) -> None:
    np.savez(tmp_path / "mine.npz", poses=np.zeros((3, 72)))
    (tmp_path / "mine.npz").rename(tmp_path / name)
    before = (tmp_path / name).read_bytes()
    assert main(["train", "-o", str(tmp_path), f"TRAIN.MOTION={tmp_path}"]) == 2
    assert name in capsys.readouterr().err and (tmp_path / name).read_bytes() == before
