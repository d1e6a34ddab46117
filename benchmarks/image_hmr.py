"""How accurate is an image HMR, alone and beside keypoints?

    python benchmarks/image_hmr.py --weights image_hmr.npz --motion FOLDER [--photos FOLDER]
                                   [--log out/image/log.jsonl] [--out out/image_hmr]

1  The training curve, where the run's log is given.
2  People that it never saw: synthetic scenes (`hmrfit.synthetic.dataset`) in poses of the test split, COCO's keypoints
   with 1 % noise and a tenth missing, focal length unknown. In mm over 14 SMPL joints: PA-MPJPE after a similarity,
   MPJPE with the pelvises together.

       mean pose      the mean Θ for every person
       keypoint HMR   the shipped one          image HMR   this one; both with flip test-time augmentation
       blend          rotations and shape of the keypoint HMR, moved by a fraction towards the image HMR's; the
                      fraction is the best of a few on validation scenes
       fit            from the keypoint HMR (the default); from the image HMR; the likelier of both, by the energy
                      without the Gaussian priors, which have different centres

3  The photographs: reprojection (% of the box), IoU with the masks, PA-MPJPE against the four-camera joints, as in
   benchmarks/photos.py, of the image HMR alone and of the keypoint HMR alone; overlays in --out.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from _common import finish, motion_argument, motion_pool, photos_argument, skip, threads
from photos import joint_error, mask_overlap
from torch import Tensor

from hmrfit.assets import locate
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.evaluate.metrics import facing_wrong, mpjpe, pa_mpjpe
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.parameters import State
from hmrfit.io.image import Image, read_image, write_image
from hmrfit.io.opencv import cv2
from hmrfit.io.photo import read_photo
from hmrfit.keypoints import COCO17, COMMON14
from hmrfit.motion import load_frames
from hmrfit.network.initial_estimate import ImageHmr, KeypointHmr
from hmrfit.ops.rotation import rotation_6d_to_matrix
from hmrfit.pipeline import Pipeline
from hmrfit.render.overlay import sheet
from hmrfit.result import FitResult
from hmrfit.synthetic.dataset import SceneDataset, SceneStyle, scene_generator
from hmrfit.synthetic.people import Corruption, corrupt
from hmrfit.types import BodyParams, Keypoints

FINE = 224
"""Pixels of the scenes' pictures."""

FRACTIONS = (0.05, 0.1, 0.2, 0.3)
SEEDS = {"validation": 11, "test": 12}
PANEL = 480


@dataclass(frozen=True)
class Scenes:
    """Pictures of one person each, what is given of them, and the truth."""

    images: list[Image]
    keypoints: Keypoints  # in the picture's pixels
    camera: Camera  # of the picture: the full image's with the default focal length, cut and resized
    joints: Tensor  # (B, 24, 3)
    params: BodyParams


def make_scenes(body: SmplBody, poses: Tensor, count: int, seed: int) -> Scenes:
    """`count` scenes; the picture is the person's box of the full image."""
    style = SceneStyle(box_scale=0.0, box_shift=0.0)
    data = SceneDataset(body, poses, count, FINE, COCO17, style, seed)
    made = [data[i] for i in range(count)]
    scenes = type(made[0]).cat(made)
    side = scenes.box_side.double()[:, None]
    size = torch.full((count, 2), float(FINE), dtype=torch.float64)
    whole = Camera.from_size(*scenes.camera.size[0].tolist(), count=count)
    camera = whole.crop(scenes.box_center.double() - side / 2, side.expand(-1, 2)).resize(size)
    clean = Keypoints(FINE * (scenes.keypoints.double() + 1) / 2, scenes.confidence.double(), COCO17)
    keypoints = corrupt(clean, Corruption(), scene_generator(seed, count))
    images = [np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in scenes.images]
    return Scenes(images, keypoints, camera, scenes.smpl_joints.double(), scenes.params.to(torch.float64))


