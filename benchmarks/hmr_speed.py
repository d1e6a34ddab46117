"""How fast is HMR's inference, against the plain float32 network of the same weights?

    python benchmarks/hmr_speed.py [--weights image_hmr.npz] [--keypoint-weights keypoint_hmr.npz] [--compiled]

Plain     the image HMR (ResNet-50, 224 pixels) as it was built: eager, float32, batch norm and all
Fast      `hmrfit.network.inference.fast_inference` of it: folded, channels_last, bfloat16 where the CPU has it, laid
          out for the processor with ReLU and shortcut in the same pass, or compiled where --compiled says so

They take turns, so that other programs slow both; the median of the ratios counts. The keypoint HMR is timed for one
person, from pixels to a body before the camera.

Without --weights the image HMR is random: batch norms have the statistics of the images, the last scale of each
residual branch is small, and the regressor's last layer is so large that people differ by about 150 mm. Speed does not
depend on that. The difference of the joints does: random layers magnify rounding as trained ones do not. A ResNet-18
at 96 pixels, trained for some minutes on stick figures, gave joints 0.5 mm apart where this one's are 6 to 10; for a
trained image HMR only its own weights can say.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from _common import finish, threads
from torch import Tensor, nn

from hmrfit.assets import locate
from hmrfit.body.skeleton import SMPL
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.keypoints import COCO17
from hmrfit.network.checkpoints import load_hmr
from hmrfit.network.encoders import ImageEncoder, KeypointEncoder
from hmrfit.network.hmr import HMR
from hmrfit.network.inference import fast_inference
from hmrfit.network.initial_estimate import KeypointHmr
from hmrfit.network.regressor import IterativeRegressor
from hmrfit.synthetic.dataset import SceneDataset
from hmrfit.types import Keypoints

DIFFERENCE = 0.15
"""Metres by which the random network's people differ from their mean, about as real people do."""


def people_in(body: SmplBody, count: int, resolution: int) -> Tensor:
    """(B, 3, R, R) in [0, 1]: scenes, in poses of the shipped set, like those that a network is trained on."""
    with np.load(locate("poses"), allow_pickle=False) as data:
        poses = torch.as_tensor(data["poses"].astype(np.float64)).reshape(-1, 23, 3)
    scenes = SceneDataset(body, torch.cat([torch.zeros(len(poses), 1, 3), poses], 1), count, resolution)
    return torch.cat([scenes[i].images for i in range(count)]) / 255


def made_up_images(count: int, generator: torch.Generator) -> Tensor:
    """(B, 3, 224, 224) in [0, 1]: clouds of several sizes and a little noise."""
    total = 0.1 * torch.rand(count, 3, 224, 224, generator=generator)
    for cells in (3, 7, 28):
        clouds = torch.rand(count, 3, cells, cells, generator=generator)
        total = total + nn.functional.interpolate(clouds, size=224, mode="bicubic")
    return (total / 3.1).clamp(0, 1)


@torch.no_grad()
def random_hmr(images: Tensor, body: SmplBody) -> HMR:
    """An image HMR that behaves about as a trained one does; see above."""
    hmr = HMR(ImageEncoder("resnet50")).eval()
    for name, module in hmr.encoder.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the running statistics become those of the images
            nn.init.constant_(module.weight, 0.2 if name.endswith("bn3") else 1.0)
    hmr.encoder.train()(images)
    hmr.eval()
    hmr.regressor.fc1.weight[:, hmr.regressor.features :] *= 0.3  # feedback that settles
    phi, initial = hmr.encoder(images), hmr.regressor.fc3.weight.clone()
    low, high = 1.0, 1000.0
    for _ in range(10):
        gain = (low * high) ** 0.5
        hmr.regressor.fc3.weight.copy_(gain * initial)
        found = joints_of(hmr, hmr.regressor(phi)[-1], body)
        low, high = (low, gain) if (found - found.mean(0)).norm(dim=-1).mean() > DIFFERENCE else (gain, high)
    return hmr


def joints_of(hmr: HMR, theta: Tensor, body: SmplBody) -> Tensor:
    """(B, 24, 3) metres about the pelvis."""
    params = hmr.regressor.layout.regression(theta.double()).params
    joints = body.points(SMPL.names).pose(params).joints
    return joints - joints[:, :1]


def turns(runs: Sequence[Callable[[], object]], count: int) -> list[list[float]]:
    """Seconds of every run, one after the other, `count` times after two for warming up."""
    seconds: list[list[float]] = [[] for _ in runs]
    for turn in range(count + 2):
        for run, times in zip(runs, seconds, strict=True):
            begin = time.perf_counter()
            run()
            if turn >= 2:
                times.append(time.perf_counter() - begin)
    return seconds


