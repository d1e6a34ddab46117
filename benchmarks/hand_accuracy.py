"""How well hands are fitted whose poses come from a source that no prior has seen.

    python benchmarks/hand_accuracy.py --poses fingers21.npz --networks out/left_out [--hands 2000] [--noise 0.02]
    python benchmarks/hand_accuracy.py --poses fingers21.npz --networks out/left_out --calibrate

Synthetic hands: the free hand in poses of one source, with random betas, seen from anywhere at 0.3 to 0.8 metres by a
known camera; 21 keypoints with noise of a fraction of the box, a tenth missing. The pose prior, the hulls of the
joints' angles and the network of the initial estimate are of the other sources, and every source is left out in turn
(mesh2motion's two rigs together). `priors/scripts/train_hand_hmr.py --without SOURCE` makes the networks; without
--networks, hands are fitted from a library.
PA-MPJPE is over 21 points, after a similarity without reflections (`hmrfit.ops.procrustes`).

A wrong flip is a palm whose normal is more than 60 degrees from the true one. Coverage is of the regions that hold
50, 68, 90 and 95 % of the posterior of each of the 20 points about the wrist (`hmrfit.evaluate.posterior_scores`); the
gap is the worst, over points that are seen and that are not. Times are of the processor, on one thread.

The twin is scipy's least_squares on the same energy from the same start, its derivatives by differences.

--calibrate searches the factors and ν of `hmrfit.fitting.hand_schedule` on other hands of the same kind.
"""

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from _common import ROOT, finish, skip, threads
from scipy.optimize import least_squares
from scipy.stats import f as fisher
from torch import Tensor

from hmrfit.camera import Camera
from hmrfit.evaluate.posterior_scores import LEVELS, coverage, truth_levels
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.parameters import Layout, Linearization, Observation, State
from hmrfit.fitting.starts import Given
from hmrfit.fitting.uncertainty import (
    Answers,
    KeypointNoise,
    Weight,
    cholesky_of_any,
    hessian,
    joint_rows,
    residual_noise,
    sample_steps,
)
from hmrfit.hand import fit_hand, hand_pipeline
from hmrfit.hand_keypoints import hand_set
from hmrfit.ops.procrustes import similarity_align
from hmrfit.pipeline import Pipeline
from hmrfit.types import BodyParams, Keypoints

sys.path.insert(0, str(ROOT / "priors" / "scripts"))

from fit_hand_limits import fit as fit_limits
from fit_hand_pose_gmm import flat_hand, pose_gaussian, write_prior
from free_hand_pose import read_poses

SOURCES = {"handyjs": ("handyjs",), "godot_xr": ("godot_xr",), "mesh2motion": ("mesh2motion_base", "mesh2motion_addon")}
"""What is left out together."""

SIZE, FOCAL, DISTANCE = (640, 480), 600.0, (0.3, 0.8)
NAMES = hand_set("hand21", "right").names
FLIPPED = 60.0
"""Degrees between palms."""

ABLATIONS = {
    "fit": {},
    "without BMC": {"biomechanics": 0.0},
    "without prior": {"gmm": 0.0},
    "without capsules": {"fingers_apart": 0.0},
}
"""Weights that are changed."""


@dataclass(frozen=True)
class Hands:
    """Synthetic right hands."""

    keypoints: Keypoints
    camera: Camera
    points: Tensor  # (B, 21, 3) metres


def random_rotations(count: int, generator: torch.Generator) -> Tensor:
    """Uniform, (count, 3, 3)."""
    Q, R = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator, dtype=torch.float64))
    Q = Q * R.diagonal(dim1=1, dim2=2).sign()[:, None]
    return Q * torch.linalg.det(Q)[:, None, None]


