"""How accurate is the fit, on people posed by motion that no prior was fitted on?

    python benchmarks/fit_accuracy.py [--people 2000] [--motion FOLDER]

Bodies of random shape, in poses of the set-aside motion, are seen from all around (elevation -10 to 35 degrees, lenses
of 20 to 110 mm, the focal length not told to the fit), their keypoints disturbed, dropped and hidden. Everything is
averaged over people; joints are SMPL's: ankles, knees, hips, wrists, elbows, shoulders, neck, head.

    PA-MPJPE   after a similarity alignment of each body, mm        MPJPE   after moving the pelvises together, mm
    reproj.    distance to the keypoints given, % of the box        true    distance to the true, undisturbed keypoints
    facing     share of people whose torso came out front to back

For the first setting also: the first guess alone, before any fit, and the fit from scratch, with no first guess.
"""

import argparse
import time
from collections.abc import Callable, Sequence

import torch
from _common import finish, motion_argument, threads, world_poses
from torch import Tensor

from hmrfit.body.smpl import SmplBody
from hmrfit.build import build_fitter
from hmrfit.camera import Camera
from hmrfit.config import load_config
from hmrfit.data.people import Corruption, People, Views, make_people
from hmrfit.evaluate.metrics import facing_wrong, mpjpe, pa_mpjpe, reprojection_error
from hmrfit.fitting.fitter import Fit, Fitter
from hmrfit.fitting.state import State
from hmrfit.keypoints import COMMON14, SMPL24, resolve_set

CHUNK = 256
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


def fit_people(fitter: Fitter, people: People, known_focal: bool = False) -> Fit:
    """Fit all people, in chunks."""
    cameras = people.camera if known_focal else Camera.from_size(*Views().size, count=len(people.camera))
    parts = [slice(i, i + CHUNK) for i in range(0, len(cameras), CHUNK)]
    fits = [fitter.fit(people.keypoints[part], cameras[part]) for part in parts]
    state = type(fits[0].state).cat([f.state for f in fits])
    first = fits[0]
    return Fit(state, torch.cat([f.cost for f in fits]), {}, torch.cat([f.status for f in fits]), first.steps)


def guess_alone(fitter: Fitter, people: People) -> Fit:
    """What the first guess says, unfitted."""
    camera = Camera.from_size(*Views().size, count=len(people.camera))
    state = State(fitter.first_guess.predict(people.keypoints, camera).params, camera)
    nothing = torch.zeros(len(camera))
    return Fit(state, nothing, {}, nothing, nothing)


def score(body: SmplBody, fit: Fit, people: People) -> dict[str, Tensor]:
    """Name -> (B,) of every measure."""
    joints = body.points(SMPL24).pose(fit.state.params).joints
    chosen = [SMPL24.index(name) for name in COMMON14]
    keypoints, clean = people.keypoints, people.clean
    seen = fit.state.camera.project(body.points(keypoints.names).pose(fit.state.params).points)
    box = clean.box_size()
    found, truth = joints[:, chosen], people.joints[:, chosen]
    return {
        "PA-MPJPE": 1e3 * pa_mpjpe(found, truth),
        "MPJPE": 1e3 * mpjpe(found, truth, joints[:, 0], people.joints[:, 0]),
        "reproj.": 1e2 * reprojection_error(seen, keypoints.xy, keypoints.confidence, box),
        "true": 1e2 * reprojection_error(seen, clean.xy, clean.confidence, box),
        "facing": 1e2 * facing_wrong(fit.state.params.global_orient, people.params.global_orient).double(),
    }


def run(
    body: SmplBody,
    poses: Tensor,
    name: str,
    how: Corruption,
    fit: Callable[[People], Fit],
    seed: int,
    way: str = "",
) -> dict[str, Tensor]:
    """One setting: make the people, fit them, print the row; its scores."""
    people = make_people(body, poses, resolve_set(name), torch.Generator().manual_seed(seed), corruption=how)
    begin = time.perf_counter()
    fitted = fit(people)
    seconds = time.perf_counter() - begin
    scores = score(body, fitted, people)
    hidden = ", half hidden" if how.occluder else ""
    print_row(f"{name}, {100 * how.noise:.0f} % noise, a tenth missing{hidden}{way}", scores, seconds)
    return scores


def print_row(label: str, scores: dict[str, Tensor], seconds: float) -> None:
    """One line of the table."""
    count = len(scores["PA-MPJPE"])
    means = "  ".join(f"{scores[k].mean():8.2f}" for k in scores)
    print(f"{label:62s}{means}  {scores['PA-MPJPE'].median():8.2f}  {1e3 * seconds / count:8.2f}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run every setting and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    motion_argument(parser)
    parser.add_argument("--people", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--settings", type=int, default=len(SETTINGS), help="only the first so many settings")
    options = parser.parse_args(arguments)
    threads(options.threads)
    poses, origin = world_poses(options.motion, options.cache, options.people, options.seed)
    fitter = build_fitter(load_config())
    print(f"{options.people} people posed by {origin}\n")
    columns = ("PA-MPJPE", "MPJPE", "reproj.", "true", "facing", "PA med.", "ms each")
    print(" " * 62 + "  ".join(f"{column:>8}" for column in columns))
    name, how = SETTINGS[0]
    scratch = build_fitter(load_config(overrides=["PRIORS.FIRST_GUESS="]))
    ways = {"": lambda p: fit_people(fitter, p), " (from scratch)": lambda p: fit_people(scratch, p)}
    if fitter.first_guess is not None:
        ways[" (first guess alone)"] = lambda p: guess_alone(fitter, p)
    ways[", focal known"] = lambda p: fit_people(fitter, p, known_focal=True)
    headline = {way: run(fitter.body, poses, name, how, fit, options.seed, way) for way, fit in ways.items()}
    for name, how in SETTINGS[1 : options.settings]:
        run(fitter.body, poses, name, how, ways[""], options.seed)
    print()
    finish(
        benchmark="fit_accuracy",
        people=options.people,
        motion=origin,
        keypoint_set="coco17",
        joints=len(COMMON14),
        pa_mpjpe_mm=headline[""]["PA-MPJPE"].mean().item(),
        pa_mpjpe_median_mm=headline[""]["PA-MPJPE"].median().item(),
        mpjpe_mm=headline[""]["MPJPE"].mean().item(),
        reprojection_percent_of_box=headline[""]["reproj."].mean().item(),
        facing_wrong_percent=headline[""]["facing"].mean().item(),
        pa_mpjpe_scratch_mm=headline[" (from scratch)"]["PA-MPJPE"].mean().item(),
        pa_mpjpe_first_guess_mm=headline[" (first guess alone)"]["PA-MPJPE"].mean().item() if len(ways) == 4 else None,
    )


if __name__ == "__main__":
    main()
