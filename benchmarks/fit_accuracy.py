"""How accurate is the fit, on people posed by motion that no prior was fitted on?

    python benchmarks/fit_accuracy.py [--people 2000] [--motion FOLDER] [--parts headline,starts,priors,levels,presets]

Bodies of random shape, in poses of held-out motion, are seen from all around (elevation -10 to 35 degrees, lenses of 20
to 110 mm, a focal length that the fit does not know), their keypoints disturbed, dropped and hidden. All figures are
means over people; joints are SMPL's: ankles, knees, hips, wrists, elbows, shoulders, neck, head.

    PA-MPJPE   after a similarity alignment of each body, mm        MPJPE   after moving the pelvises together, mm
    given      distance to the keypoints given, % of the box        true    distance to the true, undisturbed keypoints
    facing     % of people whose torso came out with its facing flipped
    worse      % of people whose PA-MPJPE rose by more than 5 mm above the initial estimate's, or the given start's

headline   the default fit, its start alone, from scratch, focal length known; what the noise itself is
starts     from the truth turned by 5° in every joint, with and without that `init_std`
priors     each prior alone and together; without hypotheses, covariance inflation, acceptance test
levels     keypoint sets, noise levels, occlusion: start and fit
presets    SMPLify's and SPIN's own energies and stages (configs fit_smplify, fit_spin)
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from _common import finish, motion_argument, threads, world_poses
from torch import Tensor

from hmrfit.body.skeleton import SMPL
from hmrfit.body.smpl import SmplBody
from hmrfit.build import build_fitter
from hmrfit.camera import Camera
from hmrfit.config import load_config
from hmrfit.evaluate.metrics import facing_wrong, mpjpe, pa_mpjpe, reprojection_error
from hmrfit.fitting.acceptance import Accept
from hmrfit.fitting.anchor_inflation import InflateAnchor
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.parameters import State
from hmrfit.fitting.schedule import After, Schedule
from hmrfit.keypoints import COMMON14, resolve_set
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.synthetic.people import Corruption, People, Views, make_people
from hmrfit.types import BodyParams

CHUNK = 256
PARTS = ("headline", "starts", "priors", "levels", "presets")
TURNED = 5.0
"""Degrees by which a good start is wrong in every joint."""

MORE = 5.0
"""Millimetres of PA-MPJPE above its start's from which a fit counts as worse."""

SETTINGS: list[tuple[str, Corruption]] = [
    ("coco17", Corruption(0.01, 0.1)),
    ("smpl24", Corruption(0.01, 0.1)),
    ("lsp14", Corruption(0.01, 0.1)),
    ("openpose25", Corruption(0.01, 0.1)),
    ("coco17", Corruption(0.02, 0.1)),
    ("coco17", Corruption(0.03, 0.1)),
    ("coco17", Corruption(0.01, 0.1, occluder=1.0)),
]
"""The first is the headline."""


def assumed(people: People) -> Camera:
    """The camera of a photograph of which nothing is known."""
    return Camera.from_size(*Views().size, count=len(people.camera))


def fit_people(
    fitter: Fitter, people: People, camera: Camera | None = None, init: BodyParams | None = None, **more: Any
) -> State:
    """Fit all people, in chunks; more: what `Fitter.fit` takes."""
    camera = assumed(people) if camera is None else camera
    parts = [slice(i, i + CHUNK) for i in range(0, len(camera), CHUNK)]
    starts = [None if init is None else init[part] for part in parts]
    fits = [fitter.fit(people.keypoints[p], camera[p], start, **more) for p, start in zip(parts, starts, strict=True)]
    return State.cat([fit.state for fit in fits])


def reweighted(schedule: Schedule, **weights: float) -> Schedule:
    """The schedule with these weights in every stage."""
    return schedule.with_stages(lambda stage: replace(stage, weights={**stage.weights, **weights}))


def without(schedule: Schedule, *steps: type[After]) -> Schedule:
    """The schedule without steps of these kinds after its stages."""
    return replace(schedule, after=tuple(step for step in schedule.after if not isinstance(step, steps)))


def estimate_alone(fitter: Fitter, people: People) -> State:
    """The initial estimate itself."""
    camera = assumed(people)
    return State(fitter.network.predict(people.keypoints, camera).params, camera)


