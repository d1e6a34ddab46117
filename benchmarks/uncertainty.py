"""Is the posterior calibrated? Coverage of each joint's region of highest density, on held-out people.

    python benchmarks/uncertainty.py [--people 1000] [--config fit_spin] [--source detector] [--picture F] [--calibrate]

The posterior of a joint's position relative to the pelvis, in the camera's axes, is a mixture of t distributions, one a
hypothesis (`hmrfit/fitting/uncertainty.py`). The level of the truth is the mass of all that is denser than it; were the
posterior exact, a fraction q of the truths would have a level below q.

A cell is a noise level that the fit does not know, or half of the keypoints hidden, and the joints whose own keypoint
is seen or those whose is not. The gap is the worst over all cells and the levels 50, 68, 90 and 95 %.

These people's keypoints are exact: noisy, but the body's own points. --source says what they are taken for instead;
people as real ones are, and those themselves, are in `hard.py` and `real.py`.

--calibrate searches the weights and ν of `MEASURED` on validation motion instead, or with --config of a preset its
FIT.CALIBRATION.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import finish, motion_argument, threads, world_poses
from scipy.stats import f as fisher
from torch import Tensor

from hmrfit.body.skeleton import SMPL
from hmrfit.build import build_fitter
from hmrfit.camera import Camera
from hmrfit.config import load_config
from hmrfit.evaluate.posterior_scores import LEVELS, coverage
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.terms.smplify_spin import PixelReprojection
from hmrfit.fitting.uncertainty import (
    GAUSSIAN,
    KeypointNoise,
    Weight,
    hessian,
    joint_rows,
    joint_scale,
    residual_noise,
)
from hmrfit.keypoints import COCO17, SOURCES, KeypointsFrom
from hmrfit.synthetic.people import Corruption, People, Views, make_people

CHUNK = 250
SETTINGS = {
    "1 % noise": Corruption(0.01, 0.1),
    "2 % noise": Corruption(0.02, 0.1),
    "3 % noise": Corruption(0.03, 0.1),
    "half hidden": Corruption(0.01, 0.1, occluder=1.0),
}
OWN = {
    SMPL.index(joint): COCO17.index(name) for joint in SMPL.names for name in (joint, f"{joint}_coco") if name in COCO17
}
"""Joint -> the keypoint of the set that stands for it: shoulders, elbows, wrists, hips, knees, ankles."""

FREEDOMS = (3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 12.0, 15.0)
"""The ν that are tried. With fewer the regions are as right, but the variance, `joint_std`, is all tail."""

DRAWS = 500
"""Of the mixture, where there is more than one hypothesis: a level is right to 2 points, their mean far better."""


def fitted(fitter: Fitter, people: People) -> Iterator[tuple[Fit, People]]:
    """Fits of `CHUNK` people at a time."""
    camera = Camera.from_size(*Views().size, count=len(people.camera))
    for i in range(0, len(camera), CHUNK):
        part = slice(i, i + CHUNK)
        yield fitter.fit(people.keypoints[part], camera[part]), people[part]


def relative(points: Tensor) -> Tensor:
    """The joints of `OWN` about the pelvis (B, K, 3)."""
    return (points - points[:, :1])[:, list(OWN)]


def components(fitter: Fitter, fit: Fit, source: KeypointsFrom) -> tuple[Tensor, Tensor, Tensor, float]:
    """Means (H, B, K, 3), scale matrices (H, B, K, 3, 3), probabilities (B, H) and ν of the mixture."""
    noise = KeypointNoise.of([source] * len(fit), [None] * len(fit), len(fit.observation.keypoints.names))
    answers, body = fitter.answers(replace(fit, keypoint_noise=noise)), fitter.body.points(SMPL.names)
    posterior, hypotheses = answers.posterior, answers.hypotheses
    assert posterior is not None
    scales = [joint_scale(body, s.params, posterior.covariance[:, h])[:, list(OWN)] for h, s in enumerate(hypotheses)]
    means = [relative(body.pose(s.params).points) for s in hypotheses]
    return torch.stack(means), torch.stack(scales), posterior.probability, posterior.nu


def log_density(x: Tensor, means: Tensor, factors: Tensor, probability: Tensor, nu: float) -> Tensor:
    """Of the mixture at x (..., B, K, 3), up to one constant. factors: lower Cholesky (H, B, K, 3, 3)."""
    parts = []
    for mean, factor, p in zip(means, factors, probability.T, strict=True):
        white = torch.linalg.solve_triangular(factor, (x - mean)[..., None], upper=False).squeeze(-1)
        width = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        density = -width - 0.5 * (nu + 3) * torch.log1p(white.square().sum(-1) / nu)
        parts.append(density + p.clamp_min(1e-300).log()[:, None])
    return torch.logsumexp(torch.stack(parts), 0)


def truth_levels(parts: tuple[Tensor, Tensor, Tensor, float], people: People, rng: np.random.Generator) -> Tensor:
    """(B, K) the mass of all that is denser than the truth. parts: `components`."""
    means, scales, probability, nu = parts
    truth = relative(people.joints)
    factors = torch.linalg.cholesky(scales + 1e-10 * torch.eye(3))
    white = torch.linalg.solve_triangular(factors[0], (truth - means[0])[..., None], upper=False)
    levels = torch.as_tensor(fisher.cdf(white.square().sum((-2, -1)).numpy() / 3, 3, nu))
    several = (probability[:, 0] < 0.995).nonzero()[:, 0]
    if len(several):
        own = (means[:, several], factors[:, several], probability[several])
        levels[several] = _drawn_levels(truth[several], *own, nu, rng)
    return levels


def _drawn_levels(
    truth: Tensor, means: Tensor, factors: Tensor, probability: Tensor, nu: float, rng: np.random.Generator
) -> Tensor:
    """The same by drawing from the mixture, for people who have several hypotheses."""
    B, K = truth.shape[:2]
    edges = probability.cumsum(1).numpy()
    which = torch.as_tensor((rng.random((DRAWS, B, 1)) > edges[None, :, :-1]).sum(-1))
    normal = torch.as_tensor(rng.standard_normal((DRAWS, B, K, 3, 1)))
    heavy = torch.as_tensor(nu / rng.chisquare(nu, (DRAWS, B, K, 1))).sqrt()
    person = torch.arange(B)
    drawn = means[which, person] + (factors[which, person] @ normal).squeeze(-1) * heavy
    there = log_density(truth, means, factors, probability, nu)
    return (log_density(drawn, means, factors, probability, nu) > there).double().mean(0)


def own_seen(people: People) -> Tensor:
    """(B, K) is the joint's own keypoint seen?"""
    return people.keypoints.confidence[:, list(OWN.values())] > 0


