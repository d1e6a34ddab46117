"""What SPIN's loop is worth to a keypoint HMR that is trained without any 3D truth, and what is gained by a better one.

    python benchmarks/spin_loop.py --motion FOLDER [--steps 7000] [--methods two_d loop] [--seed 0] [--folder FOLDER]

Six trainings of the same network on the same people in the same order, for the same number of steps. The people are a
finite data set, posed by the training split, of COCO's keypoints with 1 % noise, a tenth missing, focal length unknown.

    two_d          2D loss alone
    adversarial    2D loss and discriminators, which see motion of nobody in the data set's order
    spin           SPIN's rules and losses, its energy by this library's solver (hmrfit.train.spin_loop); a fit at every
                   visit takes the most time of all of this: --spin-seldom
    loop           this library's loop (hmrfit.train.fit_loop)
    both           the loop and discriminators
    ceiling        the truth in 3D of everybody, with the loop's losses

In none but the last is anything used that has seen 3D truth paired with keypoints. Fits start at the network in
training, its about-face, the stored fit, and for people without one, at poses drawn from the pose prior, which is
fitted to unpaired motion (--library 0: without those). Prior, limits and shape prior are unpaired too; the shipped
estimate and its error model are not used.

Measured on people posed by the test split, 14 joints: PA-MPJPE and MPJPE (mm), facing flipped (%), distance to the
keypoints (% of the box). With --folder, a run that was stopped goes on, and curves.json holds every method's scores
over its steps, with the stored fits' own PA-MPJPE, energy, sources, and the fraction of them that is accepted.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from _common import add_to_curve, finish, motion_argument, motion_pool, print_ends, threads

from hmrfit.assets import locate
from hmrfit.body.smpl import SmplBody
from hmrfit.build import build_fitter, library_poses
from hmrfit.config import load_config
from hmrfit.evaluate.metrics import pa_mpjpe
from hmrfit.keypoints import COMMON14, resolve_set
from hmrfit.motion import load_frames
from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.network.encoders import KeypointEncoder
from hmrfit.network.hmr import HMR
from hmrfit.network.regressor import IterativeRegressor
from hmrfit.priors.gmm import PoseGmm
from hmrfit.priors.limits import JointLimits
from hmrfit.synthetic.people import People
from hmrfit.train import spin_loop
from hmrfit.train.fit_loop import ENERGY, FitLoop, LoopSettings
from hmrfit.train.fit_store import FitStore
from hmrfit.train.keypoint_loop import KeypointLoop, KeypointSpin, Truth
from hmrfit.train.keypoint_people import KeypointPeople, KnownPeople
from hmrfit.train.losses import LANDMARKS, KeypointLossWeights
from hmrfit.train.people_stream import MotionPeople, PosePool
from hmrfit.train.trainer import FITS, LAST, Trainer, TrainingSchedule
from hmrfit.train.validation import people_of, prediction_of, score_people

METHODS = ("two_d", "adversarial", "spin", "loop", "both", "ceiling")
DISCRIMINATED = ("adversarial", "both")
NAMES = resolve_set("coco17")
UNPAIRED = [f"PRIORS.{name}=" for name in ("INITIAL_ESTIMATE", "ERROR_MODEL", "MIXTURE")]
TRAIN_SEED = 11
"""Added to the seed: of the people who are trained on."""

POINTS = 16
"""Of a curve."""


def parser() -> argparse.ArgumentParser:
    """The options."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    motion_argument(found)
    found.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    found.add_argument("--steps", type=int, default=7000)
    found.add_argument("--minutes", type=float, default=0.0, help="of each method, instead of --steps")
    found.add_argument("--batch", type=int, default=128)
    found.add_argument("--people", type=int, default=8000, help="in the data set")
    found.add_argument("--scored", type=int, default=1000, help="people of the test split")
    found.add_argument("--width", type=int, default=384, help="features of the encoder, and hidden of the regressor")
    found.add_argument("--adversarial", type=float, default=0.1, help="weight of L_adv")
    found.add_argument("--library", type=int, default=2, help="poses of the prior that a person's first fit starts at")
    found.add_argument("--unweighted", action="store_true", help="the loop without the weights of its covariance")
    found.add_argument("--every", action="store_true", help="this loop fits at every visit, not at 1, 2, 4, 8, ...")
    found.add_argument("--spin-seldom", action="store_true", help="SPIN's fits at visits 1, 2, 4, 8, ..., not at each")
    found.add_argument("--seed", type=int, default=0)
    found.add_argument("--folder", type=Path, help="of states and curves: a run that was stopped goes on")
    found.add_argument("--threads", type=int)
    return found


