"""What `real.py` and `hard.py` measure of people who were fitted: the same figures, from the same results.

A person's 3D is scored over 12 points: shoulders, elbows, wrists, hips, knees, ankles, as their labels define them.

    pa_mpjpe_mm         mean distance after a similarity alignment of each body
    mpjpe_mm            after moving the middles of the hips together
    reprojection_p90    of the mean distance to the keypoints given, % of their box, the quantile over people ...
    reprojection_worst  ... and the worst
    coverage_gap        worst of 50, 68, 90 and 95 %, measured minus stated: regions of the ten points beside the hips,
                        relative to the middle of the hips, by the posterior samples' own Mahalanobis distances
                        (`hmrfit/evaluate/posterior_scores.py`)
    rejected            people whose returned body is the start
    best_of_offered_mm  PA-MPJPE of the best of the answers that are offered, at most four of them
    rank_correlation    Spearman's, of each person's stated error (mean distance of posterior samples to the answer) and
                        actual one (`mpjpe_mm`)
    swap_warnings       people of whom a warning says that left and right may be swapped

People without a 3D truth count in the 2D figures only.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import yaml
from _people import LIMB_POINTS, limb_index
from torch import Tensor

from hmrfit.build import load_points
from hmrfit.config import load_config
from hmrfit.evaluate.metrics import mpjpe, pa_mpjpe
from hmrfit.evaluate.posterior_scores import LEVELS, SAMPLES, coverage, coverage_gap, rank_correlation, truth_levels
from hmrfit.pipeline import Pipeline
from hmrfit.result import FitResult

COVERED = [i for i, name in enumerate(LIMB_POINTS) if not name.endswith("hip")]
"""The points whose regions are counted: about the middle of the hips, the hips themselves hardly move."""

MOST_OFFERED = 4
FEWEST_RANKED = 3
"""People of whom a rank correlation says anything."""

HIPS, SHOULDERS, KNEES = (
    [LIMB_POINTS.index(f"{side}_{part}") for side in ("left", "right")] for part in ("hip", "shoulder", "knee")
)
SHOWN = 0.1
"""From this probability on an answer is one that a user is shown."""

HIPS_OFF = ("returned", "likeliest", "shown")
"""Answers whose hips are compared with the truth's: the returned one, the most probable, the best that is shown."""

BENT_ALIKE = 30.0
"""Degrees that a hip's flexion may differ for the body to sit, or stand, as the person does."""

SWAPPED = "left and right swapped"
"""How every warning about sides says it (`hmrfit.io.keypoint_checks.sides`)."""


def fit_arguments(parser: argparse.ArgumentParser) -> None:
    """--config, --opt, --fit, --seed, --threads: what is measured."""
    parser.add_argument("--config", help="settings: a YAML file, or the name of a shipped one")
    parser.add_argument("--opt", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), help="one setting")
    text = "an argument of hmrfit.fit beside the keypoints, the value as YAML: --fit weights '{keypoints: 3}'"
    parser.add_argument("--fit", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help=text)
    parser.add_argument("--samples", type=int, default=SAMPLES, help="of the posterior")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)


def pipeline_of(options: argparse.Namespace) -> Pipeline:
    """The pipeline that --config and --opt name."""
    return Pipeline(load_config(options.config, [f"{key}={value}" for key, value in options.opt]))


def fit_keywords(options: argparse.Namespace) -> dict[str, Any]:
    """What --fit hands to the fit."""
    return {name: yaml.safe_load(value) for name, value in options.fit}


def settings_of(options: argparse.Namespace) -> str:
    """What was measured, in words."""
    changed = [f"{key}={value}" for key, value in (*options.opt, *options.fit)]
    return ", ".join([options.config or "default", *changed])