def gaps(levels: Tensor) -> list[float]:
    """Measured minus stated coverage at each of LEVELS."""
    return [measured - q for measured, q in zip(coverage(levels), LEVELS, strict=True)]


def by_residuals(fitter: Fitter) -> bool:
    """Whether the energy has no noise of its own, so that the calibration goes by the residuals of the fit."""
    return "keypoints" not in fitter.schedule.stages[-1].weights


def groups(fitter: Fitter) -> dict[str, dict[str, Weight]]:
    """The terms whose weights are searched together: those of the keypoints, and the others."""
    if not by_residuals(fitter):
        return {"anchor": {"anchor": Weight(1.0)}, "keypoints": {"keypoints": Weight(1.0)}}
    weights = {name: Weight(w) for name, w in fitter.schedule.stages[-1].weights.items() if w}
    about = {name for name in weights if isinstance(fitter.terms[name], PixelReprojection)}
    return {"others": {n: w for n, w in weights.items() if n not in about}, "keypoints": {n: weights[n] for n in about}}


def calibrate(fitter: Fitter, poses: Tensor, tries: int) -> dict[str, Any]:
    """Searches the six numbers of the two weights, and ν, by random steps about the best so far, and prints the better.

    Of the best hypothesis alone. The two Hessians are kept, so that no covariance is computed twice.
    """
    body, points, searched = fitter.body.points(SMPL.names), fitter.point_body(COCO17), groups(fitter)
    staged, cases = by_residuals(fitter), []
    for title, how in SETTINGS.items():
        people = make_people(fitter.body, poses, COCO17, torch.Generator().manual_seed(7), corruption=how)
        for fit, part in fitted(fitter, people):
            observation = fit.observation
            if staged:
                observation = replace(observation, noise=residual_noise(points, fit.state, observation))
            parts = [hessian(points, fitter.terms, own, fit.state, observation).float() for own in searched.values()]
            rows = joint_rows(body, fit.state.params)[:, list(OWN)].float()
            away = (relative(part.joints) - relative(body.pose(fit.state.params).points)).float()
            cases.append((title, observation, parts, rows, away, own_seen(part)))
    rng, worst, found = np.random.default_rng(0), np.inf, {}
    best = np.array([np.log(0.03), 0, 0] * 2 if staged else [np.log(0.8), 0, 0, np.log(0.4), 0, 0])
    for _ in range(tries):
        length = rng.choice([1.0, 0.3]) * np.isfinite(worst)
        trial = best + length * rng.normal(size=6) * (0.1, 0.3, 0.1, 0.1, 0.5, 0.15) * (2 if staged else 1)
        numbers = [float(np.exp(trial[i])) if i in (0, 3) else float(trial[i]) for i in range(6)]
        weights = {name: Weight(*numbers[i : i + 3]) for name, i in zip(searched, (0, 3), strict=True)}
        cells = _squares(cases, weights)
        score, gap, nu = min(_score(cells, nu) for nu in FREEDOMS)
        if score < worst:
            best, worst, found = trial, score, {"weights": {k: list(astuple(w)) for k, w in weights.items()}}
            found |= {"worst_coverage_gap": gap, "nu": nu}
            print(f"{weights}  nu {nu:.1f}   worst gap {100 * gap:.2f} points", flush=True)
    return found


