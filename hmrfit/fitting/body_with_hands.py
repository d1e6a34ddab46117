"""Body and hands in one system: the body is fitted to its own keypoints first, then all joints to all keypoints.

    fit of the body, fingers at rest  ->  for either hand a start that suits its points  ->  one stage, all together

The wrist is both the arm's and the hand's. What is known of the body stays as it was: the prior centred at the initial
estimate, the noise of the body's keypoints. Of the fingers a Gaussian is known (`terms.hand_pose`) and what joints can
do (`terms.finger_limits`); the points of a hand have a noise of their own,

    σ² = (HAND_NOISE · size of the hand in the picture)² + PIXEL²

so that a hand of a few pixels does not pull the arm about. Starts: poses × turns of the hand about the forearm, each
under the similarity that suits the points best (as in `fitting.library`), and what wrists seldom do costs something,

    E = residual / (2 (SIGMA size)²) + ½ |(turn − usual)/deviation|² + ½ (ψ/ROLL)² + ½ (log s/s₀ / SCALE)²

with ψ the turn in the picture and s₀ the scale at the wrist's depth. Hands that end with a high energy begin once more,
from another side, and the cheaper end is taken; when other answers are asked for, every hand does. (To begin from two
sides always gained 0.2 to 0.4 mm of 8 for half as much time again; this, 0.2 for a tenth.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor

from hmrfit.body.mirrored import FLIP
from hmrfit.body.points import PointBody
from hmrfit.body.skeleton import Skeleton
from hmrfit.fitting.distinct import DropDuplicates
from hmrfit.fitting.energy import Stage
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.hand_schedule import BIOMECHANICS, FINGERS_APART
from hmrfit.fitting.parameters import Layout, Linearization, Observation, State
from hmrfit.fitting.route import Begun, Route
from hmrfit.fitting.terms.base import Term
from hmrfit.fitting.terms.hand_pose import HandPosePrior
from hmrfit.fitting.terms.reprojection import StudentReprojection
from hmrfit.fitting.uncertainty import Answers, Weight
from hmrfit.keypoints import HAND_POINTS, SIDES, body_places
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.ops.skinning import world_rotations
from hmrfit.types import BodyParams, Keypoints

HAND_NOISE, PIXEL = 0.017, 1.0
"""Of the keypoints of a hand: a fraction of its size in the picture, and pixels."""

HAND_LENGTH = 0.18
"""Metres. A hand counts as at least half as large in the picture as this is at its depth, however it is turned."""

FEWEST = 5
"""Points of a hand that say how it is held; with fewer it begins at the mean pose, as the arm has it."""

USUAL_TURN, TURN_DEVIATION = (25.0, -5.0, 12.0), (50.0, 25.0, 35.0)
"""Degrees, of a left wrist's rotation vector: twist, to the side, up and down. Wider than in the motion that the pose
prior is of, whose hands were measured poorly."""

TURNS = ((-100, -65, -35, -5, 25, 55, 85, 120, 155), (-35, -5, 25), (-55, -20, 15, 50))
"""Degrees: the turns that are tried."""

SIGMA, ROLL, SCALE = 0.05, 0.35, 0.25
"""Of the starts: the robust size of a residual, radians of the forearm's error in the picture, and the scale's log."""

FTOL = 1e-2
"""The relative change of the energy at which the stage ends. With 2e-3 it takes 9.8 steps instead of 8.2, and the hands
of 40 synthetic people end 0.03 mm nearer to the truth."""

DOUBTFUL = 30.0
"""Nats of one hand, of its points and its pose, from which it begins once more elsewhere: three in a hundred of those
that are within 10 mm. Of 720 hands in poses of sources left out 18 were more than 20 mm off, with this 12."""

ELSEWHERE = 0.5
"""The cosine between the backs of two hands that are held differently."""

APART = 0.02
"""Metres between some point of two answers: less are two ends of one valley, as stages stop at FTOL."""

AT_ONCE = 16
"""People whose starts are found side by side: more take memory and gain nothing."""

HAND_TERMS = {
    "hand_pose": 1.0,
    "biomechanics_left": BIOMECHANICS,
    "biomechanics_right": BIOMECHANICS,
    "fingers_apart": FINGERS_APART,
}
"""Their weights, those of the fit of one hand."""

HAND_WEIGHTS = {"hand_pose": Weight(1.0)}
"""In the inverse covariance, beside those of the body's fit."""

