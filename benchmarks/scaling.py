"""How time and memory grow with people, frames, keypoints and vertices.

    python benchmarks/scaling.py [--people 1 10 100 1000] [--frames 1 10 100 1000] [--plot FILE.png] [--threads 1]
        [--fit-only]

People: `hmrfit.fit` of so many, 1,024 at most in one call, everything read that a user reads (joints, their standard
deviations, warnings; with --fit-only joints alone), and nothing kept but the joints. Frames: `hmrfit.fit_sequence` of
so many frames of one walking person, betas shared. Keypoints: 256 people in sets of 17, 25 and 133 points. Vertices:
`hmrfit.fit` of 256 people with the free body, and with the same body whose every triangle is four. All times are of the
processor, all threads together; the peak is of the whole process, after each size.

`people_exponent` and `frames_exponent` are the slope of log time over log size between the two largest sizes: 1 is
linear.
"""

import argparse
import logging
import math
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from _common import finish, motion_argument, threads, world_poses

import hmrfit
from hmrfit.config import load_config
from hmrfit.keypoints import resolve_set
from hmrfit.pipeline import Pipeline
from hmrfit.synthetic.people import People, Views, make_people
from hmrfit.synthetic.walking import random_paths, walkers

PIECE = 1024
"""People of one call: what is kept of a call is released with it."""

SETS = ("coco17", "openpose25", "coco_wholebody133")
"""By the number of their points."""

ALIKE = 256
"""People by whom sets and bodies are compared."""


FPS, FRAME_SIZE = 30.0, (1280, 720)


def processor_time(run: Callable[[], object]) -> float:
    """Seconds, all threads together."""
    began = time.process_time()
    run()
    return time.process_time() - began


def peak_gb() -> float:
    """Of the process until now."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def fit_all(people: People, body: str | None = None, read: bool = True) -> np.ndarray:
    """`hmrfit.fit` of everybody in one call, and what a user reads of it: the joints (B, J, 3)."""
    keypoints = torch.cat([people.keypoints.xy, people.keypoints.confidence[..., None]], -1).numpy()
    config = None if body is None else load_config(None, [f"BODY.PATH={body}"])
    result = hmrfit.fit(None, keypoints, keypoint_set=people.keypoints.names, image_size=Views().size, config=config)
    if read:
        assert np.isfinite(result.joint_std).all() and len(result.warnings) == len(result)
    return result.joints


def of_people(poses: torch.Tensor, names: tuple[str, ...], count: int, seed: int = 0) -> People:
    """So many people, the poses again and again, each seen from another side."""
    chosen = poses[torch.arange(count) % len(poses)]
    return make_people(Pipeline.of().body, chosen, names, torch.Generator().manual_seed(seed))


def time_of_people(poses: torch.Tensor, names: tuple[str, ...], count: int, read: bool) -> float:
    """Seconds of `fit_all` of so many, piece by piece; making them up is left out."""
    seconds, joints = 0.0, []
    for i in range(0, count, PIECE):
        piece = of_people(poses, names, min(PIECE, count - i), seed=i)
        seconds += processor_time(lambda p=piece: joints.append(fit_all(p, read=read)))
    return seconds


def walk(count: int) -> np.ndarray:
    """Keypoints (count, 17, 3) of one person who walks, COCO's."""
    rng, body = np.random.default_rng(0), Pipeline.of().body
    seconds = min(count / FPS + 1, 60.0)  # and the same way again
    scene = walkers(body, random_paths(rng, 1, seconds), FPS, FRAME_SIZE)
    xy = scene.camera.project(body.points(resolve_set("coco17")).pose(scene.params[0]).points).numpy()
    to_and_fro = np.concatenate([xy, xy[-2:0:-1]])[np.arange(count) % (2 * len(xy) - 2)]
    noisy = to_and_fro + 0.01 * np.ptp(to_and_fro, axis=1).max(-1)[:, None, None] * rng.normal(size=to_and_fro.shape)
    return np.concatenate([noisy, np.ones_like(noisy[..., :1])], -1)


