"""priors/mixture_hmr.npz and its card: the components of a mixture over bodies, beside the shipped initial estimate.

    python priors/scripts/train_mixture_hmr.py --motion FOLDER --device cuda        (five minutes on a GPU)

First the components, then their weights and errors (`hmrfit/train/mixture_training.py`), on people of the train
sequences, four in ten of them as hard as real ones. The averaged weights are written in 16 bits, read back, and what
they offer beside the fit is measured on people posed by the validation and by the test sequences.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from training import ATTRIBUTION, SETTINGS, SOURCES

from hmrfit.assets import locate, record_checksum
from hmrfit.body.smpl import SmplBody
from hmrfit.build import build_fitter
from hmrfit.camera import Camera
from hmrfit.config import load_config
from hmrfit.evaluate.metrics import pa_mpjpe
from hmrfit.fitting.fitter import Fitter
from hmrfit.io.atomic import atomic_write
from hmrfit.keypoints import COMMON14
from hmrfit.motion import load_frames, read_pool
from hmrfit.network.checkpoints import load_error_model, load_hmr, load_mixture, load_network, save_network
from hmrfit.network.encoders import KEYPOINT_NAMES
from hmrfit.network.initial_estimate import KeypointHmr
from hmrfit.network.mixture import MixtureModel
from hmrfit.priors.gmm import PoseGmm
from hmrfit.priors.limits import JointLimits
from hmrfit.synthetic.people import Views
from hmrfit.train.error_model_training import Cases
from hmrfit.train.losses import LANDMARKS
from hmrfit.train.mixture_training import new_mixture, train_components, train_weights
from hmrfit.train.people_stream import PeopleStream, PosePool
from hmrfit.train.validation import people_of

NAME = "mixture_hmr"
PEOPLE = 1000
MEASURED = ("coco17, 1 % noise, a tenth missing", "openpose25", "coco17, 3 % noise", "coco17, half hidden")
COMMAND = (
    "python priors/scripts/train_mixture_hmr.py --motion FOLDER --out out/begun --device cuda --component-steps 844 "
    "--weight-steps 1231 && python priors/scripts/train_mixture_hmr.py --motion FOLDER --device cuda "
    "--begin out/begun/mixture_hmr.npz --component-steps 595 --weight-steps 592"
)
EDGES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)
"""Of the reliability diagram."""


def trained(args: argparse.Namespace) -> MixtureModel:
    """The averaged model."""
    frames, device = load_frames(read_pool(args.motion, args.cache), "train"), args.device
    gmm, limits = PoseGmm.from_file(locate("pose_gmm")), JointLimits.from_file(locate("joint_limits"))
    body, hmr = SmplBody.from_file(locate("free_body")).to(dtype=torch.float32), load_hmr(locate("keypoint_hmr"))
    torch.manual_seed(0)
    pool, generator = PosePool.build(frames, gmm, limits).to(device), torch.Generator(device).manual_seed(12)
    model = begun_with(args.begin) if args.begin else new_mixture(hmr, load_error_model(locate("error_model")))
    model, hmr = model.to(device), hmr.to(device)
    stream = PeopleStream(body.points(KEYPOINT_NAMES).to(device=device), pool, generator, hard=args.hard)
    points = body.points(LANDMARKS).to(device=device)
    model = followed(
        train_components(
            model,
            hmr,
            stream,
            points,
            args.minutes[0],
            count=args.batch[0],
            steps=args.component_steps,
            begun=bool(args.begin),
        )
    )
    model.train().requires_grad_(True)
    cases = Cases(body, KeypointHmr(hmr), model.errors, pool, generator, args.hard)
    run = train_weights(model, cases, args.minutes[1], count=args.batch[1], steps=args.weight_steps)
    return followed(run).cpu()


def begun_with(file: str) -> MixtureModel:
    """A mixture that is trained already, of this version's keypoint names, to be trained on."""
    model = load_mixture(file)
    model.errors = model.errors.knowing(KEYPOINT_NAMES)
    return model.train().requires_grad_(True)


def followed(run: Iterator[tuple[MixtureModel, dict[str, float]]]) -> MixtureModel:
    """The averaged model at the end of a run, whose losses are printed on the way."""
    for step in tqdm(run):
        average, line = step
        if line["step"] % 100 == 0:
            tqdm.write(json.dumps(line))
        last = average
    return last


@dataclass(frozen=True)
class Offered:
    """What was offered to people, and how far each answer is from the truth."""

    aligned: Tensor  # (N, H) PA-MPJPE, mm
    distance: Tensor  # (N, H) mean distance of the joints about the pelvis, mm
    probability: Tensor  # (N, H), 0 where there is none

    @property
    def there(self) -> Tensor:
        return self.probability > 0

    def scores(self) -> dict[str, float]:
        """Means over the people."""
        best = self.aligned.masked_fill(~self.there, torch.inf).amin(1)
        return {
            "pa_mpjpe_mm": self.aligned[:, 0].mean().item(),
            "best_of_offered_mm": best.mean().item(),
            "offered": self.there.sum(1).double().mean().item(),
        }

    def reliability(self) -> list[tuple[float, float, int]]:
        """(mean probability stated, how often that answer was the nearest to the truth, count) of each bin."""
        nearest = self.distance.masked_fill(~self.there, torch.inf).argmin(1, keepdim=True)
        hit = torch.zeros_like(self.probability).scatter(1, nearest, 1.0)
        several = self.there & (self.there.sum(1, keepdim=True) > 1)
        rows = []
        for low, high in pairwise(EDGES):
            chosen = several & (self.probability > low) & (self.probability <= high)
            if chosen.any():
                rows.append((self.probability[chosen].mean().item(), hit[chosen].mean().item(), int(chosen.sum())))
        return rows


