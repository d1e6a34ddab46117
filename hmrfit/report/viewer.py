"""The 3D view of a page: bodies that can be turned, the photograph behind them, other answers, samples and frames.

    write_viewer_js(folder)                 # viewer.js, once a folder: three.js and our own script
    write_view(folder / "a.js", scene)      # a scene beside the page, loaded when it is opened; or
    Entry(..., view=scene_html(scene))      # in the page itself

A body's template, shape directions, weights and faces are written once a folder (`viewer_body_….js`), so a pose is a
few hundred bytes, `transl`, `betas` and rotation vectors, and the page's script skins it (`viewer_body.js` has the
equations). Pose correctives are left out there; the surface of a photograph's answer is written whole, in steps of

    v = low + step · q,     q = 0 … 65535      (0.03 mm for a body of 2 m)

Every file is a script that sets one name, because a page opened from file:// may load scripts but not read files.
Metres; the scene's frame is the camera's, or with `extrinsics` the world's (both as OpenCV has it, y down).
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hmrfit.body.smpl import SmplBody
from hmrfit.build import load_body
from hmrfit.camera import Camera
from hmrfit.io.image import Image
from hmrfit.io.own_files import is_own, own_file
from hmrfit.ops.how_many import how_many
from hmrfit.ops.level import level_rotation, upright_in_words
from hmrfit.render.shading import BODY_COLORS
from hmrfit.report.page import Html, embedded, reduced
from hmrfit.report.viewer_library import viewer_script
from hmrfit.result_data import ResultData, poses_of
from hmrfit.types import BodyParams

VIEWER = "viewer.js"
"""The script that a page with a 3D view has beside it."""

SAMPLES = 8
"""Bodies drawn from the posterior of each person of a photograph."""

BACKDROP_SIDE = 1280
"""Pixels, the longest side of the photograph behind the bodies."""

MOST_MOMENTS = 3000
"""Frames of a view; of a longer sequence every second, third, ... one is shown, at the true rate."""

LEAST_PROBABILITY = 0.005
"""Of another answer that is shown."""

CORRECTIVES = "the posed shape of other answers, samples and frames leaves pose correctives out, a few millimetres"


@dataclass(frozen=True, eq=False)
class ViewPerson:
    """One person of a view."""

    name: str
    answer: BodyParams  # (T,), the scene's frame
    frames: Sequence[int] = ()  # T moments of the scene, the person is not shown at others; default 0 ... T − 1
    surface: NDArray[np.float64] | None = None  # (V, 3) of a single moment, exact
    others: Mapping[str, BodyParams] = field(default_factory=dict)  # label -> (1,), shown on request
    samples: BodyParams | None = None  # (N,) as likely as the answer, shown on request, translucent
    color: str = ""  # "#rrggbb"; default one after the other of `BODY_COLORS`

    def __post_init__(self) -> None:
        if self.frames and len(self.frames) != len(self.answer):
            raise ValueError(
                f"{self.name} has {how_many(len(self.answer), 'poses')}, but {how_many(len(self.frames), 'frames')}. "
                "Give a moment for each pose."
            )

    @property
    def moments(self) -> list[int]:
        """T, of the scene."""
        return list(self.frames) or list(range(len(self.answer)))


@dataclass(frozen=True, eq=False)
class ViewScene:
    """What a view shows: people at one moment or over time, and the camera."""

    body: SmplBody
    people: Sequence[ViewPerson]
    camera: Camera  # its first row is taken
    up: ArrayLike | None = None  # (3,) in the scene's frame; None takes its −y
    extrinsics: NDArray[np.float64] | None = None  # (M, 3, 4) scene -> camera at each moment; None: they are the same
    backdrop: Image | str | None = None  # the photograph, or a picture or video (mp4, webm) beside the page
    fps: float | None = None  # moments a second
    labels: Sequence[str] = ()  # M names of the moments: frame numbers
    note: str = ""  # a sentence for the reader

    @property
    def moments(self) -> int:
        """M, the frames of a sequence; 1 for a photograph."""
        return 1 + max((moment for person in self.people for moment in person.moments), default=0)


def result_scene(result: ResultData, picture: Image | str | None = None, samples: int = SAMPLES) -> ViewScene:
    """The scene of a result: the people of a photograph with their other answers and samples, or a person's frames.

    Args:
        picture: the photograph, or a file beside the page; None shows none. samples: of each person, 0 for none.
    """
    people = [_moving(result)] if result.is_sequence else _standing(result, samples)
    given = result.up is not None and result.up_std is None
    floor = "" if given else f"{upright_in_words('The people', result.up is not None, result.up_std)}. "
    return ViewScene(
        load_body(result.origin.body),
        people,
        result.camera[:1],
        result.up,
        backdrop=picture,
        fps=None if result.fps is None else result.fps / _stride(len(result)),
        labels=list(result.names[:: _stride(len(result))]) if result.is_sequence else (),
        note=f"{floor}Drawn by skinning, {CORRECTIVES}.",
    )


def _moving(result: ResultData) -> ViewPerson:
    """The person of a sequence."""
    rows = range(0, len(result), _stride(len(result)))
    return ViewPerson(result.name, result.params[rows], range(len(rows)))


def _stride(count: int) -> int:
    return -(-count // MOST_MOMENTS)


def _standing(result: ResultData, samples: int) -> list[ViewPerson]:
    """The people of a photograph."""
    drawn = result.sample(samples) if samples and result.posterior is not None else []
    probability = None if result.posterior is None else result.probability
    people = []
    for i, name in enumerate(result.names):
        others = {}
        if probability is not None:
            for h, params in enumerate(result.hypotheses[1:], 1):
                if h < probability.shape[1] and probability[i, h] > LEAST_PROBABILITY:
                    others[f"other answer, {100 * probability[i, h]:.0f} %"] = params[i : i + 1]
        unsure = BodyParams.cat([sample[i : i + 1] for sample in drawn]) if drawn else None
        people.append(ViewPerson(f"person {name}", result.params[i : i + 1], (), result.vertices[i], others, unsure))
    return people


# ---- files beside a page


def write_viewer_js(folder: str | PathLike[str]) -> Path:
    """Writes viewer.js into the folder, if it is not there; returns its path.

    Where the installed trimesh brings no three.js that fits, the script says so on the page instead.

    Raises:
        FileExistsError: there is a viewer.js that hmrfit did not write. OSError: see `own_file`.
    """
    return _write(Path(folder) / VIEWER, viewer_script())


def write_view(path: str | PathLike[str], scene: ViewScene) -> Path:
    """Writes a scene as a .js file for `view_html`. The page has viewer.js and the body's file beside it
    (`write_beside`). Errors: those of `write_viewer_js`."""
    path = Path(path)
    return _write(path, f"window.hmrfitScene={scene_json(scene)};\n")


def write_beside(folder: str | PathLike[str], body: SmplBody) -> None:
    """Writes what every view of a folder needs, viewer.js and the body's file, where it is not there.

    Errors: those of `write_viewer_js`.
    """
    write_viewer_js(folder)
    write_body(folder, body)


def write_body(folder: str | PathLike[str], body: SmplBody) -> Path:
    """Writes a body's file, whose name is that of its content, if it is not there; returns its path."""
    name, text = body_file(body)
    path = Path(folder) / name
    return path if path.is_file() else _write(path, text)


