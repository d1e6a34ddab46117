"""How well bodies with hands are fitted in one system, and whether the hands' points spoil the body.

    python benchmarks/body_with_hands.py [--people 100] [--noise 0.01] [--hand-noise 0.02] [--pixels 200]

Synthetic people of `free_body_h`: the shipped poses of bodies, fingers drawn from the hands' own pose prior (so the
hands are easier than real ones; `benchmarks/hand_accuracy.py` leaves sources of poses out), random betas and views, a
known focal length, the points of coco_wholebody133 without the face. Noise is a fraction of the body's box, and of each
hand's own. --pixels: how large a person is in the picture, instead of most of it; hands are a tenth of that.

PA-MPJPE of the body is over 14 joints of SMPL, of a hand over 21 points, after a similarity of that part alone.
Coverage is of the regions that hold 50, 68, 90 and 95 % of the posterior of each of the 20 points of a hand about its
wrist; the gap is the worst of them. Times are of the processor, on one thread, the median of people fitted one by one.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from _common import finish, threads

import hmrfit
from hmrfit.assets import locate
from hmrfit.build import load_body
from hmrfit.camera import Camera
from hmrfit.evaluate.metrics import pa_mpjpe
from hmrfit.evaluate.posterior_scores import coverage_gap, truth_levels
from hmrfit.hand_keypoints import hand_set
from hmrfit.keypoints import COMMON14, body_places, find_set
from hmrfit.priors.gmm import PoseGmm
from hmrfit.synthetic.people import People
from hmrfit.synthetic.people_with_hands import HANDS_VIEWS, people_with_hands

DRAWS = 200
SINGLE = 15
"""People who are fitted one by one for the time."""


def make(options: argparse.Namespace) -> People:
    """The people of the benchmark."""
    generator = torch.Generator().manual_seed(options.seed)
    with np.load(locate("poses")) as data:
        order = torch.randperm(len(data["poses"]), generator=generator)[: options.people]
        poses = torch.as_tensor(data["poses"]).double()[order].flatten(1)
    fingers = PoseGmm.from_file(locate("hand_pose_gmm")).sample(2 * len(poses), generator).unflatten(0, (-1, 2))
    share = options.pixels / HANDS_VIEWS.size[1] if options.pixels else None
    views = HANDS_VIEWS if share is None else replace(HANDS_VIEWS, fill=(share, share))
    names = find_set("coco_wholebody133").with_hands.names
    body = load_body("free_body_h")
    return people_with_hands(body, poses, fingers, names, generator, views, options.noise, options.hand_noise)


def fitted(people: People, rows: slice, places: Sequence[int]) -> hmrfit.FitResult:
    """Some people, by some of their keypoints."""
    seen, names = people.keypoints[rows], people.keypoints.names
    array = torch.cat([seen.xy, seen.confidence[..., None]], -1)[:, list(places)].numpy()
    size = tuple(int(n) for n in people.camera.size[0])
    camera: Camera = people.camera[rows]
    return hmrfit.fit(
        None,
        array,
        keypoint_set=[names[k] for k in places],
        camera=camera,
        image_size=size,
        keypoint_source="exact",
    )


def body_error(result: hmrfit.FitResult, people: People) -> torch.Tensor:
    """(B,) millimetres."""
    truth = [load_body("free_body_h").skeleton.index(name) for name in COMMON14]
    own = [result.joint_names.index(name) for name in COMMON14]
    return 1e3 * pa_mpjpe(torch.as_tensor(result.joints)[:, own], people.joints[:, truth])


def milliseconds(people: People, places: Sequence[int]) -> float:
    """The median of one person's fit."""
    times = []
    for i in range(min(SINGLE, len(people.joints))):
        begun = time.process_time()
        fitted(people, slice(i, i + 1), places)
        times.append(1e3 * (time.process_time() - begun))
    return float(np.median(times))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--noise", type=float, default=0.01)
    parser.add_argument("--hand-noise", type=float, default=0.02)
    parser.add_argument("--pixels", type=float)
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args(arguments)
    threads(1)
    people = make(options)
    names = people.keypoints.names
    every, of_body = range(len(names)), body_places(names)
    everyone = slice(0, len(people.joints))
    without, whole = (fitted(people, everyone, places) for places in (of_body, every))
    before, after = body_error(without, people), body_error(whole, people)
    hands, levels, body = [], [], load_body("free_body_h")
    drawn = whole.sample(DRAWS, seed=1)
    for side in ("left", "right"):
        points = body.points(hand_set("hand21", side).names)
        truth = points.pose(people.params).points
        hands.append(1e3 * pa_mpjpe(points.pose(whole.params).points, truth))
        about = torch.stack([p[:, 1:] - p[:, :1] for p in (points.pose(params).points for params in drawn)])
        levels.append(truth_levels(about, truth[:, 1:] - truth[:, :1]))
    finish(
        benchmark="body_with_hands",
        people=options.people,
        body_pa_mpjpe_mm=float(after.mean()),
        body_pa_mpjpe_mm_without_hands=float(before.mean()),
        worse_by_5_mm=float((after > before + 5).double().mean()),
        better_by_5_mm=float((after < before - 5).double().mean()),
        hand_pa_mpjpe_mm=float(torch.cat(hands).mean()),
        hand_pa_mpjpe_mm_median=float(torch.cat(hands).median()),
        hands_over_20_mm=float((torch.cat(hands) > 20).double().mean()),
        left_coverage_gap=coverage_gap(levels[0]),
        right_coverage_gap=coverage_gap(levels[1]),
        ms_single=milliseconds(people, every),
        ms_single_without_hands=milliseconds(people, of_body),
    )


if __name__ == "__main__":
    main()
