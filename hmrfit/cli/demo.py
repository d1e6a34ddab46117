"""hmrfit demo: a rendered scene whose truth is known, fitted from noisy keypoints, and compared with the truth."""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from hmrfit.api import fit
from hmrfit.body.smpl import SmplBody
from hmrfit.build import load_body
from hmrfit.camera import PIXEL_CENTER, Camera, focal_from_35mm
from hmrfit.cli.outputs import write_own, write_picture
from hmrfit.cli.photographs import SCENE
from hmrfit.evaluate.metrics import mpjpe, pa_mpjpe
from hmrfit.fitting.parameters import UPRIGHT
from hmrfit.io.atomic import sweep
from hmrfit.io.image import Image, write_image
from hmrfit.io.own_files import own_file, refuse_others
from hmrfit.keypoints import COCO17, COMMON14, resolve_set
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.render.overlay import side_by_side
from hmrfit.report.page import write_page
from hmrfit.report.result_page import LEGEND, uncertainty_pictures
from hmrfit.report.viewer import VIEWER, result_scene, scene_html, write_beside
from hmrfit.result import FitResult
from hmrfit.synthetic.people import Corruption, corrupt
from hmrfit.synthetic.renderer import Scene, render_scene
from hmrfit.types import BodyParams, Keypoints

POSE = {
    "left_hip": ("x -32", "z 6"), "left_knee": ("x 22",), "left_ankle": ("x 9", "z -5"),
    "right_hip": ("x 18", "z -5"), "right_knee": ("x 20",), "right_ankle": ("x -10",), "right_foot": ("x -24",),
    "spine1": ("y 6", "x 3"), "spine2": ("y 6",), "spine3": ("y 4", "x -3"),
    "neck": ("y -10",), "head": ("y -10", "x 4"),
    "left_shoulder": ("y 12", "z -58", "x 10"), "left_elbow": ("y -48",),
    "right_collar": ("z -10",), "right_shoulder": ("y 18", "z -22", "x -85"), "right_elbow": ("y 62",),
}  # fmt: skip
"""Striding, the right arm raised in greeting: turns about the joint's own axes, degrees, the last one first."""

HEADING = 28.0
"""Degrees by which the person faces past the camera."""
LENS_MM = 32.0
"""35 mm equivalent; the fit does not know it."""
SEEN = "mediapipe33"
"""The keypoints: body, face, feet and knuckles, so that the picture shows hands and feet in their place too."""
NOISE = 0.01
"""Standard deviation of the keypoints, a fraction of the person's box."""
TILT = 7.0
"""Degrees by which the camera looks down."""
FILES = (
    "photo.png",
    "keypoints.json",
    "overlay.png",
    "turntable.png",
    "mesh.glb",
    "mesh.obj",
    "result.npz",
    "index.html",
    VIEWER,
)
"""The files that it writes."""
SHAPE = (0.6, -0.5, 0.4)
FILL = 0.78
"""Fraction of the picture's height that the person fills."""


@dataclass(frozen=True)
class DemoTruth:
    """The person and the camera, which the fit does not see."""

    params: BodyParams
    camera: Camera
    up: Tensor  # (3,)
    clean: Keypoints


def demo_command(out: str = "out/demo", seed: int = 53, height: int = 1080) -> int:
    """Renders, fits, compares, writes; prints the errors and the folder."""
    began = time.perf_counter()
    folder, body = Path(out), load_body("free_body")
    refuse_others(folder / name for name in FILES)
    sweep(folder)
    truth = make_truth(body, height, resolve_set(SEEN))
    scene = render_scene(truth.params, body, truth.camera, torch.Generator().manual_seed(seed), up=truth.up)
    write_own(folder / "photo.png", SCENE, lambda temporary: write_image(temporary, scene.image))
    noisy = corrupt(truth.clean, Corruption(noise=NOISE, missing=0.0), torch.Generator().manual_seed(seed))
    write_keypoints(folder / "keypoints.json", noisy, SEEN)
    result = fit(folder / "photo.png", folder / "keypoints.json")
    text = compared(result, truth, body)
    write_all(result, scene, folder, text)
    print(text)
    files = ", ".join(sorted(path.name for path in folder.iterdir()))
    print(f"{time.perf_counter() - began:.0f} s. Look at {folder / 'index.html'}; beside it: {files}")
    return 0


def write_keypoints(path: Path, keypoints: Keypoints, keypoint_set: str) -> None:
    """One person's keypoints as JSON, known by its `format` to `read_keypoints`, with pixel centres at integers."""
    xy, confidence = keypoints.xy[0] - PIXEL_CENTER, keypoints.confidence[0]
    points = [[round(x, 2), round(y, 2), c] for (x, y), c in zip(xy.tolist(), confidence.tolist(), strict=True)]
    with own_file(path, "keypoints") as temporary:
        about = {"image": "photo.png", "format": keypoint_set, "keypoint_source": "exact"}
        temporary.write_text(json.dumps(about | {"keypoints": points}, indent=1))