def make_hands(pipeline: Pipeline, theta: Tensor, noise: float, generator: torch.Generator) -> Hands:
    """Hands in the poses theta (B, 45)."""
    B, body = len(theta), pipeline.fitter.point_body(NAMES)
    betas = torch.randn(B, body.joint_shapes.shape[-1], generator=generator, dtype=torch.float64)
    at = torch.rand(B, 3, generator=generator, dtype=torch.float64)
    depth = DISTANCE[0] + at[:, 2] * (DISTANCE[1] - DISTANCE[0])
    sides = (torch.tensor(SIZE) / 2 - 100).double()  # the wrist is in the middle of the picture
    place = torch.cat([(2 * at[:, :2] - 1) * sides * depth[:, None] / FOCAL, depth[:, None]], 1)
    zero = torch.zeros(B, 3, dtype=torch.float64)
    params = BodyParams.from_rotvecs(zero, theta, betas, place)
    params = replace(params, global_orient=random_rotations(B, generator))
    points = body.pose(params).points
    camera = Camera.from_size(*SIZE, focal=FOCAL, count=B)
    xy = camera.project(points)
    box = (xy.amax(1) - xy.amin(1)).amax(1)
    seen = (torch.rand(B, 21, generator=generator) > 0.1).double()
    xy = xy + noise * box[:, None, None] * torch.randn(xy.shape, generator=generator, dtype=torch.float64)
    return Hands(Keypoints(xy, seen, NAMES), camera, points)


def left_out(poses: Path, folder: Path, networks: Path | None = None) -> Iterator[tuple[str, Tensor, dict[str, str]]]:
    """(group, poses (N, 45) of it, settings with the priors and the network of the others), of every group of
    sources."""
    with np.load(poses) as data:
        rows = {name: data[name] for name in ("xyz", "side", "source")}
    vectors, source = read_poses(str(poses), flat_hand())
    for group, names in SOURCES.items():
        others = folder / f"{group}.npz"
        rest = ~np.isin(rows["source"], names)
        np.savez(others, **{name: values[rest] for name, values in rows.items()})
        prior, limits, own = folder / f"prior_{group}.npz", folder / f"limits_{group}.npz", np.isin(source, names)
        write_prior(prior, *pose_gaussian(vectors[~own], source[~own]))
        np.savez(limits, **fit_limits(others))
        network = "" if networks is None else str(networks / f"hand_hmr_{group}.npz")
        settings = {"PRIORS.GMM": str(prior), "PRIORS.HAND_LIMITS": str(limits), "PRIORS.INITIAL_ESTIMATE": network}
        yield group, torch.tensor(vectors[own].reshape(-1, 45)), settings


def palm_normals(points: Tensor) -> Tensor:
    """(B, 3) of hand21's points: out of the plane of wrist, index and little finger."""
    n = torch.linalg.cross(points[:, 5] - points[:, 0], points[:, 17] - points[:, 0])
    return n / n.norm(dim=1, keepdim=True)


def pa_mpjpe(points: Tensor, truth: Tensor) -> Tensor:
    """(B,) millimetres."""
    return 1e3 * (similarity_align(points, truth) - truth).norm(dim=-1).mean(1)


def flipped(points: Tensor, truth: Tensor) -> Tensor:
    """(B,) bool."""
    return (palm_normals(points) * palm_normals(truth)).sum(1) < np.cos(np.deg2rad(FLIPPED))


def with_weights(pipeline: Pipeline, weights: dict[str, float]) -> Fitter:
    """The pipeline's fitter with some weights changed."""
    schedule = pipeline.fitter.schedule.with_stages(lambda stage: replace(stage, weights={**stage.weights, **weights}))
    return pipeline.fitter.with_schedule(schedule)


def answers_of(fitter: Fitter, fit: Fit) -> Answers:
    """The fit and what else the picture allows."""
    noise = KeypointNoise.of(["exact"] * len(fit), [None] * len(fit), len(NAMES))
    return fitter.answers(replace(fit, keypoint_noise=noise))