def offered(fitter: Fitter, frames: dict[str, np.ndarray], title: str) -> Offered:
    """Of people posed by some frames, under one of `training.SETTINGS`."""
    names, how = SETTINGS[title]
    people = people_of(fitter.body, frames, PEOPLE, names, how)
    fit = fitter.fit(people.keypoints, Camera.from_size(*Views().size, count=PEOPLE))
    answers, points = fitter.answers(fit), fitter.body.points(COMMON14)
    truth, joints = points.pose(people.params).points, people.joints - people.joints[:, :1]
    posed = [points.pose(state.params) for state in answers.hypotheses]
    aligned = torch.stack([pa_mpjpe(p.points, truth) for p in posed], 1)
    away = [(p.joints - p.joints[:, :1] - joints).norm(dim=-1).mean(1) for p in posed]
    assert answers.posterior is not None
    return Offered(1000 * aligned, 1000 * torch.stack(away, 1), answers.posterior.probability)


def card(facts: dict) -> str:
    """What the file is, from what, and what it is worth."""
    header = "| | the answer, PA-MPJPE, mm | the best of what is offered | offered, mean |\n|---|---|---|---|"
    table = lambda rows: "\n".join(  # noqa: E731
        f"| {title} | {s['pa_mpjpe_mm']:.1f} | {s['best_of_offered_mm']:.1f} | {s['offered']:.1f} |"
        for title, s in rows.items()
    )
    reliability = "\n".join(f"| {p:.2f} | {hit:.2f} | {count} |" for p, hit, count in facts["reliability"])
    return f"""# mixture_hmr.npz

Other bodies that the same keypoints allow: from the features of the shipped initial estimate (`keypoint_hmr.npz`),
{facts["components"]} bodies Θ by a regressor with feedback of its own, and of each a covariance of its error and a
weight. {facts["parameters"] / 1e6:.1f} million parameters, matrices in 16 bits; read by
`hmrfit.network.checkpoints.load_mixture`. `result.hypotheses` and `result.probability` come from it
(`hmrfit/fitting/answers.py`); the answer itself does not.

* **From**: {SOURCES}. Train sequences of `hmrfit/motion/split.json` only.
* **Attribution**: {ATTRIBUTION}
* **Licence of this file**: MIT, as the library.
* **Rebuild**: `{COMMAND}`
  (on one NVIDIA H200, where other sizes make other bits; the first run was beside the estimate of before its last
  run, the second is beside the estimate as it is now.)
* **People**: as for the initial estimate late in its training, and four in ten `hmrfit/synthetic/hard_people.py`.
* **Loss**: `hmrfit/train/mixture_training.py`.

{PEOPLE} people each, 14 SMPL joints, focal length not known, default settings, at most four answers.
Validation sequences (chose what is offered, and the calibration):

{header}
{table(facts["validation"])}

Test sequences (nothing was chosen on them; whole classes of motion were never trained on):

{header}
{table(facts["test"])}

Reliability, test sequences, all of the people above who have several answers: how often an answer is the nearest to the
truth (joints about the pelvis) that was offered.

| probability stated | was the nearest | answers |
|---|---|---|
{reliability}

**Limits.** It belongs to the initial estimate it was trained with, and to the free body's shapes.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--motion", required=True, help="folder of motion (see hmrfit.motion)")
    parser.add_argument("--minutes", type=float, nargs=2, default=(1.6, 2.4), help="of the components, of the weights")
    parser.add_argument("--begin", help="a mixture to begin with")
    parser.add_argument("--component-steps", type=int, default=0, help="instead of minutes")
    parser.add_argument("--weight-steps", type=int, default=0, help="instead of minutes")
    parser.add_argument("--batch", type=int, nargs=2, default=(3072, 320), help="people a step, of both parts")
    parser.add_argument("--hard", type=float, default=0.4, help="the fraction of hard people")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--out", default="priors", help=f"folder to write {NAME}.npz and {NAME}.md into")
    parser.add_argument("--cache", help="file to keep the pool in between runs")
    parser.add_argument("--from-file", help="weights that are trained already: measure and write the card only")
    args = parser.parse_args()
    target = Path(args.out) / f"{NAME}.npz"
    model = load_network(args.from_file) if args.from_file else trained(args)
    save_network(target, model, half=True)
    record_checksum(target)
    fitter = build_fitter(load_config(overrides=[f"PRIORS.MIXTURE={target}"]))
    pool, parts, reliability = read_pool(args.motion, args.cache), {}, []
    for part in ("validation", "test"):
        frames = load_frames(pool, part)
        found = {title: offered(fitter, frames, title) for title in MEASURED}
        parts[part] = {title: one.scores() for title, one in found.items()}
        reliability = together(list(found.values())).reliability()
    facts = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "components": model.count,
        "reliability": reliability,
        **parts,
    }
    with atomic_write(target.with_suffix(".md")) as temporary:
        temporary.write_text(card(facts))
    print(json.dumps(facts))


def together(several: list[Offered]) -> Offered:
    """All people, as many columns as one of them has."""
    width = max(one.probability.shape[1] for one in several)
    wide = lambda t: torch.nn.functional.pad(t, (0, width - t.shape[1]))  # noqa: E731
    columns = ([getattr(one, name) for one in several] for name in ("aligned", "distance", "probability"))
    return Offered(*(torch.cat([wide(t) for t in column]) for column in columns))


if __name__ == "__main__":
    main()
