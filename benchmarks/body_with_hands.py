"""How well bodies with hands are fitted in one system, and whether the hands' points spoil the body.

    python benchmarks/body_with_hands.py [--poses fingers21.npz] [--people 100] [--noise 0.01] [--hand-noise 0.02]

Synthetic people of `free_body_h`: the shipped poses of bodies, random betas and views, a known focal length, the points
of coco_wholebody133 without the face. With --poses, a third of the people each has the fingers of one source of poses,
and is fitted with a pose prior of fingers that has not seen it; without, fingers are drawn from the pose prior itself,
which is easier. Noise is a fraction of the body's box, and of each hand's own. --pixels: how large a person is in the
picture, instead of most of it; hands are a tenth of that.

PA-MPJPE of the body is over 14 joints of SMPL, of a hand over 21 points, after a similarity of that part alone.
Coverage is of the regions that hold 50, 68, 90 and 95 % of the posterior of each of the 20 points of a hand about its
wrist; the gap is the worst of them. Times are of the processor, on one thread, the median of people fitted one by one.

--cameras C fits every person by C calibrated cameras all around instead (`hmrfit.fit_views`; 1,280 x 960 pixels, 1,400
of focal length, four metres away): points of hands about the wrist, nothing aligned, and their coverage.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from _common import finish, threads
from hand_accuracy import SOURCES, left_out

import hmrfit
from hmrfit.assets import locate
from hmrfit.body.points import PointBody
from hmrfit.body.rigid import turned
from hmrfit.build import load_body
from hmrfit.camera import Camera
from hmrfit.evaluate.metrics import pa_mpjpe
from hmrfit.evaluate.posterior_scores import LEVELS, coverage, coverage_gap, truth_levels
from hmrfit.hand_keypoints import hand_set
from hmrfit.keypoints import COMMON14, body_places, find_set, has_hands
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.priors.gmm import PoseGmm
from hmrfit.synthetic.people import People
from hmrfit.synthetic.people_with_hands import HANDS_VIEWS, people_with_hands, with_noise
from hmrfit.types import BodyParams, Keypoints

DRAWS = 200
SINGLE = 15
"""People who are fitted one by one for the time."""


@dataclass(frozen=True)
class Case:
    """Some people, and the pose prior of fingers that they are fitted with."""

    people: People
    hands: str


def cases(options: argparse.Namespace, folder: Path) -> list[Case]:
    """The people of the benchmark, a case for each source of finger poses. folder: for the priors."""
    generator = torch.Generator().manual_seed(options.seed)
    if options.poses is None:
        fingers = PoseGmm.from_file(locate("hand_pose_gmm")).sample(2 * options.people, generator)
        return [Case(make(options, fingers.unflatten(0, (-1, 2)), generator), "auto")]
    found = []
    for _, theta, settings in left_out(options.poses, folder):
        chosen = torch.randint(len(theta), (options.people // len(SOURCES), 2), generator=generator)
        found.append(Case(make(options, theta[chosen].double(), generator), settings["PRIORS.GMM"]))
    return found


def make(options: argparse.Namespace, fingers: torch.Tensor, generator: torch.Generator) -> People:
    """People with these fingers (B, 2, 45)."""
    with np.load(locate("poses")) as data:
        order = torch.randperm(len(data["poses"]), generator=generator)[: len(fingers)]
        poses = torch.as_tensor(data["poses"]).double()[order].flatten(1)
    share = options.pixels / HANDS_VIEWS.size[1] if options.pixels else None
    views = HANDS_VIEWS if share is None else replace(HANDS_VIEWS, fill=(share, share))
    names = find_set("coco_wholebody133").with_hands.names
    body = load_body("free_body_h")
    return people_with_hands(body, poses, fingers, names, generator, views, options.noise, options.hand_noise)


def fitted(case: Case, rows: slice, places: Sequence[int]) -> hmrfit.FitResult:
    """Some people, by some of their keypoints."""
    people = case.people
    config = None if case.hands == "auto" else {"BODY.PATH": "free_body_h", "PRIORS.HANDS": case.hands}
    if not has_hands([people.keypoints.names[k] for k in places]):
        config = None
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
        config=config,
    )


SIZE, FOCAL, MIDDLE = (1280, 960), 1400.0, (0.0, 0.0, 4.0)
"""Of every camera around a person: pixels, and where the person stands before the first one, metres."""


def in_views(case: Case, options: argparse.Namespace) -> tuple[torch.Tensor, torch.Tensor]:
    """(millimetres (N, 2, 20) that points of either hand are off about the wrist, their levels)."""
    body, names, C = load_body("free_body_h"), case.people.keypoints.names, options.cameras
    camera, middle = Camera.from_size(*SIZE, focal=FOCAL), torch.tensor(MIDDLE).double()
    angle = torch.arange(C).double() * (2 * np.pi / C)
    R = rotvec_to_matrix(angle[:, None] * torch.tensor([0.0, 1.0, 0.0]).double())
    t = middle - R @ middle
    config = None if case.hands == "auto" else {"BODY.PATH": "free_body_h", "PRIORS.HANDS": case.hands}
    away, levels = [], []
    for i in range(len(case.people.joints)):
        one = case.people.params[i : i + 1]
        truth = replace(one, transl=middle[None])
        seen = turned(truth[[0] * C], body.rest_joints[0], body.joint_shapes[0], R, t)
        xy = camera.project(body.points(names).pose(seen).points)
        clean = Keypoints(xy, torch.ones(xy.shape[:2]).double(), names)
        noisy = with_noise(clean, options.noise, options.hand_noise, torch.Generator().manual_seed(options.seed + i))
        found = hmrfit.fit_views(
            [None] * C,
            list(torch.cat([noisy.xy, noisy.confidence[..., None]], -1).numpy()),
            torch.cat([R, t[..., None]], -1).numpy(),
            keypoint_set=names,
            cameras=[camera] * C,
            image_size=SIZE,
            config=config,
        )[0]
        drawn = found.sample(DRAWS, seed=1)
        for side in ("left", "right"):
            points = body.points(hand_set("hand21", side).names)
            true = about_wrist(points, truth)
            away.append(1e3 * (about_wrist(points, found.params) - true).norm(dim=-1))
            levels.append(truth_levels(torch.stack([about_wrist(points, params) for params in drawn]), true))
    return torch.cat(away), torch.cat(levels)


def about_wrist(points: PointBody, params: BodyParams) -> torch.Tensor:
    """(B, 20, 3) metres, of a hand's points."""
    posed = points.pose(params).points
    return posed[:, 1:] - posed[:, :1]


