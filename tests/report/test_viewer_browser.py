"""The 3D view in a browser, from file://: it draws, turns, scrubs, lies on the photograph; the console is silent."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.bodies import free_body
from helpers.browser import Browser, browser
from helpers.two_people import fit_two_people, write_photo

import hmrfit
from hmrfit.camera import Camera
from hmrfit.ops.raster import silhouette
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.render.rasteriser import to_screen
from hmrfit.report.page import Entry, write_page
from hmrfit.report.viewer import ViewPerson, ViewScene, scene_html, view_html, write_beside, write_view
from hmrfit.types import BodyParams

pytestmark = pytest.mark.browser

MASK = """
const view = document.querySelector('.view3d').view;
view.render();
const gl = view.renderer.getContext(), w = gl.drawingBufferWidth, h = gl.drawingBufferHeight;
const pixels = new Uint8Array(4 * w * h), rows = [];
gl.readPixels(0, 0, w, h, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
let text = '';
for (let i = 3; i < pixels.length; i += 4) text += pixels[i] > 127 ? 1 : 0;
const f = view.frame();
return [w, h, text, f.scale, f.left, f.top];
"""
STAGE = "document.querySelector('.v3d-stage')"


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> hmrfit.FitResult:
    return fit_two_people(write_photo(tmp_path_factory.mktemp("photos")))


@pytest.fixture(scope="module")
def page(result: hmrfit.FitResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    result.page(path)
    return path


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser() as one:
        yield one


def opened(window: Browser, page: Path, width: int = 1440) -> Browser:
    """The page with its view, once that is drawn."""
    window.open(page, width, 900)
    window.wait("document.querySelector('.view3d') && document.querySelector('.view3d').view")
    window.run(f"{STAGE}.scrollIntoView({{block: 'center'}})")
    return window


def focused(window: Browser) -> Browser:
    """Keys go to the view."""
    window.run("document.querySelector('.v3d').focus()")
    return window


def drawn(window: Browser) -> np.ndarray:
    """The bodies: (h, w) bool, the canvas alone."""
    w, h, text = window.run(MASK)[:3]
    return (np.frombuffer(text.encode(), np.uint8).reshape(h, w) == ord("1"))[::-1]


@pytest.mark.parametrize("width", [390, 1440])
def test_the_bodies_lie_on_the_photograph(window: Browser, page: Path, result: hmrfit.FitResult, width: int) -> None:
    """What the browser draws is our rasteriser's silhouette through the same camera, and the page fits its window."""
    opened(window, page, width)
    w, h, _, scale, left, top = window.run(MASK)
    camera = result.camera[:1]
    focal, center = camera.focal * scale, camera.center * scale + torch.tensor([left, top])
    seen = Camera(focal, center, torch.tensor([[w, h]]), camera.focal_known)
    ours = silhouette(to_screen(result.mesh_vertices, seen), result.body_model.faces, (w, h)).any(0).numpy()
    theirs = drawn(window)
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.97
    assert window.run("return document.documentElement.scrollWidth <= window.innerWidth")
    assert window.errors() == []


def test_it_turns(window: Browser, page: Path) -> None:
    before = drawn(opened(window, page))
    photograph = window.screenshot()
    window.drag(".v3d-stage", 200, 30)
    after = drawn(window)
    assert before.any() and after.any() and (before ^ after).sum() > 0.3 * before.sum()
    assert np.abs(window.screenshot().astype(int) - photograph).mean() > 2
    window.press("c")
    assert (drawn(window) == before).all()
    sides = []
    for key in "fsbt":
        window.press(key)
        sides.append(drawn(window))
    assert all(side.any() and not side.all() for side in sides)
    assert window.errors() == []


def test_a_browser_without_webgl_says_so(window: Browser, page: Path) -> None:
    """In words where the view would be, without the photograph of a view that was begun; and so where it is lost."""
    opened(window, page)
    window.run("document.querySelector('.view3d').view.renderer.forceContextLoss()")
    window.wait("document.querySelector('.view3d > p').textContent.includes('gave it up')")
    nothing = "HTMLCanvasElement.prototype.getContext = () => null"
    added = window.command("Page.addScriptToEvaluateOnNewDocument", source=nothing)
    window.open(page, 390)
    window.wait("document.querySelector('.view3d > p').textContent.includes('There is no 3D view')")
    assert window.run(
        "const p = document.querySelector('.view3d > p'), b = p.getBoundingClientRect();"
        "const shown = b.height > 0 && b.right <= innerWidth;"
        "return p.textContent.includes('WebGL') && shown && !document.querySelector('.v3d')"
    )
    window.command("Page.removeScriptToEvaluateOnNewDocument", **added)
    window.errors()


def test_other_answers_and_samples_are_shown_on_request(window: Browser, page: Path, result: hmrfit.FitResult) -> None:
    boxes = "[...document.querySelectorAll('.v3d input[type=checkbox]')]"
    labels = focused(opened(window, page)).run(f"return {boxes}.map(box => box.parentNode.textContent)")
    assert sum("other answer" in label for label in labels) == (result.probability[:, 1:] > 0.005).sum()
    window.press("s")
    for i, label in enumerate(labels):
        if "answer" in label or "likely" in label:
            before = window.screenshot().astype(int)
            window.run(f"{boxes}[{i}].click()")
            time.sleep(0.3)
            assert np.abs(window.screenshot() - before).max() > 20, label
    window.press("r")
    time.sleep(0.3)
    assert window.run(f"return {boxes}.every(box => box.checked === box.defaultChecked)") and window.errors() == []


def sequence(frames: int = 12) -> ViewScene:
    """A person who lifts an arm, and another who comes later."""
    body = free_body()
    params = body.neutral(frames)
    pose, turn = params.body_pose.clone(), rotvec_to_matrix(torch.tensor([[torch.pi, 0.0, 0.0]], dtype=torch.float64))
    angles = torch.linspace(0, 1.2, frames, dtype=torch.float64)
    pose[:, body.joint_names.index("left_shoulder") - 1] = rotvec_to_matrix(
        angles[:, None] * torch.tensor([[0, 0, 1.0]])
    )
    moved = params.transl + torch.tensor([0.0, 0.0, 5.0])
    first = BodyParams(turn.expand(frames, 3, 3), pose, params.betas + 0.5, moved)
    later = BodyParams(turn.expand(frames, 3, 3), pose, params.betas - 0.5, moved + torch.tensor([1.2, 0.0, 0.0]))
    people = [ViewPerson("first", first), ViewPerson("later", later[4:], range(4, frames), color="#e69f00")]
    return ViewScene(body, people, Camera.from_size(640, 480), fps=10.0)


def test_frames_are_scrubbed_and_played(window: Browser, tmp_path: Path) -> None:
    """In the page's own script every frame is posed as our body poses it, but for the pose correctives."""
    scene = sequence()
    write_beside(tmp_path, scene.body)
    write_page(tmp_path / "page.html", [Entry("walk", view=scene_html(scene))], "frames")
    opened(window, tmp_path / "page.html")
    slide = "const s = document.querySelector('.v3d-time'); s.value = {}; s.oninput()"
    posed = "const v = document.querySelector('.view3d').view; return [...v.people[{}].figure.positions]"
    masks = []
    for moment in (0, 11):
        window.run(slide.format(moment))
        masks.append(drawn(window))
        flat = replace_correctives(scene, moment)
        np.testing.assert_allclose(np.reshape(window.run(posed.format(0)), (-1, 3)), flat, atol=1e-3)
    assert (masks[0] ^ masks[1]).sum() > 500
    assert window.run("return document.querySelector('.view3d').view.people[1].figure.object.visible")
    window.run(slide.format(2))
    assert not window.run("return document.querySelector('.view3d').view.people[1].figure.object.visible")
    window.run("window.began = performance.now(); document.querySelector('.view3d').view.toggle()")  # at moment 2
    time.sleep(0.5)
    seconds, moment = window.run(
        "return [(performance.now() - window.began) / 1000, document.querySelector('.view3d').view.moment]"
    )
    late = (2 + 10 * seconds - moment) % 12  # frames; the sequence repeats
    focused(window).press(" ")
    stopped = [window.run("return document.querySelector('.view3d').view.moment") for _ in range(2)]
    assert seconds > 0.3 and late < 6 and stopped[0] == stopped[1] and window.errors() == []


def replace_correctives(scene: ViewScene, moment: int) -> np.ndarray:
    """Our body without pose correctives."""
    body = free_body().to()
    body.posedirs = torch.zeros_like(body.posedirs)
    return body(scene.people[0].answer[moment : moment + 1]).mesh[0].numpy()


def test_scenes_beside_the_page_are_loaded_when_they_are_opened(window: Browser, tmp_path: Path) -> None:
    for name in "ab":
        write_view(tmp_path / "views" / f"{name}.js", sequence(6))
    write_beside(tmp_path, free_body())
    entries = [Entry(name, view=view_html(f"views/{name}.js")) for name in "ab"]
    write_page(tmp_path / "page.html", entries, "folder")
    window.open(tmp_path / "page.html")
    for i in range(2):
        window.run(f"document.querySelectorAll('.view3d > button')[{i}].click()")
        window.wait(f"document.querySelectorAll('.view3d')[{i}].view")
        assert window.run("return document.querySelectorAll('.v3d').length") == 1
    (tmp_path / "views" / "a.js").unlink()
    window.open(tmp_path / "page.html")
    window.run("document.querySelector('.view3d > button').click()")
    window.wait("document.querySelector('.view3d > p').textContent.includes('is missing beside this page')")