def make_truth(body: SmplBody, height: int, names: tuple[str, ...] = COCO17) -> DemoTruth:
    """The person and the camera. height: of the picture, pixels. names: of the keypoints."""
    eye = torch.eye(3, dtype=torch.float64)
    pose = torch.stack([_turns(POSE.get(name, ())) for name in body.joint_names[1:]])
    tilt, turn = (rotvec_to_matrix(torch.deg2rad(eye[i] * a)) for i, a in ((0, TILT), (1, HEADING)))
    orient = tilt @ torch.tensor(UPRIGHT, dtype=torch.float64) @ turn
    betas = torch.zeros(1, body.shape_count, dtype=torch.float64)
    betas[0, : len(SHAPE)] = torch.tensor(SHAPE)
    params = BodyParams(orient[None], pose[None], betas, torch.zeros(1, 3, dtype=torch.float64))
    width = height * 4 // 3
    camera = Camera.from_size(width, height, focal_from_35mm(LENS_MM, width, height))
    params = _placed(params, body, camera)
    points = body.points(names).pose(params).points
    clean = Keypoints(camera.project(points), torch.ones(1, len(names), dtype=torch.float64), names)
    return DemoTruth(params, camera, tilt @ torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64), clean)


def _turns(turns: tuple[str, ...]) -> Tensor:
    """("y 12", "z -58") -> the rotation matrix of their product."""
    matrix = torch.eye(3, dtype=torch.float64)
    for turn in turns:
        axis, degrees = turn.split()
        matrix = matrix @ rotvec_to_matrix(
            torch.deg2rad(float(degrees) * torch.eye(3, dtype=torch.float64)["xyz".index(axis)])
        )
    return matrix


def _placed(params: BodyParams, body: SmplBody, camera: Camera) -> BodyParams:
    """The person moved so that the mesh fills FILL of the picture's height, a little right of its middle."""
    vertices = body(params).mesh[0]
    low, high = vertices.aminmax(dim=0)
    depth = camera.focal[0, 1] * (high - low)[1] / (FILL * camera.size[0, 1])
    place = torch.stack([0.12 * depth, 0.02 * depth, depth])
    return BodyParams(params.global_orient, params.body_pose, params.betas, (place - (low + high) / 2)[None])


def compared(result: FitResult, truth: DemoTruth, body: SmplBody) -> str:
    """The errors against the truth, in words."""
    index = [body.joint_names.index(name) for name in COMMON14]
    found, true = torch.from_numpy(result.joints), body(truth.params).joints
    aligned = 1000 * pa_mpjpe(found[:, index], true[:, index]).item()
    plain = 1000 * mpjpe(found[:, index], true[:, index], found[:, 0], true[:, 0]).item()
    off = (result.projected.xy - truth.clean.xy).norm(dim=-1).mean() / truth.clean.box_size()[0]
    return (
        f"Against the truth, mean over 14 joints: {aligned:.0f} mm after alignment (PA-MPJPE), {plain:.0f} mm with the "
        f"pelvis in place (MPJPE). Keypoints: given with noise of {100 * NOISE:.1f} % of the person's box, fitted to "
        f"{100 * result.reprojection_error[0]:.1f} %, and {100 * off:.1f} % from the true ones. "
        f"Focal length assumed {result.camera.focal[0, 0]:.0f} px, truly {truth.camera.focal[0, 0]:.0f} px; "
        f"with one 20 % longer: {result.focal_effect().summary(0)}."
    )


def write_all(result: FitResult, scene: Scene, folder: Path, text: str) -> None:
    """Everything but the photograph."""
    overlay, around = result.overlay(), result.turntable(8)
    write_picture(folder / "overlay.png", overlay)
    write_picture(folder / "turntable.png", side_by_side(around))
    for suffix in ("glb", "obj"):
        write_own(folder / f"mesh.{suffix}", "mesh", result.mesh)
    write_own(folder / "result.npz", "result", result.save)
    pictures: dict[str, Image | str] = {
        "a scene that was rendered, not photographed": "photo.png",
        "the fit: over the picture, from the right, from behind": "overlay.png",
        "from all around": "turntable.png",
        **uncertainty_pictures(result),
    }
    view = result_scene(result, scene.image)
    write_beside(folder, view.body)
    links = {name: name for name in FILES if name not in ("index.html", VIEWER)}
    entries = [replace(result.entry(pictures), view=scene_html(view), links=links)]
    about = f"{text} {LEGEND}"
    write_own(folder / "index.html", "page", lambda temporary: write_page(temporary, entries, "hmrfit demo", about))