def seen(network: ImageHmr, scenes: Scenes) -> BodyParams:
    """The image HMR's estimates of all people."""
    people = range(len(scenes.images))
    answers = [network.predict(scenes.images[i], scenes.keypoints[i], scenes.camera[i]) for i in people]
    return BodyParams.cat([answer.params for answer in answers])


def blend(one: BodyParams, other: BodyParams, fraction: float) -> BodyParams:
    """`one`, moved by `fraction` towards `other`: 6D columns and betas."""
    mixed = rotation_6d_to_matrix(torch.lerp(one.rotations[..., :2], other.rotations[..., :2], fraction))
    return BodyParams(mixed[:, 0], mixed[:, 1:], torch.lerp(one.betas, other.betas, fraction), one.transl)


def likelier(one: Fit, other: Fit) -> BodyParams:
    """Of two fits the one of less energy, their anchors left out."""
    a, b = (sum(value for name, value in fit.term_cost.items() if "anchor" not in name) for fit in (one, other))
    return one.state.params.with_rows((b < a).nonzero()[:, 0], other.state.params)


def score(body: SmplBody, scenes: Scenes, params: BodyParams) -> dict[str, float]:
    """Means over the people; MPJPE with the pelvises together."""
    index = [body.joint_names.index(name) for name in COMMON14]
    found = body.points(COMMON14).pose(params).joints
    apart = pa_mpjpe(found[:, index], scenes.joints[:, index])
    wrong = facing_wrong(params.global_orient, scenes.params.global_orient)
    return {
        "pa_mpjpe_mm": 1e3 * apart.mean().item(),
        "median": 1e3 * apart.median().item(),
        "mpjpe_mm": 1e3
        * mpjpe(found[:, index], scenes.joints[:, index], found[:, 0], scenes.joints[:, 0]).mean().item(),
        "facing_wrong_percent": 100 * wrong.double().mean().item(),
    }


def compare(body: SmplBody, image: ImageHmr, made: Callable[[str], Scenes]) -> dict[str, dict[str, float]]:
    """Every method's scores on the test scenes."""
    fitter, keypoint = Pipeline.of().fitter, KeypointHmr.from_file(locate("keypoint_hmr"))
    aside, test = made("validation"), made("test")
    mean = image.hmr.regressor.layout.regression(image.hmr.regressor.mean[None].double()).params
    estimated = keypoint.predict(test.keypoints, test.camera).params
    from_pixels = seen(image, test)
    pair = keypoint.predict(aside.keypoints, aside.camera).params, seen(image, aside)
    fraction = min(FRACTIONS, key=lambda f: score(body, aside, blend(*pair, f))["pa_mpjpe_mm"])
    usual, from_image = fitter.fit(test.keypoints, test.camera), fitter.fit(test.keypoints, test.camera, from_pixels)
    answers = {
        "mean pose": mean[[0] * len(test.images)],
        "keypoint HMR": estimated,
        "image HMR": from_pixels,
        f"blend, {fraction:g} of the image HMR": blend(estimated, from_pixels, fraction),
        "fit, the default": usual.state.params,
        "fit from the image HMR": from_image.state.params,
        "fit, the likelier of both": likelier(usual, from_image),
    }
    return {name: score(body, test, params) for name, params in answers.items()}


