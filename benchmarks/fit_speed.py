"""How fast is the fit, against the schedule the field uses, on the same energy from the same start?

    python benchmarks/fit_speed.py [--people 1024]            needs the smplx package (pip install 'hmrfit[test]')

Ours      batched Levenberg-Marquardt over joints and landmarks, float64, with the default stages and one start
          (`hmrfit.fitting.schedule.ANCHORED`); up to four people one by one in NumPy
SPIN      100 + 100 Adam steps at 1e-2 through the smplx package's full body, float32 (Kolotouros et al., ICCV 2019):
          first orientation and translation, then everything (SPIN holds the translation there, which only raises both
          energies)

Both start from the shipped initial estimate and minimise the same energy, anchored at it; both results are then
measured by one float64 function. "Not higher" allows 0.1 %. Converged: the energy fell by less than ftol = 3e-4 of
itself in an accepted step whose predicted fall was as small, or the largest |g_i|/sqrt(H_ii) is below gtol = 1e-6;
shown as the share of people who stopped so, the gradient at the end, and the energy that 60 further steps with ftol
1e-9 take off.

Timed beside them: `Fitter.fit` as `fit_accuracy.py` scores it, guess, flips and guard included (--device cuda: on a
GPU), and the whole call `hmrfit.fit` for one person.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from _common import finish, motion_argument, threads, world_poses
from torch import Tensor

import hmrfit
from hmrfit.assets import locate
from hmrfit.body.smpl import SmplBody
from hmrfit.build import build_fitter
from hmrfit.camera import Camera
from hmrfit.config import load_config
from hmrfit.fitting.energy import StageProblem, term_costs
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import CHUNK, Fitter, default_terms, in_pieces
from hmrfit.fitting.parameters import Linearization, Observation, State
from hmrfit.fitting.schedule import ANCHORED
from hmrfit.fitting.solver import Options, solve
from hmrfit.fitting.terms.base import terms_by_name
from hmrfit.keypoints import COCO17
from hmrfit.ops.threads import one_thread_for_few
from hmrfit.synthetic.people import Views, make_people
from hmrfit.types import BodyParams, Keypoints

ENERGY = ANCHORED
ORIENTATION = replace(ENERGY, free=("transl", "global_orient"))
PARAMETERS = ("global_orient", "body_pose", "betas", "transl")
CONVERGED = (1, 2)
"""The solver's status of those who stopped by ftol or gtol."""


def ours(fitter: Fitter, start: State, observation: Observation) -> Fit:
    """The default stages, one start, in pieces as `Fitter.fit` has them."""
    rounds = tuple((stage, 1) for stage in fitter.schedule.anchored)
    fit = lambda part: fitter.refine(start[part], observation[part], 1, rounds)  # noqa: E731
    return fit(slice(None)) if len(start) <= CHUNK else in_pieces(fit, len(start))


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
        return sum(w * self.terms[name].cost(e).sum() for name, w in ENERGY.weights.items())

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
        for stage in (ORIENTATION, ENERGY):
            free = [parameters[group].requires_grad_() for group in stage.free]
            optimizer = torch.optim.Adam(free, lr=1e-2)
            for _ in range(100):
                optimizer.zero_grad()
                self.energy(parameters, camera, observation).backward()
                optimizer.step()
            parameters = {k: v.detach() for k, v in parameters.items()}
        found = {k: v.double() for k, v in parameters.items()}
        return State(BodyParams.from_rotvecs(**found), start.camera)


class _Given(Linearization):
    """An evaluation whose points and theta come from elsewhere."""

    def __init__(self, points: Tensor, state: State, observation: Observation, theta: Tensor) -> None:
        self.state, self.observation = state, observation
        self.projected, self._logs = state.camera.project(points), (None, theta.unflatten(1, (-1, 3)))


def _row(body: SmplBody, name: str) -> tuple[bool, int]:
    """(is it a landmark?, its index)."""
    if name in body.joint_names:
        return False, body.joint_names.index(name)
    return True, body.landmark_names.index(name)


def energies(fitter: Fitter, state: State, observation: Observation) -> Tensor:
    """(B,) the energy both minimise, float64."""
    e = Linearization(fitter.point_body(COCO17), state, observation)
    return sum(term_costs(e, fitter.terms, ENERGY).values())


def gradient_left(fitter: Fitter, state: State, observation: Observation) -> Tensor:
    """(B,) the largest |g_i|/sqrt(H_ii), the square root of what one column could still take off."""
    return StageProblem(fitter.point_body(COCO17), observation, fitter.terms, ENERGY).linearize(state).scaled_gradient()


def fully(fitter: Fitter, state: State, observation: Observation) -> State:
    """60 further steps with hardly any tolerance."""
    stage = replace(ENERGY, options=Options(max_steps=60, ftol=1e-9, gtol=1e-9))
    problem = StageProblem(fitter.point_body(COCO17), observation, fitter.terms, stage)
    return problem.fill(solve(problem, state, stage.options).x)


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """(result, seconds)."""
    begin = time.perf_counter()
    result = run()
    return result, time.perf_counter() - begin


