"""What knowing who somebody is, and how the camera was held, is worth: Gender, Age and Up.

    python benchmarks/people_known.py [--people 200] [--motion FOLDER]

people   men, women, children and old people in held-out motion, 17 COCO keypoints with 1 % noise, a tenth missing, the
         focal length unknown; their shapes drawn from `priors/shape_by_person.npz`. Stature and shape (mean distance of
         vertices in the T-pose): what is off, without and with Gender, Age or both
up       people of the usual shapes seen by cameras from 30 degrees below to 60 above them, 6 degrees of roll. Lean: how
         far off is the angle at which those who stand lean towards the camera, root mean square, degrees
"""

import argparse
from collections.abc import Sequence

import numpy as np
import torch
from _common import finish, motion_argument, threads, world_poses
from torch import Tensor

from hmrfit.body.skeleton import SMPL
from hmrfit.body.smpl import SmplBody
from hmrfit.build import build_fitter
from hmrfit.camera import Camera
from hmrfit.config import load_config
from hmrfit.evaluate.metrics import mpjpe, pa_mpjpe
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.terms.base import Known, Measurement, Staged
from hmrfit.fitting.terms.gender_age import Age, Gender, shapes_of
from hmrfit.fitting.terms.height import HeightTerm
from hmrfit.fitting.terms.up import POINTS, WEIGHT, Up, UpTerm, Vertical
from hmrfit.io.photo import read_photo
from hmrfit.keypoints import COCO17, COMMON14
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.synthetic.people import Corruption, People, Views, make_people
from hmrfit.types import BodyParams, RecordTable

NOISE = Corruption(0.01, 0.1)
CHOSEN = [SMPL.index(name) for name in COMMON14]
SOMEBODY = {
    "man_35": ("male", 35.0),
    "woman_35": ("female", 35.0),
    "boy_8": ("male", 8.0),
    "girl_8": ("female", 8.0),
    "boy_14": ("male", 14.0),
    "woman_80": ("female", 80.0),
}
STANDING = 0.94
"""Cosine of 20 degrees between the line from the feet to the neck and the vertical."""

FACED = 60.0
"""Degrees. Who is off by more lies, or stands on the head."""


def fitted(fitter: Fitter, people: People, size: tuple[int, int], known: dict[str, Known]) -> Fit:
    """The default fit with what is known of everybody."""
    staged = [one for of_kind in known.values() for one in of_kind.terms]
    terms = fitter.terms | {one.term.name: one.term for one in staged}
    informed = fitter.with_schedule(fitter.schedule.with_terms(staged), terms=terms) if known else fitter
    records = RecordTable({name: of_kind.record for name, of_kind in known.items()})
    return informed.fit(people.keypoints, Camera.from_size(*size, count=len(people.joints)), measurements=records)


def who(fitter: Fitter, poses: Tensor, seed: int) -> dict[str, float]:
    """The table of people."""
    body, height, figures = fitter.body, HeightTerm(fitter.body), {}
    columns = f"{'stature':>9}{'±':>7}{'(true)':>8}{'±':>7}{'off mm':>8}{'shape':>7}{'PA-MPJPE':>10}"
    print(f"{'people':16s}{'known':>8}{columns}")
    for name, (gender, age) in SOMEBODY.items():
        mean, covariance = shapes_of(body).mixture(2 if gender == "male" else 1, np.array([age]), np.ones(1))
        betas = torch.tensor(np.random.default_rng(seed).multivariate_normal(mean, covariance, len(poses)))
        generator = torch.Generator().manual_seed(seed)
        people = make_people(body, poses, COCO17, generator, Views(), NOISE, betas)
        photo = read_photo(None, _arrays(people), "coco17", image_size=Views().size)
        true = height.of(betas)
        ways: dict[str, list[Measurement]] = {
            "nothing": [],
            "gender": [Gender(gender)],
            "age": [Age(age)],
            "both": [Gender(gender), Age(age)],
        }
        for way, measurements in ways.items():
            fit = fitted(fitter, people, Views().size, {one.name: one.read(photo, body) for one in measurements})
            params = fit.state.params
            found = height.of(params.betas)
            off = 1e3 * (found - true).abs().mean().item()
            shape = 1e3 * (body.shaped(params.betas) - body.shaped(betas)).norm(dim=-1).mean().item()
            pa = 1e3 * pa_mpjpe(_joints(fitter, fit), people.joints[:, CHOSEN]).mean().item()
            spread = f"{found.mean():9.3f}{found.std():7.3f}{true.mean():8.3f}{true.std():7.3f}"
            print(f"{name:16s}{way:>8}{spread}{off:8.0f}{shape:7.1f}{pa:10.1f}", flush=True)
            figures |= {f"{name}_stature_mm_{way}": off, f"{name}_shape_mm_{way}": shape}
    return figures


