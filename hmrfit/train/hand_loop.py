"""The loop of fits for hands of which nothing but 2D keypoints is known: the network of hands, supervised by fits.

    people = KnownPeople.without_truth(keypoints, camera, keys, joints=16)        right hands; left ones mirrored
    objective = hand_objective(people, HandLoop(fitter, store, people.keys, poses=...), pool)
    Trainer(hand_network(), FactorizedDiscriminator(16), objective, schedule, fits=store)

The loop (`train.fit_loop`), its store and its objective (`train.keypoint_loop`) are the bodies'. Hands have stages of
their own, are upright in no picture, and are mistaken for their other side. No picture is mirrored: that would show the
other hand.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.fitting.energy import Stage
from hmrfit.fitting.hand_schedule import BIOMECHANICS, HAND_PRIORS, HAND_VIEWS
from hmrfit.fitting.library import all_sides
from hmrfit.fitting.parameters import State
from hmrfit.fitting.solver import Options
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.train.fit_loop import FitLoop
from hmrfit.train.hand_stream import HAND_LOSS, FingerPool, HandSampling
from hmrfit.train.keypoint_loop import KeypointLoop
from hmrfit.train.keypoint_people import KeypointAugmentation, KeypointPeople, KnownPeople
from hmrfit.types import BodyParams

HAND_ENERGY = "hmrfit hand 1"
"""What stores call the energy of `HandLoop.final`."""

PRIORS = {**HAND_PRIORS, "biomechanics": BIOMECHANICS}


class HandLoop(FitLoop):
    """The loop over hands of one side. The fitter has the term `biomechanics`; the store 16 joints and HAND_ENERGY."""

    wide: ClassVar[Stage] = Stage({**PRIORS, "reprojection_wide": 200.0}, options=Options(max_steps=5, ftol=1e-3))
    final: ClassVar[Stage] = Stage({**PRIORS, "reprojection": 24.0}, options=Options(max_steps=30, ftol=1e-4))
    joint_std: ClassVar[float] = 0.005
    roll_sigma: ClassVar[float] = torch.inf

    @staticmethod
    def views() -> Tensor:
        """From everywhere."""
        return all_sides(HAND_VIEWS)

    @staticmethod
    def other_side(state: State) -> State:
        """The hands turned half about their fingers (the x axis at rest): the back for the palm."""
        params = state.params
        half = rotvec_to_matrix(params.transl.new_tensor([torch.pi, 0.0, 0.0]))
        return State(replace(params, global_orient=params.global_orient @ half), state.camera)


@dataclass
class RealHands:
    """Hands in the poses of a pool, for the discriminators."""

    pool: FingerPool
    betas: int
    generator: torch.Generator

    def sample(self, count: int) -> BodyParams:
        """`count` hands at the origin, float32."""
        as_they_are = HandSampling(mixed=0.0, from_prior=0.0, jitter=0.0)
        pose = rotvec_to_matrix(self.pool.sample(count, self.generator, as_they_are))
        betas = torch.randn(count, self.betas, generator=self.generator)
        return BodyParams(torch.eye(3).expand(count, 3, 3), pose, betas, pose.new_zeros(count, 3))


def hand_objective(
    people: KnownPeople, loop: HandLoop | None, pool: FingerPool, points: PointBody, seed: int = 0
) -> KeypointLoop:
    """The objective of the network of hands.

    Args:
        loop: None for the 2D loss alone. points: of the free hand in float32, with the people's keypoints.
    """
    stream = KeypointPeople([people], how=KeypointAugmentation(flipped=0.0), seed=seed)
    real = RealHands(pool, points.joint_shapes.shape[-1], torch.Generator().manual_seed(seed + 1))
    return KeypointLoop(stream, points, points, real, loop, HAND_LOSS)
