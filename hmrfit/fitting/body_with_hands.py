"""Body and hands in one system: the body is fitted to its own keypoints first, then all joints to all keypoints.

    fit of the body, fingers at rest  ->  for either hand a start that suits its points  ->  one stage, all together

The wrist is both the arm's and the hand's. What is known of the body stays as it was: the prior centred at the initial
estimate, the noise of the body's keypoints. Of the fingers a Gaussian is known (`terms.hand_pose`) and what joints can
do (`terms.finger_limits`); the points of a hand have a noise of their own,

    σ² = (HAND_NOISE · size of the hand in the picture)² + PIXEL²

so that a hand of a few pixels does not pull the arm about. Starts are those of `hand_starts`. Hands that end with a
high energy begin once more, from another side, and the cheaper end is taken; when other answers are asked for, every
hand does. (To begin from two sides always gained 0.2 to 0.4 mm of 8 for half as much time again; this, 0.2 for a
tenth.)

With several calibrated cameras (`terms.views`) the body has been fitted by all of them; then both hands are fitted by
all that show them. The robust scales of that fit are n times as wide for the points of hands, with

    n = σ / (that of the points of a body, a fraction of the box)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.body.skeleton import Skeleton
from hmrfit.fitting.distinct import DropDuplicates
from hmrfit.fitting.energy import Stage
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.hand_schedule import BIOMECHANICS, FINGERS_APART
from hmrfit.fitting.hand_starts import HAND_LENGTH, best_turns, looks, of_side, places_of
from hmrfit.fitting.parameters import Layout, Linearization, Observation, State
from hmrfit.fitting.route import Begun, Route
from hmrfit.fitting.terms.base import Term
from hmrfit.fitting.terms.hand_pose import HandPosePrior
from hmrfit.fitting.terms.reprojection import Reprojection, StudentReprojection
from hmrfit.fitting.terms.views import VIEWS, OtherViews, ViewsTerm
from hmrfit.fitting.uncertainty import GAUSSIAN, Answers, Calibration, Weight
from hmrfit.keypoints import SIDES, body_places
from hmrfit.ops.skinning import world_rotations
from hmrfit.types import BodyParams, Keypoints, RecordTable

HAND_NOISE, PIXEL = 0.017, 1.0
"""Of the keypoints of a hand: a fraction of its size in the picture, and pixels."""

FTOL = 2e-2
"""The relative change of the energy at which the stage ends. With 1e-2 it takes a step more for four people in five,
and the hands of 80 synthetic people end 0.05 mm nearer to the truth (7.22 and 7.27 mm); with 2e-3 another 1.6 steps,
for 0.03 mm."""

DOUBTFUL = 30.0
"""Nats of one hand, of its points in one picture and its pose, from which it begins once more elsewhere: three in a
hundred of those that are within 10 mm. Of 720 hands in poses of sources left out 18 were more than 20 mm off, with
this 12."""

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

HANDS_SIGMA = 0.62
"""Of the noise of their points in it. Chosen on 270 people with fingers in poses of sources left out: regions of 50,
68, 90 and 95 % hold 54, 71, 92 and 96 % of the points of hands with 0.72, 50, 67, 89 and 95 % with 0.6, 46, 64, 87 and
94 % with 0.5. 480 others, four seeds of `benchmarks/body_with_hands.py --poses`: 55, 73, 93 and 96 % with 0.72, 52, 70,
91 and 95 % with this."""

HANDS_SIGMA_IN_VIEWS = 0.68
"""The same where several cameras see the person, by the energy of whose fit it is said how sure it is. Chosen on 40
people before three cameras; 36 others, before two, three and four: regions stated to hold 50, 68, 90 and 95 % of the
points of hands hold 56, 70, 87 and 92 %, with 1 71, 83, 92 and 95 %. With more cameras they hold more
(`benchmarks/body_with_hands.py --cameras`)."""


@dataclass
class BodyWithHands:
    """The last part of the fit of a body with hands.

    Args:
        skeleton: of the body. poses: (N, F, 3, 3) of a right hand's fingers, the mean first.
    """

    skeleton: Skeleton
    poses: Tensor
    _known: dict[tuple[str, ...], dict[str, Tensor]] = field(default_factory=dict, repr=False)

    def __call__(
        self, fit: Fit, keypoints: Keypoints, stage: Stage, route: Route, views: OtherViews | None = None
    ) -> Fit:
        """The fit of the body, continued with its hands.

        Args:
            fit: of the body to its own keypoints. keypoints: all. route: of the body seen through all of them. views:
                what other cameras see of all of them, where the body was fitted to several.
        """
        seen = self.observation(fit.state, fit.observation, keypoints, stage, route, views)
        state = self._starts(fit.state, seen, route.body)
        last = replace(stage, options=replace(stage.options, ftol=FTOL, gtol=0.0))
        joined = self._with_other_sides(route.run(Begun.at(state, seen), (last,)), route)
        return replace(
            joined,
            steps=fit.steps + joined.steps,
            start=fit.start,
            acceptance=fit.acceptance,
            start_term_cost=fit.start_term_cost,
            calibration=self.calibration(fit.calibration, views is not None),
        )

    def calibration(self, body: Calibration | None, in_views: bool) -> Calibration | None:
        """Of the fit with hands. body: of that without."""
        if in_views:
            return replace(body or Calibration({}, GAUSSIAN), hands=HANDS_SIGMA_IN_VIEWS)
        return body and replace(body, weights={**body.weights, **HAND_WEIGHTS}, hands=HANDS_SIGMA)

    def observation(
        self,
        state: State,
        body: Observation,
        keypoints: Keypoints,
        stage: Stage,
        route: Route,
        views: OtherViews | None = None,
    ) -> Observation:
        """What the body's fit has seen, and the points of the hands beside it. state: of the body, for its place."""
        all_of_it = Observation.of(keypoints)
        wrists = self._wrists(state, route.body)
        focal = state.camera.focal.mean(-1)
        noise = _noise(all_of_it.keypoints, body.box_size, {side: w[:, 2] for side, w in wrists.items()}, focal)
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
        seen = replace(body, keypoints=all_of_it.keypoints, noise=noise, weight=weight, anchor=anchor)
        if views is None:
            return seen
        others = _with_noise(views, keypoints.names, wrists, sigma)
        measurements = RecordTable({**body.measurements, VIEWS: others})
        return replace(seen, noise_ratio=noise / sigma, measurements=measurements)

    @property
    def _fingers(self) -> list[int]:
        return [joint for joints in self.skeleton.fingers.values() for joint in joints]

    def _wrists(self, state: State, body: PointBody) -> dict[str, Tensor]:
        """Of either side (B, 3), metres."""
        joints = body.pose(state.params).joints
        return {side: joints[:, self.skeleton.index(f"{side}wrist")] for side in SIDES}

    def _with_other_sides(self, fit: Fit, route: Route) -> Fit:
        """The fit, where doubtful hands have begun once more, from another side than they ended at."""
        others = fit.observation.measurements.get(VIEWS)
        cameras = 1 + others.box_size.shape[1] if isinstance(others, OtherViews) else 1
        doubtful = self._energies(fit, route) > DOUBTFUL * cameras  # (B, 2)
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
            if isinstance(term, StudentReprojection | Reprojection | ViewsTerm) and weights.get(name):
                r = term.residuals(e).unflatten(1, (len(names), -1)).square().sum(-1)
                total += 0.5 * weights[name] * torch.stack([r[:, places_of(names, side)].sum(1) for side in SIDES], 1)
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
            places = places_of(body.names, side)
            wrist = self.skeleton.index(f"{side}wrist")
            shown = looks(seen, places, state.camera.focal.mean(-1), joints[:, wrist])
            enough, back = torch.stack([look.enough for look in shown]).any(0), None
            if beside is None:
                rotations[:, fingers] = of_side(self.poses[0], side)
            else:
                enough, back = enough & beside[side][0], beside[side][1]
            if not enough.any():
                continue
            arm = world[:, self.skeleton.parents[wrist]]
            turn, pose = best_turns(arm, points[side], shown, side, back)
            rotations[enough, wrist] = (arm.mT @ turn)[enough]
            rotations[enough.nonzero(), fingers] = of_side(self.poses[pose], side)[enough]
        return State(BodyParams(rotations[:, 0], rotations[:, 1:], params.betas, params.transl), state.camera)

    def _points(self, body: PointBody) -> dict[str, Tensor]:
        """Of either side, the points of every pose about the wrist at rest (N, k, 3); made once per set."""
        if body.names not in self._known:
            found, N = {}, len(self.poses)
            eye = torch.eye(3).to(self.poses).repeat(N, len(self.skeleton), 1, 1)
            zeros = eye.new_zeros(N, max(3, body.joint_shapes.shape[-1]))
            for side in SIDES:
                pose = eye.clone()
                pose[:, list(self.skeleton.fingers[side[:-1]])] = of_side(self.poses, side)
                params = BodyParams(pose[:, 0], pose[:, 1:], zeros[:, : body.joint_shapes.shape[-1]], zeros[:, :3])
                posed = body.pose(params)
                wrist = posed.joints[:, [self.skeleton.index(f"{side}wrist")]]
                found[side] = posed.points[:, places_of(body.names, side)] - wrist
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


