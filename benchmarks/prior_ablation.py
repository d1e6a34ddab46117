"""How much does each pose prior gain: none, the mixture, the discriminators, both; the same beside the anchor?

    python benchmarks/prior_ablation.py --discriminators FOLDER [--validation 300] [--test 800] [--motion FOLDER]

The people of benchmarks/fit_accuracy.py (coco17, 1 % noise, a tenth missing, focal length unknown), fitted from the
initial estimate by the default fit's own stage, without depth flips and without acceptance test. The energy is the same
in every row: robust keypoints, joint limits, and the shape's prior where there is no anchor (the Gaussian prior centred
at the initial estimate). Each prior's weight is the one of least
PA-MPJPE on people of the validation split, both weights together where there are two (beside the anchor with the kind
of negatives that was best there); the rows are people of the test split, on which nothing was chosen.
D: discriminators. FOLDER holds discriminators_KIND.npz, one for each kind of negatives, as
priors/scripts/train_discriminators.py writes them; without it the shipped ones are measured.
"""

import argparse
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from _common import finish, motion_argument, threads, world_poses
from fit_accuracy import SETTINGS, estimate_alone, fit_people, reweighted, score, without, worse_percent
from torch import Tensor

from hmrfit.assets import locate
from hmrfit.build import build_fitter
from hmrfit.config import load_config
from hmrfit.fitting.acceptance import Accept
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.schedule import ANCHOR_WEIGHTS
from hmrfit.fitting.terms.discriminators import DiscriminatorTerm
from hmrfit.keypoints import resolve_set
from hmrfit.priors.discriminator_prior import DiscriminatorPrior
from hmrfit.synthetic.people import People, make_people

Weights = Mapping[str, float]

GMM = (0.3, 1.0, 3.0)
BESIDE_MIXTURE = (1.0, 4.0, 16.0)
DISCRIMINATORS = (0.1, 1.0, 4.0)
BESIDE_GMM, BESIDE_D = (0.03, 0.1), (0.5, 2.0, 8.0)
ALONE = {"anchor": 0.0, "joint_limits": 1.0, "shape": 1.0}
ANCHORED = {"anchor": ANCHOR_WEIGHTS["anchor"]}
COLUMNS = ("PA-MPJPE", "MPJPE", "given", "true", "worse", "ms each")


@dataclass
class Bench:
    """The fitter, the people that the weights are chosen with, and those that they are scored with."""

    fitter: Fitter
    validation: People
    test: People

    def __post_init__(self) -> None:
        self.start = score(self.fitter.body, estimate_alone(self.fitter, self.test), self.test)
        self.errors: dict[str, float] = {}
        """Label of a choice -> the least error on validation people."""

    def with_weights(self, weights: Weights) -> Fitter:
        """The fit from the initial estimate alone, without acceptance test, with these weights."""
        plain = without(self.fitter.schedule, Accept)
        return self.fitter.with_schedule(reweighted(plain, **weights))

    def chosen(self, label: str, ways: Iterable[Weights]) -> Weights:
        """The weights of least mean PA-MPJPE on validation people."""
        tried = []
        for weights in ways:
            state = fit_people(self.with_weights(weights), self.validation)
            error = score(self.fitter.body, state, self.validation)["PA-MPJPE"].mean().item()
            tried.append((error, weights))
        best = min(tried, key=lambda pair: pair[0])
        tried_errors = ", ".join(f"{shown(weights)} {error:.2f}" for error, weights in tried)
        self.errors[label] = best[0]
        print(f"  {label}: validation PA-MPJPE {tried_errors}", flush=True)
        return best[1]

    def row(self, label: str, weights: Weights) -> dict[str, Any]:
        """Measure on test people, print, and give the figures."""
        fitter = self.with_weights(weights)
        begin = time.process_time()
        state = fit_people(fitter, self.test)
        each = 1e3 * (time.process_time() - begin) / len(self.test.camera)
        scores = score(self.fitter.body, state, self.test)
        return self._print(f"{label}; {shown(weights)}", scores, each)

    def initial_estimate(self) -> dict[str, Any]:
        """The initial estimate itself."""
        return self._print("initial estimate alone", self.start, 0.0)

    def _print(self, label: str, scores: Mapping[str, Tensor], each: float) -> dict[str, Any]:
        values = [scores[key].mean().item() for key in COLUMNS[:4]] + [worse_percent(scores, self.start), each]
        print(f"{label:62s}" + "  ".join(f"{value:8.2f}" for value in values), flush=True)
        return {"pa_mpjpe_mm": values[0], "worse_percent": values[4], "ms": round(each, 2)}


