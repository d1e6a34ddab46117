"""Stage after stage from one start, as SMPLify and SPIN go about it: no library, no rounds of elimination.

mean pose    upright, facing the camera, at the depth d = f · mean 3D torso / mean 2D torso; the camera's stage;
             where the shoulders are so close that front and back look alike, the body turned about as well; the
             other stages from both; the one nearer to its keypoints stays                            (SMPLify)
initial estimate  what the network says                                                                    (SPIN)
"""

from dataclasses import fields, replace

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.camera import Camera
from hmrfit.fitting.energy import StageProblem, term_costs
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter, Given
from hmrfit.fitting.parameters import Linearization, Observation, State
from hmrfit.fitting.starts import UPRIGHT, guess_depth
from hmrfit.fitting.terms.smplify_spin import PixelReprojection, StartedObservation, torso_sets
from hmrfit.fitting.uncertainty import Calibration, Posterior, posterior
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams

CLOSE_SHOULDERS = 25 / 300
"""Of the box: SMPLify's 25 px on its doubled images, where a person is 300 px long."""

MISSES = (1e-3, 0.2)
"""Between which a fit's misses count, shares of the box: nobody's keypoints are better than a thousandth."""

ABOUT_FACE = (-1.0, 1.0, -1.0)
"""The diagonal of a half turn about y."""


