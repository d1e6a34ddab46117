"""How much do more measurements improve a fit: masks, several views, many frames, the focal length?

    python benchmarks/measurements.py [--people 300] [--motion FOLDER] [--photos FOLDER]

masks      people in held-out motion, 17 COCO keypoints with 1 % noise, a tenth missing, the focal length unknown;
           their own silhouettes as masks: exact; dressed as the mask term's allowance was measured on, other people
           and clothes; dressed as it was not (coats and gowns, wide trousers, helmets, tights); exact with a rectangle
           cut out as by something in front (most keypoints in it lost). Shape: mean distance of vertices in the
           T-pose; BMI: mean error of mass over height squared, kg/m², and who is over 30; reproj.: % of the box
views      a person at three instants by one camera each and by four together, against joints triangulated from the
           same keypoints (themselves good to 20-30 mm): shoulders, elbows, wrists, hips, knees, ankles; MPJPE with
           the middles of the hips together; absolute without
frames     clips of held-out motion at 30 frames a second, a camera that stands still and is known, every frame
           alone and all together. Acceleration: mean over joints, m/s²
focal      an unknown focal length: the predicted effect of 0.8, 1.2 and 1.25 times it, against new fits, initial
           estimate included; and a free one
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _common import finish, motion_argument, photos_argument, threads, world_poses
from _people import LIMB_POINTS, limb_index
from numpy.typing import NDArray
from torch import Tensor

import hmrfit
from hmrfit.body.mass_index import body_mass_index
from hmrfit.body.skeleton import SMPL
from hmrfit.body.smpl import SmplBody
from hmrfit.build import build_fitter
from hmrfit.camera import Camera
from hmrfit.config import load_config
from hmrfit.evaluate.metrics import mpjpe, pa_mpjpe
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.focal import FittedEnergy, focal_sensitivity, free_focal
from hmrfit.fitting.terms.base import Staged
from hmrfit.fitting.terms.mask import MASK_WEIGHT, MaskTerm, mask_map
from hmrfit.keypoints import COCO17, COMMON14
from hmrfit.motion import Motion as Clip
from hmrfit.motion import read_folder
from hmrfit.motion.pool import split
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.render.backends.builtin import BuiltinRenderer
from hmrfit.synthetic.garments import DressedBody, Garments
from hmrfit.synthetic.people import Corruption, People, Views, camera_rotations, corrupt, make_people
from hmrfit.types import BodyParams, Keypoints, RecordTable

VIEWS, NOISE = Views(size=(512, 384)), Corruption(0.01, 0.1)
CHOSEN = [SMPL.index(name) for name in COMMON14]
CLIPS, FRAMES, FPS = ("walk", "run", "jump", "dance"), 150, 30.0


def joint_errors(body: SmplBody, params: BodyParams, truth: Tensor) -> tuple[float, float]:
    """Mean (PA-MPJPE, MPJPE) in mm against joints (B, 24, 3)."""
    joints = body.points(SMPL.names).pose(params).joints
    pa = pa_mpjpe(joints[:, CHOSEN], truth[:, CHOSEN])
    plain = mpjpe(joints[:, CHOSEN], truth[:, CHOSEN], joints[:, 0], truth[:, 0])
    return 1e3 * pa.mean().item(), 1e3 * plain.mean().item()


# ---- masks


def masks_of(body: SmplBody, people: People, seed: int) -> dict[str, tuple[list[NDArray], Keypoints]]:
    """name -> masks of all people, and the keypoints that go with them."""
    rng, box = np.random.default_rng(seed), people.clean.box_size().numpy()
    draw = BuiltinRenderer()
    each = [people[i] for i in range(len(box))]
    drawn = [draw.silhouette(body(person.params).vertices, body.faces, person.camera) for person in each]
    exact = [silhouette[0].numpy() for silhouette in drawn]
    generator, dressed = torch.Generator().manual_seed(seed), DressedBody(body)
    worn = [[draw_one(generator) for _ in exact] for draw_one in (Garments.everyday, Garments.unusual)]
    dressed, unusual = (dressed.masks(people.params, people.camera, one, generator) for one in worn)
    hidden = [_cut(mask, people.keypoints[i], size, rng) for i, (mask, size) in enumerate(zip(exact, box, strict=True))]
    behind = replace(people.keypoints, confidence=torch.stack([c for _, c in hidden]))
    return {
        "exact": (exact, people.keypoints),
        "dressed": (dressed, people.keypoints),
        "unusual": (unusual, people.keypoints),
        "occluded": ([m for m, _ in hidden], behind),
    }


def _cut(mask: NDArray, person: Keypoints, box: float, rng: np.random.Generator) -> tuple[NDArray, Tensor]:
    """Without a rectangle of 0.3 to 0.6 of the box somewhere on the person; seven of ten keypoints in it are lost."""
    rows, columns = np.nonzero(mask)
    middle = rng.integers(len(rows))
    half = rng.uniform(0.15, 0.3, 2) * box
    low = np.maximum(np.array([columns[middle], rows[middle]]) - half, 0).astype(int)
    high = (np.array([columns[middle], rows[middle]]) + half).astype(int)
    left = mask.copy()
    left[low[1] : high[1], low[0] : high[0]] = False
    if left.sum() < 50:
        return mask, person.confidence[0]
    inside = ((person.xy[0].numpy() > low) & (person.xy[0].numpy() < high)).all(1) & (rng.random(len(COCO17)) < 0.7)
    return left, person.confidence[0] * torch.as_tensor(~inside)


def masks(fitter: Fitter, poses: Tensor, seed: int) -> dict[str, float]:
    """The table of masks."""
    body = fitter.body
    people = make_people(body, poses, COCO17, torch.Generator().manual_seed(seed), VIEWS, NOISE)
    camera = Camera.from_size(*VIEWS.size, count=len(poses))
    term = MaskTerm(body)
    schedule = fitter.schedule.with_terms([Staged(term, MASK_WEIGHT, MASK_WEIGHT)])
    informed = fitter.with_schedule(schedule, terms={**fitter.terms, term.name: term})
    figures: dict[str, float] = {}
    columns = f"{'shape':>9}{'BMI':>7}{'over 30':>9}{'reproj.':>9}{'PA-MPJPE':>10}{'MPJPE':>9}{'ms each':>9}"
    true = body_mass_index(body, people.params.betas)
    print(f"{'masks':32s}{columns}      truly over 30: {100 * (true > 30).double().mean():.0f} %")
    for name, (pictures, keypoints) in masks_of(body, people, seed).items():
        given = [picture if picture.any() else None for picture in pictures]
        known = RecordTable({term.name: mask_map(given, keypoints)})
        ways = {"without": fitter.fit, "with": partial(informed.fit, measurements=known)}
        for way, run in ways.items():
            begin = time.process_time()
            fit = run(keypoints, camera)
            each = 1e3 * (time.process_time() - begin) / len(poses)
            p = fit.state.params
            shape = 1e3 * (body.shaped(p.betas) - body.shaped(people.params.betas)).norm(dim=-1).mean().item()
            pa, plain = joint_errors(body, p, people.joints)
            found = body_mass_index(body, p.betas)
            fat, over = (found - true).abs().mean().item(), 100 * (found > 30).double().mean().item()
            seen = (camera.project(body.points(COCO17).pose(p).points) - keypoints.xy).norm(dim=-1)
            there = keypoints.presence
            missed = 100 * ((seen * there).sum(1) / there.sum(1) / keypoints.box_size()).mean().item()
            row = f"{shape:9.1f}{fat:7.2f}{over:9.1f}{missed:9.2f}{pa:10.1f}{plain:9.1f}{each:9.1f}"
            print(f"{name + ', ' + way:32s}{row}", flush=True)
            kept = {"shape_mm": shape, "bmi_error": fat, "bmi_over_30": over, "reprojection": missed, "pa_mpjpe_mm": pa}
            figures |= {f"{what}_{name}_{way}": value for what, value in kept.items()}
    return figures


# ---- views


def views(folder: Path | None) -> dict[str, float]:
    """The table of views; empty without the photographs."""
    if folder is None:
        return {}
    instants: dict[str, list[Path]] = {}
    for file in sorted(folder.glob("p2s_*_cam*.json")):
        instants.setdefault(file.stem.rsplit("_", 1)[0], []).append(file)
    if not instants:
        return {}
    print(f"\n{'views':32s}{'PA-MPJPE':>10}{'MPJPE':>9}{'absolute':>10}{'reproj. %':>11}")
    rows: dict[str, list[list[float]]] = {"one": [], "all": []}
    for name, files in instants.items():
        about = [json.loads(file.read_text()) for file in files]
        images = [folder / a["image"] for a in about]
        poses = [np.c_[a["extrinsics"]["R"], np.array(a["extrinsics"]["t_mm"]) / 1e3] for a in about]
        results = {
            "one": [hmrfit.fit(image, file) for image, file in zip(images, files, strict=True)],
            "all": hmrfit.fit_views(images, files, poses),
        }
        for way, found in results.items():
            scores = [_against(result, a["keypoints3d"]) for result, a in zip(found, about, strict=True)]
            rows[way] += scores
            print(f"{name + ', ' + way:32s}" + "".join(f"{v:10.1f}" for v in np.mean(scores, 0)), flush=True)
    means = {way: np.mean(scores, 0) for way, scores in rows.items()}
    return {
        f"views_{what}_{way}": float(means[way][i])
        for way in means
        for i, what in enumerate(("pa_mpjpe_mm", "mpjpe_mm", "absolute_mm"))
    }


def _against(result: hmrfit.FitResult, truth_mm: Sequence[Sequence[float]]) -> list[float]:
    """PA-MPJPE, MPJPE, absolute distance in mm, reprojection in % of the box."""
    names = result.keypoints.names
    index = limb_index(names)
    found = result.body_model.points(names).pose(result.params).points[:, index]
    truth = torch.as_tensor(truth_mm).double()[None, index] / 1e3
    hips = [LIMB_POINTS.index(f"{side}_hip") for side in ("left", "right")]
    plain = mpjpe(found, truth, found[:, hips].mean(1), truth[:, hips].mean(1))
    errors = (pa_mpjpe(found, truth), plain, mpjpe(found, truth))
    return [*(1e3 * e.item() for e in errors), 100 * float(result.reprojection_error[0])]


# ---- frames


def clips(folder: Path) -> list[Clip]:
    """The first long enough clip of the test split of each kind."""
    found: dict[str, Clip] = {}
    for clip in read_folder(folder):
        kind = next((k for k in CLIPS if k in clip.label), None)
        if kind and kind not in found and split(clip) == "test" and len(clip) >= (FRAMES + 20) * clip.fps / FPS:
            found[kind] = clip
        if len(found) == len(CLIPS):
            break
    return [found[k] for k in CLIPS if k in found]


def filmed(body: SmplBody, clip: Clip, seed: int) -> tuple[Tensor, Camera, Keypoints]:
    """(joints (T, 24, 3), camera, keypoints with noise) of a clip seen from somewhere five and a half metres away."""
    generator = torch.Generator().manual_seed(seed)
    clip = clip.y_up()[:: max(1, round(clip.fps / FPS))][20 : 20 + FRAMES]
    T, turn = len(clip), camera_rotations(1, Views(), generator)[0]
    rotations = rotvec_to_matrix(torch.tensor(clip.poses))
    path = torch.tensor(clip.transl)
    transl = (path - path.mean(0)) @ turn.T + torch.tensor([0.0, 0.0, 5.5]) - body.rest_joints[0]
    betas = torch.randn(1, body.shape_count, generator=generator, dtype=torch.float64).expand(T, -1)
    posed = body.points(COCO17).pose(BodyParams(turn @ rotations[:, 0], rotations[:, 1:], betas, transl))
    camera = Camera.from_size(1280, 960, focal=1400.0, count=T)
    clean = Keypoints(camera.project(posed.points), torch.ones(T, len(COCO17)).double(), COCO17)
    return posed.joints, camera, corrupt(clean, NOISE, generator)


def frames(fitter: Fitter, folder: Path | None, seed: int) -> dict[str, float]:
    """The table of sequences; empty without motion."""
    if folder is None:
        return {}
    print(f"\n{'frames':40s}{'PA-MPJPE':>10}{'MPJPE':>9}{'absolute':>10}{'accel.':>9}{'(true)':>8}{'ms each':>9}")
    rows: dict[str, list[list[float]]] = {"alone": [], "together": []}
    for clip in clips(folder):
        joints, camera, keypoints = filmed(fitter.body, clip, seed)
        array = torch.cat([keypoints.xy, keypoints.confidence[..., None]], -1).numpy()
        given = {"keypoint_set": "coco17", "camera": camera, "image_size": (1280, 960)}
        for way in rows:
            begin = time.perf_counter()
            result = (
                hmrfit.fit(None, array, **given) if way == "alone" else hmrfit.fit_sequence(array, fps=FPS, **given)
            )
            each = 1e3 * (time.perf_counter() - begin) / len(result)
            found = torch.as_tensor(result.joints)
            scores = [
                *joint_errors(fitter.body, result.params, joints),
                1e3 * (found - joints).norm(dim=-1).mean().item(),
            ]
            scores += [_acceleration(found), _acceleration(joints), each]
            rows[way].append(scores)
            label = f"{clip.label} {clip.name[-12:]}, {way}"
            print(f"{label:40s}" + "".join(f"{v:9.1f}" for v in scores), flush=True)
    names = ("pa_mpjpe_mm", "mpjpe_mm", "absolute_mm", "acceleration", "true_acceleration", "ms_a_frame")
    means = {way: zip(names, np.mean(many, 0), strict=True) for way, many in rows.items()}
    return {f"frames_{name}_{way}": float(value) for way, pairs in means.items() for name, value in pairs}


def _acceleration(joints: Tensor) -> float:
    return float((joints[:, CHOSEN].diff(n=2, dim=0) * FPS**2).norm(dim=-1).mean())


# ---- focal length


def focal(fitter: Fitter, poses: Tensor, seed: int) -> dict[str, float]:
    """The predicted effect of another focal length against new fits with it, and the fitted focal length."""
    people = make_people(fitter.body, poses, COCO17, torch.Generator().manual_seed(seed), Views(), NOISE)
    camera = Camera.from_size(*Views().size, count=len(poses))
    fit = fitter.fit(people.keypoints, camera)
    body, stage = fitter.point_body(COCO17), fit.stage
    energy, rejected = FittedEnergy(fitter.terms, stage, fit.observation), ~fit.acceptance.accepted
    before = body.pose(fit.state.params).joints
    figures: dict[str, float] = {}
    columns = f"{'depth, m':>10}{'pred.':>8}{'joints, mm':>12}{'pred.':>8}{'off by':>8}{'ms each':>9}"
    print(f"\n{'focal length wrong by':32s}{columns}")
    for factor in (0.8, 1.2, 1.25):
        begin = time.perf_counter()
        predicted = focal_sensitivity(body, energy, fit.state, factor, rejected)
        each = 1e3 * (time.perf_counter() - begin) / len(poses)
        again = fitter.fit(people.keypoints, Camera(factor * camera.focal, camera.center, camera.size))
        moved = body.pose(again.state.params).joints - before
        about = moved - moved[:, :1]
        off = 1e3 * (predicted.moved - about).norm(dim=-1).mean(1).median().item()
        size = 1e3 * about.norm(dim=-1).mean(1).median().item()
        depth = moved[:, 0, 2].median().item()
        pair = f"{size:12.1f}{1e3 * predicted.joints.mean(1).median():8.1f}"
        print(f"{factor:<32}{depth:10.3f}{predicted.depth.median():8.3f}{pair}{off:8.1f}{each:9.1f}")
        row = {"depth_m": depth, "joints_mm": size, "off_mm": off}
        figures |= {f"focal_{factor}_{name}": value for name, value in row.items()}
    free = free_focal(body, fitter.terms, stage, fit.state, fit.observation)
    true = (people.camera.focal[:, 0] / camera.focal[:, 0]).log()
    error = [(found - true).abs().mean().item() for found in (torch.zeros_like(true), free.log_factor)]
    stated = free.std.mean().item()
    print(f"log f, mean error: assumed {error[0]:.3f}, free {error[1]:.3f} (its own standard deviation: {stated:.3f})")
    return figures | {"log_focal_error_assumed": error[0], "log_focal_error_free": error[1]}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the four tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    motion_argument(parser)
    photos_argument(parser)
    parser.add_argument("--people", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args(arguments)
    threads(options.threads)
    poses, origin = world_poses(options.motion, options.cache, options.people, options.seed)
    fitter = build_fitter(load_config())
    print(f"{options.people} people posed by {origin}\n")
    figures = masks(fitter, poses, options.seed) | views(options.photos)
    figures |= frames(fitter, options.motion, options.seed)
    figures |= focal(fitter, poses, options.seed)
    print()
    finish(benchmark="measurements", people=options.people, motion=origin, **figures)


if __name__ == "__main__":
    main()