def _write(path: Path, text: str) -> Path:
    if not (is_own(path) and path.read_bytes().startswith(text.encode())):
        with own_file(path, "view") as temporary:
            temporary.write_text(text, encoding="utf-8")
    return path


# ---- HTML


def scene_html(scene: ViewScene) -> Html:
    """The view as a part of a page, with the scene in it; the page has viewer.js and the body's file beside it."""
    return Html(f"<div class='view3d'>{_instead()}<script type='application/json'>{scene_json(scene)}</script></div>")


def view_html(address: str) -> Html:
    """The view as a part of a page, of a scene beside it (`write_view`), which is loaded when a reader opens it."""
    return Html(f"<div class='view3d' data-src='{address}'>{_instead()}</div>")


def _instead() -> str:
    return f"<p>The 3D view needs {VIEWER} beside this page, and JavaScript.</p>"


# ---- what they hold


def scene_json(scene: ViewScene) -> str:
    """The scene as JSON that is safe inside a script element."""
    camera, video = scene.camera[:1], isinstance(scene.backdrop, str) and scene.backdrop.endswith((".mp4", ".webm"))
    picture = scene.backdrop
    if picture is not None and not isinstance(picture, str):
        picture = embedded(reduced(picture, BACKDROP_SIDE), 85)
    extrinsics = None if scene.extrinsics is None else [_rounded([*m[:, :3].flat, *m[:, 3]]) for m in scene.extrinsics]
    about = {
        "body": body_file(scene.body)[0],
        "camera": {name: _rounded(getattr(camera, name)[0].tolist()) for name in ("focal", "center", "size")},
        "level": level_rotation(scene.up).tolist(),
        "extrinsics": extrinsics,
        "backdrop": picture,
        "video": video,
        "fps": scene.fps or 1.0,
        "moments": scene.moments,
        "labels": list(scene.labels) or None,
        "note": scene.note,
        "people": [_person(person, BODY_COLORS[i % len(BODY_COLORS)]) for i, person in enumerate(scene.people)],
    }
    return json.dumps(about, separators=(",", ":")).replace("<", "\\u003c")


