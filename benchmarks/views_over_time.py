"""Several calibrated cameras over time, against frame by frame: where the joints are in the world, and how they jitter.

    python benchmarks/views_over_time.py --motion FOLDER [--clips 6]
    python benchmarks/views_over_time.py --videos FOLDER [--labels FOLDER]

Synthetic: held-out motion before four cameras in a ring, 17 COCO keypoints with 2 % noise of the box, a tenth missing.
Real: FOLDER holds one video a camera, named like the cameras of the calibration file that lies beside them; keypoints
come from `hmrfit.detect` (a detector must be installed), the longest track of each camera is taken. --labels: stills of
the videos with 3D labels (`benchmarks/real.py`), whose camera and frame their names say.

MPJPE: mean distance of the 24 joints in the world, nothing aligned, mm. jitter: mean acceleration of the joints, mm/s².
"""

import argparse
import re
from pathlib import Path

import numpy as np
import torch
from _common import finish, motion_argument, needed, threads
from _people import LIMB_POINTS, labelled_people, limb_index
from numpy.typing import NDArray

import hmrfit
from hmrfit.build import load_body
from hmrfit.evaluate.metrics import pa_mpjpe
from hmrfit.io.bounded import read_json
from hmrfit.keypoints import COCO17
from hmrfit.motion import Motion
from hmrfit.motion.clean import clean
from hmrfit.motion.pool import read_archive, read_folder, split, thin
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.synthetic.people import Corruption, corrupt
from hmrfit.types import BodyParams, Keypoints
from hmrfit.video.reader import open_video
from hmrfit.video.seen import PeopleSeen
from hmrfit.video.tracking import track_people
from hmrfit.world import moved_params

FPS, FRAMES, SIZE = 30.0, 60, (1088, 1920)
NOISE = Corruption(0.02, 0.1)
LENS = np.array([[1680.0, 0, SIZE[0] / 2 - 0.5], [0, 1680, SIZE[1] / 2 - 0.5], [0, 0, 1]])
AWAY, HEIGHT = 4.0, 1.8
"""Metres: of the cameras from the middle, and over the floor."""


def ring(count: int = 4) -> hmrfit.CameraCalibration:
    """Cameras around the origin, y up in the world, that look at a point one metre above it."""
    poses = []
    for angle in np.linspace(0.3, 2 * np.pi, count, endpoint=False):
        place = np.array([AWAY * np.sin(angle), HEIGHT, AWAY * np.cos(angle)])
        ahead = np.array([0, 1.0, 0]) - place
        ahead /= np.linalg.norm(ahead)
        right = np.cross(ahead, [0, 1.0, 0])
        right /= np.linalg.norm(right)
        R = np.stack([right, np.cross(ahead, right), ahead])
        poses.append(np.c_[R, -R @ place])
    return hmrfit.CameraCalibration.of(LENS, np.stack(poses), SIZE, up=(0, 1, 0))


def clips(folder: Path, count: int) -> list[Motion]:
    """Held-out motions in one piece, spread over the folder's."""
    if (folder / "MANIFEST.json").is_file():
        entries = {
            s: [e for e in es if split(e["id"]) == "test"] for s, es in read_json(folder / "MANIFEST.json").items()
        }
        found = (m for s, es in entries.items() if es for m in read_archive(folder / f"{s}.tar.xz", es))
    else:
        found = (m for m in read_folder(folder) if split(m) == "test")
    kept = []
    for motion in found:
        whole = clean(motion.y_up())
        if whole is None or len(whole) != len(motion):
            continue
        short = thin(whole, FPS)
        if len(short) >= FRAMES and abs(short.fps - FPS) < 6:
            first = (len(short) - FRAMES) // 2
            kept.append(short[first : first + FRAMES])
    return [kept[i] for i in np.linspace(0, len(kept) - 1, min(count, len(kept))).round().astype(int)]


def jitter(joints: NDArray, fps: float) -> float:
    """mm/s²."""
    return 1000 * float(np.linalg.norm(np.diff(joints, n=2, axis=0), axis=-1).mean()) * fps**2


def away(joints: NDArray, truth: NDArray) -> float:
    """mm."""
    return 1000 * float(np.linalg.norm(joints - truth, axis=-1).mean())


def each_frame(views: list[NDArray], rig: hmrfit.CameraCalibration, frames: list[int]) -> NDArray:
    """(T, J, 3) joints in the world, frame by frame."""
    found = []
    for t in frames:
        seen = [view[t] for view in views]
        sizes = [rig.image_size(c) for c in range(len(rig))]
        result = hmrfit.fit_views([None] * len(rig), seen, rig, keypoint_set="coco17", image_size=sizes)[0]
        found.append(result.in_world().joints)
    return np.concatenate(found)


