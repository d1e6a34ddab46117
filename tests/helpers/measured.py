"""People with measurements beside their keypoints, for the tests of the terms that look at these."""

from dataclasses import replace

import torch
from helpers.bodies import free_body
from helpers.fits import fitter, joints_of, people, with_terms
from torch import Tensor

from hmrfit.body.rigid import turned
from hmrfit.fitting.check_term import check_term, normal_equations, sample_evaluation
from hmrfit.fitting.gaussian_prior import Anchor
from hmrfit.fitting.parameters import Linearization, Observation, State
from hmrfit.fitting.terms.base import Staged, Term
from hmrfit.keypoints import COCO17
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams, RecordTable, TensorRecord


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def at(count: int = 3, **records: TensorRecord) -> Linearization:
    """People of the free body in random poses, seen in coco17, with these measurements."""
    return knowing(sample_evaluation(free_body().points(COCO17), count=count), **records)


def knowing(e: Linearization, **records: TensorRecord) -> Linearization:
    """The same people with these measurements instead."""
    o = e.observation
    known = Observation(o.keypoints, o.box_size, o.noise, o.anchor, RecordTable(records), o.weight, o.start_depth)
    return Linearization(e.body, e.state, known, e.layout)


RANK = 5
"""Of the made-up anchors."""


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def anchored(seed: int = 0) -> Linearization:
    """People in random poses, and an anchor a little away from them."""
    e = sample_evaluation(seed=seed)
    p = e.state.params
    B, D = len(p), 3 * 24 + 10
    turned = p.rotations @ rotvec_to_matrix(0.2 * seeded(B, 24, 3, seed=seed))
    start = BodyParams(turned[:, 0], turned[:, 1:], p.betas + 0.3 * seeded(B, 10), p.transl + 0.1 * seeded(B, 3))
    anchor = Anchor.at(start, e.body.parents, 0.2 * seeded(B, D).abs() + 0.05, 0.5 * seeded(B, D, RANK, seed=1))
    return Linearization(e.body, e.state, replace(e.observation, anchor=anchor), e.layout)


def check_measured(term: Term, e: Linearization) -> None:
    """Derivatives three ways and the sums, where the term says something."""
    assert normal_equations(term, e)[0].max() > 0
    check_term(term, at=e)


def other_frame(count: int = 3) -> tuple[Tensor, Tensor]:
    """(R (B, 3, 3), t (B, 3)) of other cameras, x -> R x + t: turned by about half a radian, a metre away."""
    return rotvec_to_matrix(0.5 * draw(count, 3)), draw(count, 3)


def moved(e: Linearization, rotation: Tensor, translation: Tensor) -> Linearization:
    """The same bodies in other frames, without measurements."""
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