def _person(person: ViewPerson, color: str) -> dict[str, Any]:
    return {
        "name": person.name,
        "color": person.color or color,
        "frames": person.moments,
        "answer": _poses(person.answer),
        "surface": None if person.surface is None else _quantised(person.surface),
        "others": [{"label": label, "pose": _poses(params)} for label, params in person.others.items()],
        "samples": None if person.samples is None else _poses(person.samples),
    }


def _poses(params: BodyParams) -> dict[str, str]:
    """Float32; betas once where they are those of all rows."""
    betas = params.betas.numpy()
    return {
        "transl": _coded(params.transl.numpy(), np.float32),
        "poses": _coded(poses_of(params), np.float32),
        "betas": _coded(betas[:1] if (betas == betas[:1]).all() else betas, np.float32),
    }


@lru_cache(maxsize=8)
def body_file(body: SmplBody) -> tuple[str, str]:
    """The name and the text of the script that holds a body."""
    template, shapes = body.v_template.numpy(), body.shapedirs.numpy()
    steps = np.abs(shapes).max((0, 1)) / 127
    weights = body.weights.numpy()
    vertex, joint = np.nonzero(weights > 0.5 / 65535)
    values = {
        "template": _quantised(template),
        "shapes": _coded(np.round(shapes / np.where(steps > 0, steps, 1)).transpose(2, 0, 1), np.int8),
        "shape_steps": steps.tolist(),
        "joints": _coded(body.rest_joints.numpy(), np.float32),
        "joint_shapes": _coded(body.joint_shapes.numpy().transpose(2, 0, 1), np.float32),
        "parents": list(body.parents),
        "weights": {
            "count": _coded(np.bincount(vertex, minlength=len(template)), np.uint8),
            "joint": _coded(joint, np.uint8),
            "value": _coded(np.round(65535 * weights[vertex, joint]), np.uint16),
        },
        "wide": len(template) > 1 << 16,
        "faces": _coded(body.faces.numpy(), np.uint32 if len(template) > 1 << 16 else np.uint16),
    }
    text = f"window.hmrfitBody={json.dumps(values, separators=(',', ':'))};\n"
    return f"viewer_body_{hashlib.sha256(text.encode()).hexdigest()[:8]}.js", text


def _quantised(points: NDArray[np.float64]) -> dict[str, Any]:
    """(V, 3) as 16 bits a coordinate between the least and the greatest."""
    low = points.min(0)
    step = np.maximum((points.max(0) - low) / 65535, 1e-12)
    return {"low": low.tolist(), "step": step.tolist(), "data": _coded(np.round((points - low) / step), np.uint16)}


def _coded(values: ArrayLike, kind: type[np.generic]) -> str:
    """Little-endian bytes as base64."""
    return base64.b64encode(np.ascontiguousarray(values, np.dtype(kind).newbyteorder("<")).tobytes()).decode()


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(float(value), 6) for value in values]