def levels_of(pipeline: Pipeline, fit: Fit, answers: Answers, truth: Tensor, draws: int = 200) -> Tensor:
    """(B, 20) levels of the true points about the wrist in the posterior."""
    body = pipeline.fitter.point_body(NAMES)
    assert answers.posterior is not None
    which, steps = sample_steps(answers.posterior, draws, np.random.default_rng(0))
    everyone, layout = BodyParams.cat([s.params for s in answers.hypotheses]), Layout.everything(body)
    rows, drawn = torch.arange(len(fit)), []
    for hypothesis, step in zip(which, steps, strict=True):
        state = State(everyone[hypothesis * len(fit) + rows], fit.state.camera).retract(step, body.parents, layout)
        points = body.pose(state.params).points
        drawn.append(points[:, 1:] - points[:, :1])
    return truth_levels(torch.stack(drawn), truth[:, 1:] - truth[:, :1])


def deepest(pipeline: Pipeline, fit: Fit) -> Tensor:
    """(B,) millimetres that some finger is in another one or in the palm; flesh gives way by some of it."""
    body, term = pipeline.fitter.point_body(NAMES), pipeline.fitter.terms["fingers_apart"]
    return 1e3 * term.residuals(Linearization(body, fit.state, fit.observation)).amax(1)


def beside(pipeline: Pipeline, hands: Hands) -> Mapping[str, Tensor]:
    """Points (B, 21, 3) of the network's answer alone, and of the fit from a library."""
    fitter, body = pipeline.fitter, pipeline.fitter.point_body(NAMES)
    start = fitter.begin(Given(hands.keypoints, hands.camera)).state
    library = fitter.with_schedule(pipeline.schedules.views).fit(hands.keypoints, hands.camera).state
    return {"estimate": body.pose(start.params).points, "from a library": body.pose(library.params).points}


def milliseconds(pipeline: Pipeline, hands: Hands, config: dict[str, str]) -> tuple[float, float]:
    """(a hand in a batch of 256, a hand alone through `fit_hand`)."""
    batch, few = slice(0, min(256, len(hands.points))), 20
    each = []
    for _ in range(3):
        begin = time.process_time()
        pipeline.fitter.fit(hands.keypoints[batch], hands.camera[batch])
        each.append(1e3 * (time.process_time() - begin) / (batch.stop - batch.start))
    rows = torch.cat([hands.keypoints.xy, hands.keypoints.confidence[..., None]], -1)[:few].numpy()
    alone = []
    for points in rows:
        begin = time.process_time()
        fit_hand(None, points, focal=FOCAL, image_size=SIZE, config=config)
        alone.append(1e3 * (time.process_time() - begin))
    return min(each), float(np.median(alone))


def twin(pipeline: Pipeline, hands: Hands, count: int = 5) -> tuple[float, float]:
    """(milliseconds a hand of scipy's least_squares, its energy over the fit's), medians over some hands."""
    fitter, body = pipeline.fitter, pipeline.fitter.point_body(NAMES)
    rows, layout, weights = slice(0, count), Layout.everything(body), fitter.schedule.stages[-1].weights
    begun = fitter.begin(Given(hands.keypoints[rows], hands.camera[rows]))
    ours, times, ratios = fitter.fit(hands.keypoints[rows], hands.camera[rows]), [], []
    for i in range(count):
        person = begun.person == i
        state, seen = begun.state[person][:1], begun.observation[i : i + 1]

        def residuals(step: np.ndarray, state: State = state, seen: Observation = seen) -> np.ndarray:
            moved = state.retract(torch.from_numpy(step)[None], body.parents, layout)
            e = Linearization(body, moved, seen)
            parts = [w**0.5 * fitter.terms[name].residuals(e)[0] for name, w in weights.items() if w]
            return torch.cat(parts).numpy()

        begin = time.process_time()
        found = least_squares(residuals, np.zeros(layout.columns), ftol=1e-3)
        times.append(1e3 * (time.process_time() - begin))
        ratios.append(found.cost / float(ours.cost[i]))
    return float(np.median(times)), float(np.median(ratios))


