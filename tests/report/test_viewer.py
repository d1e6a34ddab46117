"""The 3D view's files: they can be read back, are written once, and nothing of the user's is replaced."""

import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.bodies import free_body
from helpers.two_people import fit_two_people, write_photo

import hmrfit
from hmrfit.camera import Camera
from hmrfit.report import viewer_library
from hmrfit.report.viewer import (
    ViewPerson,
    ViewScene,
    body_file,
    result_scene,
    scene_html,
    scene_json,
    write_beside,
    write_view,
    write_viewer_js,
)
from hmrfit.types import BodyParams


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> hmrfit.FitResult:
    return fit_two_people(write_photo(tmp_path_factory.mktemp("photos")))


def quantised(coded: dict) -> np.ndarray:
    raw = np.frombuffer(base64.b64decode(coded["data"]), "<u2").reshape(-1, 3)
    return np.array(coded["low"]) + np.array(coded["step"]) * raw


def floats(coded: str, *shape: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(coded), "<f4").reshape(shape)


def test_the_answer_is_there_exactly_and_as_a_pose(result: hmrfit.FitResult) -> None:
    told = json.loads(scene_json(result_scene(result, result.picture(), samples=3)))
    assert told["moments"] == 1 and told["camera"]["size"] == list(result.image_size) and told["fps"] == 1
    assert told["backdrop"].startswith("data:image/jpeg;base64,")
    for i, person in enumerate(told["people"]):
        np.testing.assert_allclose(quantised(person["surface"]), result.vertices[i], atol=5e-5)  # steps of 2 m / 65535
        np.testing.assert_allclose(floats(person["answer"]["poses"], -1), result.poses[i], atol=1e-6)
        np.testing.assert_allclose(floats(person["answer"]["transl"], 3), result.trans[i], atol=1e-6)
        assert floats(person["samples"]["poses"], 3, -1).std(0).max() > 0.01
        shown = [other["label"] for other in person["others"]]
        assert len(shown) == (result.probability[i, 1:] > 0.005).sum() and all(one.endswith(" %") for one in shown)


def test_a_body_can_be_skinned_from_its_file() -> None:
    """Weights add up to one, shapes and joints are the body's to what their steps allow."""
    body = free_body()
    name, text = body_file(body)
    told = json.loads(text.removeprefix("window.hmrfitBody=").rstrip(";\n"))
    assert re.fullmatch(r"viewer_body_[0-9a-f]{8}\.js", name) and body_file(body)[0] == name
    assert len(text) < 600_000
    count = np.frombuffer(base64.b64decode(told["weights"]["count"]), np.uint8)
    value = np.frombuffer(base64.b64decode(told["weights"]["value"]), "<u2") / 65535
    joint = np.frombuffer(base64.b64decode(told["weights"]["joint"]), np.uint8)
    dense = np.zeros(body.weights.shape)
    dense[np.repeat(np.arange(len(count)), count), joint] = value
    np.testing.assert_allclose(dense, body.weights, atol=1e-5)
    steps = np.array(told["shape_steps"])
    shapes = np.frombuffer(base64.b64decode(told["shapes"]), np.int8).reshape(len(steps), -1, 3) * steps[:, None, None]
    assert np.abs(shapes.transpose(1, 2, 0) - body.shapedirs.numpy()).max() < 1e-3  # metres a standard deviation
    np.testing.assert_allclose(quantised(told["template"]), body.v_template, atol=5e-5)
    faces = np.frombuffer(base64.b64decode(told["faces"]), "<u2").reshape(-1, 3)
    np.testing.assert_array_equal(faces, body.faces)


def walkers(count: int = 7) -> ViewScene:
    """Two people, of whom the second comes later."""
    body = free_body()
    at = body.neutral(count).to("cpu", torch.float64)
    params = BodyParams(at.global_orient, at.body_pose, at.betas, at.transl + torch.tensor([0.0, 0.0, 4.0]))
    people = [ViewPerson("a", params), ViewPerson("</script><b>", params[2:], range(2, count))]
    return ViewScene(body, people, Camera.from_size(640, 480), fps=25.0, labels=[str(i) for i in range(count)])


def test_frames_and_names_of_a_sequence() -> None:
    told = json.loads(scene_json(walkers()))
    assert told["moments"] == 7 and told["fps"] == 25 and told["people"][1]["frames"] == [2, 3, 4, 5, 6]
    betas = floats(told["people"][0]["answer"]["betas"], -1)
    assert len(betas) == free_body().shape_count  # once, as they are the same in all frames
    assert scene_html(walkers()).count("</script>") == 1 and "<b>" not in scene_html(walkers())
    assert len(scene_json(walkers(300))) < 400_000
    with pytest.raises(ValueError, match=r"a has 7 poses, but 1 frame"):
        replace(walkers().people[0], frames=[3])


def test_a_long_sequence_is_thinned_at_its_rate(result: hmrfit.FitResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmrfit.report.viewer.MOST_MOMENTS", 1)
    frames = replace(result, origin=replace(result.origin, rows="frames", fps=30.0, person_ids=["5", "6"]))
    scene = result_scene(frames)
    assert scene.moments == 1 and scene.fps == 15 and scene.labels == ["5"]


def test_files_are_written_once(tmp_path: Path) -> None:
    write_view(tmp_path / "a.js", walkers())
    write_beside(tmp_path, free_body())
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert {path.name for path in before} == {"a.js", "viewer.js", body_file(free_body())[0]}
    write_view(tmp_path / "a.js", walkers())
    write_beside(tmp_path, free_body())
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_script_of_the_user_stays(tmp_path: Path) -> None:
    (tmp_path / "viewer.js").write_text("mine")
    with pytest.raises(FileExistsError, match=r"viewer\.js' is not hmrfit's"):
        write_viewer_js(tmp_path)
    assert (tmp_path / "viewer.js").read_text() == "mine"


def test_the_page_of_one_person_is_small(result: hmrfit.FitResult, tmp_path: Path) -> None:
    result[0].page(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<script src='viewer.js'>" in page and "class='view3d'" in page and "http" not in page
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2_000_000


def test_another_trimesh_is_said_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "THREE" in viewer_library.three() and "SPDX-License-Identifier: MIT" in viewer_library.three()
    monkeypatch.setattr(viewer_library, "NEEDED", ("WebGPURenderer2",))
    assert viewer_library.three() == (
        'window.hmrfitNoViewer = "The installed trimesh has another viewer, without a three.js that fits.";'
    )
    monkeypatch.setattr(viewer_library, "TEMPLATE", Path("no.zip"))
    assert "has no viewer" in viewer_library.three()