HANDS_SIGMA = 0.72
"""Of the noise of their points in it. Regions of 50 % of draws hold 57 % of the points of hands with 0.89, 54 with 0.8
and 52 with 0.7, those of 95 % 96, 96 and 95 (`benchmarks/body_with_hands.py --poses`, 120 people)."""


@dataclass
class BodyWithHands:
    """The last part of the fit of a body with hands.

    Args:
        skeleton: of the body. poses: (N, F, 3, 3) of a right hand's fingers, the mean first.
    """

    skeleton: Skeleton
    poses: Tensor
    _known: dict[tuple[str, ...], dict[str, Tensor]] = field(default_factory=dict, repr=False)

    def __call__(self, fit: Fit, keypoints: Keypoints, stage: Stage, route: Route) -> Fit:
        """The fit of the body, continued with its hands.

        Args:
            fit: of the body to its own keypoints. keypoints: all. route: of the body seen through all of them.
        """
        seen = self.observation(fit.state, fit.observation, keypoints, stage, route)
        state = self._starts(fit.state, seen, route.body)
        last = replace(stage, options=replace(stage.options, ftol=FTOL))
        joined = self._with_other_sides(route.run(Begun.at(state, seen), (last,)), route)
        calibration = fit.calibration
        if calibration is not None:
            calibration = replace(calibration, weights={**calibration.weights, **HAND_WEIGHTS}, hands=HANDS_SIGMA)
        return replace(
            joined,
            steps=fit.steps + joined.steps,
            start=fit.start,
            acceptance=fit.acceptance,
            start_term_cost=fit.start_term_cost,
            calibration=calibration,
        )

    def observation(
        self, state: State, body: Observation, keypoints: Keypoints, stage: Stage, route: Route
    ) -> Observation:
        """What the body's fit has seen, and the points of the hands beside it. state: of the body, for its place."""
        all_of_it = Observation.of(keypoints)
        noise = self._noise(state, all_of_it.keypoints, body.box_size, route.body)
        own = list(body_places(keypoints.names))
        sigma = next(t.sigma for t in route.terms.values() if isinstance(t, StudentReprojection))
        noise[:, own] = sigma if body.noise is None else body.noise
        weight = keypoints.weight
        weight[:, own] = body.weights
        anchor = body.anchor
        if anchor is not None:
            anchor = anchor.silent_about(self._fingers)
            if stage.weights.get("anchor"):  # the shape of the hands is as likely as the population has it
                scale = anchor.scale.clone()
                scale[:, self.skeleton.pose_size + 10 :] *= stage.weights["anchor"] ** 0.5
                anchor = replace(anchor, scale=scale)
        return replace(body, keypoints=all_of_it.keypoints, noise=noise, weight=weight, anchor=anchor)

    @property
    def _fingers(self) -> list[int]:
        return [joint for joints in self.skeleton.fingers.values() for joint in joints]

    def _noise(self, state: State, keypoints: Keypoints, box: Tensor, body: PointBody) -> Tensor:
        """σ (B, K) of the points of hands, fractions of the person's box; 0 elsewhere."""
        noise = torch.zeros_like(keypoints.confidence)
        joints = body.pose(state.params).joints
        for side in SIDES:
            places = _places(keypoints.names, side)
            if not places:
                continue
            of_hand = Keypoints(keypoints.xy[:, places], keypoints.confidence[:, places], ())
            depth = joints[:, self.skeleton.index(f"{side}wrist"), 2].clamp_min(0.1)
            least = 0.5 * HAND_LENGTH * state.camera.focal.mean(-1) / depth
            size = torch.maximum(of_hand.box_size(), least)
            noise[:, places] = (((HAND_NOISE * size).square() + PIXEL**2).sqrt() / box)[:, None]
        return noise

    def _with_other_sides(self, fit: Fit, route: Route) -> Fit:
        """The fit, where doubtful hands have begun once more, from another side than they ended at."""
        doubtful = self._energies(fit, route) > DOUBTFUL  # (B, 2)
        rows = doubtful.any(1).nonzero()[:, 0]
        if not len(rows):
            return fit
        again = self.elsewhere(fit.of(rows), route, doubtful[rows])
        better = (again.cost < fit.cost[rows]).nonzero()[:, 0]
        return fit.replaced(rows[better], again.of(better)) if len(better) else fit

    def elsewhere(self, fit: Fit, route: Route, which: Tensor) -> Fit:
        """The same people with some hands, which (B, 2) of left and right, begun from another side than they are at."""
        world = world_rotations(fit.state.params.rotations, route.body.parents)
        backs = (world[:, self.skeleton.index(f"{side}wrist"), :, 1] for side in SIDES)
        beside = dict(zip(SIDES, zip(which.unbind(1), backs, strict=True), strict=True))
        start = self._starts(fit.state, fit.observation, route.body, beside)
        return route.run(Begun.at(start, fit.observation), (fit.stage,))

    def _energies(self, fit: Fit, route: Route) -> Tensor:
        """(B, 2) nats of the left and the right hand: of their points, and of the fingers' pose."""
        names, weights = route.body.names, fit.stage.weights
        e = Linearization(route.body, fit.state, fit.observation, Layout.driven(route.body))
        total = torch.zeros(len(fit), 2).to(fit.cost)
        for name, term in route.terms.items():
            if isinstance(term, StudentReprojection) and weights.get(name):
                r = term.residuals(e).unflatten(1, (len(names), 2)).square().sum(-1)
                total += 0.5 * weights[name] * torch.stack([r[:, _places(names, side)].sum(1) for side in SIDES], 1)
            elif isinstance(term, HandPosePrior) and weights.get(name):
                total += weights[name] * torch.stack([term.energy_of(e.theta, side[:-1]) for side in SIDES], 1)
        return total

    def _starts(
        self,
        state: State,
        seen: Observation,
        body: PointBody,
        beside: Mapping[str, tuple[Tensor, Tensor]] | None = None,
    ) -> State:
        """The people with hands as their points have them.

        beside: of either side, who begins (B,) with the back of the hand elsewhere than at these directions (B, 3); all
            other hands stay.
        """
        B = len(state)
        if B > AT_ONCE:
            parts = [slice(i, i + AT_ONCE) for i in range(0, B, AT_ONCE)]
            of = lambda part: beside and {side: (a[part], b[part]) for side, (a, b) in beside.items()}  # noqa: E731
            return State.cat([self._starts(state[part], seen[part], body, of(part)) for part in parts])
        params = state.params
        rotations = params.rotations.clone()
        world, joints = world_rotations(rotations, body.parents), body.pose(params).joints
        points = self._points(body)
        for side in SIDES:
            fingers = torch.tensor(self.skeleton.fingers[side[:-1]])
            places = _places(body.names, side)
            wrist = self.skeleton.index(f"{side}wrist")
            enough, back = seen.keypoints.presence[:, places].sum(1) >= FEWEST, None
            if beside is None:
                rotations[:, fingers] = _of_side(self.poses[0], side)
            else:
                enough, back = enough & beside[side][0], beside[side][1]
            if not enough.any():
                continue
            arm = world[:, self.skeleton.parents[wrist]]
            scale = state.camera.focal.mean(-1) / joints[:, wrist, 2].clamp_min(0.1)
            turn, pose = _best_turns(arm, points[side], seen, places, scale, side, back)
            rotations[enough, wrist] = (arm.mT @ turn)[enough]
            rotations[enough.nonzero(), fingers] = _of_side(self.poses[pose], side)[enough]
        return State(BodyParams(rotations[:, 0], rotations[:, 1:], params.betas, params.transl), state.camera)

    def _points(self, body: PointBody) -> dict[str, Tensor]:
        """Of either side, the points of every pose about the wrist at rest (N, k, 3); made once per set."""
        if body.names not in self._known:
            found, N = {}, len(self.poses)
            eye = torch.eye(3).to(self.poses).repeat(N, len(self.skeleton), 1, 1)
            zeros = eye.new_zeros(N, max(3, body.joint_shapes.shape[-1]))
            for side in SIDES:
                pose = eye.clone()
                pose[:, list(self.skeleton.fingers[side[:-1]])] = _of_side(self.poses, side)
                params = BodyParams(pose[:, 0], pose[:, 1:], zeros[:, : body.joint_shapes.shape[-1]], zeros[:, :3])
                posed = body.pose(params)
                wrist = posed.joints[:, [self.skeleton.index(f"{side}wrist")]]
                found[side] = posed.points[:, _places(body.names, side)] - wrist
            self._known[body.names] = found
        return self._known[body.names]