def score_views(options: argparse.Namespace) -> None:
    """Measure and print what several cameras say of hands."""
    with tempfile.TemporaryDirectory() as folder:
        parts = [in_views(case, options) for case in cases(options, Path(folder))]
    away, levels = (torch.cat(column) for column in zip(*parts, strict=True))
    print("coverage of the points of hands, stated and measured:")
    print("  ".join(f"{100 * q:.0f} %: {100 * m:.1f} %" for q, m in zip(LEVELS, coverage(levels), strict=True)))
    finish(
        benchmark="body_with_hands_in_views",
        people=len(away) // 2,
        cameras=options.cameras,
        hand_mm_about_the_wrist=float(away.mean()),
        hands_over_10_mm=float((away.mean(1) > 10).double().mean()),
        coverage_gap=coverage_gap(levels),
    )


def body_error(result: hmrfit.FitResult, people: People) -> torch.Tensor:
    """(B,) millimetres."""
    truth = [load_body("free_body_h").skeleton.index(name) for name in COMMON14]
    own = [result.joint_names.index(name) for name in COMMON14]
    return 1e3 * pa_mpjpe(torch.as_tensor(result.joints)[:, own], people.joints[:, truth])


def milliseconds(case: Case, *each: Sequence[int]) -> list[float]:
    """The median of one person's fit by each of these keypoints, in turn."""
    times: list[list[float]] = [[] for _ in each]
    for i in range(min(SINGLE, len(case.people.joints))):
        for places, taken in zip(each, times, strict=True):
            begun = time.process_time()
            fitted(case, slice(i, i + 1), places)
            taken.append(1e3 * (time.process_time() - begun))
    return [float(np.median(taken)) for taken in times]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--poses", type=Path, help="npz with xyz (N, 21, 3), side, source; see priors/free_hand.md")
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--noise", type=float, default=0.01)
    parser.add_argument("--hand-noise", type=float, default=0.02)
    parser.add_argument("--pixels", type=float)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--cameras", type=int, help="calibrated, all around; none: one of each person's own")
    options = parser.parse_args(arguments)
    threads(1)
    if options.cameras:
        return score_views(options)
    before, after, hands, levels, body = [], [], [], {"left": [], "right": []}, load_body("free_body_h")
    with tempfile.TemporaryDirectory() as folder:
        every_case = cases(options, Path(folder))
        names = every_case[0].people.keypoints.names
        every, of_body = range(len(names)), body_places(names)
        for case in every_case:
            people, everyone = case.people, slice(0, len(case.people.joints))
            without, whole = (fitted(case, everyone, places) for places in (of_body, every))
            before.append(body_error(without, people))
            after.append(body_error(whole, people))
            drawn = whole.sample(DRAWS, seed=1)
            for side, found in levels.items():
                points = body.points(hand_set("hand21", side).names)
                truth = points.pose(people.params).points
                hands.append(1e3 * pa_mpjpe(points.pose(whole.params).points, truth))
                about = torch.stack([p[:, 1:] - p[:, :1] for p in (points.pose(params).points for params in drawn)])
                found.append(truth_levels(about, truth[:, 1:] - truth[:, :1]))
        ms_single, ms_without = milliseconds(every_case[0], every, of_body)
    errors, first, last = torch.cat(hands), torch.cat(before), torch.cat(after)
    sides = {side: torch.cat(found) for side, found in levels.items()}
    pooled = torch.cat(list(sides.values()))
    print("coverage of the points of hands, stated and measured:")
    print("  ".join(f"{100 * q:.0f} %: {100 * m:.1f} %" for q, m in zip(LEVELS, coverage(pooled), strict=True)))
    finish(
        benchmark="body_with_hands",
        people=len(last),
        body_pa_mpjpe_mm=float(last.mean()),
        body_pa_mpjpe_mm_without_hands=float(first.mean()),
        worse_by_5_mm=float((last > first + 5).double().mean()),
        better_by_5_mm=float((last < first - 5).double().mean()),
        hand_pa_mpjpe_mm=float(errors.mean()),
        hand_pa_mpjpe_mm_median=float(errors.median()),
        hands_over_20_mm=float((errors > 20).double().mean()),
        coverage_gap=coverage_gap(pooled),
        left_coverage_gap=coverage_gap(sides["left"]),
        right_coverage_gap=coverage_gap(sides["right"]),
        ms_single=ms_single,
        ms_single_without_hands=ms_without,
    )


if __name__ == "__main__":
    main()