def in_batches(run: Callable[[State, Observation], Any], start: State, observation: Observation, batch: int) -> list:
    """Everything, `batch` people at a time."""
    parts = [slice(i, i + batch) for i in range(0, len(start), batch)]
    return [run(start[part], observation[part]) for part in parts]


def whole_calls(keypoints: Keypoints) -> float:
    """Seconds of `hmrfit.fit` for one person, the median."""
    given = torch.cat([keypoints.xy, keypoints.confidence[..., None]], -1).numpy()
    run = lambda points: hmrfit.fit(None, points, keypoint_set=keypoints.names, image_size=Views().size)  # noqa: E731
    run(given[0])
    return statistics.median(timed(lambda points=points: run(points))[1] for points in given)


def main(arguments: Sequence[str] | None = None) -> None:
    """Time both and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    motion_argument(parser)
    parser.add_argument("--people", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--singles", type=int, default=20, help="people fitted one at a time")
    parser.add_argument("--device", default="cpu", help="where the default fit takes its steps: cpu, cuda")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args(arguments)
    threads(options.threads)
    poses, origin = world_poses(options.motion, options.cache, options.people, seed=1)
    fitter = build_fitter(load_config(None, [f"FIT.DEVICE={options.device}"]))
    people = make_people(fitter.body, poses, COCO17, torch.Generator().manual_seed(1))
    camera = Camera.from_size(*Views().size, count=options.people)
    start, observation = fitter.guess(Observation.of(people.keypoints), camera)
    run = lambda s, o: ours(fitter, s, o)  # noqa: E731
    in_batches(run, start[:64], observation[:64], 64)  # warm-up
    few, two = slice(0, options.singles), slice(0, 2)
    spin, spin_one = SpinStyle(fitter, options.batch), SpinStyle(fitter, 1)
    with one_thread_for_few(1):  # as hmrfit.fit does
        in_batches(run, start[:3], observation[:3], 1)
        _, single = timed(lambda: in_batches(run, start[few], observation[few], 1))
        _, spin_single = timed(lambda: in_batches(spin_one.fit, start[two], observation[two], 1))
    call = whole_calls(people.keypoints[few])
    seconds = spin_seconds = default = 0.0
    fits, theirs = [], []
    for i in range(0, options.people, options.batch):  # in turns, so that both meet the same machine
        part = slice(i, i + options.batch)
        runs = [timed(lambda part=part: run(start[part], observation[part])) for _ in range(3)]
        seconds += sorted(time for _, time in runs)[1]
        default += timed(lambda part=part: fitter.fit(people.keypoints[part], camera[part]))[1]
        state, spent = timed(lambda part=part: spin.fit(start[part], observation[part]))
        spin_seconds += spent
        fits.append(runs[0][0])
        theirs.append(state)
    found, theirs = State.cat([fit.state for fit in fits]), State.cat(theirs)
    status, steps = torch.cat([fit.status for fit in fits]), torch.cat([fit.steps for fit in fits]).double()
    mine, other, before = (energies(fitter, state, observation) for state in (found, theirs, start))
    rest = mine - energies(fitter, fully(fitter, found, observation), observation)
    left = gradient_left(fitter, found, observation)
    done = torch.isin(status, torch.tensor(CONVERGED)).double().mean().item()
    print(f"{options.people} people posed by {origin}; {torch.get_num_threads()} threads")
    print(f"energy, mean:  start {before.mean():.2f}   ours {mine.mean():.3f}   SPIN-style {other.mean():.3f}")
    print(f"converged: {100 * done:.1f} %, {steps.mean():.1f} steps on average; |g|/sqrt(H) {left.median():.4f} (median); 60 more steps take off {rest.median():.5f} (median), {rest.quantile(0.95):.4f} (95 %)")  # fmt: skip  # noqa: E501
    print(f"batch {options.batch}:     ours {1e3 * seconds / options.people:.2f} ms a person, SPIN-style {1e3 * spin_seconds / options.people:.1f}")  # fmt: skip  # noqa: E501
    print(f"one at a time: ours {1e3 * single / options.singles:.2f} ms, SPIN-style {1e3 * spin_single / 2:.1f}")
    print(f"`hmrfit.fit` for one person, all of it: {1e3 * call:.1f} ms\n")
    finish(
        benchmark="fit_speed",
        people=options.people,
        fits_per_second=options.people / seconds,
        ratio_batch=spin_seconds / seconds,
        ratio_single=(spin_single / 2) / (single / options.singles),
        single_ms=1e3 * single / options.singles,
        call_ms=1e3 * call,
        share_energy_not_higher=(mine <= other * 1.001).double().mean().item(),
        fits_per_second_default=options.people / default,
        share_converged=done,
        threads=torch.get_num_threads(),
    )


if __name__ == "__main__":
    main()
