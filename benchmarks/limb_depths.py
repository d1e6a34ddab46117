"""Limbs that point the wrong way: is an answer offered that has them right, and is what is said of it true?

    python benchmarks/limb_depths.py [--motion FOLDER] [--people 1000] [--part test] [--config fit_spin]

A bone of an arm or a leg points the wrong way where the sign of its depth along the ray to its near end is not the
truth's: mirrored in the image plane it looks the same. People of held-out motion, coco17, focal length unknown: tidy
(1 % noise, a tenth missing, exact points: the headline of `fit_accuracy.py`), half hidden, and hard ones (`hard.py`,
scored at their own joints).

    wrong       bones a person whose side is wrong in the answer (of 8)
    shown       % of those that another answer of at least 10 % shows the right way
    shown far   the same of bones that truly lean by more than SINE out of the image plane
    offered     answers a person, at most four
    answer, best   PA-MPJPE over 14 joints, mm, of the answer and of the best of those that are offered
    open        people with a bone that is open (10 % or more on the other side) and no other answer

Two reliability diagrams: how often an answer of a stated probability is the nearest of those that are offered (joints
about the pelvis, people with several), and how often bones of a stated probability (`result.limb_towards`) point
towards the camera.
"""

import argparse
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from _common import finish, motion_argument, pose_pool, threads, world_poses
from fit_accuracy import SETTINGS, assumed
from torch import Tensor

from hmrfit.assets import locate
from hmrfit.body.points import PointBody
from hmrfit.body.skeleton import SMPL
from hmrfit.camera import Camera
from hmrfit.config import load_config
from hmrfit.evaluate.metrics import pa_mpjpe
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.limb_depths import limb_bones, towards_camera
from hmrfit.fitting.uncertainty import Answers, KeypointNoise
from hmrfit.keypoints import COCO17, COMMON14, SOURCES, KeypointsFrom
from hmrfit.pipeline import Pipeline
from hmrfit.priors.limits import JointLimits
from hmrfit.synthetic.hard_people import HardPeopleMaker
from hmrfit.synthetic.people import Corruption, People, make_people

CHUNK = 250
KINDS = ("tidy", "hidden", "hard")
LEAST = 0.1
"""Probability that an answer must have to count, and of a side from which it is open."""

SINE = 0.35
"""20 degrees."""

EDGES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.001)


@dataclass(frozen=True)
class Side:
    """Of bones, (..., 8)."""

    depth: Tensor  # along the ray, metres
    sine: Tensor  # of the angle out of the image plane


def sides(joints: Tensor) -> Side:
    """joints: (..., 24, 3) camera frame."""
    bones = limb_bones(SMPL)
    bone = joints[..., bones.end, :] - joints[..., bones.start, :]
    depth = (bone * torch.nn.functional.normalize(joints[..., bones.start, :], dim=-1)).sum(-1)
    return Side(depth, depth / bone.norm(dim=-1))


def people_of(kind: str, options: argparse.Namespace, fitter: Fitter) -> Iterator[tuple[People, Camera]]:
    """CHUNK of them at a time, each with the camera that is assumed."""
    if kind != "hard":
        poses, _ = world_poses(options.motion, options.cache, options.people, options.seed, options.part)
        how = SETTINGS[0][1] if kind == "tidy" else Corruption(0.01, 0.1, occluder=1.0)
        everyone = make_people(fitter.body, poses, COCO17, torch.Generator().manual_seed(options.seed), corruption=how)
        for rows in torch.arange(options.people).split(CHUNK):
            yield everyone[rows], assumed(everyone[rows])
        return
    poses, weight, _ = pose_pool(options.motion, options.cache, options.part)
    limits = JointLimits.from_file(locate("joint_limits"))
    maker = HardPeopleMaker(fitter.body.points(COCO17), poses, weight, options.seed, limits=limits)
    for rows in torch.arange(options.people).split(CHUNK):
        yield maker.people(rows).people, Camera.from_size(*maker.how.size, count=len(rows))


def answers_of(fitter: Fitter, people: People, camera: Camera, source: KeypointsFrom) -> Answers:
    """What is offered to them."""
    fit = fitter.fit(people.keypoints, camera)
    noise = KeypointNoise.of([source] * len(fit), [None] * len(fit), len(COCO17))
    return fitter.answers(replace(fit, keypoint_noise=noise))


