"""hmrfit demo --hand: a rendered hand whose truth is known, fitted from 21 noisy keypoints, and compared with it."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from hmrfit.body.smpl import SmplBody
from hmrfit.build import load_body
from hmrfit.camera import MIN_DEPTH, Camera
from hmrfit.cli.demo import write_keypoints
from hmrfit.cli.outputs import write_own, write_picture
from hmrfit.cli.photographs import SCENE
from hmrfit.evaluate.metrics import pa_mpjpe
from hmrfit.hand import fit_hand
from hmrfit.hand_keypoints import hand_set
from hmrfit.io.atomic import sweep
from hmrfit.io.image import Image, write_image
from hmrfit.io.own_files import refuse_others
from hmrfit.ops.raster import interpolate_seen, rasterize
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.render.overlay import side_by_side
from hmrfit.render.rasteriser import picture_size, to_screen
from hmrfit.render.shading import lambert, to_linear, vertex_normals
from hmrfit.report.page import write_page
from hmrfit.report.result_page import LEGEND, uncertainty_pictures
from hmrfit.report.viewer import VIEWER, result_scene, scene_html, write_beside
from hmrfit.result import FitResult
from hmrfit.synthetic.fast_renderer import backdrop, develop
from hmrfit.synthetic.people import Corruption, corrupt
from hmrfit.types import BodyParams, Keypoints

NAMES = hand_set("hand21", "right").names

FILES = ("photo.png", "keypoints.json", "overlay.png", "turntable.png", "hand.glb", "result.npz", "index.html", VIEWER)
"""The files that it writes."""

POSE = (-0.6, 0.9, 0.2)
"""Coefficients of the hand's first components, in their standard deviations: a loose grip, the index finger out."""
BETAS = (0.8, 0.5, -0.6)
TURN = (0.5, -0.45, 0.35)
"""Rotation vector, radians, of the hand that shows its back with the fingers up."""
FINGERS_UP = ((0.0, 0.0, -1.0), (1.0, 0.0, 0.0), (0.0, -1.0, 0.0))
DISTANCE, FOCAL = 0.3, 1.1
"""Metres, and the focal length over the picture's height."""
NOISE = 0.02
"""Standard deviation of the keypoints, a fraction of the hand's box."""
SKIN = (0.78, 0.58, 0.48)


@dataclass(frozen=True)
class HandTruth:
    """The hand and the camera; the fit sees neither but the focal length."""

    params: BodyParams
    camera: Camera
    clean: Keypoints
    points: Tensor  # (1, 21, 3) metres


def demo_hand_command(out: str = "out/demo/hand", seed: int = 53, height: int = 720) -> int:
    """Renders, fits, compares, writes; prints the errors and the folder."""
    began = time.perf_counter()
    folder, body = Path(out), load_body("free_hand")
    refuse_others(folder / name for name in FILES)
    sweep(folder)
    truth = make_hand(body, height)
    photo = rendered_hand(body, truth, seed)
    write_own(folder / "photo.png", SCENE, lambda temporary: write_image(temporary, photo))
    noisy = corrupt(truth.clean, Corruption(noise=NOISE, missing=0.0), torch.Generator().manual_seed(seed))
    write_keypoints(folder / "keypoints.json", noisy, "hand21")
    given = torch.cat([noisy.xy, noisy.confidence[..., None]], -1)[0].numpy()
    result = fit_hand(folder / "photo.png", given, focal=float(truth.camera.focal[0, 0]), keypoint_source="exact")
    text = compared_hand(result, truth)
    _write_all(result, photo, folder, text)
    print(text)
    files = ", ".join(sorted(path.name for path in folder.iterdir()))
    print(f"{time.perf_counter() - began:.0f} s. Look at {folder / 'index.html'}; beside it: {files}")
    return 0