def calibrate(cases: Sequence[tuple[Pipeline, Hands]]) -> dict[str, float]:
    """The factors of the keypoints' and of the priors' weights, and ν, of which the worst gap is least; of the best
    hypothesis alone, over points that are seen and that are not."""
    parts = []
    for pipeline, hands in cases:
        fitter, body = pipeline.fitter, pipeline.fitter.point_body(NAMES)
        fit = fitter.fit(hands.keypoints, hands.camera)
        seen = replace(fit.observation, noise=residual_noise(body, fit.state, fit.observation))
        own = fit.calibration
        assert own is not None
        weights = {name: Weight(w) for name, w in fit.stage.weights.items() if name in own.weights}
        about = {name: w for name, w in weights.items() if name == "keypoints"}
        others = {name: w for name, w in weights.items() if name not in about}
        each = [hessian(body, fitter.terms, group, fit.state, seen) for group in (about, others)]
        found, truth = body.pose(fit.state.params).points, hands.points
        away = ((truth - truth[:, :1]) - (found - found[:, :1]))[:, 1:]
        rows = joint_rows(body, fit.state.params)[:, 1:]
        parts.append((*each, rows, away, hands.keypoints.confidence[:, 1:] > 0))
    H_keypoints, H_priors, rows, away, seen = (torch.cat(column) for column in zip(*parts, strict=True))
    best = {"gap": np.inf}
    for a, b in itertools.product(np.geomspace(0.1, 3.0, 12), np.geomspace(0.1, 3.0, 12)):
        factor = cholesky_of_any(a * H_keypoints + b * H_priors)
        half = torch.linalg.solve_triangular(factor, rows.flatten(1, 2).mT, upper=False).unflatten(2, (-1, 3))
        scale = torch.einsum("bpki,bpkj->bkij", half, half) + 1e-9 * torch.eye(3)
        square = ((away * torch.linalg.solve(scale, away[..., None]).squeeze(-1)).sum(-1) / 3).numpy()
        for nu in (4.0, 6.0, 8.0, 11.0, 15.0, 25.0):
            levels = torch.as_tensor(fisher.cdf(square, 3, nu))
            gap = max(_gap(levels[seen == kind]) for kind in (True, False))
            if gap < best["gap"]:
                best = {"gap": gap, "keypoints": float(a), "priors": float(b), "nu": nu}
    return best


