"""How fast is the fit, against the schedule the field uses, on the same energy from the same start?

    python benchmarks/fit_speed.py [--people 1024] [--motion FOLDER]      needs smplx (pip install 'hmrfit[test]')

Ours      batched Levenberg-Marquardt over joints and landmarks, float64, with the default stages and one start
          (`hmrfit.fitting.schedule.ANCHORED`); up to four people one by one in NumPy
SPIN      100 + 100 Adam steps at 1e-2 through the smplx package's full body, float32 (Kolotouros et al., ICCV 2019):
          first orientation and translation, then everything (SPIN holds the translation there, which only raises both
          energies)

Both start from the shipped initial estimate and minimise the same energy, its Gaussian prior included; both are then
measured by one float64 function. "Not higher" allows 0.1 %. Converged: the energy fell by less than ftol = 3e-4 of
itself in an accepted step whose predicted fall was as small, or the largest |g_i|/sqrt(H_ii) is below gtol = 1e-6;
shown as the fraction of people who stopped so, the gradient at the end, and the energy that 60 further steps with ftol
1e-9 take off.

Timed beside them: `Fitter.fit` as `fit_accuracy.py` scores it, initial estimate, depth flips and acceptance test
included (--device cuda: on a GPU), and the whole call `hmrfit.fit` for one person: alone, with `joints`, `joint_std`,
`hypotheses`, `warnings` and `print(result)` read, with one more term, which the user wrote, and with a known shape, in
turns; and for everybody in one call (`call_batch_`), with what the result's hypotheses, joint_std and 20 samples take
afterwards, as shares of the fit's processor time. Times are of the clock: medians of several runs, and one
run of SPIN's schedule. `_processor_ms` (the least of the runs) and the ratios of these calls are of the processor, all
threads together; other work on the machine changes them less, least with --threads 1, since waiting threads are busy.
"""

import argparse
import io
import logging
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from _common import finish, motion_argument, skip, threads, world_poses
from torch import Tensor

import hmrfit
from hmrfit.assets import locate
from hmrfit.body.smpl import SmplBody
from hmrfit.build import build_fitter, default_terms
from hmrfit.camera import Camera
from hmrfit.config import load_config
from hmrfit.fitting.energy import StageProblem, term_costs
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.parameters import Linearization, Observation, State
from hmrfit.fitting.pieces import CHUNK, in_pieces
from hmrfit.fitting.route import Begun
from hmrfit.fitting.schedule import ANCHORED
from hmrfit.fitting.solver import Options, solve
from hmrfit.fitting.starts import Given
from hmrfit.fitting.terms.base import terms_by_name
from hmrfit.keypoints import COCO17, SMPL24
from hmrfit.ops.rotation import matrix_to_rotvec
from hmrfit.ops.threads import one_thread_for_few
from hmrfit.synthetic.people import People, Views, make_people
from hmrfit.types import BodyOutput, BodyParams

ENERGY = ANCHORED
ORIENTATION = replace(ENERGY, free=("transl", "global_orient"))
PARAMETERS = ("global_orient", "body_pose", "betas", "transl")
CONVERGED = (1, 2)
"""The solver's status where it stopped by ftol or gtol."""


def ours(fitter: Fitter, start: State, observation: Observation) -> Fit:
    """The default stages, one start, in pieces as `Fitter.fit` has them."""
    route, stages = fitter.route(observation.keypoints.names), fitter.schedule.stages
    fit = lambda part: route.run(Begun.at(start[part], observation[part]), stages)  # noqa: E731
    return fit(slice(None)) if len(start) <= CHUNK else in_pieces(fit, len(start), Fit)


class SpinStyle:
    """The same energy by Adam, through the smplx package's full body."""

    def __init__(self, fitter: Fitter, batch: int) -> None:
        try:
            import smplx
        except ImportError:
            skip("needs the smplx package: pip install 'hmrfit[test]'")
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
        e = _PosedBySmplx(points, State(params, camera), observation, parameters["body_pose"])
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


class _PosedBySmplx(Linearization):
    """The points and theta that the terms look at, from the smplx package."""

    def __init__(self, points: Tensor, state: State, observation: Observation, theta: Tensor) -> None:
        self.state, self.observation, self.projected = state, observation, state.camera.project(points)
        phi = matrix_to_rotvec(observation.anchor.rotations.mT @ state.params.rotations)
        self._logs = (phi, theta.unflatten(1, (-1, 3)))


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


class Seconds(NamedTuple):
    """By the clock, and of the processor (all threads), which other work on the machine hardly changes."""

    wall: float
    processor: float


def timed(run: Callable[[], Any]) -> tuple[Any, Seconds]:
    """(result, how long it took)."""
    wall, processor = time.perf_counter(), time.process_time()
    result = run()
    return result, Seconds(time.perf_counter() - wall, time.process_time() - processor)


