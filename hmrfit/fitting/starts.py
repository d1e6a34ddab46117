"""The starts of a fit, each a function of what is given -> where its route begins.

InitialEstimate   the network's answer, with how wrong it may be and how noisy each keypoint is
Library           the poses of a library seen from all around, the network's answer before them where there is one
MeanPose          upright, facing the camera, at the depth that SMPLify's similar triangles give         (SMPLify)
GivenStart        the caller's, with how wrong the caller says it is
"""

from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.body.skeleton import SMPL
from hmrfit.body.transfer import transferred
from hmrfit.camera import Camera
from hmrfit.fitting.anchor_inflation import inflated_for_all
from hmrfit.fitting.gaussian_prior import Anchor
from hmrfit.fitting.library import PoseLibrary, library_starts, ring
from hmrfit.fitting.parameters import UPRIGHT, Observation, State
from hmrfit.fitting.placing import torso_depth
from hmrfit.fitting.route import Begun
from hmrfit.fitting.terms.gender_age import Children, children
from hmrfit.fitting.terms.smplify_spin import torso_sets
from hmrfit.network.encoders import EncodedKeypoints
from hmrfit.network.error_model import ErrorModel
from hmrfit.network.initial_estimate import KeypointHmr
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams, Keypoints, RecordTable, Regression, TensorRecord

LEAST_SEEN = 4
"""All people that the error model was trained on had so many keypoints; of people with fewer it knows nothing."""

CLOSE_SHOULDERS = 25 / 300
"""Of the box: SMPLify's 25 px on its doubled images, where a person is 300 px long."""

HALF_TURN = (-1.0, 1.0, -1.0)
"""The diagonal of a half turn about y."""


@dataclass(frozen=True)
class Given(TensorRecord):
    """What a fit of B people is given, one row each."""

    keypoints: Keypoints  # float64 pixels of the full image
    camera: Camera
    init: BodyParams | None = None  # the caller's start
    init_std: Tensor | None = None  # degrees, how wrong it is: (B, J), or (B, 1) for all joints alike
    measurements: RecordTable = field(default_factory=RecordTable)

    def __len__(self) -> int:
        return len(self.keypoints)

    @property
    def observation(self) -> Observation:
        """What the terms look at, without any prior."""
        return Observation.of(self.keypoints, self.measurements)


class Start(Protocol):
    """body: reduced to the keypoints of what is given."""

    def __call__(self, given: Given, body: PointBody) -> Begun: ...


@dataclass
class InitialEstimate:
    """The network's answer for the keypoints.

    Args:
        error_model: says how wrong the answer is and how noisy the keypoints are; the fit is then anchored at it. None:
            the answer alone is the start.
        own_shapes: whether the network's betas are this body's; on other bodies its shape is not used.
    """

    network: KeypointHmr
    error_model: ErrorModel | None = None
    own_shapes: bool = True

    def __call__(self, given: Given, body: PointBody) -> Begun:
        observation = given.observation
        if self.error_model is None:
            params = self.network.predict(given.keypoints, given.camera).params
            state = State(with_all_betas(transferred(params, SMPL, body.skeleton), body), given.camera)
            return Begun.at(state, replace(observation, start_depth=params.transl[:, 2]))
        return self._anchored(observation, given.camera, body, self.error_model)

    def estimate(self, given: Given, body: PointBody) -> State:
        """Where everybody begins, without how wrong it may be."""
        params = self._answered(given.observation, given.camera, body)[2]
        return State(params, given.camera)

    def _answered(
        self, observation: Observation, camera: Camera, body: PointBody
    ) -> tuple[Regression, EncodedKeypoints, BodyParams, Children | None]:
        """(the network's answer, its features, the same on this body, who is young)."""
        answer, seen = self.network.forward(observation.keypoints, camera)
        answer = answer if self.own_shapes else _of_mean_shape(answer, body)
        young = children(observation.measurements) if self.own_shapes else None
        answer = answer if young is None else replace(answer, params=grown_down(answer.params, young, body))
        return answer, seen, with_all_betas(transferred(answer.params, SMPL, body.skeleton), body), young

    def _anchored(self, observation: Observation, camera: Camera, body: PointBody, errors: ErrorModel) -> Begun:
        """The answer, the Gaussian prior centred at it (the anchor), and the keypoints' noise."""
        keypoints = observation.keypoints
        answer, seen, params, young = self._answered(observation, camera, body)
        projected = camera.project(body.pose(params).points)
        residuals = (keypoints.xy - projected) / observation.box_size[:, None, None]
        predicted = errors.predict(seen, answer, residuals, camera.focal_known)
        anchor = inflated_for_all(Anchor.at(answer.params, SMPL.parents, predicted.scale, predicted.factors))
        anchor = anchor if self.own_shapes else anchor.of_unknown_shape()
        anchor = anchor.transferred(SMPL, body.skeleton)
        anchor = anchor.unknown((LEAST_SEEN - keypoints.presence.sum(1)).clamp(0, 1))
        if young is not None:
            anchor = anchor.of_shapes(young.people, young.covariance)
            observation = replace(observation, measurements=young.said)
        anchor = anchor.with_betas(params.betas.shape[1])
        noise, depth = errors.noise_of(predicted, keypoints.names), params.transl[:, 2]
        known = replace(observation, anchor=anchor, noise=noise, start_depth=depth)
        return Begun.at(State(params, camera), known)


def with_all_betas(params: BodyParams, body: PointBody) -> BodyParams:
    """The network's betas, and zeros for what a body has beside them: the shape of its hands."""
    more = body.joint_shapes.shape[-1] - params.betas.shape[1]
    return params if more <= 0 else replace(params, betas=torch.nn.functional.pad(params.betas, (0, more)))


