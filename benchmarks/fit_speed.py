"""How fast is the fit, against the schedule the field uses, on the same energy from the same start?

    python benchmarks/fit_speed.py [--people 1024]            needs the smplx package (pip install 'hmrfit[test]')

Ours      batched Levenberg-Marquardt over joints and landmarks, float64
SPIN      100 + 100 Adam steps at 1e-2 through the smplx package's full body, float32 (Kolotouros et al., ICCV 2019)

Both have two stages with the same free variables: first orientation and translation, then everything (SPIN holds the
translation there, which only raises both energies). Both start from one library pose and minimise the same terms with
the same weights; both results are then measured by one float64 function. "Not higher" allows 0.1 %.
"""

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from _common import finish, motion_argument, threads, world_poses
from torch import Tensor

from hmrfit.api import one_thread_for_few
from hmrfit.assets import locate
from hmrfit.body.smpl import SmplBody
from hmrfit.build import build_fitter
from hmrfit.camera import Camera
from hmrfit.config import load_config
from hmrfit.data.people import Views, make_people
from hmrfit.fitting.fitter import FINAL, PRIOR_WEIGHTS, WIDE, Fitter, default_terms
from hmrfit.fitting.problem import Stage, StageProblem
from hmrfit.fitting.solver import Options, solve
from hmrfit.fitting.start import starts
from hmrfit.fitting.state import Evaluation, Observation, State
from hmrfit.fitting.terms import terms_by_name
from hmrfit.keypoints import COCO17
from hmrfit.types import BodyParams

FIRST = Stage(FINAL.weights, ("transl", "global_orient"), Options(max_steps=5, ftol=1e-3))
PARAMETERS = ("global_orient", "body_pose", "betas", "transl")
GRADUAL = Stage({**PRIOR_WEIGHTS, "reprojection_wide": 50.0}, options=WIDE.options)
SECOND = Stage(FINAL.weights, options=Options(max_steps=15, ftol=1e-4))
SUSPICIOUS = 30.0  # nats; about a quarter of the people


def ours(fitter: Fitter, start: State, observation: Observation) -> State:
    """Levenberg-Marquardt by a path through a wide robust scale. Those left above `SUSPICIOUS` take the direct path
    from the same start as well, and keep the lower end: a robust energy has several valleys."""
    found = follow(fitter, (FIRST, GRADUAL, SECOND), start, observation)
    cost = energies(fitter, found, observation)
    again = (cost > SUSPICIOUS).nonzero()[:, 0]
    if not len(again):
        return found
    other = follow(fitter, (FIRST, SECOND), start[again], observation[again])
    better = energies(fitter, other, observation[again]) < cost[again]
    rows = torch.arange(len(cost))
    rows[again[better]] = len(cost) + better.nonzero()[:, 0]
    return State.cat([found, other])[rows]


def follow(fitter: Fitter, stages: Sequence[Stage], start: State, observation: Observation) -> State:
    """One stage after the other."""
    body = fitter.point_body(observation.keypoints.names)
    for stage in stages:
        problem = StageProblem(body, observation, fitter.terms, stage)
        start = problem.fill(solve(problem, start, stage.options).x)
    return start