@dataclass
class Scores:
    """What was measured of people, a row each; NaN where there is no 3D truth."""

    columns: dict[str, list[Tensor]] = field(default_factory=dict)  # name -> chunks of (B,) or, of levels, (B, 12)
    kinds: dict[str, list[Tensor]] = field(default_factory=dict)  # name -> chunks of (B,) bool

    def add(
        self, result: FitResult, truth: Tensor | None, kinds: Mapping[str, Tensor], seed: int, samples: int = SAMPLES
    ) -> None:
        """More people. truth: (B, 12, 3) camera frame, metres, or none for all of them. kinds: what to tell them by."""
        for name, column in measure(result, truth, seed, samples).items():
            self.columns.setdefault(name, []).append(column)
        for name, who in kinds.items():
            self.kinds.setdefault(name, []).append(who)

    def column(self, name: str) -> Tensor:
        """Of all people."""
        return torch.cat(self.columns[name])

    def figures(self, who: Tensor | None = None) -> dict[str, Any]:
        """The nine figures, of all or of some people (N,) bool; None where nothing says."""
        chosen = {name: self.column(name) if who is None else self.column(name)[who] for name in self.columns}
        known = ~chosen["mpjpe"].isnan()
        mean = lambda name: chosen[name][known].mean().item() if known.any() else None  # noqa: E731
        error = chosen["reprojection"][~chosen["reprojection"].isnan()]
        return {
            "pa_mpjpe_mm": mean("pa_mpjpe"),
            "mpjpe_mm": mean("mpjpe"),
            "reprojection_p90": error.quantile(0.9).item() if len(error) else None,
            "reprojection_worst": error.max().item() if len(error) else None,
            "coverage_gap": coverage_gap(chosen["level"][:, COVERED]) if known.any() else None,
            "rejected": int(chosen["rejected"].sum()),
            "best_of_offered_mm": mean("best_offered"),
            "rank_correlation": rank_correlation(chosen["stated"], chosen["mpjpe"])
            if known.sum() >= FEWEST_RANKED
            else None,
            "swap_warnings": int(chosen["swap_warning"].sum()),
        }

    def bent_alike(self, who: Tensor) -> dict[str, Any]:
        """Of some people (N,) bool: how many have a 3D truth, and the shares whose returned answer, whose most probable
        one, and of whom any of at least `SHOWN`, bends both hips as they do."""
        known = who & ~self.column("mpjpe").isnan()
        shares = {name: self.column(f"hips_off_{name}")[known] <= BENT_ALIKE for name in HIPS_OFF}
        return {"people": int(known.sum())} | {name: s.double().mean().item() for name, s in shares.items()}

    def table(self) -> str:
        """The figures of everyone and of each kind of people."""
        kinds = {name: torch.cat(parts) for name, parts in self.kinds.items()}
        width = max(map(len, ["everyone", *kinds]))
        titles = (
            "people",
            "with 3D",
            "PA-MPJPE",
            "MPJPE",
            "p90 %",
            "worst %",
            "gap",
            "rejected",
            "best of",
            "rank",
            "swap",
        )
        lines = [" " * width + "".join(f"{title:>10}" for title in titles)]
        everyone = torch.ones(len(self.column("mpjpe")), dtype=torch.bool)
        for name, who in {"everyone": everyone, **kinds}.items():
            if who.any():
                count = [int(who.sum()), int((~self.column("mpjpe")[who].isnan()).sum())]
                lines.append(f"{name:{width}}" + "".join(map(_cell, [*count, *self.figures(who).values()])))
        return "\n".join(lines)

    def coverage_table(self) -> str:
        """Measured coverage at each level, joint by joint, left and right together."""
        level = self.column("level")
        lines = [f"{'coverage':10s}" + "".join(f"{100 * q:8.0f} %" for q in LEVELS)]
        parts = [name.removeprefix("left_") for name in LIMB_POINTS if name.startswith("left_")]
        for part in ("all", *parts):
            places = COVERED if part == "all" else [i for i, name in enumerate(LIMB_POINTS) if name.endswith(part)]
            lines.append(f"{part:10s}" + "".join(f"{100 * c:8.1f} %" for c in coverage(level[:, places])))
        return "\n".join(lines)


