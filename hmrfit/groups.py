"""One body in several views, or one person in many frames: what their fits have beyond those of single people."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hmrfit.body.rigid import turned
from hmrfit.camera import Camera
from hmrfit.fitting.energy import StageProblem, observed, total
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.gaussian_prior import Anchor
from hmrfit.fitting.key_frames import FAR, coarse_frames, on_a_cubic
from hmrfit.fitting.moving_frames import settle
from hmrfit.fitting.parameters import Observation, State
from hmrfit.fitting.schedule import Frames
from hmrfit.fitting.sequence import WINDOW, SequenceProblem, one_shape, solve_sequence
from hmrfit.fitting.sequence_posterior import SeenFrames, in_motion
from hmrfit.fitting.smoothness import Poses, Smoothness
from hmrfit.fitting.solver import OneSolution, Options, solve
from hmrfit.fitting.terms.base import Known
from hmrfit.fitting.terms.views import VIEWS, OtherViews, relative_pose
from hmrfit.io.photo import Photo
from hmrfit.keypoints import body_places
from hmrfit.ops.check import numbers
from hmrfit.ops.level import unit_up
from hmrfit.ops.threads import own_threads, workers
from hmrfit.prepare import Prepared
from hmrfit.result import FitResult
from hmrfit.several import Extrinsics
from hmrfit.types import BodyParams, Keypoints, RecordTable

SMOOTH = 0.3
"""Of the smoothness. On clips of held-out motion (walking, uneven ground, jumping; 150 frames, 1 % noise), 0.3 and 1
were as good for walking (18.6 mm PA-MPJPE where single frames have 27.3), 1 was too much for jumping."""

RATES, MOST_SMOOTH = (1e-3, 1e5), 1e6
"""Frames a second, and the greatest weight: beyond them, rounding decides."""

SEQUENCE = Options(max_steps=40, ftol=3e-4, gtol=0.0, damping=1e-5, extrapolate=True)
"""With ftol 1e-4 PA-MPJPE was the same to 0.1 mm, in one to twelve steps more. A damping of 1e-3, a part of the
diagonal that is mostly smoothness, took a step more."""


COARSE = replace(SEQUENCE, max_steps=4)
FEWEST_COARSE = 4

SINGLE = 1600.0
"""The smoothness's scale up to which steps are computed in single numbers: that of the trunk at 120 frames a second. It
outweighs what a frame says by its square, some thousand times there, and single numbers have seven digits."""

FORGOTTEN = 3.0
"""Seconds after which a frame says nothing of another one."""


def in_cameras(known: Sequence[Known]) -> Known:
    """What the views know of their one person, each in its own camera's frame."""
    record = type(known[0].record).cat([one.record for one in known])
    return replace(known[0], record=record, warnings=tuple(w for one in known for w in one.warnings))


def fit_each_view(ready: Prepared, photos: Sequence[Photo], start: BodyParams | None) -> tuple[Fitter, Fit]:
    """The person's body, without hands, fitted in every view's frame, beside what the others see; and the fitter."""
    seen, camera = Keypoints.cat([p.keypoints for p in photos]), Camera.cat([p.camera for p in photos])
    return ready.fitter, bodies_in_views(ready, seen, camera, start)


def bodies_in_views(ready: Prepared, seen: Keypoints, camera: Camera, start: BodyParams | None = None) -> Fit:
    """The rows' bodies, each beside what the other views see, by the points of bodies alone where hands come later."""
    fitter, records = ready.fitter, ready.records
    if not fitter.joins_hands(seen.names):
        return fitter.fit(seen, camera, start, measurements=records)
    own, views = body_places(seen.names), records[VIEWS]
    assert isinstance(views, OtherViews)
    records = RecordTable({**records, VIEWS: views.of_points(own)})
    return fitter.fit(seen.of_points(own), camera, start, measurements=records)


def with_hands_in_views(ready: Prepared, fit: Fit, seen: Keypoints, rows: Tensor) -> Fit:
    """Some rows of `bodies_in_views` continued with their hands, where the keypoints have some. seen: of all rows."""
    views = ready.records[VIEWS]
    assert isinstance(views, OtherViews)
    return ready.fitter.with_hands(fit.of(rows), seen[rows], views[rows])


