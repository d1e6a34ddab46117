"""Anchor covariance inflation: who gets a wider Gaussian prior, and how much is gained on unusual poses and keypoints?

    python benchmarks/anchor_inflation.py [--people 1000] [--motion FOLDER]

COCO's keypoints, 1 % noise, a tenth missing, of people posed by

    motion      the held-out motion itself
    recombined  each with the legs and both arms of other frames, every joint turned by 0.1 rad or so more
    widened     half the difference of two draws from the pose prior added to each, cut to the joint limits
    stray       motion; one keypoint of each is 30 % of the box away from where it should be
    swapped     motion; the wrists, the ankles, the arms or the legs of each have left and right exchanged

and for each: the initial estimate; the fit with the error model's own Σ ("plain"), with the wider Σ that all people get
("wider"; `hmrfit.fitting.anchor_inflation`), and the default, which inflates it further for some. Columns as in
fit_accuracy.py; "inflated": their percentage.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace

import torch
from _common import finish, motion_argument, threads, world_poses
from fit_accuracy import assumed, estimate_alone, score, without, worse_percent
from torch import Tensor

from hmrfit.build import build_fitter
from hmrfit.config import load_config
from hmrfit.fitting.anchor_inflation import InflateAnchor, inflated, inflated_for_all
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.pieces import in_pieces
from hmrfit.fitting.route import Begun
from hmrfit.fitting.starts import Given
from hmrfit.keypoints import COCO17
from hmrfit.priors.gmm import PoseGmm
from hmrfit.synthetic.people import People, make_people
from hmrfit.train.people_stream import LEFT_ARM, LEFT_LEG, RIGHT_ARM, RIGHT_LEG
from hmrfit.types import Keypoints

KINDS = ("motion", "recombined", "widened", "stray", "swapped")
JITTER, FAR = 0.12, 0.3
PAIRS = (("wrist",), ("ankle",), ("elbow", "wrist"), ("knee_coco", "ankle"))


def recombined(poses: Tensor, generator: torch.Generator) -> Tensor:
    """(B, 24, 3) with the legs and the arms of other people."""
    poses, own = poses.clone(), poses
    for joints in (LEFT_LEG + RIGHT_LEG, LEFT_ARM, RIGHT_ARM):
        other = torch.randperm(len(own), generator=generator)
        poses[:, list(joints)] = own[other][:, list(joints)]
    strength = JITTER * torch.randn(len(poses), 1, 1, generator=generator).abs()
    return poses + strength * torch.randn(poses.shape, generator=generator)


def widened_poses(poses: Tensor, fitter: Fitter, generator: torch.Generator) -> Tensor:
    """(B, 24, 3) farther from the prior's mean."""
    gmm: PoseGmm = fitter.terms["gmm"].gmm
    limits = fitter.terms["joint_limits"].limits
    one, other = (gmm.sample(len(poses), generator).to(poses) for _ in range(2))
    theta = (poses[:, 1:].flatten(1) + 0.5 * (one - other)).clamp(limits.lower, limits.upper)
    return torch.cat([poses[:, :1], theta.unflatten(1, (-1, 3))], 1)


def stray(seen: Keypoints, box: Tensor, generator: torch.Generator) -> Keypoints:
    """One seen keypoint of each elsewhere."""
    which = (torch.rand(seen.confidence.shape, generator=generator) * (seen.confidence > 0)).argmax(1)
    angle = 2 * torch.pi * torch.rand(len(seen), generator=generator, dtype=torch.float64)
    xy = seen.xy.clone()
    xy[torch.arange(len(seen)), which] += FAR * box[:, None] * torch.stack([angle.cos(), angle.sin()], -1)
    return replace(seen, xy=xy)


def swapped(seen: Keypoints, generator: torch.Generator) -> Keypoints:
    """Left and right of one of PAIRS exchanged for each."""
    source = torch.arange(len(seen.names)).repeat(len(seen), 1)
    which = torch.randint(len(PAIRS), (len(seen),), generator=generator)
    for i, parts in enumerate(PAIRS):
        for part in parts:
            a, b = (seen.names.index(f"{side}_{part}") for side in ("left", "right"))
            source[which == i, a], source[which == i, b] = b, a
    xy = seen.xy.gather(1, source[..., None].expand(-1, -1, 2))
    return Keypoints(xy, seen.confidence.gather(1, source), seen.names)


def people_of(kind: str, fitter: Fitter, poses: Tensor, seed: int) -> People:
    """The people of a kind."""
    generator = torch.Generator().manual_seed(seed)
    if kind == "recombined":
        poses = recombined(poses, generator)
    if kind == "widened":
        poses = widened_poses(poses, fitter, generator)
    people = make_people(fitter.body, poses, COCO17, generator)
    if kind == "stray":
        return replace(people, keypoints=stray(people.keypoints, people.clean.box_size(), generator))
    return replace(people, keypoints=swapped(people.keypoints, generator)) if kind == "swapped" else people


def fits(fitter: Fitter, people: People) -> dict[str, Fit]:
    """With the error model's own Σ, with the one that all people get, and the default."""
    once = fitter.with_schedule(without(fitter.schedule, InflateAnchor))
    begun = fitter.begin(Given(people.keypoints, assumed(people)))
    state, seen = begun.state, begun.observation
    factor = (inflated_for_all(seen.anchor).scale / seen.anchor.scale).square()
    plain = replace(seen, anchor=inflated(seen.anchor, 1 / factor))
    return {
        "plain": in_pieces(lambda part: once.run(Begun.at(state[part], plain[part])), len(state), Fit),
        "wider": once.fit(people.keypoints, assumed(people)),
        "default": fitter.fit(people.keypoints, assumed(people)),
    }


def refitted(fitter: Fitter, fit: Fit, people: People) -> float:
    """The fraction of people who were fitted again."""
    anchor = fitter.begin(Given(people.keypoints, assumed(people))).observation.anchor
    return (fit.observation.anchor.scale[:, 0] > 1.01 * anchor.scale[:, 0]).double().mean().item()


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    motion_argument(parser)
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args(arguments)
    threads(options.threads)
    poses, origin = world_poses(options.motion, options.cache, options.people, options.seed)
    fitter = build_fitter(load_config())
    figures = {}
    print(f"{options.people} people posed by {origin}\n")
    columns = ("PA-MPJPE", "MPJPE", "given", "true", "facing", "worse", "inflated")
    print(" " * 28 + "".join(f"{column:>10}" for column in columns))
    for kind in KINDS:
        people = people_of(kind, fitter, poses, options.seed)
        start = score(fitter.body, estimate_alone(fitter, people), people)
        rows = {"initial estimate": (start, 0.0)}
        for label, fit in fits(fitter, people).items():
            percent = 100 * refitted(fitter, fit, people) if label == "default" else 0.0
            rows[label] = (score(fitter.body, fit.state, people), percent)
        for label, (scores, percent) in rows.items():
            values = [*(scores[key].mean().item() for key in scores), worse_percent(scores, start), percent]
            print(f"{kind + ', ' + label:28s}" + "".join(f"{value:10.2f}" for value in values), flush=True)
            figures[f"{kind}_{label.replace(' ', '_')}_pa_mpjpe_mm"] = values[0]
    print()
    finish(benchmark="anchor_inflation", people=options.people, motion=origin, **figures)


if __name__ == "__main__":
    main()