def on_photos(folder: Path, image: ImageHmr, out: Path | None) -> dict[str, dict[str, float]]:
    """Means over the photographs' people of both networks alone; overlays of the image HMR, one file for each."""
    keypoint, pipeline = KeypointHmr.from_file(locate("keypoint_hmr")), Pipeline.of()
    rows = {"image HMR": [], "keypoint HMR": []}
    for file in sorted(folder.glob("*.json")):
        about = json.loads(file.read_text())
        photo = read_photo(folder / about["image"], file)
        result = pipeline.fit_photos([photo])[0]  # for its form: the estimates take the place of its body
        pixels = read_image(folder / about["image"])
        answers = {
            "image HMR": image.predict(pixels, photo.keypoints, photo.camera).params,
            "keypoint HMR": keypoint.predict(photo.keypoints, photo.camera).params,
        }
        for name, params in answers.items():
            rows[name].append(_photo_row(about, folder, result, params))
        if out is not None:
            vertices = pipeline.body(answers["image HMR"]).vertices
            picture = sheet(pixels, vertices, pipeline.body.faces, photo.camera, given=photo.keypoints)
            height = round(PANEL * picture.shape[0] / picture.shape[1] * 2)
            write_image(
                out / f"{file.stem}.jpg", cv2.resize(picture, (2 * PANEL, height), interpolation=cv2.INTER_AREA)
            )
    mean = lambda key, of: float(np.mean([row[key] for row in of if key in row]))  # noqa: E731
    return {name: {key: mean(key, of) for key in ("reproj.", "IoU", "PA-MPJPE")} for name, of in rows.items()}


def _photo_row(about: dict, folder: Path, result: FitResult, params: BodyParams) -> dict[str, float]:
    """One person's measures for an estimated body."""
    estimated = replace(result, fit=replace(result.fit, state=State(params, result.camera)))
    points = result.body_model.points(result.keypoints.names).pose(params).points
    keypoints = result.keypoints
    apart = (result.camera.project(points) - keypoints.xy).norm(dim=-1) / keypoints.box_size()[:, None]
    row = {"reproj.": 100 * apart[keypoints.confidence > 0].mean().item()}
    if about.get("mask"):
        row["IoU"] = mask_overlap(estimated, cv2.imread(str(folder / about["mask"]), cv2.IMREAD_GRAYSCALE) > 0)
    if "keypoints3d" in about:
        row["PA-MPJPE"] = joint_error(estimated, about["keypoints3d"])
    return row


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    motion_argument(parser)
    parser.add_argument("--weights", default="image_hmr", help="an image HMR, by name or path")
    parser.add_argument("--log", type=Path, help="log.jsonl of its training")
    photos_argument(parser)
    parser.add_argument("--out", type=Path, help="folder for the photographs' overlays")
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args(arguments)
    threads(options.threads)
    try:
        body, image = SmplBody.from_file(locate("free_body")), ImageHmr.from_file(locate(options.weights))
    except FileNotFoundError as error:
        skip(f"needs the weights of an image HMR, --weights FILE: none are shipped ({error})")
    if options.log:
        for line in map(json.loads, options.log.read_text().splitlines()):
            if "pa_mpjpe_mm" in line:
                errors = f"PA-MPJPE {line['pa_mpjpe_mm']:6.1f}  MPJPE {line['mpjpe_mm']:6.1f}"
                facing = f"facing wrong {line['facing_wrong_percent']:4.1f} %"
                print(f"step {line['step']:6.0f}  {line['seconds'] / 60:5.1f} min  {errors}  {facing}")
    pool = motion_pool(options)

    def made(part: str) -> Scenes:
        frames = load_frames(pool, part)
        rng = np.random.default_rng(SEEDS[part])
        chosen = rng.choice(len(frames["weight"]), options.people, p=frames["weight"] / frames["weight"].sum())
        return make_scenes(body, torch.as_tensor(frames["poses"][chosen]), options.people, SEEDS[part])

    rows = compare(body, image, made)
    print(f"\n{options.people} synthetic people, test split{'':8s}PA-MPJPE   median    MPJPE  facing wrong, %")
    for name, row in rows.items():
        print(f"{name:36s}" + "".join(f"{value:9.1f}" for value in row.values()))
    photos = on_photos(options.photos, image, options.out) if options.photos else {}
    for name, row in photos.items():
        print(f"photographs, {name:14s}" + "   ".join(f"{key} {value:6.2f}" for key, value in row.items()))
    print()
    errors = {f"{name}, PA-MPJPE": row["pa_mpjpe_mm"] for name, row in rows.items()}
    finish(benchmark="image_hmr", people=options.people, **errors, photographs=photos)


if __name__ == "__main__":
    main()