def _cell(value: float | None) -> str:
    if value is None:
        return f"{'-':>10}"
    return f"{value:10d}" if isinstance(value, int) else f"{value:10.3f}" if abs(value) < 1 else f"{value:10.1f}"


def measure(result: FitResult, truth: Tensor | None, seed: int, samples: int) -> dict[str, Tensor]:
    """Name -> (B,) of a result's people; "level" (B, 12)."""
    count = len(result)
    nothing = torch.full((count,), torch.nan, dtype=torch.float64)
    rows = {
        "reprojection": 1e2 * torch.as_tensor(result.reprojection_error),
        "rejected": torch.as_tensor(~result.accepted),
        "swap_warning": torch.tensor([any(SWAPPED in text for text in lines) for lines in result.warnings]),
        "level": torch.full((count, len(LIMB_POINTS)), torch.nan, dtype=torch.float64),
    }
    of_3d = ("pa_mpjpe", "mpjpe", "best_offered", "stated", *(f"hips_off_{name}" for name in HIPS_OFF))
    rows |= dict.fromkeys(of_3d, nothing)
    return rows if truth is None else rows | measure_3d(result, truth, seed, samples)


def measure_3d(result: FitResult, truth: Tensor, seed: int, samples: int) -> dict[str, Tensor]:
    """The rows that a 3D truth (B, 12, 3) gives."""
    names = result.keypoints.names
    body = load_points(result.origin.body, tuple(names[i] for i in limb_index(names)))
    offered = [body.pose(params).points for params in result.hypotheses[:MOST_OFFERED]]
    there = torch.as_tensor(result.hypothesis_cost[:, :MOST_OFFERED]).isfinite()
    errors = torch.stack([1e3 * pa_mpjpe(points, truth) for points in offered], 1)
    answer, aligned = body.pose(result.params).points, about_hips(truth)
    flexion = hip_flexion(truth)
    probability = torch.as_tensor(result.probability[:, : len(offered)])
    bent_off = torch.stack([(hip_flexion(points) - flexion).abs().amax(-1) for points in offered], 1)
    drawn = torch.stack([about_hips(body.pose(params).points) for params in result.sample(samples, seed)])
    return {
        "pa_mpjpe": 1e3 * pa_mpjpe(answer, truth),
        "mpjpe": 1e3 * mpjpe(about_hips(answer), aligned),
        "best_offered": errors.masked_fill(~there, torch.inf).amin(1),
        "stated": 1e3 * (drawn - about_hips(answer)).norm(dim=-1).mean((0, 2)),
        "level": truth_levels(drawn, aligned),
        "hips_off_returned": (hip_flexion(answer) - flexion).abs().amax(-1),
        "hips_off_likeliest": bent_off.gather(1, probability.argmax(1, keepdim=True))[:, 0],
        "hips_off_shown": bent_off.masked_fill(~((probability >= SHOWN) & there), torch.inf).amin(1),
    }


def about_hips(points: Tensor) -> Tensor:
    """The 12 points (..., 12, 3) about the middle of the hips."""
    return points - points[..., HIPS, :].mean(-2, keepdim=True)


def hip_flexion(points: Tensor) -> Tensor:
    """(..., 2) degrees that left and right thigh are bent from the trunk's line: 0 stands, about 90 sits on a chair."""
    middle = lambda places: points[..., places, :].mean(-2, keepdim=True)  # noqa: E731
    trunk, thighs = middle(HIPS) - middle(SHOULDERS), points[..., KNEES, :] - points[..., HIPS, :]
    return torch.rad2deg(torch.nn.functional.cosine_similarity(trunk, thighs, dim=-1).clamp(-1, 1).acos())


def report(scores: Scores, by: Sequence[str]) -> None:
    """Print the tables. by: "kind" for the one by kinds of people, "joint" for coverage by joint."""
    if "kind" in by:
        print(scores.table(), end="\n\n")
    if "joint" in by:
        print(scores.coverage_table(), end="\n\n")
