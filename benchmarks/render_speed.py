"""How long do silhouettes and part maps take, and are their pixels those that pytorch3d draws?

    python benchmarks/render_speed.py [--size 256] [--repeats 50] [--threads 1] [--without-pytorch3d]

One free body (6,900 vertices, 13,796 faces) that fills nine tenths of a square picture, from vertices in the camera
frame to the finished picture; the least and the median time after five rounds of warming up. Beside it pytorch3d, where
it is installed, on the same body. The pixels are compared with the 240 pictures that pytorch3d drew for the tests.

One thread, because the picture is too small for a second to help (3.0 and 4.4 ms at best with two, 3.8 and 4.9 with
one), and on a busy machine every operation then waits for the slower of them (median 104 and 36 ms instead of 6 and 5).

Then the overlay of three views, as `hmrfit fit` draws it: the demo's person over a photograph 1,080 pixels high, with
the view from the side and from behind. Of these the processor's time counts.

The last line has silhouette_ms, parts_ms (the least), sheet_cpu_ms (the overlay, median), pixel_agreement (a fraction
of all), and the rest.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
import torch
from _common import ROOT, finish
from torch import Tensor

from hmrfit.assets import locate
from hmrfit.body.smpl import SmplBody
from hmrfit.build import load_body
from hmrfit.camera import Camera
from hmrfit.cli.demo import make_truth
from hmrfit.render.backends.builtin import BuiltinRenderer
from hmrfit.render.backends.pytorch3d import Pytorch3dRenderer
from hmrfit.render.overlay import sheet
from hmrfit.render.rasteriser import Renderer, label_faces

sys.path.insert(0, str(ROOT / "tests"))
from helpers import agreed_masks

SHEET = 1080
"""Pixels, the height of the photograph under the overlay."""

Scene = tuple[Tensor, Tensor, Camera]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    scene, labels = standing_body(options.size)
    print(f"{scene[0].shape[1]} vertices, {len(scene[1])} faces, {options.size}², {options.threads} thread(s), CPU")
    report = timings("", BuiltinRenderer(), scene, labels, options.repeats)
    if not options.without_pytorch3d:
        report |= beside_pytorch3d(scene, labels, report)
    report["sheet_cpu_ms"] = median(sheet_times(max(3, options.repeats // 5)))
    print(f"overlay of three views, {SHEET} px high: {report['sheet_cpu_ms']:.0f} ms of processor in the median")
    report["pixel_agreement"] = agreement()
    print(f"pixels equal to those pytorch3d drew: {100 * report['pixel_agreement']:.5f} %")
    finish(benchmark="render_speed", size=options.size, threads=options.threads, **report)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="width and height of the picture, pixels")
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--without-pytorch3d", action="store_true", help="do not time it, even where it is installed")
    return parser.parse_args(arguments)


def standing_body(size: int) -> tuple[Scene, Tensor]:
    """The mean free body with its arms at 45°, facing the camera, and the labels of its faces."""
    body = SmplBody.from_file(locate("free_body"), dtype=torch.float32)
    params = body.neutral()
    angle = torch.tensor(torch.pi / 4)
    for side, sign in (("left", -1), ("right", 1)):
        c, s = angle.cos(), sign * angle.sin()
        turn = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        params.body_pose[0, body.joint_names.index(f"{side}_shoulder") - 1] = turn
    vertices = body(params).vertices * torch.tensor([1.0, -1, -1])
    low, high = vertices[0].aminmax(dim=0)
    vertices = vertices - (low + high) / 2 + torch.tensor([0, 0, 4.0])
    focal = 0.9 * size * 4.0 / (high - low)[1].item()
    return (vertices, body.faces, Camera.from_size(size, size, focal=focal)), label_faces(body.part_labels, body.faces)


def timings(name: str, renderer: Renderer, scene: Scene, labels: Tensor, repeats: int) -> dict[str, float]:
    """{name}silhouette_ms, {name}parts_ms and their medians."""
    report = {}
    for what, draw in (
        ("silhouette", lambda: renderer.silhouette(*scene)),
        ("parts", lambda: renderer.parts(*scene, labels)),
    ):
        times = milliseconds(draw, repeats)
        report |= {f"{name}{what}_ms": min(times), f"{name}{what}_median_ms": median(times)}
        print(f"{name or 'built-in '}{what}: {min(times):.2f} ms, median {median(times):.2f} ms, {repeats} repeats")
    return report


def milliseconds(draw: Callable[[], Tensor], repeats: int) -> list[float]:
    """The time of each repeat, after a warm-up (once for what takes long)."""
    for _ in range(min(5, repeats)):
        draw()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        draw()
        times.append(1e3 * (time.perf_counter() - start))
    return times


def beside_pytorch3d(scene: Scene, labels: Tensor, ours: dict[str, float]) -> dict[str, float]:
    """Its times, the ratios to ours, and the fraction of this picture's pixels that are the same."""
    try:
        theirs = Pytorch3dRenderer()
    except ImportError:
        print("pytorch3d is not installed; its times are left out")
        return {}
    report = timings("pytorch3d_", theirs, scene, labels, repeats=1)
    for what in ("silhouette", "parts"):
        report[f"{what}_ratio"] = report[f"pytorch3d_{what}_ms"] / ours[f"{what}_ms"]
    same = theirs.parts(*scene, labels) == BuiltinRenderer().parts(*scene, labels)
    report["this_picture_agreement"] = same.double().mean().item()
    return report


def sheet_times(repeats: int) -> list[float]:
    """Milliseconds of the processor for each overlay of three views, after two for warming up."""
    body = load_body("free_body")
    truth = make_truth(body, SHEET)
    vertices, (width, height) = body(truth.params).mesh, truth.camera.size[0].int().tolist()
    photograph = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    times = []
    for _ in range(2 + repeats):
        start = time.process_time()
        sheet(photograph, vertices, body.faces, truth.camera, truth.up)
        times.append(1e3 * (time.process_time() - start))
    return times[2:]


def agreement() -> float:
    """Fraction of the pixels of the stored part maps that are drawn the same."""
    scenes, _, parts = agreed_masks.load()
    renderer, same = BuiltinRenderer(), 0
    for start in range(0, len(scenes), 20):
        chosen = slice(start, start + 20)
        scene = scenes.vertices(chosen), scenes.faces, scenes.camera[chosen]
        same += (renderer.parts(*scene, scenes.face_labels) == parts[chosen]).sum().item()
    return same / parts.numel()


if __name__ == "__main__":
    main()