def four_for_one(folder: Path) -> str:
    """The free body with a vertex more on every edge, and so four triangles for each."""
    from hmrfit.assets import locate

    with np.load(locate("free_body"), allow_pickle=False) as data:
        arrays = dict(data)
    faces = arrays["f"].astype(np.int64)
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), 1)
    edges, which = np.unique(edges, axis=0, return_inverse=True)
    count, middle = len(arrays["v_template"]), len(arrays["v_template"]) + which.reshape(-1, 3)
    for name in ("v_template", "shapedirs", "posedirs", "weights"):
        arrays[name] = np.concatenate([arrays[name], arrays[name][edges].mean(1)])
    for name in ("J_regressor", "landmark_regressor"):
        arrays[name] = np.pad(arrays[name], ((0, 0), (0, len(edges))))
    for name in ("part_labels", "mirror"):
        del arrays[name]
    (a, b, c), (ab, bc, ca) = faces.T, middle.T
    corners = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    arrays["f"] = np.concatenate([np.stack(one, 1) for one in corners]).astype(np.uint32)
    assert arrays["f"].max() == count + len(edges) - 1
    path = folder / "four_for_one.npz"
    np.savez(path, **arrays)
    return str(path)


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """d log t / d log n at the end."""
    return math.log(seconds[-1] / seconds[-2]) / math.log(sizes[-1] / sizes[-2]) if len(sizes) > 1 else math.nan


def draw(curves: dict[str, tuple[Sequence[int], Sequence[float]]], path: Path) -> None:
    """Milliseconds over size, both logarithmic, beside lines of slope 1."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4.5), dpi=120)
    for (name, (sizes, seconds)), style in zip(curves.items(), ("o-", "s--"), strict=False):
        axes.loglog(sizes, seconds, style, label=name)
        axes.loglog(sizes, np.array(sizes) * seconds[-1] / sizes[-1], color="grey", linewidth=0.7, linestyle=":")
    axes.set(xlabel="people, or frames", ylabel="seconds of processor time", title="Time grows in proportion")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    motion_argument(parser)
    parser.add_argument("--people", type=int, nargs="*", default=[1, 10, 100, 1000], help="sizes, ascending")
    parser.add_argument("--frames", type=int, nargs="*", default=[1, 10, 100, 1000], help="sizes, ascending")
    parser.add_argument("--fit-only", action="store_true", help="of people, only the joints are read")
    parser.add_argument("--plot", type=Path, help="a PNG to draw into (needs matplotlib)")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args(arguments)
    threads(options.threads)
    logging.getLogger("hmrfit").setLevel(logging.ERROR)
    poses, origin = world_poses(options.motion, options.cache, min(PIECE, max(options.people, default=1)), seed=1)
    coco = resolve_set("coco17")
    fit_all(of_people(poses, coco, 8))  # everything is loaded, and was called once
    print(f"people posed by {origin}; {torch.get_num_threads()} threads", flush=True)
    figures: dict[str, object] = {}
    curves: dict[str, tuple[Sequence[int], Sequence[float]]] = {}
    for what, sizes in (("frames", options.frames), ("people", options.people)):
        seconds = []
        for count in sizes:
            if what == "people":
                seconds.append(time_of_people(poses, coco, count, not options.fit_only))
            else:
                keypoints = walk(count)
                sequence = {"keypoint_set": "coco17", "image_size": FRAME_SIZE, "fps": FPS}
                seconds.append(processor_time(lambda k=keypoints, s=sequence: hmrfit.fit_sequence(k, **s).joint_std))
            each, peak = 1e3 * seconds[-1] / count, peak_gb()
            print(f"{count:7d} {what}: {seconds[-1]:8.2f} s, {each:7.2f} ms each, peak {peak:.2f} GB", flush=True)
            figures |= {f"{what}_ms": each, f"{what}_peak_gb": peak}
        curves[what] = (sizes, seconds)
        figures[f"{what}_exponent"] = exponent(sizes, seconds)
    for name in SETS:
        alike = of_people(poses, resolve_set(name), ALIKE)
        figures[f"{name}_ms"] = 1e3 * processor_time(lambda p=alike: fit_all(p)) / ALIKE
    with tempfile.TemporaryDirectory() as temporary:
        alike, finer = of_people(poses, coco, ALIKE), four_for_one(Path(temporary))
        fit_all(alike[:8], finer)
        both = [processor_time(lambda b=body: fit_all(alike, b)) for body in (None, finer)]
    figures["ratio_four_times_the_triangles"] = both[1] / both[0]
    if options.plot:
        draw(curves, options.plot)
    finish(benchmark="scaling", sizes={"people": options.people, "frames": options.frames}, **figures)


if __name__ == "__main__":
    main()