def synthetic(motions: list[Motion]) -> dict[str, float]:
    """Means over the clips."""
    body, rig = load_body("free_body"), ring()
    generator, rows = torch.Generator().manual_seed(0), []
    for motion in motions:
        T, rotations = len(motion), rotvec_to_matrix(torch.tensor(motion.poses))
        betas = torch.randn(1, body.shape_count, generator=generator, dtype=torch.float64).expand(T, -1)
        params = BodyParams(rotations[:, 0], rotations[:, 1:], betas, torch.zeros(T, 3).double())
        joints = body.points(COCO17).pose(params).joints
        path = torch.tensor(motion.transl) - torch.tensor(motion.transl).mean(0)
        params = BodyParams(rotations[:, 0], rotations[:, 1:], betas, path + torch.tensor([0, 1.0, 0]) - joints[:, 0])
        truth = body.points(COCO17).pose(params).joints.numpy()
        views = []
        for c in range(len(rig)):
            pose, camera = torch.tensor(rig.extrinsics[c]), rig.camera[[c] * T]
            points = body.points(COCO17).pose(moved_params(params, body, pose[:, :3], pose[:, 3])).points
            clean_points = Keypoints(camera.project(points), torch.ones(points.shape[:2]).double(), COCO17)
            seen = corrupt(clean_points, NOISE, generator)
            views.append(torch.cat([seen.xy, seen.confidence[..., None]], -1).numpy())
        together = hmrfit.fit_views_sequence(views, rig, fps=motion.fps, keypoint_set="coco17")[0].joints
        alone = each_frame(views, rig, list(range(T)))
        errors = [away(together, truth), away(alone, truth)]
        rows.append([*errors, *(jitter(j, motion.fps) for j in (together, alone, truth))])
        print(f"{motion.name[:40]:40s} {rows[-1][0]:6.1f} {rows[-1][1]:6.1f} mm  jitter {rows[-1][2:]}", flush=True)
    mean = np.mean(rows, 0)
    names = ("mpjpe_mm", "mpjpe_frame_by_frame_mm", "jitter_mm_s2", "jitter_frame_by_frame_mm_s2", "jitter_truth_mm_s2")
    return dict(zip(names, mean.tolist(), strict=True))


def longest_track(path: Path) -> tuple[NDArray, float]:
    """((T, 17, 3) keypoints of the person who is seen longest and largest, frames a second)."""
    video, frame, xy, confidence, names = open_video(path), [], [], [], COCO17
    count = 0
    for one in video.frames():
        count = one.number + 1
        for person in hmrfit.detect(one.image):
            frame, names = [*frame, one.number], person.names
            xy.append(person.xy)
            confidence.append(person.confidence)
    seen = PeopleSeen(np.array(frame), np.array(xy), np.array(confidence), names)
    tracks = track_people(seen, video.fps).tracks
    best = max(tracks, key=lambda rows: len(rows) * float(np.median(seen[rows].size())))
    keypoints = np.zeros((count, len(names), 3))
    keypoints[seen.frame[best]] = np.concatenate([seen.xy[best], seen.confidence[best][..., None]], -1)
    return keypoints, video.fps


def real(folder: Path, cache: str | None, labels: Path | None) -> dict[str, float]:
    """The videos of a folder, by its calibration."""
    files = [f for f in sorted(folder.iterdir()) if f.name.endswith((".qca.txt", ".toml", ".yml"))]
    rig = hmrfit.read_calibration(files[0])
    stored = Path(cache) if cache else None
    if stored and stored.is_file():
        with np.load(stored) as data:
            views, fps = [data[name] for name in rig.names], float(data["fps"])
    else:
        found = {name: longest_track(folder / f"{name}.mp4") for name in rig.names}
        views, fps = [keypoints for keypoints, _ in found.values()], next(iter(found.values()))[1]
        if stored:
            np.savez(stored, fps=fps, **{name: k for name, (k, _) in found.items()})
    result = hmrfit.fit_views_sequence(views, rig, fps=fps, keypoint_set="coco17")[0]
    frames = list(range(len(result)))
    alone = each_frame(views, rig, frames)
    figures = {
        f"reprojection_{n}": float(np.nanmean(e)) for n, e in zip(rig.names, result.reprojection_error, strict=True)
    }
    figures |= {
        "jitter_mm_s2": jitter(result.joints, fps),
        "jitter_frame_by_frame_mm_s2": jitter(alone, fps),
        "apart_mm": away(result.joints, alone),
    }
    return figures | ({} if labels is None else against_labels(result, labels))


def against_labels(result: hmrfit.WorldResult, folder: Path) -> dict[str, float]:
    """PA-MPJPE of the twelve limb points against stills of the same frames, and without alignment, mm."""
    errors = []
    for person in labelled_people(folder):
        place = re.search(r"_f(\d+)_cam(\d+)$", person.name)
        truth = person.truth()
        if place is None or truth is None or int(place[1]) >= len(result):
            continue
        view = result.views[int(place[2]) - 1][int(place[1])]
        found = torch.tensor(view.points([person.names[i] for i in limb_index(person.names)])[0])
        known = truth.isfinite().all(1)
        found, truth = found[:, known], truth[None, known]
        errors.append([1000 * float(pa_mpjpe(found, truth)), 1000 * float((found - truth).norm(dim=-1).mean())])
    if not errors:
        return {}
    aligned, plain = np.mean(errors, 0).tolist()
    return {"labelled_views": float(len(errors)), "pa_mpjpe_labels_mm": aligned, "mpjpe_labels_mm": plain}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    motion_argument(parser)
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--videos", type=Path, help="a folder with a video for each camera, and their calibration")
    parser.add_argument("--labels", type=Path, help="a folder of labelled stills of these videos")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    threads(options.threads)
    if options.videos is not None:
        figures = real(options.videos, options.cache, options.labels)
    else:
        figures = synthetic(clips(needed(options.motion, "--motion", "HMRFIT_MOTION"), options.clips))
    finish(benchmark="views_over_time", points=len(LIMB_POINTS), **figures)


if __name__ == "__main__":
    main()