def shown(weights: Weights) -> str:
    """The priors' weights as text."""
    named = {"gmm": "GMM", "anchor": "anchor"}
    parts = [f"{named.get(k, 'D')} {v:g}" for k, v in weights.items() if v and k not in ("joint_limits", "shape")]
    return ", ".join(parts) or "no prior"


def grid(base: Weights, **values: Sequence[float]) -> list[Weights]:
    """`base` with every combination of the values."""
    return [{**base, **dict(zip(values, combination, strict=True))} for combination in product(*values.values())]


def around(value: float) -> tuple[float, float]:
    """Half and all of a weight that was best alone."""
    return (value / 2, value)


def alone(bench: Bench, kinds: Mapping[str, str]) -> dict[str, Weights]:
    """Row -> weights, chosen on validation people, without the anchor. kinds: label -> name of the term."""
    bench.chosen("none", [ALONE])
    gmm = bench.chosen("GMM", grid(ALONE, gmm=GMM))
    found = {kind: bench.chosen(f"D {kind}", grid(ALONE, **{term: DISCRIMINATORS})) for kind, term in kinds.items()}
    pair = {f"GMM + D {kind}": grid(ALONE, gmm=around(gmm["gmm"]), **{t: BESIDE_MIXTURE}) for kind, t in kinds.items()}
    pairs = {label: bench.chosen(label, ways) for label, ways in pair.items()}
    return {"none": ALONE, "GMM": gmm, **{f"D {kind}": weights for kind, weights in found.items()}, **pairs}


def anchored(bench: Bench, kinds: Mapping[str, str]) -> dict[str, Weights]:
    """The same beside the anchor."""
    bench.chosen("anchor", [ANCHORED])
    gmm = bench.chosen("anchor + GMM", grid(ANCHORED, gmm=BESIDE_GMM))
    ways = {f"anchor + D {kind}": grid(ANCHORED, **{term: BESIDE_D}) for kind, term in kinds.items()}
    found = {label: bench.chosen(label, way) for label, way in ways.items()}
    best = min(kinds, key=lambda kind: bench.errors[f"anchor + D {kind}"])
    term = kinds[best]
    both = f"anchor + GMM + D {best}"
    pairs = grid(ANCHORED, gmm=around(gmm["gmm"]), **{term: around(found[f"anchor + D {best}"][term])})
    return {"anchor": ANCHORED, "anchor + GMM": gmm, **found, both: bench.chosen(both, pairs)}


PARTS = {"alone": alone, "anchored": anchored}


def ablation(bench: Bench, kinds: Mapping[str, str], parts: Sequence[str]) -> dict[str, Any]:
    """The table; all weights are chosen before any row is measured."""
    ways = {label: weights for part in parts for label, weights in PARTS[part](bench, kinds).items()}
    print(f"\n{'':62s}" + "  ".join(f"{column:>8}" for column in COLUMNS))
    figures = {"initial estimate": bench.initial_estimate()}
    return figures | {label: bench.row(label, weights) for label, weights in ways.items()}


def people_of(fitter: Fitter, options: argparse.Namespace, part: str, count: int) -> People:
    """As benchmarks/fit_accuracy.py draws them."""
    poses, _ = world_poses(options.motion, options.cache, count, options.seed, part)
    names, how = SETTINGS[0]
    generator = torch.Generator().manual_seed(options.seed)
    return make_people(fitter.body, poses, resolve_set(names), generator, corruption=how)


def main(arguments: Sequence[str] | None = None) -> None:
    """Choose on validation people, print the table of test people."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    motion_argument(parser)
    parser.add_argument("--discriminators", type=Path, help="a folder of discriminators_KIND.npz")
    parser.add_argument("--validation", type=int, default=300)
    parser.add_argument("--test", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    options = parser.parse_args(arguments)
    threads(options.threads)
    fitter = build_fitter(load_config(overrides=["PRIORS.DISCRIMINATORS="]))
    files = sorted(options.discriminators.glob("discriminators_*.npz")) if options.discriminators else []
    found = {file.stem.removeprefix("discriminators_"): file for file in files} or {"shipped": locate("discriminators")}
    kinds = {kind: f"discriminators_{kind}" for kind in found}
    for kind, file in found.items():
        fitter.terms[kinds[kind]] = DiscriminatorTerm(DiscriminatorPrior.from_file(file), kinds[kind])
    counts = {"validation": options.validation, "test": options.test}
    bench = Bench(fitter, **{part: people_of(fitter, options, part, count) for part, count in counts.items()})
    print(f"weights chosen on {options.validation} people, table of {options.test} others\n")
    figures = ablation(bench, kinds, options.parts.split(","))
    print()
    finish(benchmark="prior_ablation", **counts, rows=figures)


if __name__ == "__main__":
    main()