def grown_down(answer: BodyParams, young: Children, body: PointBody) -> BodyParams:
    """The answer with the children's mean shape, as much nearer to the camera as they are smaller."""
    betas = torch.where(young.people[:, None], young.mean, answer.betas)
    ends = [body.skeleton.index(name) for name in ("head", "left_ankle")]
    before, after = (
        (body.rest_joints[ends] + (body.joint_shapes[ends] @ b.T).permute(2, 0, 1)).diff(dim=1).norm(dim=-1)
        for b in (answer.betas, betas)
    )
    return replace(answer, betas=betas, transl=answer.transl * after / before)


def _of_mean_shape(answer: Regression, body: PointBody) -> Regression:
    """The answer on another body than the network's, whose betas mean something else."""
    betas = answer.params.betas.new_zeros(len(answer), body.joint_shapes.shape[-1])
    return replace(answer, params=replace(answer.params, betas=betas))


@dataclass
class Library:
    """Poses of a library, seen from many sides.

    Args:
        poses: (N, 3 (J-1)) rotation vectors. count: hypotheses a person. network: its answer is then the first of the
            hypotheses. views: (H, 3, 3) orientations in which each pose is tried; default a ring of headings.
        roll_sigma: radians, how far bodies lean over in pictures; infinite for what is not upright by itself.
    """

    poses: Tensor
    count: int
    network: KeypointHmr | None = None
    views: Tensor = field(default_factory=ring)
    roll_sigma: float = 0.4
    _seen: dict[tuple[str, ...], PoseLibrary] = field(default_factory=dict, repr=False)

    def seen_through(self, body: PointBody) -> PoseLibrary:
        """The poses seen through a keypoint set; made once per set."""
        if body.names not in self._seen:
            self._seen[body.names] = PoseLibrary.build(body, self.poses, self.views)
        return self._seen[body.names]

    def __call__(self, given: Given, body: PointBody) -> Begun:
        observation, camera, B = given.observation, given.camera, len(given)
        device = observation.box_size.device
        person = torch.arange(B, device=device).repeat_interleave(self.count)
        if self.network is None:
            state = self._starts(body, observation, camera, self.count)
            return Begun(state, observation, person, single=False)
        params = self.network.predict(given.keypoints, camera).params
        estimate = State(with_all_betas(transferred(params, SMPL, body.skeleton), body), camera)
        others = self.count - 1
        if not others:
            return Begun(estimate, observation, person, single=False)
        state = State.cat([estimate, self._starts(body, observation, camera, others)])
        people = torch.arange(B, device=device)[:, None]
        rows = torch.cat([people, B + people * others + torch.arange(others, device=device)], 1).flatten()
        return Begun(state[rows], observation, person, single=False)

    def _starts(self, body: PointBody, observation: Observation, camera: Camera, count: int) -> State:
        library = self.seen_through(body)
        return library_starts(body, library, observation, camera, count, roll_sigma=self.roll_sigma)


@dataclass
class MeanPose:
    """One pose (3 (J-1),), rotation vectors, upright, facing the camera, at the depth of `torso_depth`."""

    pose: Tensor

    def __call__(self, given: Given, body: PointBody) -> Begun:
        observation, like, B = given.observation, given.keypoints.xy, len(given)
        pose = rotvec_to_matrix(self.pose.to(like).view(-1, 3)).expand(B, -1, 3, 3)
        betas = like.new_zeros(B, body.joint_shapes.shape[-1])
        params = BodyParams(like.new_tensor(UPRIGHT).expand(B, 3, 3), pose, betas, like.new_zeros(B, 3))
        depth = torso_depth(body.pose(params).points, observation, given.camera)
        params = replace(params, transl=torch.stack([0 * depth, 0 * depth, depth], 1))
        return Begun.at(State(params, given.camera), replace(observation, start_depth=depth))


@dataclass
class GivenStart:
    """The start that the caller gives, and the anchor at it."""

    def __call__(self, given: Given, body: PointBody) -> Begun:
        if given.init is None:
            raise ValueError("This schedule begins at a given start, and there is none: give init=.")
        anchor = (
            Anchor.around(given.init, body.parents)
            if given.init_std is None
            else Anchor.around(given.init, body.parents, given.init_std)
        )
        known = replace(given.observation, anchor=anchor, start_depth=given.init.transl[:, 2])
        return Begun.at(State(given.init, given.camera), known)


def turn_ambiguous(state: State, observation: Observation) -> tuple[Tensor, State]:
    """SMPLify's second hypothesis, a `Stage.branch`: people whose front and back look alike, turned about."""
    both = ambiguous(observation).nonzero()[:, 0]
    return both, about_face(state[both])


def ambiguous(observation: Observation) -> Tensor:
    """(B,) whose shoulders are so close in the picture, or not both seen, that front and back look alike."""
    keypoints = observation.keypoints
    sets = torso_sets(keypoints.names)
    if not sets:
        return torch.ones(len(keypoints), dtype=torch.bool, device=keypoints.xy.device)
    left, right = sets[0][2:]
    close = (keypoints.xy[:, left] - keypoints.xy[:, right]).norm(dim=-1) < CLOSE_SHOULDERS * observation.box_size
    return close | (keypoints.presence[:, [left, right]] < 0.5).any(1)


def about_face(state: State) -> State:
    """The bodies turned half about their own y axis."""
    params = state.params
    orient = params.global_orient * params.global_orient.new_tensor(HALF_TURN)
    return State(replace(params, global_orient=orient), state.camera)