def make_hand(body: SmplBody, height: int) -> HandTruth:
    """The hand and the camera. height: of the picture, pixels."""
    poses = body.hands["right"]
    size = torch.linspace(0.6, 0.4, len(POSE), dtype=torch.float64)
    theta = poses.rotvecs(size * torch.tensor([POSE], dtype=torch.float64))
    turn, up = (torch.tensor(value, dtype=torch.float64) for value in (TURN, FINGERS_UP))
    betas = torch.zeros(1, body.shape_count, dtype=torch.float64)
    betas[0, : len(BETAS)] = torch.tensor(BETAS)
    orient = (rotvec_to_matrix(turn) @ up)[None]
    params = BodyParams(orient, rotvec_to_matrix(theta), betas, torch.zeros(1, 3, dtype=torch.float64))
    low, high = body(params).mesh[0].aminmax(dim=0)
    place = torch.tensor([0.01, 0.0, DISTANCE], dtype=torch.float64) - (low + high) / 2
    params = replace(params, transl=place[None])
    camera = Camera.from_size(height * 4 // 3, height, FOCAL * height)
    points = body.points(NAMES).pose(params).points
    clean = Keypoints(camera.project(points), torch.ones(1, len(NAMES), dtype=torch.float64), NAMES)
    return HandTruth(params, camera, clean, points)


def rendered_hand(body: SmplBody, truth: HandTruth, seed: int) -> Image:
    """A hand in one lamp's light before a backdrop."""
    mesh, camera = body(truth.params).mesh, truth.camera
    screen = to_screen(mesh, camera)
    seen = rasterize(screen, body.faces, picture_size(camera), MIN_DEPTH)
    where, normals = interpolate_seen(seen, screen, body.faces, vertex_normals(mesh, body.faces))
    normals = normalize(normals, dim=1)
    lamp = normalize(normals.new_tensor([[-0.6, -0.7, -0.6]]), dim=1)
    skin = to_linear(normals.new_tensor([SKIN]))
    light = skin * (0.8 * lambert(normals, lamp) + 0.3 * (0.6 - 0.4 * normals[:, 1:2]))
    picture = backdrop(*picture_size(camera), np.random.default_rng(seed)).copy()
    picture[where[:, 1].numpy(), where[:, 2].numpy()] = light.numpy()
    return develop(picture, np.random.default_rng(seed))


def compared_hand(result: FitResult, truth: HandTruth) -> str:
    """The errors against the truth, in words."""
    found = torch.from_numpy(result.points(NAMES)[0])
    aligned = 1000 * pa_mpjpe(found, truth.points).mean().item()
    about = 1000 * (found - found[:, :1] - truth.points + truth.points[:, :1]).norm(dim=-1).mean().item()
    off = (result.projected.xy - truth.clean.xy).norm(dim=-1).mean() / truth.clean.box_size()[0]
    likely = ", ".join(f"{100 * p:.0f} %" for p in result.probability[0] if p > 0)
    return (
        f"Against the truth, mean over 21 points: {aligned:.1f} mm after alignment (PA-MPJPE), {about:.1f} mm with the "
        f"wrist in place. Keypoints: given with noise of {100 * NOISE:.0f} % of the hand's box, fitted to "
        f"{100 * result.reprojection_error[0]:.1f} %, and {100 * off:.1f} % from the true ones. "
        f"Probability of each answer: {likely}."
    )


def _write_all(result: FitResult, photo: Image, folder: Path, text: str) -> None:
    """Everything but the photograph and the keypoints."""
    write_picture(folder / "overlay.png", result.overlay())
    write_picture(folder / "turntable.png", side_by_side(result.turntable(4)))
    write_own(folder / "hand.glb", "mesh", result.mesh)
    write_own(folder / "result.npz", "result", result.save)
    pictures: dict[str, Image | str] = {
        "a hand that was rendered, not photographed": "photo.png",
        "the fit: over the picture, from the right, from behind": "overlay.png",
        "from four sides": "turntable.png",
        **uncertainty_pictures(result),
    }
    view = result_scene(result, photo)
    write_beside(folder, view.body)
    links = {name: name for name in FILES if name not in ("index.html", VIEWER)}
    entries = [replace(result.entry(pictures), view=scene_html(view), links=links)]
    about = f"{text} {LEGEND}"
    write_own(
        folder / "index.html", "page", lambda temporary: write_page(temporary, entries, "hmrfit demo --hand", about)
    )