class StagedFitter(Fitter):
    """Runs the stages of a schedule one after the other from one start.

    Args:
        start_pose: (3 (J-1),) rotation vectors of the pose to start from; None: the initial estimate.
        calibration: what was measured of the covariance of such fits; None: nothing, the energy is taken at its word.
        Others are those of `Fitter`; the library is not used.
    """

    def __init__(
        self,
        *args: object,
        start_pose: Tensor | None = None,
        calibration: Calibration | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(*args, calibration=calibration, **kwargs)
        self.start_pose = start_pose
        if start_pose is None and self.initial_estimate is None:
            raise ValueError(
                "FIT.START: initial_estimate needs a network: set PRIORS.INITIAL_ESTIMATE, or START: mean_pose."
            )

    def _fit_piece(self, given: Given) -> Fit:
        """With `init` there is one start, and that is it; how wrong it may be, `init_std`, is nothing that these
        energies ask."""
        observation, camera = Observation.of(given.keypoints, given.evidence), given.camera
        start = State(given.init, camera) if given.init is not None else self._start(observation, camera)
        known = {f.name: getattr(observation, f.name) for f in fields(observation)}
        observation = StartedObservation(**known, start_depth=start.params.transl[:, 2])
        state, who = start, torch.arange(len(start), device=start.params.transl.device)
        steps = torch.zeros_like(who)
        for i, (stage, _) in enumerate(self.schedule.rounds):
            problem = StageProblem(self.point_body(given.keypoints.names), observation[who], self.terms, stage)
            solution = problem.solve(state)
            state, status, steps = problem.fill(solution.x), solution.status, steps + solution.steps
            if i == 0 and given.init is None and self.start_pose is not None:
                both = ambiguous(observation).nonzero()[:, 0]
                who = torch.cat([who, both])
                state, status, steps = State.cat([state, turned_about(state[both])]), status[who], steps[who]
        fit = self._chosen(state, observation[who], who, status, steps)
        return replace(fit, start=start, observation=observation)

    def _chosen(self, state: State, observation: Observation, who: Tensor, status: Tensor, steps: Tensor) -> Fit:
        """Of every person's one or two outcomes the one nearer to the keypoints."""
        e = Linearization(self.point_body(observation.keypoints.names), state, observation)
        term_cost = term_costs(e, self.terms, self.schedule.rounds[-1][0])
        cost = sum(term_cost.values())
        points = [n for n in term_cost if isinstance(self.terms[n], PixelReprojection)]
        measure = sum(term_cost[n] for n in points) if points else cost
        B = int(who.max()) + 1 if len(who) else 0  # the first B rows are the people themselves
        second, rows = (torch.arange(*ends, device=who.device) for ends in ((B, len(who)), (B,)))
        rows[who[second]] = torch.where(measure[second] < measure[who[second]], second, who[second])
        best = state[rows]
        term_cost = {name: value[rows] for name, value in term_cost.items()}
        return Fit(best, cost[rows], term_cost, status[rows], steps[rows], [best], cost[rows][:, None])

    def posterior(self, fit: Fit) -> Posterior:
        """How sure a fit is; where nothing was measured, what its energy says of itself."""
        if self.calibration is None:
            return super().posterior(fit)
        body = self.point_body(fit.observation.keypoints.names)
        noticed = replace(fit.observation, noise=misses(body, fit))
        return posterior(body, self.terms, self.calibration, fit.hypotheses, fit.hypothesis_cost, noticed)

    def _start(self, observation: Observation, camera: Camera) -> State:
        """(B,) where to begin."""
        keypoints = observation.keypoints
        if self.start_pose is None:
            return State(self.initial_estimate.predict(keypoints, camera).params, camera)
        body, like, B = self.point_body(keypoints.names), keypoints.xy, len(keypoints)
        pose = rotvec_to_matrix(self.start_pose.to(like).view(-1, 3)).expand(B, -1, 3, 3)
        betas = like.new_zeros(B, body.joint_shapes.shape[-1])
        params = BodyParams(like.new_tensor(UPRIGHT).expand(B, 3, 3), pose, betas, like.new_zeros(B, 3))
        depth = torso_depth(body.pose(params).points, observation, camera)
        return State(replace(params, transl=torch.stack([0 * depth, 0 * depth, depth], 1)), camera)


def misses(body: PointBody, fit: Fit) -> Tensor:
    """(B, K) root mean square by which a fit misses a seen keypoint, per coordinate, a share of the box: the same for
    all of a person's. These energies are told no noise; how well they could be met says something of it."""
    keypoints = fit.observation.keypoints
    seen = keypoints.presence
    away = fit.state.camera.project(body.pose(fit.state.params).points) - keypoints.xy
    mean = (away.square().sum(-1) * seen).sum(1) / (2 * seen.sum(1).clamp_min(1))
    return (mean.sqrt() / fit.observation.box_size).clamp(*MISSES)[:, None].expand_as(seen).clone()


def torso_depth(points: Tensor, observation: Observation, camera: Camera) -> Tensor:
    """(B,) metres, SMPLify's d: the mean of both sides from shoulder to hip in space over that in the picture, times f.

    Where no side is seen: `guess_depth`, from all that is.

    Args:
        points: (B, K, 3) metres, the keypoints of the body to start from.
    """
    keypoints = observation.keypoints
    space, picture, sides = (torch.zeros_like(observation.box_size) for _ in range(3))
    for left_hip, right_hip, left_shoulder, right_shoulder in torso_sets(keypoints.names)[:1]:
        for hip, shoulder in ((left_hip, left_shoulder), (right_hip, right_shoulder)):
            seen = keypoints.presence[:, hip] * keypoints.presence[:, shoulder]
            space = space + seen * (points[:, hip] - points[:, shoulder]).norm(dim=-1)
            picture = picture + seen * (keypoints.xy[:, hip] - keypoints.xy[:, shoulder]).norm(dim=-1)
            sides = sides + seen
    clear = (sides > 0) & (picture > 0.02 * sides * observation.box_size)
    depth = camera.focal.mean(-1) * space / torch.where(clear, picture, 1.0)
    return torch.where(clear, depth, guess_depth(points, observation, camera))


def ambiguous(observation: Observation) -> Tensor:
    """(B,) whose shoulders are so close in the picture, or not both seen, that front and back look alike."""
    keypoints = observation.keypoints
    sets = torso_sets(keypoints.names)
    if not sets:
        return torch.ones(len(keypoints), dtype=torch.bool, device=keypoints.xy.device)
    left, right = sets[0][2:]
    close = (keypoints.xy[:, left] - keypoints.xy[:, right]).norm(dim=-1) < CLOSE_SHOULDERS * observation.box_size
    return close | (keypoints.presence[:, [left, right]] < 0.5).any(1)


def turned_about(state: State) -> State:
    """The bodies turned half about their own y axis."""
    params = state.params
    orient = params.global_orient * params.global_orient.new_tensor(ABOUT_FACE)
    return State(replace(params, global_orient=orient), state.camera)