def with_hands_sigma(seen: Observation, factor: float) -> Observation:
    """What several cameras have seen, the noise of the points of hands times a factor in every one of them."""
    body, views = set(body_places(seen.keypoints.names)), seen.measurements.get(VIEWS)
    each = seen.box_size.new_tensor([1.0 if k in body else factor for k in range(len(seen.keypoints.names))])
    ratio = each if seen.noise_ratio is None else seen.noise_ratio * each
    seen = replace(seen, noise_ratio=ratio.expand_as(seen.keypoints.confidence))
    if not isinstance(views, OtherViews):
        return seen
    ratio = each if views.noise_ratio is None else views.noise_ratio * each
    views = replace(views, noise_ratio=ratio.expand_as(views.confidence))
    return replace(seen, measurements=RecordTable({**seen.measurements, VIEWS: views}))


def _noise(keypoints: Keypoints, box: Tensor, depth: Mapping[str, Tensor], focal: Tensor) -> Tensor:
    """σ (B, K) of the points of hands, fractions of the person's box; 0 elsewhere. depth: of either wrist (B,), metres.
    focal: (B,) pixels."""
    noise = torch.zeros_like(keypoints.confidence)
    for side in SIDES:
        places = places_of(keypoints.names, side)
        if not places:
            continue
        of_hand = Keypoints(keypoints.xy[:, places], keypoints.confidence[:, places], ())
        least = 0.5 * HAND_LENGTH * focal / depth[side].clamp_min(0.1)
        size = torch.maximum(of_hand.box_size(), least)
        noise[:, places] = (((HAND_NOISE * size).square() + PIXEL**2).sqrt() / box)[:, None]
    return noise


def _with_noise(views: OtherViews, names: tuple[str, ...], wrists: Mapping[str, Tensor], sigma: float) -> OtherViews:
    """The views with how much more exact points of hands are than those of bodies, whose noise is sigma."""
    B, V = views.box_size.shape
    seen = Keypoints(views.xy.flatten(0, 1), views.confidence.flatten(0, 1), names)
    depth = {side: views.depth(wrist).flatten() for side, wrist in wrists.items()}
    noise = _noise(seen, views.box_size.flatten(), depth, views.focal.mean(-1).flatten())
    ratio = torch.where(noise > 0, noise / sigma, 1.0)
    return replace(views, noise_ratio=ratio.unflatten(0, (B, V)))