class Bench:
    """What all methods share: people, body, motion."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, pool = options, motion_pool(options)
        self.body, frames = SmplBody.from_file(locate("free_body")), load_frames(pool, "train")
        self.scored = people_of(self.body, load_frames(pool, "test"), options.scored)
        self.people = people_of(self.body, frames, options.people, seed=options.seed + TRAIN_SEED)
        self.known = KnownPeople.synthetic(self.people, "made")
        single = self.body.to(dtype=torch.float32)
        self.landmarks, self.seen_by = single.points(LANDMARKS), single.points(NAMES)
        self.gmm, limits = PoseGmm.from_file(locate("pose_gmm")), JointLimits.from_file(locate("joint_limits"))
        self.pool = PosePool.build(frames, self.gmm, limits, options.seed)

    def trainer(self, method: str, folder: Path) -> Trainer[Any]:
        """A method's, its store in the folder."""
        o = self.options
        known = self.known
        if method != "ceiling":
            known = replace(known, has_truth=torch.zeros(len(known), dtype=torch.bool))
        stream = KeypointPeople([known], seed=o.seed)
        real = MotionPeople(self.pool, 10, torch.Generator().manual_seed(o.seed + 1))
        weights = KeypointLossWeights(adversarial=o.adversarial if method in DISCRIMINATED else 0.0)
        parts = (stream, self.landmarks, self.seen_by, real)
        store = None
        if method == "spin":
            store = FitStore(folder / FITS, spin_loop.ENERGY)
            fitter = build_fitter(load_config("fit_spin", UNPAIRED[1:]))
            objective: KeypointLoop = KeypointSpin(
                *parts, spin_loop.SpinLoop(fitter, store, stream.keys, every=not o.spin_seldom)
            )
        elif method in ("loop", "both"):
            store = FitStore(folder / FITS, ENERGY)
            how = LoopSettings(every=o.every, library=o.library, weighted=not o.unweighted)
            poses = library_poses(self.gmm, load_config().FIT.LIBRARY, o.seed) if o.library else None
            loop = FitLoop(build_fitter(load_config(None, UNPAIRED)), store, stream.keys, how, poses)
            objective = KeypointLoop(*parts, loop, weights)
        else:
            objective = KeypointLoop(*parts, Truth(self.landmarks) if method == "ceiling" else None, weights)
        torch.manual_seed(o.seed)
        regressor = IterativeRegressor(o.width, hidden=o.width, dropout=0.0, learn_mean=True)
        schedule = TrainingSchedule(o.batch, 0 if o.minutes else o.steps, o.minutes or 1.0, half=True)
        discriminator = FactorizedDiscriminator(hidden=512)
        return Trainer(HMR(KeypointEncoder(o.width, 2), regressor), discriminator, objective, schedule, fits=store)

    def score(self, trainer: Trainer[Any]) -> dict[str, float]:
        """Of the averaged network on the test people; of the stored fits on theirs."""
        found = score_people(self.body, self.scored, prediction_of(trainer.averaged()))
        if trainer.fits is not None:
            found |= self.score_fits(trainer.fits, self.known.keys, self.people)
        return found

    def score_fits(self, store: FitStore, keys: Sequence[Any], people: People) -> dict[str, float]:
        """How good what supervises is, which nothing in the training knows."""
        fits, there = store.get(keys)
        if not len(fits):
            return {}
        index = [self.body.skeleton.index(name) for name in COMMON14]
        joints = self.body.points(NAMES).pose(fits.params).joints[:, index]
        return {
            "fits_pa_mpjpe_mm": 1e3 * pa_mpjpe(joints, people.joints[there][:, index]).mean().item(),
            "fitted_percent": 100 * there.double().mean().item(),
            "accepted_percent": 100 * fits.accepted.double().mean().item(),
            "energy": fits.energy.mean().item(),
        }

    def run(self, method: str, folder: Path) -> list[dict[str, float]]:
        """The curve of a method, from where it was stopped."""
        own = folder / method
        own.mkdir(parents=True, exist_ok=True)
        trainer, curve_file = self.trainer(method, own), own / "curve.json"
        curve: list[dict[str, float]] = []
        if (own / LAST).is_file():
            trainer.load(own / LAST)
            curve = [p for p in json.loads(curve_file.read_text()) if p["step"] <= trainer.step]
        elif trainer.fits is not None:
            trainer.fits.rollback(0)
        begun, before = time.process_time(), curve[-1]["cpu_minutes"] if curve else 0.0
        for losses in trainer.steps(max(1, self.options.steps // POINTS)):
            minutes = before + (time.process_time() - begun) / 60
            scores = {"step": trainer.step, "cpu_minutes": minutes, **self.score(trainer)}
            scores |= {f"loss_{name}": value for name, value in losses.items()}
            add_to_curve(curve, curve_file, method, scores)
            trainer.save(own / LAST)
        return curve


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure, print."""
    options = parser().parse_args(arguments)
    threads(options.threads)
    bench = Bench(options)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        curves = {method: bench.run(method, folder) for method in options.methods}
    (folder / "curves.json").write_text(json.dumps(curves)) if options.folder else None
    columns = ("pa_mpjpe_mm", "mpjpe_mm", "facing_wrong_percent", "reprojection_percent", "fits_pa_mpjpe_mm")
    last = print_ends(curves, columns)
    minutes = {method: curve[-1]["cpu_minutes"] for method, curve in curves.items()}
    settings = {"steps": options.steps, "people": options.people, "seed": options.seed}
    finish(benchmark="spin_loop", **last, cpu_minutes=minutes, **settings)


if __name__ == "__main__":
    main()