def near_truth(people: People, generator: torch.Generator) -> State:
    """The truth with every joint turned by TURNED degrees about some axis, before its true camera."""
    R = people.params.rotations
    axis = torch.nn.functional.normalize(torch.randn(*R.shape[:2], 3, generator=generator, dtype=R.dtype), dim=-1)
    turned = R @ rotvec_to_matrix(torch.deg2rad(torch.tensor(TURNED)) * axis)
    return State(replace(people.params, global_orient=turned[:, 0], body_pose=turned[:, 1:]), people.camera)


def noise_floor(people: People) -> Tensor:
    """(B,) distance of the seen keypoints to the true ones, % of the box: the error of an estimator that meets every
    keypoint."""
    seen, clean = people.keypoints, people.clean
    return 1e2 * reprojection_error(seen.xy, clean.xy, seen.confidence, clean.box_size())


def score(body: SmplBody, state: State, people: People) -> dict[str, Tensor]:
    """Name -> (B,) of every measure."""
    joints = body.points(SMPL.names).pose(state.params).joints
    chosen = [SMPL.index(name) for name in COMMON14]
    keypoints, clean = people.keypoints, people.clean
    seen = state.camera.project(body.points(keypoints.names).pose(state.params).points)
    box = clean.box_size()
    found, truth = joints[:, chosen], people.joints[:, chosen]
    return {
        "PA-MPJPE": 1e3 * pa_mpjpe(found, truth),
        "MPJPE": 1e3 * mpjpe(found, truth, joints[:, 0], people.joints[:, 0]),
        "given": 1e2 * reprojection_error(seen, keypoints.xy, keypoints.confidence, box),
        "true": 1e2 * reprojection_error(seen, clean.xy, clean.confidence, box),
        "facing": 1e2 * facing_wrong(state.params.global_orient, people.params.global_orient).double(),
    }