def measure(body: PointBody, answers: Answers, truth: Tensor) -> dict[str, Tensor]:
    """Rows of B people. truth: (B, 24, 3)."""
    posterior = answers.posterior
    assert posterior is not None
    joints = torch.stack([body.pose(state.params).points for state in answers.hypotheses], 1)
    p = torch.nn.functional.pad(posterior.probability, (0, 4 - joints.shape[1]))
    own, true = sides(joints), sides(truth)
    other = own.depth[:, 1:] * true.depth[:, None] > 0
    enough = (p[:, 1 : joints.shape[1]] >= LEAST)[..., None]
    chosen = [SMPL.index(name) for name in COMMON14]
    errors = torch.stack([1e3 * pa_mpjpe(joints[:, h, chosen], truth[:, chosen]) for h in range(joints.shape[1])], 1)
    away = (joints - joints[:, :, :1] - (truth - truth[:, :1])[:, None])[:, :, chosen].norm(dim=-1).mean(-1)
    there = p[:, : joints.shape[1]] > 0
    towards = posterior.towards
    if towards is None:
        towards = towards_camera(body, answers.hypotheses, posterior)
    on_other = torch.where(own.depth[:, 0] < 0, 1 - towards, towards)
    return {
        "wrong": own.depth[:, 0] * true.depth < 0,
        "shown": (other & enough).any(1),
        "far": true.sine.abs() > SINE,
        "probability": p,
        "nearest": away.masked_fill(~there, torch.inf).argmin(1),
        "answer": errors[:, 0],
        "best": errors.masked_fill(~there, torch.inf).amin(1),
        "towards": towards,
        "truly": true.depth < 0,
        "alone": (on_other >= LEAST).any(1) & ((p > 0).sum(1) < 2),
    }


def reliability(stated: Tensor, happened: Tensor) -> list[tuple[float, float, int]]:
    """(stated, happened, how many) on average between EDGES, where there are 20 or more."""
    cells = [(stated >= low) & (stated < high) for low, high in pairwise(EDGES)]
    mean = lambda of, cell: of[cell].double().mean().item()  # noqa: E731
    return [(mean(stated, c), mean(happened, c), int(c.sum())) for c in cells if c.sum() >= 20]


def figures(rows: dict[str, Tensor]) -> dict[str, float]:
    """The line of one kind of people."""
    wrong, far, p = rows["wrong"], rows["wrong"] & rows["far"], rows["probability"]
    of = lambda which: 1e2 * (rows["shown"] & which).sum().item() / max(int(which.sum()), 1)  # noqa: E731
    return {
        "wrong": wrong.sum(1).double().mean().item(),
        "shown": of(wrong),
        "shown_far": of(far),
        "offered": (p > 0).sum(1).double().mean().item(),
        "answer": rows["answer"].mean().item(),
        "best": rows["best"].mean().item(),
        "open": int(rows["alone"].sum()),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit the people of every kind and print their lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    motion_argument(parser)
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--part", default="test", choices=("validation", "test"))
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--source", default=SOURCES[0], choices=SOURCES, help="of hard people's keypoints")
    parser.add_argument("--config")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args(arguments)
    threads(options.threads)
    logging.getLogger("hmrfit").setLevel(logging.ERROR)
    fitter = Pipeline(load_config(options.config)).fitter
    body, found, everyone = fitter.body.points(SMPL.names), {}, []
    for kind in options.kinds.split(","):
        source: KeypointsFrom = options.source if kind == "hard" else "exact"
        parts = [
            measure(body, answers_of(fitter, people, camera, source), people.joints)
            for people, camera in people_of(kind, options, fitter)
        ]
        everyone.append({name: torch.cat([part[name] for part in parts]) for name in parts[0]})
        found[kind] = figures(everyone[-1])
        print(f"{kind:8s}" + "".join(f"{name} {value:8.2f}   " for name, value in found[kind].items()), flush=True)
        print("         towards  " + "  ".join(f"{a:.2f}/{b:.2f}" for a, b, _ in reliability(*of_bones(everyone[-1:]))))
        print(
            "         nearest  " + "  ".join(f"{a:.2f}/{b:.2f}" for a, b, _ in reliability(*of_answers(everyone[-1:])))
        )
    worst = lambda cells: max(abs(a - b) for a, b, count in cells if count >= 100)  # noqa: E731
    finish(
        benchmark="limb_depths",
        people=options.people,
        part=options.part,
        settings=options.config or "default",
        **{f"{name}_{kind}": value for kind, line in found.items() for name, value in line.items()},
        nearest_worst=worst(reliability(*of_answers(everyone))),
        towards_worst=worst(reliability(*of_bones(everyone))),
    )


def of_bones(everyone: Sequence[dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
    """(stated, happened) of all bones."""
    stated, happened = (torch.cat([rows[name].flatten() for rows in everyone]) for name in ("towards", "truly"))
    return stated, happened


def of_answers(everyone: Sequence[dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
    """(stated, happened) of all answers of people who have several."""
    p, nearest = (torch.cat([rows[name] for rows in everyone]) for name in ("probability", "nearest"))
    happened = torch.nn.functional.one_hot(nearest, p.shape[1]) > 0
    counted = (p > 0) & ((p > 0).sum(1, keepdim=True) > 1)
    return p[counted], happened[counted]


if __name__ == "__main__":
    main()