class SpinStyle:
    """The same energy by Adam, through the smplx package's full body."""

    def __init__(self, fitter: Fitter, batch: int) -> None:
        import smplx

        with np.load(locate("free_body"), allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
        struct = smplx.utils.Struct(
            **{k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in arrays.items()}
        )
        self.body = smplx.SMPL("", data_struct=struct, batch_size=batch)
        body: SmplBody = fitter.body
        self.rows = [_row(body, name) for name in COCO17]
        self.landmarks = body.landmark_regressor.float()
        gmm, limits = fitter.terms["gmm"].gmm, fitter.terms["joint_limits"].limits
        self.terms = terms_by_name(default_terms(gmm.to(dtype=torch.float32), limits.to(dtype=torch.float32)))

    def energy(self, parameters: dict[str, Tensor], camera: Camera, observation: Observation) -> Tensor:
        """The sum over the batch of the weighted terms, as the fit's own terms define them."""
        output = self.body(**parameters)
        marks = self.landmarks @ output.vertices
        points = torch.stack([(marks if is_mark else output.joints)[:, i] for is_mark, i in self.rows], 1)
        params = BodyParams.from_rotvecs(*(parameters[name] for name in PARAMETERS))
        e = _Given(points, State(params, camera), observation, parameters["body_pose"])
        return sum(0.5 * w * self.terms[name].residuals(e).square().sum() for name, w in FINAL.weights.items())

    def fit(self, start: State, observation: Observation) -> State:
        """100 + 100 Adam steps."""
        orient, pose = start.params.to_rotvecs()
        parameters = {
            "global_orient": orient,
            "body_pose": pose,
            "betas": start.params.betas,
            "transl": start.params.transl,
        }
        parameters = {k: v.float().clone() for k, v in parameters.items()}
        camera, observation = start.camera.to(torch.float32), observation.to(torch.float32)
        for stage in (FIRST, SECOND):
            free = [parameters[group].requires_grad_() for group in stage.free]
            optimizer = torch.optim.Adam(free, lr=1e-2)
            for _ in range(100):
                optimizer.zero_grad()
                self.energy(parameters, camera, observation).backward()
                optimizer.step()
            parameters = {k: v.detach() for k, v in parameters.items()}
        found = {k: v.double() for k, v in parameters.items()}
        return State(BodyParams.from_rotvecs(**found), start.camera)


class _Given(Evaluation):
    """An evaluation whose points and theta come from elsewhere."""

    def __init__(self, points: Tensor, state: State, observation: Observation, theta: Tensor) -> None:
        self.state, self.observation = state, observation
        self.projected, self.theta = state.camera.project(points), theta


def _row(body: SmplBody, name: str) -> tuple[bool, int]:
    """(is it a landmark?, its index)."""
    if name in body.joint_names:
        return False, body.joint_names.index(name)
    return True, body.landmark_names.index(name)


def energies(fitter: Fitter, state: State, observation: Observation) -> Tensor:
    """(B,) the energy both minimise, float64."""
    problem = StageProblem(fitter.point_body(COCO17), observation, fitter.terms, SECOND)
    return sum(problem.term_costs(state).values())


def timed(run: Callable[[], State]) -> tuple[State, float]:
    """(result, seconds)."""
    begin = time.perf_counter()
    result = run()
    return result, time.perf_counter() - begin


def in_batches(run: Callable[[State, Observation], State], start: State, observation: Observation, batch: int) -> State:
    """Everything, `batch` people at a time."""
    parts = [slice(i, i + batch) for i in range(0, len(start), batch)]
    return State.cat([run(start[part], observation[part]) for part in parts])


def main(arguments: Sequence[str] | None = None) -> None:
    """Time both and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    motion_argument(parser)
    parser.add_argument("--people", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--singles", type=int, default=20, help="people fitted one at a time")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args(arguments)
    threads(options.threads)
    poses, origin = world_poses(options.motion, options.cache, options.people, seed=1)
    fitter = build_fitter(load_config())
    people = make_people(fitter.body, poses, COCO17, torch.Generator().manual_seed(1))
    camera = Camera.from_size(*Views().size, count=options.people)
    observation = Observation.of(people.keypoints)
    start = starts(fitter.point_body(COCO17), fitter.library(COCO17), observation, camera, 1)
    run = lambda s, o: ours(fitter, s, o)  # noqa: E731
    in_batches(run, start[:64], observation[:64], 64)  # warm-up
    few, two = slice(0, options.singles), slice(0, 2)
    with one_thread_for_few(1):  # as hmrfit.fit does
        _, single = timed(lambda: in_batches(run, start[few], observation[few], 1))
    spin, spin_one = SpinStyle(fitter, options.batch), SpinStyle(fitter, 1)
    _, spin_single = timed(lambda: in_batches(spin_one.fit, start[two], observation[two], 1))
    seconds = spin_seconds = default = 0.0
    ends: tuple[list[State], list[State]] = [], []
    for i in range(0, options.people, options.batch):  # in turns, so that both meet the same machine
        part = slice(i, i + options.batch)
        runs = [timed(lambda part=part: run(start[part], observation[part])) for _ in range(3)]
        seconds += sorted(time for _, time in runs)[1]
        default += timed(lambda part=part: fitter.fit(people.keypoints[part], camera[part]).state)[1]
        theirs, spent = timed(lambda part=part: spin.fit(start[part], observation[part]))
        spin_seconds += spent
        ends[0].append(runs[0][0])
        ends[1].append(theirs)
    found, theirs = (State.cat(states) for states in ends)
    mine, other = energies(fitter, found, observation), energies(fitter, theirs, observation)
    before = energies(fitter, start, observation)
    print(f"{options.people} people posed by {origin}; {torch.get_num_threads()} threads")
    print(f"energy, mean:  start {before.mean():.2f}   ours {mine.mean():.3f}   SPIN-style {other.mean():.3f}")
    print(f"batch {options.batch}:     ours {1e3 * seconds / options.people:.2f} ms a person, SPIN-style {1e3 * spin_seconds / options.people:.1f}")  # fmt: skip  # noqa: E501
    print(f"one at a time: ours {1e3 * single / options.singles:.2f} ms, SPIN-style {1e3 * spin_single / 2:.1f}\n")
    finish(
        benchmark="fit_speed",
        people=options.people,
        fits_per_second=options.people / seconds,
        ratio_batch=spin_seconds / seconds,
        ratio_single=(spin_single / 2) / (single / options.singles),
        single_ms=1e3 * single / options.singles,
        share_energy_not_higher=(mine <= other * 1.001).double().mean().item(),
        fits_per_second_default=options.people / default,
        threads=torch.get_num_threads(),
    )


if __name__ == "__main__":
    main()