@dataclass(frozen=True)
class SeekOtherHands:
    """What finds other answers for the hands of people, once they are asked for: either hand from another side."""

    hands: BodyWithHands
    needs_anchor: ClassVar[bool] = False

    def __call__(self, fit: Fit, body: PointBody, terms: Mapping[str, Term]) -> Answers:
        """The fit's own answer first; how likely each is is for the fitter to say."""
        route, states, costs = Route(body, terms), [fit.state], [fit.cost]
        for hand in range(len(SIDES)):
            which = torch.zeros(len(fit), len(SIDES), dtype=torch.bool)
            which[:, hand] = True
            other = self.hands.elsewhere(fit, route, which)
            states.append(other.state)
            costs.append(other.cost.nan_to_num(torch.inf))
        every = replace(fit, hypotheses=states, hypothesis_cost=torch.stack(costs, 1))
        every = DropDuplicates(APART)(every, route)
        return Answers(every.hypotheses, every.hypothesis_cost, None)

    def beside(self, found: Answers, fit: Fit, body: PointBody, terms: Mapping[str, Term]) -> Answers:
        """What was found."""
        return found


def _places(names: Sequence[str], side: str) -> list[int]:
    """Of the points of one hand. side: "left_" or "right_"."""
    return [k for k, name in enumerate(names) if name in HAND_POINTS and name.startswith(side)]


