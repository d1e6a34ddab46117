"""hmrfit demo --video: two people who cross, of whom one leaves and comes back, and what is known of them is compared.

    walkers with known truth  ->  a rendered video, and noisy keypoints in shuffled order  ->  hmrfit fit  ->  errors

The people of a frame stand in an order that means nothing, some are missed, some are nobody. Where a detector is
installed, the same video is also read from its pixels.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from hmrfit.api import fit
from hmrfit.body.smpl import SmplBody
from hmrfit.build import load_body
from hmrfit.camera import MIN_DEPTH, PIXEL_CENTER
from hmrfit.cli.fit_flags import FitFlags
from hmrfit.cli.video import VideoFlags, video_command
from hmrfit.detectors.detect import load_detector
from hmrfit.detectors.detector import NoDetector
from hmrfit.evaluate.metrics import pa_mpjpe
from hmrfit.io.image import Image
from hmrfit.io.own_files import own_file, refuse_others
from hmrfit.keypoints import COCO17, COMMON14
from hmrfit.ops.how_many import how_many
from hmrfit.ops.raster import interpolate_seen, rasterize
from hmrfit.render.rasteriser import picture_size, to_screen
from hmrfit.render.shading import lambert, to_linear, vertex_normals
from hmrfit.result import FitResult
from hmrfit.synthetic.clothing import ClothingTexture, Outfit
from hmrfit.synthetic.fast_renderer import backdrop, develop
from hmrfit.synthetic.walking import CROSSING, DetectorErrors, Footage, Walkers, observe, walkers
from hmrfit.video.seen import PeopleSeen
from hmrfit.video.track_files import TracksFile, read_tracks_file
from hmrfit.video.tracking import purity
from hmrfit.video.writer import write_video
from hmrfit.video_fit import track_of_result
from hmrfit.video_result import Track

RATE = 15.0
"""Frames a second."""

VIDEO, KEYPOINTS = "video.mp4", "keypoints.json"

NEAR = 0.5
"""Of their size: a person found farther than that from everybody is nobody."""


def demo_video_command(out: str = "out/demo/video", seed: int = 53, height: int = 400) -> int:
    """Renders, fits, compares, writes; prints the errors and the folder."""
    began = time.process_time()
    folder, body = Path(out), load_body("free_body")
    refuse_others([folder / VIDEO, folder / KEYPOINTS])
    scene = walkers(body, CROSSING, RATE, (height * 8 // 5, height))
    found = observe(scene, body, DetectorErrors(), np.random.default_rng(seed))
    write_video(folder / VIDEO, rendered(scene, body, seed), RATE, "scene")
    write_keypoints(folder / KEYPOINTS, found.seen)
    print(f"{how_many(scene.frame_count, 'frames')} rendered; from noisy keypoints in shuffled order:")
    flags = FitFlags([str(folder / VIDEO)], str(folder / "from_keypoints"), keypoints=str(folder / KEYPOINTS))
    video_command(flags, VideoFlags())
    print(compared(folder / "from_keypoints", scene, found, body))
    try:
        load_detector()
    except NoDetector:
        print("From pixels: not tried, no detector is installed (hmrfit detector install movenet).")
    else:
        print("from pixels:")
        flags = FitFlags([str(folder / VIDEO)], str(folder / "from_pixels"))
        video_command(flags, VideoFlags())
        print(compared(folder / "from_pixels", scene, found, body))
    print(f"{time.process_time() - began:.0f} s of processor time. Look at {folder / 'from_keypoints' / 'index.html'}")
    return 0


def write_keypoints(path: Path, seen: PeopleSeen) -> None:
    """As MMPose writes a video: a list of frames, pixel centres at integers."""
    names = dict(enumerate(seen.names))
    frames = [
        {
            "frame_id": int(frame),
            "instances": [
                {"keypoints": np.round(xy - PIXEL_CENTER, 2).tolist(), "keypoint_scores": np.round(c, 3).tolist()}
                for xy, c in zip(seen.xy[seen.frame == frame], seen.confidence[seen.frame == frame], strict=True)
            ],
        }
        for frame in range(int(seen.frame.max()) + 1)
    ]
    with own_file(path, "keypoints") as temporary:
        meta = {"dataset_name": "coco", "keypoint_id2name": names}
        temporary.write_text(json.dumps({"meta_info": meta, "instance_info": frames}))


# ---- the pictures


def rendered(scene: Walkers, body: SmplBody, seed: int) -> Iterator[Image]:
    """The frames, one by one: clothed people before a backdrop that stands still."""
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    clothing = ClothingTexture(body)
    outfits = [Outfit.random(generator) for _ in scene.params]
    noise = torch.rand(256, 256, generator=generator)
    behind = backdrop(*picture_size(scene.camera), rng)
    for t in range(scene.frame_count):
        meshes = [body(params[t : t + 1]).mesh[0] for params in scene.params]
        far_first = sorted(range(len(meshes)), key=lambda p: -float(meshes[p][:, 2].mean()))
        picture = behind.copy()
        for p in far_first:
            _draw(picture, meshes[p], scene, body, clothing, outfits[p], noise)
        yield develop(picture, np.random.default_rng(seed))  # the camera's noise stands still, as its settings do


def _draw(
    picture: NDArray[np.float32],
    mesh: Tensor,
    scene: Walkers,
    body: SmplBody,
    clothing: ClothingTexture,
    outfit: Outfit,
    noise: Tensor,
) -> None:
    """One person into a picture of linear light."""
    screen = to_screen(mesh[None], scene.camera)
    seen = rasterize(screen, body.faces, picture_size(scene.camera), MIN_DEPTH)
    values = torch.cat([mesh[None], vertex_normals(mesh[None], body.faces), body.v_template.to(mesh)[None]], -1)
    where, surface = interpolate_seen(seen, screen, body.faces, values)
    if not len(where):
        return
    _, normals, rest = surface.split(3, -1)
    albedo, _, _ = clothing.paint(rest, outfit, noise)
    normals = normalize(normals, dim=1)
    to_lamp = normalize(normals.new_tensor([[-0.5, -0.8, -0.7]]), dim=1)
    light = to_linear(albedo.clamp(0, 1)) * (0.75 * lambert(normals, to_lamp) + 0.45 * (0.6 - 0.4 * normals[:, 1:2]))
    picture[where[:, 1].numpy(), where[:, 2].numpy()] = light.numpy()


# ---- against the truth


def compared(folder: Path, scene: Walkers, footage: Footage, body: SmplBody) -> str:
    """Identities, errors and jitter, in words: of the motions, and of the same people fitted frame by frame."""
    found = read_tracks_file(folder / "tracks.json")
    tracks = _tracks(folder, found)
    truth = who_is_who(found.seen, footage)
    score = purity(truth, [_rows(found, track.id) for track in tracks])
    pairs = [(track, *_person(track, found, truth)) for track in tracks]
    moving = [_errors(track.result, track, rows, person, scene, body) for track, rows, person in pairs if person >= 0]
    single = [
        _errors(_frame_by_frame(track, rows, found), None, rows, person, scene, body, found.seen.frame[rows])
        for track, rows, person in pairs
        if person >= 0
    ]
    if not moving:
        return f"{how_many(len(tracks), 'tracks')}, none of them of a person."
    (pa, jitter), (pa_single, jitter_single) = (np.mean(values, axis=0) for values in (moving, single))
    kept = "kept" if score["switches"] == 0 and len(tracks) == len(scene.params) else "NOT kept"
    return (
        f"Identities {kept}: {how_many(len(tracks), 'tracks')} of {how_many(len(scene.params), 'people')}, "
        f"{score['switches']:.0f} switches, IDF1"
        f" {score['idf1']:.3f}. Where they are seen: PA-MPJPE {pa:.0f} mm (frame by frame {pa_single:.0f}), jitter "
        f"{jitter:.0f} mm/s² beyond the truth's own motion (frame by frame {jitter_single:.0f}), over 14 joints."
    )


def _tracks(folder: Path, found: TracksFile) -> list[Track]:
    names = sorted({name for name in found.tracks if name is not None})
    files = {name: folder / f"person_{name}.npz" for name in names}
    return [
        track_of_result(found, name, _rows(found, name), FitResult.load(file))
        for name, file in files.items()
        if file.is_file()
    ]


def _rows(found: TracksFile, name: str) -> NDArray[np.intp]:
    return np.array([i for i, track in enumerate(found.tracks) if track == name], np.intp)


def who_is_who(seen: PeopleSeen, footage: Footage) -> NDArray[np.intp]:
    """(N,) the person whose true keypoints are nearest, −1 where nobody's are near."""
    order = [COCO17.index(name) for name in seen.names]
    true = footage.clean[:, seen.frame][:, :, order]  # (P, N, K, 2)
    weight = np.where(seen.known(), seen.confidence, 0)
    off = (np.linalg.norm(true - seen.xy[None], axis=-1) * weight).sum(-1) / np.maximum(weight.sum(-1), 1e-9)
    return np.where(off.min(0) < NEAR * seen.size(), off.argmin(0), -1)