def _score(cells: list[Tensor], nu: float) -> tuple[float, float, float]:
    """(the objective, the worst gap, ν)."""
    found = [gaps(torch.as_tensor(fisher.cdf(cell.double().numpy(), 3, nu))) for cell in cells]
    worst = float(np.abs(found).max())
    return worst + float(np.square(found).mean() ** 0.5), worst, nu


def _squares(cases: list[tuple], weights: dict[str, Weight]) -> list[Tensor]:
    """A third of every truth's squared Mahalanobis distance, cell by cell."""
    cells: dict[tuple[str, bool], list[Tensor]] = {}
    for title, observation, parts, rows, away, seen in cases:
        scaled = [w.of(observation)[:, None, None].float() * H for w, H in zip(weights.values(), parts, strict=True)]
        H = sum(scaled)
        H = H + torch.diag_embed(1e-7 * H.diagonal(dim1=1, dim2=2).amax(-1)[:, None].expand(H.shape[:2]))
        factor = torch.linalg.cholesky(H)
        half = torch.linalg.solve_triangular(factor, rows.flatten(1, 2).mT, upper=False).unflatten(2, (-1, 3))
        scale = torch.einsum("bpki,bpkj->bkij", half, half) + 1e-9 * torch.eye(3)
        square = (away * torch.linalg.solve(scale, away[..., None]).squeeze(-1)).sum(-1) / 3
        for kind in (True, False):
            cells.setdefault((title, kind), []).append(square[seen == kind])
    return [torch.cat(parts) for parts in cells.values()]