def repeated(run: Callable[[], Any], times: int = 3) -> Seconds:
    """Of several runs the median by the clock, and the least of the processor."""
    spent = [timed(run)[1] for _ in range(times)]
    return Seconds(statistics.median(s.wall for s in spent), min(s.processor for s in spent))


def in_batches(run: Callable[[State, Observation], Any], start: State, observation: Observation, batch: int) -> list:
    """Everything, `batch` people at a time."""
    parts = [slice(i, i + batch) for i in range(0, len(start), batch)]
    return [run(start[part], observation[part]) for part in parts]


def wrists_together(state: State, output: BodyOutput, observation: Observation) -> Tensor:
    """A term that a user might write: residuals (B, 3), metres, of which 10 cm count as one standard deviation."""
    left, right = (SMPL24.index(f"{side}_wrist") for side in ("left", "right"))
    return 10 * (output.joints[:, left] - output.joints[:, right])


def whole_calls(people: People) -> dict[str, float]:
    """`hmrfit.fit` for one person: milliseconds, and how many times as long more knowledge makes it; medians."""
    seen = people.keypoints
    arrays = torch.cat([seen.xy, seen.confidence[..., None]], -1).numpy()
    call = partial(hmrfit.fit, None, keypoint_set=seen.names, image_size=Views().size)
    turns = []
    for array, betas in zip(arrays, people.params.betas.numpy(), strict=True):
        ways = [
            partial(call, array),
            partial(read_all, call, array),
            partial(call, array, terms=[wrists_together]),
            partial(call, array, measurements=[hmrfit.Shape(betas)]),
        ]
        turns.append([repeated(way) for way in ways])
    plain, read, term, shape = zip(*turns, strict=True)

    def ratio(other: Sequence[Seconds]) -> float:
        return statistics.median(b.processor / a.processor for a, b in zip(plain, other, strict=True))

    return {
        "call_ms": 1e3 * statistics.median(spent.wall for spent in plain),
        "call_processor_ms": 1e3 * statistics.median(spent.processor for spent in plain),
        "call_read_ms": 1e3 * statistics.median(spent.wall for spent in read),
        "call_read_processor_ms": 1e3 * statistics.median(spent.processor for spent in read),
        "ratio_extra_term": ratio(term),
        "ratio_known_shape": ratio(shape),
    }


def read_all(call: Callable[..., hmrfit.FitResult], array: np.ndarray) -> None:
    """One person's call, and all that a user looks at."""
    result = call(array)
    assert len(result.joints) == len(result.joint_std) == len(result.hypotheses[0]) == len(result.warnings)
    print(result, file=io.StringIO())


def call_of_all(people: People) -> dict[str, float]:
    """`hmrfit.fit` for everybody at once, and what else may be asked of its result."""
    seen = people.keypoints
    arrays = torch.cat([seen.xy, seen.confidence[..., None]], -1).numpy()
    call = partial(hmrfit.fit, None, arrays, keypoint_set=seen.names, image_size=Views().size)
    call()  # warm-up
    turns = []
    for _ in range(3):
        result, fit = timed(call)
        asked = (lambda r: r.hypotheses, lambda r: r.joint_std, lambda r: r.sample(20))
        turns.append([fit, *(timed(partial(ask, result))[1] for ask in asked)])
    fit, *others = ([*spent] for spent in zip(*turns, strict=True))
    least = min(s.processor for s in fit)
    shares = {
        f"ratio_{name}": min(s.processor for s in spent) / least
        for name, spent in zip(("hypotheses", "joint_std", "samples"), others, strict=True)
    }
    return {
        "call_batch_per_second": len(result) / statistics.median(s.wall for s in fit),
        "call_batch_processor_ms": 1e3 * least / len(result),
        **shares,
        "ratio_asked_later": sum(shares.values()),
    }


def singles(fitter: Fitter, start: State, observation: Observation) -> dict[str, float]:
    """Milliseconds a person, fitted one at a time, and the ratio of SPIN's schedule for two of them."""
    run, spin, two = partial(ours, fitter), SpinStyle(fitter, 1), slice(0, 2)
    with one_thread_for_few(1):  # as hmrfit.fit does
        in_batches(run, start[:3], observation[:3], 1)  # warm-up
        spent = repeated(lambda: in_batches(run, start, observation, 1), 5)
        _, theirs = timed(lambda: in_batches(spin.fit, start[two], observation[two], 1))
    single_ms, spin_ms = 1e3 * spent.wall / len(start), 1e3 * theirs.wall / 2
    print(f"one at a time: ours {single_ms:.2f} ms, SPIN-style {spin_ms:.1f}")
    return {
        "single_ms": single_ms,
        "single_processor_ms": 1e3 * spent.processor / len(start),
        "ratio_single": spin_ms / single_ms,
    }