def _person(track: Track, found: TracksFile, truth: NDArray[np.intp]) -> tuple[NDArray[np.intp], int]:
    """(the track's rows, the person that it is mostly of)."""
    rows = _rows(found, track.id)
    people = truth[rows][truth[rows] >= 0]
    return rows, int(np.bincount(people).argmax()) if len(people) else -1


def _frame_by_frame(track: Track, rows: NDArray[np.intp], found: TracksFile) -> FitResult:
    """The same keypoints, each frame on its own."""
    points = np.concatenate([found.seen.xy[rows], found.seen.confidence[rows][..., None]], -1)
    return fit(None, points, keypoint_set=found.seen.names, image_size=found.size)


def _errors(
    result: FitResult,
    track: Track | None,
    rows: NDArray[np.intp],
    person: int,
    scene: Walkers,
    body: SmplBody,
    frames: NDArray[np.intp] | None = None,
) -> tuple[float, float]:
    """(PA-MPJPE in mm, jitter in mm/s²) in the frames in which the person is seen. Jitter is the mean length of the
    acceleration's error, of joints about the pelvis."""
    numbers = track.frames[track.seen] if track is not None else frames
    assert numbers is not None
    given = result.joints[track.seen] if track is not None else result.joints
    index = [body.joint_names.index(name) for name in COMMON14]
    truth = body.points(body.joint_names[:1]).pose(scene.params[person]).joints.numpy()[numbers]
    found, true = (joints[:, index] - joints[:, :1] for joints in (given, truth))
    error = 1000 * pa_mpjpe(torch.from_numpy(found), torch.from_numpy(true)).mean().item()
    consecutive = (np.diff(numbers, n=1)[1:] == 1) & (np.diff(numbers, n=1)[:-1] == 1)
    acceleration = np.diff(found - true, n=2, axis=0) * scene.fps**2
    return error, float(1000 * np.linalg.norm(acceleration[consecutive], axis=-1).mean())