def draw(curves: dict[str, Tensor], path: str) -> None:
    """The reliability picture: measured over stated coverage, a line for each cell."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 5), dpi=120)
    stated = torch.linspace(0, 1, 101)
    for name, levels in curves.items():
        measured = coverage(levels, stated.tolist())
        axes.plot(stated, measured, label=name, linewidth=1, linestyle="--" if "not" in name else "-")
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.5)
    axes.set(xlabel="stated", ylabel="measured", title="Coverage of the joints' regions of highest density")
    axes.legend(fontsize=7)
    axes.set_aspect("equal")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    motion_argument(parser)
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--picture", help="a PNG to draw the reliability into (needs matplotlib)")
    parser.add_argument("--config", help="settings: a YAML file, or the name of a shipped one")
    parser.add_argument("--source", choices=SOURCES, default="exact", help="what the keypoints are taken for")
    parser.add_argument("--calibrate", action="store_true", help="search weights and ν on validation motion instead")
    parser.add_argument("--tries", type=int, default=150, help="of that search")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args(arguments)
    threads(options.threads)
    part = "validation" if options.calibrate else "test"
    poses, origin = world_poses(options.motion, options.cache, options.people, options.seed, part)
    fitter, rng = build_fitter(load_config(options.config)), np.random.default_rng(options.seed)
    if options.calibrate:
        return finish(benchmark="uncertainty_calibration", **calibrate(fitter, poses, options.tries))
    print(f"{options.people} people posed by {origin}; joints: {', '.join(SMPL.names[j] for j in OWN)}\n")
    print(f"{'':28s}" + "".join(f"{100 * q:7.0f} %" for q in LEVELS) + "   joints   error, mm   stated, mm")
    worst, curves, smallest = 0.0, {}, options.people * len(OWN)
    for title, how in SETTINGS.items():
        generator = torch.Generator().manual_seed(options.seed)
        people = make_people(fitter.body, poses, COCO17, generator, corruption=how)
        rows = [
            _levels_and_errors(components(fitter, fit, options.source), own, rng) for fit, own in fitted(fitter, people)
        ]
        levels, seen, error, stated = (torch.cat(column) for column in zip(*rows, strict=True))
        for kind, name in ((True, "seen"), (False, "not seen")):
            cell = levels[seen == kind]
            curves[f"{title}, {name}"] = cell
            worst, smallest = max(worst, *(abs(g) for g in gaps(cell))), min(smallest, len(cell))
            coverage = "".join(f"{100 * (g + q):7.1f} %" for g, q in zip(gaps(cell), LEVELS, strict=True))
            rms = [1e3 * x[seen == kind].square().mean().sqrt().item() for x in (error, stated)]
            print(f"{title + ', ' + name:28s}{coverage}{len(cell):9d}{rms[0]:12.1f}{rms[1]:13.1f}")
    if options.picture:
        draw(curves, options.picture)
    print()
    finish(
        benchmark="uncertainty",
        people=options.people,
        config=options.config or "default",
        source=options.source,
        motion=origin,
        worst_coverage_gap=worst,
        smallest_cell=smallest,
        cells=2 * len(SETTINGS),
        nu=fitter.schedule.calibration.nu if fitter.schedule.calibration else GAUSSIAN,
    )


def _levels_and_errors(
    parts: tuple[Tensor, Tensor, Tensor, float], people: People, rng: np.random.Generator
) -> tuple[Tensor, ...]:
    """Levels, seen, error and stated standard deviation (B, K) in metres. parts: `components`."""
    means, scales, probability, nu = parts
    error = (relative(people.joints) - means[0]).norm(dim=-1)
    away = (means - means[:1]).square().sum(-1)
    variance = nu / (nu - 2) * scales.diagonal(dim1=-2, dim2=-1).sum(-1) + away
    stated = (probability.T[..., None] * variance).sum(0).sqrt()
    return truth_levels(parts, people, rng), own_seen(people), error, stated


if __name__ == "__main__":
    main()