def _arrays(people: People) -> np.ndarray:
    """(B, K, 3), every point seen enough to be read."""
    keypoints = people.keypoints
    return torch.cat([keypoints.xy, keypoints.confidence.clamp_min(0.01)[..., None]], -1).numpy()


def _joints(fitter: Fitter, fit: Fit) -> Tensor:
    return fitter.body.points(SMPL.names).pose(fit.state.params).joints[:, CHOSEN]


def line(body: SmplBody, params: BodyParams) -> Tensor:
    """(B, 3) unit vectors from the feet to the neck, which `Up` is about."""
    points = body.points(POINTS).pose(params).points
    return torch.nn.functional.normalize(points[:, -1] - points[:, :-1].mean(1), dim=-1)


def leaning(line: Tensor) -> Tensor:
    """(B,) degrees, towards the camera."""
    return torch.rad2deg(torch.atan2(-line[:, 2], -line[:, 1]))


def upright(fitter: Fitter, poses: Tensor, seed: int) -> dict[str, float]:
    """The table of cameras."""
    views, body = Views(elevation=(-30.0, 60.0), roll=6.0), fitter.body
    people = make_people(body, poses, COCO17, torch.Generator().manual_seed(seed), views, NOISE)
    world = people.params.global_orient @ rotvec_to_matrix(poses[:, 0]).mT  # of the y-up world, in the camera
    record, term = Vertical(world[:, :, 1]), UpTerm(body.points(POINTS))
    known = Known(record, (Staged(term, WEIGHT, WEIGHT),))
    true = line(body, people.params)
    standing = (true * record.up).sum(-1) > STANDING
    figures: dict[str, float] = {"standing": standing.double().mean().item()}
    print(f"\n{'up':16s}{'lean':>9}{'PA-MPJPE':>10}{'MPJPE':>9}")
    for way, records in {"unknown": {}, "known": {Up.name: known}}.items():
        fit = fitted(fitter, people, views.size, records)
        off = leaning(line(body, fit.state.params)) - leaning(true)
        lean = off[standing & (off.abs() < FACED)].square().mean().sqrt().item()
        joints = body.points(SMPL.names).pose(fit.state.params).joints
        pa = 1e3 * pa_mpjpe(joints[:, CHOSEN], people.joints[:, CHOSEN]).mean().item()
        plain = mpjpe(joints[:, CHOSEN], people.joints[:, CHOSEN], joints[:, 0], people.joints[:, 0])
        row = {"lean_degrees": lean, "pa_mpjpe_mm": pa, "mpjpe_mm": 1e3 * plain.mean().item()}
        print(f"{way:16s}{lean:9.1f}{pa:10.1f}{row['mpjpe_mm']:9.1f}", flush=True)
        figures |= {f"up_{name}_{way}": value for name, value in row.items()}
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    motion_argument(parser)
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args(arguments)
    threads(options.threads)
    poses, origin = world_poses(options.motion, options.cache, options.people, options.seed)
    fitter = build_fitter(load_config())
    print(f"{options.people} people posed by {origin}\n")
    figures = who(fitter, poses, options.seed) | upright(fitter, poses, options.seed)
    print()
    finish(benchmark="people_known", people=options.people, motion=origin, **figures)


if __name__ == "__main__":
    main()