def batches(
    fitter: Fitter, people: People, start: State, observation: Observation, options: argparse.Namespace
) -> tuple[list[Fit], list[State], dict[str, float]]:
    """(fits, SPIN-style fits of the first `options.spin` people, figures). They take turns, so that they meet the same
    machine."""
    camera = Camera.from_size(*Views().size, count=options.people)
    spin = SpinStyle(fitter, options.batch)
    in_batches(partial(ours, fitter), start[:64], observation[:64], 64)  # warm-up
    fits, theirs, own, default, rival = [], [], [], [], []
    for i in range(0, options.people, options.batch):
        part, few = slice(i, i + options.batch), slice(i, min(i + options.batch, options.spin))
        fits.append(ours(fitter, start[part], observation[part]))
        own.append(repeated(partial(ours, fitter, start[part], observation[part])))
        default.append(repeated(partial(fitter.fit, people.keypoints[part], camera[part])))
        if i < options.spin:
            state, spent = timed(partial(spin.fit, start[few], observation[few]))
            theirs.append(state)
            rival.append(spent)
    own, default, rival = (Seconds(*map(sum, zip(*times, strict=True))) for times in (own, default, rival))
    each, spin_each = 1e3 * own.wall / options.people, 1e3 * rival.wall / options.spin
    print(f"batch {options.batch}:     ours {each:.2f} ms a person, SPIN-style {spin_each:.1f}")
    figures = {
        "fits_per_second": options.people / own.wall,
        "fits_per_second_default": options.people / default.wall,
        "batch_processor_ms": 1e3 * own.processor / options.people,
        "default_processor_ms": 1e3 * default.processor / options.people,
        "ratio_batch": spin_each / each,
    }
    return fits, theirs, figures


def quality(
    fitter: Fitter, fits: list[Fit], theirs: list[State], start: State, observation: Observation
) -> dict[str, float]:
    """Both energies, and how far our fits are from their end."""
    found, other = State.cat([fit.state for fit in fits]), State.cat(theirs)
    few = slice(0, len(other))
    mine, before = (energies(fitter, state, observation) for state in (found, start))
    spin = energies(fitter, other, observation[few])
    rest = mine - energies(fitter, fully(fitter, found, observation), observation)
    left = gradient_left(fitter, found, observation)
    steps = torch.cat([fit.steps for fit in fits]).double().mean()
    done = torch.isin(torch.cat([fit.status for fit in fits]), torch.tensor(CONVERGED)).double().mean().item()
    print(f"energy, mean:  start {before[few].mean():.2f}   ours {mine[few].mean():.3f}   SPIN-style {spin.mean():.3f}")
    print(f"converged: {100 * done:.1f} %, {steps:.1f} steps on average; |g|/sqrt(H) {left.median():.4f} (median)")
    print(f"60 more steps take off {rest.median():.5f} (median), {rest.quantile(0.95):.4f} (95 %)")
    not_higher = (mine[few] <= spin * 1.001).double().mean().item()
    return {"fraction_energy_not_higher": not_higher, "fraction_converged": done, "steps": steps.item()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Time both and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    motion_argument(parser)
    parser.add_argument("--people", type=int, default=1024)
    parser.add_argument("--spin", type=int, help="how many of them SPIN's schedule fits too; all of them by default")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--singles", type=int, default=20, help="people fitted one at a time")
    parser.add_argument("--device", default="cpu", help="where the default fit takes its steps: cpu, cuda")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args(arguments)
    options.spin = min(options.spin or options.people, options.people)
    threads(options.threads)
    logging.getLogger("hmrfit").setLevel(logging.ERROR)
    poses, origin = world_poses(options.motion, options.cache, options.people, seed=1)
    fitter = build_fitter(load_config(None, [f"FIT.DEVICE={options.device}"]))
    people = make_people(fitter.body, poses, COCO17, torch.Generator().manual_seed(1))
    camera = Camera.from_size(*Views().size, count=options.people)
    begun = fitter.begin(Given(people.keypoints, camera))
    start, observation = begun.state, begun.observation
    print(f"{options.people} people posed by {origin}; {torch.get_num_threads()} threads")
    few = slice(0, options.singles)
    figures = singles(fitter, start[few], observation[few])
    fits, theirs, in_batch = batches(fitter, people, start, observation, options)
    figures |= in_batch | quality(fitter, fits, theirs, start, observation) | whole_calls(people[few])
    figures |= call_of_all(people)
    print(
        f"`hmrfit.fit` for one person: {figures['call_ms']:.1f} ms, with all of it read {figures['call_read_ms']:.1f}; "
        f"for {options.people} people: {figures['call_batch_per_second']:.0f} a second, then hypotheses, joint_std and "
        f"20 samples {figures['ratio_asked_later']:.2f} of the fit's time"
    )
    print("one person's call takes times as long", end=" ")
    print(
        f"with one more term: {figures['ratio_extra_term']:.2f}, with a known shape: {figures['ratio_known_shape']:.2f}"
    )
    finish(
        benchmark="fit_speed",
        people=options.people,
        motion=origin,
        device=options.device,
        threads=torch.get_num_threads(),
        **figures,
    )


if __name__ == "__main__":
    main()