def compare(plain: HMR, fast: HMR, images: Tensor, count: int) -> tuple[float, float, float]:
    """(plain ms, fast ms, ratio), medians over turns."""
    slow, quick = turns([lambda: plain(images), lambda: fast(images)], count)
    ratio = statistics.median(a / b for a, b in zip(slow, quick, strict=True))
    return 1e3 * statistics.median(slow), 1e3 * statistics.median(quick), ratio


def keypoint_hmr(path: str | None) -> tuple[KeypointHmr, bool]:
    """(the network of the file, or the shipped one, or a random one of its size; is it trained?)."""
    if path or shipped("keypoint_hmr"):
        return KeypointHmr.from_file(path or locate("keypoint_hmr")), True
    encoder = KeypointEncoder()
    regressor = IterativeRegressor(encoder.features, hidden=768, dropout=0.0, learn_mean=True)
    return KeypointHmr(HMR(encoder, regressor)), False


def shipped(name: str) -> bool:
    """Whether the library brings this file."""
    try:
        return Path(locate(name)).is_file()
    except (FileNotFoundError, ValueError, KeyError):
        return False


def one_person(generator: torch.Generator) -> tuple[Keypoints, Camera]:
    """17 keypoints somewhere in a photograph; the time does not depend on where."""
    xy = 200 + 400 * torch.rand(1, 17, 2, generator=generator, dtype=torch.float64)
    return Keypoints(xy, torch.ones(1, 17, dtype=torch.float64), COCO17), Camera.from_size(1024, 768)


def main(arguments: Sequence[str] | None = None) -> None:
    """Time all, compare the joints, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="an image HMR as save_network writes it; random ones without")
    parser.add_argument("--keypoint-weights", help="a keypoint HMR; the shipped one without")
    parser.add_argument("--precision", default="auto", help="auto, float32 or bfloat16")
    parser.add_argument("--compiled", action="store_true", help="by torch.compile; the first calls take a minute")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--turns", type=int, default=15, help="at batch 1; a third of it with the batch")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args(arguments)
    threads(options.threads)
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    body, trained = SmplBody.from_file(locate("free_body")), options.weights is not None
    if trained:
        plain = load_hmr(options.weights)
        images = people_in(body, options.batch, plain.encoder.resolution)
    else:
        images = made_up_images(options.batch, generator)
        plain = random_hmr(images[:8], body)
    plain = plain.eval().requires_grad_(False)
    fast = fast_inference(plain, options.precision, options.compiled)
    single = compare(plain, fast, images[:1], options.turns)
    batch = compare(plain, fast, images, max(options.turns // 3, 2))
    here, there = (joints_of(plain, net.thetas(images)[-1], body) for net in (plain, fast))
    difference = 1e3 * (here - there).norm(dim=-1)
    people_differ = 1e3 * (here - here.mean(0)).norm(dim=-1).mean().item()
    keypoints, keypoints_trained = keypoint_hmr(options.keypoint_weights)
    seen = one_person(generator)
    (keypoint_seconds,) = turns([lambda: keypoints.predict(*seen)], 100)
    how = f"{str(fast.encoder.dtype).removeprefix('torch.')}{', compiled' if options.compiled else ''}"
    weights = "trained" if trained else "RANDOM weights: no trained one is shipped"
    print(f"image HMR ({plain.encoder.variant}, {weights}), {how}, {torch.get_num_threads()} threads")
    for name, (slow, quick, ratio) in {"one image": single, f"{options.batch} images": batch}.items():
        print(f"  {name:10s} plain {slow:8.1f} ms   fast {quick:8.1f} ms   {ratio:.2f} times")
    print(f"  joints differ by {difference.mean():.3f} mm (most {difference.max():.3f})", end="; ")
    print(f"people differ by {people_differ:.0f} mm from their mean")
    weights, times = "trained" if keypoints_trained else "random", [1e3 * s for s in keypoint_seconds]
    print(f"keypoint HMR ({weights}), one person: {statistics.median(times):.2f} ms, least {min(times):.2f}\n")
    finish(
        benchmark="hmr_speed",
        weights="trained" if trained else "random",
        precision=how,
        ratio_single=single[2],
        ratio_batch=batch[2],
        joint_difference_mm=difference.mean().item(),
        joint_difference_max_mm=difference.max().item(),
        people_differ_mm=people_differ,
        keypoint_hmr_ms=statistics.median(times),
        keypoint_hmr_least_ms=min(times),
        keypoint_weights=weights,
        threads=torch.get_num_threads(),
    )


if __name__ == "__main__":
    main()