def _gap(levels: Tensor) -> float:
    """Of measured and stated coverage, the worst."""
    return max(abs(m - q) for m, q in zip(coverage(levels), LEVELS, strict=True))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--poses", type=Path, help="npz with xyz (N, 21, 3), side, source; see priors/free_hand.md")
    parser.add_argument("--networks", type=Path, help="folder of hand_hmr_SOURCE.npz; none: fits from a library")
    parser.add_argument("--hands", type=int, default=2000)
    parser.add_argument("--calibrate", action="store_true", help="search the calibration on other hands instead")
    parser.add_argument("--noise", type=float, default=0.02, help="standard deviation, a fraction of the box")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args(arguments)
    if options.poses is None:
        skip("needs a file of finger poses: --poses FILE")
    threads(options.threads)
    if options.calibrate:
        with tempfile.TemporaryDirectory() as folder:
            cases, generator = [], torch.Generator().manual_seed(options.seed + 1000)
            for _, theta, settings in left_out(options.poses, Path(folder), options.networks):
                pipeline, count = hand_pipeline("right", settings), options.hands // len(SOURCES)
                chosen = theta[torch.randint(len(theta), (count,), generator=generator)]
                cases.append((pipeline, make_hands(pipeline, chosen, options.noise, generator)))
            return finish(benchmark="hand_calibration", **calibrate(cases))
    others = ("nearer hypothesis", *(("estimate", "from a library") if options.networks else ()))
    errors: dict[str, list[Tensor]] = {name: [] for name in (*ABLATIONS, *others)}
    wrong: dict[str, list[Tensor]] = {name: [] for name in errors}
    depths: dict[str, list[Tensor]] = {name: [] for name in ABLATIONS}
    levels, seen, times, twins = [], [], (np.nan, np.nan), (np.nan, np.nan)
    with tempfile.TemporaryDirectory() as folder:
        for group, theta, settings in left_out(options.poses, Path(folder), options.networks):
            pipeline, generator = hand_pipeline("right", settings), torch.Generator().manual_seed(options.seed)
            count = options.hands // len(SOURCES)
            chosen = theta[torch.randint(len(theta), (count,), generator=generator)]
            hands = make_hands(pipeline, chosen, options.noise, generator)
            truth, body = hands.points, pipeline.fitter.point_body(NAMES)
            for name, weights in ABLATIONS.items():
                fit = with_weights(pipeline, weights).fit(hands.keypoints, hands.camera)
                points = body.pose(fit.state.params).points
                errors[name].append(pa_mpjpe(points, truth))
                wrong[name].append(flipped(points, truth))
                depths[name].append(deepest(pipeline, fit))
                if name == "fit":
                    answers = answers_of(pipeline.fitter, fit)
                    all_points = [body.pose(s.params).points for s in answers.hypotheses]
                    each = torch.stack([pa_mpjpe(p, truth) for p in all_points])
                    errors["nearer hypothesis"].append(each.amin(0))
                    wrong["nearer hypothesis"].append(torch.stack([flipped(p, truth) for p in all_points]).all(0))
                    levels.append(levels_of(pipeline, fit, answers, truth))
                    seen.append(hands.keypoints.confidence[:, 1:] > 0)
            for name, found in beside(pipeline, hands).items() if options.networks else ():
                errors[name].append(pa_mpjpe(found, truth))
                wrong[name].append(flipped(found, truth))
            print(
                f"{group:12s} {len(theta):4d} poses  " + "   ".join(f"{n} {errors[n][-1].mean():.2f}" for n in errors)
            )
            if group == "handyjs":
                times, twins = milliseconds(pipeline, hands, settings), twin(pipeline, hands)
    print(f"\n{'':20s}{'PA-MPJPE, mm':>14s}{'median':>9s}{'wrong flips':>14s}")
    for name, values in errors.items():
        one, bad = torch.cat(values), torch.cat(wrong[name]).double().mean()
        print(f"{name:20s}{one.mean():14.2f}{one.median():9.2f}{100 * bad:12.1f} %")
    print("\nmore than 3 mm in another finger or the palm:")
    deep = {name: float((torch.cat(each) > 3).double().mean()) for name, each in depths.items()}
    print("   ".join(f"{name} {100 * share:.1f} %" for name, share in deep.items()))
    found, shown = torch.cat(levels), torch.cat(seen)
    gap = 0.0
    print(f"\n{'coverage':20s}" + "".join(f"{100 * q:8.0f} %" for q in LEVELS))
    for name, kind in (("seen", True), ("not seen", False)):
        measured = coverage(found[shown == kind])
        gap = max(gap, _gap(found[shown == kind]))
        print(f"{name:20s}" + "".join(f"{100 * m:8.1f} %" for m in measured))
    print()
    finish(
        benchmark="hand_accuracy",
        hands=options.hands,
        noise=options.noise,
        pa_mpjpe_mm=float(torch.cat(errors["fit"]).mean()),
        pa_mpjpe_mm_without_bmc=float(torch.cat(errors["without BMC"]).mean()),
        pa_mpjpe_mm_without_prior=float(torch.cat(errors["without prior"]).mean()),
        pa_mpjpe_mm_without_capsules=float(torch.cat(errors["without capsules"]).mean()),
        in_each_other=deep["fit"],
        in_each_other_without_capsules=deep["without capsules"],
        wrong_flips=float(torch.cat(wrong["fit"]).double().mean()),
        worst_coverage_gap=gap,
        ms_batch=times[0],
        ms_single=times[1],
        ms_twin=twins[0],
        twin_energy=twins[1],
        times_the_twin=twins[0] / times[0],
    )


if __name__ == "__main__":
    main()