def seen_with_hands(ready: Prepared, fit: Fit, state: State, seen: Keypoints, rows: Tensor) -> Fit:
    """Rows of `bodies_in_views` with what is seen of the hands too, for bodies and hands at `state`, theirs."""
    fitter, views, some = ready.fitter, ready.records[VIEWS], fit.of(rows)
    if not fitter.joins_hands(seen.names):
        return some
    assert isinstance(views, OtherViews) and fitter.hands is not None and fitter.schedule.hands is not None
    stage, route = fitter.schedule.hands, fitter.route(seen.names)
    observation = fitter.hands.observation(state, some.observation, seen[rows], stage, route, views[rows])
    calibration = fitter.hands.calibration(some.calibration, in_views=True)
    return replace(some, observation=observation, stage=stage, calibration=calibration)


def one_body_in_views(ready: Prepared, photos: Sequence[Photo], world: Extrinsics, start: BodyParams | None) -> Fit:
    """The fit of least energy among the views' own, in every camera's frame."""
    seen, (fitter, fit) = Keypoints.cat([p.keypoints for p in photos]), fit_each_view(ready, photos, start)
    best = int(fit.cost.nan_to_num(torch.inf).argmin())
    found = with_hands_in_views(ready, fit, seen, torch.tensor([best]))
    pelvis = fitter.body.rest_joints[0], fitter.body.joint_shapes[0]
    between = relative_pose(world.rotation, world.translation, best)
    state = State(turned(found.state.params[[0] * len(photos)], *pelvis, *between), fit.state.camera)
    fit = seen_with_hands(ready, fit, state, seen, torch.arange(len(photos)))
    return settled(fitter, fit, state)


def checked_pace(fps: float, smooth: float) -> tuple[float, float]:
    """Frames a second and the weight of smoothness. Raises ValueError, TypeError: they are none."""
    rate = float(numbers(fps, "fps", "frames a second, one number", (), *RATES))
    return rate, float(numbers(smooth, "smooth", "a weight, one number, 0 or more", (), 0.0, MOST_SMOOTH))


def in_known_world(result: FitResult, extrinsics: NDArray[np.float64], up: ArrayLike | None) -> FitResult:
    """The result with its rows' cameras in a world, and what points up there.

    Args:
        extrinsics: (N, 3, 4), or (1, 3, 4) of all rows. up: (3,) in the world.
    """
    world_up = None if up is None else unit_up(up).numpy()
    poses = np.broadcast_to(extrinsics, (len(result), 3, 4)).copy()
    origin = replace(result.origin, extrinsics=poses, world_up=world_up)
    still = np.abs(poses - poses[:1]).max() == 0
    return replace(result, origin=origin).with_up(
        poses[0, :, :3] @ world_up if still and world_up is not None else None
    )


@dataclass(frozen=True)
class Pace:
    """fps: frames a second. smooth: how much smoothness counts."""

    fps: float
    smooth: float


def solved_together(
    ready: Prepared, fit: Fit, blank: NDArray[np.bool_], pace: Pace, poses: Poses | None = None
) -> tuple[Fit, Smoothness | None]:
    """All frames of one person together, from where each begins: (the outcome, the smoothness in it).

    poses: of the camera, where its world is known.
    """
    fit = replace(fit, observation=beside_each_other(fit.observation, torch.tensor(blank)))
    depth = depth_of(fit.state)
    problem = problem_of(ready, fit, pace, poses, depth)
    found = minimised(ready, fit, problem, from_coarse_frames(ready, problem, one_shape(fit.state), pace.fps))
    return found, smoothness(ready, pace, poses, depth)


def smoothness(ready: Prepared, pace: Pace, poses: Poses | None, depth: float) -> Smoothness | None:
    """That of frames; None where it has no weight."""
    return Smoothness.of(ready.fitter.body, pace.fps, depth, pace.smooth, poses) if pace.smooth else None


def beside_each_other(observation: Observation, blank: Tensor) -> Observation:
    """The frames as all together see them: of blank ones (T,), nothing is seen and nothing is known but that they are
    of the same person."""
    seen = observation.keypoints
    shown = replace(seen, confidence=seen.confidence * ~blank[:, None])
    anchor = None if observation.anchor is None else _unseen(observation.anchor, blank)
    return replace(observation, keypoints=shown, weight=None, anchor=anchor)


def depth_of(state: State) -> float:
    """z0 of the smoothness, metres."""
    return float(state.params.transl[:, 2].median().clamp_min(0.1))


