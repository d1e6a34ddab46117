"""People of whom more is known than their keypoints, for the tests of the terms that look at it."""

import torch
from helpers.bodies import free_body
from helpers.fits import fitter, joints_of, people, with_terms
from torch import Tensor

from hmrfit.body.rigid import turned
from hmrfit.fitting.check import check_term, normal_equations, sample_evaluation
from hmrfit.fitting.parameters import Linearization, Observation, State
from hmrfit.fitting.terms.base import Staged, Term
from hmrfit.keypoints import COCO17
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams, RecordTable, TensorRecord


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def at(count: int = 3, **records: TensorRecord) -> Linearization:
    """People of the free body in random poses, seen in coco17, of whom this is known."""
    return knowing(sample_evaluation(free_body().points(COCO17), count=count), **records)


def knowing(e: Linearization, **records: TensorRecord) -> Linearization:
    """The same people, of whom this is known instead."""
    o = e.observation
    known = Observation(o.keypoints, o.box_size, o.noise, o.anchor, RecordTable(records), o.weight, o.start_depth)
    return Linearization(e.body, e.state, known, e.layout)


def check_measured(term: Term, e: Linearization) -> None:
    """Derivatives three ways and the sums, where the term says something."""
    assert normal_equations(term, e)[0].max() > 0
    check_term(term, at=e)


def other_frame(count: int = 3) -> tuple[Tensor, Tensor]:
    """(R (B, 3, 3), t (B, 3)) of other cameras, x -> R x + t: turned by about half a radian, a metre away."""
    return rotvec_to_matrix(0.5 * draw(count, 3)), draw(count, 3)


def moved(e: Linearization, rotation: Tensor, translation: Tensor) -> Linearization:
    """The same bodies in other frames; of what is known there, nothing."""
    body = free_body()
    params: BodyParams = turned(e.state.params, body.rest_joints[0], body.joint_shapes[0], rotation, translation)
    return knowing(Linearization(e.body, State(params, e.state.camera), e.observation, e.layout))


def refitted(count: int, record: tuple[str, TensorRecord], *terms: Staged) -> tuple[float, float]:
    """Mean joint error in metres, as it is, without and with the terms; from scratch, coco17, 1 % noise."""
    crowd, table = people(count, "coco17", noise=0.01), RecordTable(dict([record]))
    plain = fitter().fit(crowd.keypoints, crowd.camera)
    known = with_terms(fitter(), *terms).fit(crowd.keypoints, crowd.camera, measurements=table)
    without, better = ((joints_of(f) - crowd.joints).norm(dim=-1).mean().item() for f in (plain, known))
    return without, better