class Table:
    """The rows of the table, printed as they are measured."""

    def __init__(self, body: SmplBody, poses: Tensor, seed: int) -> None:
        self.body, self.poses, self.seed = body, poses, seed

    def people(self, name: str = SETTINGS[0][0], how: Corruption = SETTINGS[0][1]) -> People:
        """The same people for the same setting."""
        generator = torch.Generator().manual_seed(self.seed)
        return make_people(self.body, self.poses, resolve_set(name), generator, corruption=how)

    def row(
        self, label: str, people: People, fit: Callable[[], State], start: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Fit, print the row; the scores."""
        begin = time.perf_counter()
        state = fit()
        seconds = time.perf_counter() - begin
        scores = score(self.body, state, people)
        means = "  ".join(f"{scores[k].mean():8.2f}" for k in scores)
        worse = f"{worse_percent(scores, start):8.2f}" if start else " " * 8
        each = 1e3 * seconds / len(people.camera)
        print(f"{label:58s}{means}  {scores['PA-MPJPE'].median():8.2f}  {worse}  {each:8.2f}", flush=True)
        return scores


def worse_percent(scores: dict[str, Tensor], start: dict[str, Tensor]) -> float:
    """% of the people."""
    return 1e2 * (scores["PA-MPJPE"] - start["PA-MPJPE"] > MORE).double().mean().item()


def headline(table: Table, fitter: Fitter) -> dict[str, Any]:
    """The default fit and its start; the figures of the last line."""
    people = table.people()
    start = table.row("initial estimate alone", people, lambda: estimate_alone(fitter, people))
    found = table.row("fit from it (default)", people, lambda: fit_people(fitter, people), start)
    scratch = build_fitter(load_config(overrides=["PRIORS.INITIAL_ESTIMATE="]))
    alone = table.row("fit from scratch", people, lambda: fit_people(scratch, people), start)
    table.row("fit from it, focal known", people, lambda: fit_people(fitter, people, people.camera), start)
    floor = noise_floor(people).mean().item()
    print(f"{'the keypoints themselves':58s}{'':34s}{floor:8.2f}")
    gain = lambda key: 1 - found[key].mean().item() / start[key].mean().item()  # noqa: E731
    return {
        "pa_mpjpe_mm": found["PA-MPJPE"].mean().item(),
        "pa_mpjpe_median_mm": found["PA-MPJPE"].median().item(),
        "mpjpe_mm": found["MPJPE"].mean().item(),
        "reprojection_percent_of_box": found["given"].mean().item(),
        "facing_wrong_percent": found["facing"].mean().item(),
        "pa_mpjpe_scratch_mm": alone["PA-MPJPE"].mean().item(),
        "pa_mpjpe_initial_estimate_mm": start["PA-MPJPE"].mean().item(),
        "gain_pa_mpjpe": gain("PA-MPJPE"),
        "gain_mpjpe": gain("MPJPE"),
        "gain_true_reprojection": gain("true"),
        "true_reprojection_percent": found["true"].mean().item(),
        "noise_floor_percent": floor,
        "worse_percent": worse_percent(found, start),
    }


def good_starts(table: Table, fitter: Fitter) -> dict[str, Any]:
    """From near the truth."""
    people = table.people()
    start = near_truth(people, torch.Generator().manual_seed(3))
    before = table.row(f"truth turned by {TURNED:.0f}° a joint", people, lambda: start)
    fit = lambda **more: fit_people(fitter, people, people.camera, start.params, **more)  # noqa: E731
    known = table.row(f"fit from it, init_std {TURNED:.0f}", people, lambda: fit(init_std=TURNED), before)
    default = table.row("fit from it, no init_std", people, fit, before)
    change = lambda after: (after["PA-MPJPE"].median() - before["PA-MPJPE"].median()).item()  # noqa: E731
    return {"good_start_median_change_mm": change(known), "good_start_median_change_default_mm": change(default)}


def priors(table: Table, fitter: Fitter) -> None:
    """Each prior alone and together, at the weights that are used."""
    people = table.people()
    start = score(table.body, estimate_alone(fitter, people), people)
    weights = fitter.schedule.stages[-1].weights
    own = weights["anchor"]
    shape = {"shape": 1.0}
    ways = {
        "no prior but the shape's": {"anchor": 0.0, **shape},
        "joint limits": {"anchor": 0.0, "joint_limits": 1.0, **shape},
        "GMM": {"anchor": 0.0, "gmm": 1.0, **shape},
        "GMM, joint limits": {"anchor": 0.0, "gmm": 1.0, "joint_limits": 1.0, **shape},
        "anchor": {"anchor": own, "joint_limits": 0.0},
        "anchor, joint limits (default)": {"anchor": own},
        "anchor, GMM, joint limits": {"anchor": own, "gmm": 0.2},
    }
    for label, changed in ways.items():
        one = fitter.with_schedule(reweighted(fitter.schedule, **changed))
        table.row(label, people, lambda one=one: fit_people(one, people), start)
    untested = fitter.with_schedule(without(fitter.schedule, Accept))
    plain_anchor = fitter.with_schedule(without(fitter.schedule, InflateAnchor))
    table.row("default without inflation", people, lambda: fit_people(plain_anchor, people), start)
    table.row("default without acceptance test", people, lambda: fit_people(untested, people), start)
    table.row("default", people, lambda: fit_people(fitter, people), start)


def levels(table: Table, fitter: Fitter) -> None:
    """Sets, noise and occlusion."""
    for name, how in SETTINGS:
        people = table.people(name, how)
        label = f"{name}, {100 * how.noise:.0f} % noise{', half hidden' if how.occluder else ''}"
        start = table.row(f"{label}: initial estimate", people, lambda people=people: estimate_alone(fitter, people))
        table.row(f"{label}: fit", people, lambda people=people: fit_people(fitter, people), start)


def presets(table: Table, fitter: Fitter) -> None:
    """SMPLify's and SPIN's energies and stages."""
    people = table.people()
    start = score(table.body, estimate_alone(fitter, people), people)
    for name in ("fit_smplify", "fit_spin"):
        other = build_fitter(load_config(name))
        table.row(f"configs/{name}.yaml", people, lambda other=other: fit_people(other, people), start)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    motion_argument(parser)
    parser.add_argument("--people", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    options = parser.parse_args(arguments)
    threads(options.threads)
    poses, origin = world_poses(options.motion, options.cache, options.people, options.seed)
    fitter = build_fitter(load_config())
    table = Table(fitter.body, poses, options.seed)
    print(f"{options.people} people posed by {origin}\n")
    columns = ("PA-MPJPE", "MPJPE", "given", "true", "facing", "PA med.", "worse", "ms each")
    print(" " * 58 + "  ".join(f"{column:>8}" for column in columns))
    figures: dict[str, Any] = {}
    todo = {"headline": headline, "starts": good_starts, "priors": priors, "levels": levels, "presets": presets}
    for part in options.parts.split(","):
        print(f"{part}:")
        figures |= todo[part](table, fitter) or {}
    print()
    finish(
        benchmark="fit_accuracy",
        people=options.people,
        motion=origin,
        keypoint_set=SETTINGS[0][0],
        joints=len(COMMON14),
        **figures,
    )


if __name__ == "__main__":
    main()