def _of_side(rotations: Tensor, side: str) -> Tensor:
    """Rotations (..., 3, 3) of a right hand's joints as those of this side's."""
    if side == "right_":
        return rotations
    flip = rotations.new_tensor(FLIP)
    return rotations * (flip[:, None] * flip)


@cache
def _turns_of(side: str) -> tuple[Tensor, Tensor]:
    """(Q (n, 3, 3) of the wrist, what each costs (n,)) that are tried."""
    grid = torch.cartesian_prod(*(torch.tensor(axis, dtype=torch.float64) for axis in TURNS))
    cost = 0.5 * ((grid - grid.new_tensor(USUAL_TURN)) / grid.new_tensor(TURN_DEVIATION)).square().sum(1)
    if side == "right_":
        grid = grid * grid.new_tensor([1.0, -1.0, -1.0])
    return rotvec_to_matrix(grid.deg2rad()), cost


def _best_turns(
    arm: Tensor,
    points: Tensor,
    seen: Observation,
    places: list[int],
    scale: Tensor,
    side: str,
    back: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The best start of one hand of B people: (world rotation of the wrist (B, 3, 3), which pose (B,)).

    Args:
        arm: (B, 3, 3) the forearm's world rotation. points: (N, k, 3) of all poses. scale: (B,) s₀, pixels a metre.
        back: (B, 3) directions elsewhere than at which the back of the hand is to be.
    """
    turns, prior = _turns_of(side)
    turned = arm[:, None] @ turns  # (B, n, 3, 3), of which the picture shows two rows t
    c = (seen.keypoints.shown * seen.keypoints.confidence)[:, places]
    total = c.sum(1, keepdim=True).clamp_min(1e-9)
    x = seen.keypoints.xy[:, places]
    x = x - (c[..., None] * x).sum(1, keepdim=True) / total[..., None]
    P = points - torch.einsum("bk,nkc->bnc", c, points)[:, :, None] / total[:, :, None, None]  # (B, N, k, 3)
    A = torch.einsum("bk,bkr,bnkc->bnrc", c, x, P)  # moments with the picture, and its own
    S = torch.einsum("bk,bnkc,bnkd->bncd", c, P, P)
    dot = torch.einsum("bqrc,bnsc->bqnrs", turned[:, :, :2], A)
    z = torch.complex(dot[..., 0, 0] + dot[..., 1, 1], dot[..., 0, 1] - dot[..., 1, 0])
    extent = (turned[:, :, :2].mT @ turned[:, :, :2]).flatten(2) @ S.flatten(2).mT  # Σ c |p|²
    z = z / extent.clamp_min(1e-9)
    residual = ((c * x.square().sum(-1)).sum(1)[:, None, None] - z.abs().square() * extent).clamp_min(0)
    size = (scale * HAND_LENGTH).view(-1, 1, 1)
    score = residual / (2 * (SIGMA * size).square()) + prior[:, None]
    score = score + 0.5 * (z.angle() / ROLL).square()
    score = score + 0.5 * ((z.abs() / scale.view(-1, 1, 1)).clamp_min(1e-6).log() / SCALE).square()
    if back is not None:
        near = (turned[..., 1] * back[:, None]).sum(-1) > ELSEWHERE
        score = score.masked_fill(near[..., None], torch.inf)
    N, best = score.shape[2], score.flatten(1).argmin(1)
    psi = z.angle().flatten(1).gather(1, best[:, None])
    roll = rotvec_to_matrix(psi * psi.new_tensor([0.0, 0.0, 1.0]))
    return roll @ turned[torch.arange(len(best)), best // N], best % N