def problem_of(ready: Prepared, fit: Fit, pace: Pace, poses: Poses | None, depth: float) -> SequenceProblem:
    """All frames of a fit as one problem."""
    fitter = ready.fitter
    points = fitter.point_body(fit.observation.keypoints.names)
    seen_beside = observed(fit.observation, fitter.terms, fit.stage)
    frames = StageProblem(points, seen_beside, fitter.terms, fit.stage)
    return together(frames, smoothness(ready, pace, poses, depth), pace)


def together(frames: StageProblem, motion: Smoothness | None, pace: Pace) -> SequenceProblem:
    """All frames as one problem."""
    single = motion is None or float(motion.scale.max()) < SINGLE
    return SequenceProblem(frames, motion, workers(), max(WINDOW, ceil(FORGOTTEN * pace.fps)), single)


def minimised(ready: Prepared, fit: Fit, problem: SequenceProblem, state: State) -> Fit:
    """The outcome from where the frames begin."""
    found = solved(ready, problem, state)
    fit = settled(ready.fitter, fit, found.x)
    return replace(fit, status=torch.full_like(fit.status, found.status), steps=fit.steps + found.steps)


def solved(ready: Prepared, problem: SequenceProblem, state: State) -> OneSolution[State]:
    """All frames together, from where each begins."""
    how = frames_of(ready)
    then = None if how.moving is None else partial(settle, options=how.together, how=how.moving)
    return solve_sequence(problem, state, how.together, then)


def frames_of(ready: Prepared) -> Frames:
    """How the frames of one person are solved together."""
    return ready.fitter.schedule.frames or Frames(SEQUENCE, COARSE, FAR)


def from_coarse_frames(ready: Prepared, problem: SequenceProblem, state: State, fps: float) -> State:
    """Where all frames begin: between the coarse ones, which are solved together first. Where the camera moves, or the
    motion is not smooth, poses between others mean little: all begin where they are."""
    rows, motion = coarse_frames(len(state), fps), problem.motion
    moves = motion is not None and motion.poses is not None and bool((motion.poses.rotation.diff(dim=0) != 0).any())
    if motion is None or moves or motion.cuts or len(rows) < FEWEST_COARSE or len(rows) == len(state):
        return state
    with own_threads(1):
        found = solve(problem.of_every(rows), problem.begun(state[rows]), frames_of(ready).coarse)
    return State(on_a_cubic(found.x.params, rows, len(state)), state.camera)


def settled(fitter: Fitter, fit: Fit, state: State) -> Fit:
    """The outcome with this state as the only hypothesis, its costs those of each row's own energy."""
    route = fitter.route(fit.observation.keypoints.names)
    parts = route.term_costs(state, fit.observation, fit.stage)
    cost = total(parts)
    return replace(
        fit,
        state=state,
        cost=cost,
        term_cost=parts,
        hypotheses=[state],
        hypothesis_cost=cost[:, None],
        seeker=None,
        acceptance=None,
    )


def _unseen(anchor: Anchor, blank: Tensor) -> Anchor:
    """The anchors of frames, those of blank ones (T,) knowing no more than that this is a person: of the shape, which
    is the other frames' too, nothing."""
    wider = torch.ones_like(anchor.scale)
    wider[blank, 3 * anchor.rotations.shape[1] :] = 30.0
    unknown = anchor.unknown(blank.double())
    return replace(unknown, scale=unknown.scale * wider)


def as_sequence(
    result: FitResult,
    blank: NDArray[np.bool_],
    fps: float,
    fitter: Fitter | None = None,
    motion: Smoothness | None = None,
    seen: SeenFrames | None = None,
) -> FitResult:
    """The result of frames, as one person's motion. fitter, motion: of frames whose posterior was measured together,
    and the smoothness in it. seen: what each frame knows, where the fit does not hold it."""
    warnings = [of_one[:1] if b else of_one for b, of_one in zip(blank, result.warnings, strict=True)]
    ids = [str(i) for i in range(len(result))]
    origin = replace(result.origin, person_ids=ids, warnings=warnings, rows="frames", fps=fps)
    together = None if fitter is None else in_motion(fitter, result.fit, motion, fps, seen)
    given = "the other frames" if together is None else ""
    return replace(result, origin=replace(origin, conditioned_on=given), together=together)
