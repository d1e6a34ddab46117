"""Terms for what is known beside keypoints: derivatives three ways, known answers, and what they do to a fit."""

from dataclasses import replace

import pytest
import torch
from helpers.bodies import free_body
from helpers.fits import fitter, people

from hmrfit.evidence import WEIGHT, WIDE_WEIGHT, with_terms
from hmrfit.fitting.check import check_term, normal_equations, sample_evaluation
from hmrfit.fitting.evidence import Evidence, GroundEvidence, Measure, PointEvidence, ViewEvidence
from hmrfit.fitting.parameters import Linearization
from hmrfit.fitting.terms.base import Term
from hmrfit.fitting.terms.ground import SOLES, Ground
from hmrfit.fitting.terms.height import KnownHeight
from hmrfit.fitting.terms.keypoints_3d import WIDE_3D, Keypoints3D
from hmrfit.fitting.terms.shape import KnownShape
from hmrfit.fitting.terms.views import Views
from hmrfit.keypoints import COCO17, SMPL24
from hmrfit.ops.rotation import rotvec_to_matrix

B, V = 3, 2


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def a_view(e: Linearization) -> ViewEvidence:
    """Two more cameras, 40 px off."""
    rotation = rotvec_to_matrix(0.5 * draw(B, V, 3))
    target = torch.tensor([0.0, 0.0, 4.0]) - (rotation @ e.state.params.transl[:, None, :, None]).squeeze(-1)
    points = (rotation[:, :, None] @ e.posed.points[:, None, ..., None]).squeeze(-1) + target[:, :, None]
    focal, center = torch.full((B, V, 2), 800.0).double(), torch.full((B, V, 2), 500.0).double()
    xy = 800 * points[..., :2] / points[..., 2:] + 500 + 40 * draw(B, V, 17, 2)
    return ViewEvidence(rotation, target, focal, center, xy, torch.rand(B, V, 17).double(), torch.full((B, V), 300.0).double())  # fmt: skip  # noqa: E501


def everything() -> tuple[Linearization, dict[str, Term]]:
    body = free_body()
    e = sample_evaluation(body.points(COCO17), count=B)
    joints = body.points(SMPL24).pose(e.state.params).points
    up = torch.nn.functional.normalize(torch.tensor([[0.1, -1.0, 0.2]]).double(), dim=-1).expand(B, 3)
    evidence = Evidence(
        points=PointEvidence(joints + 0.05 * draw(B, 24, 3), torch.rand(B, 24).double()),
        height=Measure(torch.tensor([1.6, 1.7, 1.9]).double(), torch.full((B,), 0.05).double()),
        shape=Measure(draw(B, 10), torch.tensor([0.3] * 9 + [torch.inf]).double().expand(B, 10)),
        ground=GroundEvidence(up, (e.state.params.transl * up).sum(-1) - 0.6, torch.tensor([1.0, 1.0, 0.0]).double()),
        views=a_view(e),
    )
    e = Linearization(e.body, e.state, replace(e.observation, evidence=evidence))
    points, soles = body.points(SMPL24), body.points(SOLES)
    terms = [
        Keypoints3D(points), Keypoints3D(points, relative=True, name="relative"), Views(),
        Ground(soles, ("left_heel", "right_big_toe")), KnownHeight(body), KnownShape(),
    ]  # fmt: skip
    return e, {term.name: term for term in terms}


@pytest.mark.parametrize("name", everything()[1])
def test_derivatives_and_sums(name):
    e, terms = everything()
    assert normal_equations(terms[name], e)[0].max() > 0
    check_term(terms[name], at=e)


@pytest.mark.parametrize("name", everything()[1])
def test_without_evidence_there_is_a_letter(name):
    e, terms = everything()
    with pytest.raises(ValueError, match="needs"):
        terms[name].residuals(Linearization(e.body, e.state, replace(e.observation, evidence=None)))


def test_relative_points_do_not_know_where_they_are():
    e, terms = everything()
    far = replace(e.observation.evidence, points=replace(e.observation.evidence.points, xyz=e.observation.evidence.points.xyz + 5))  # fmt: skip  # noqa: E501
    moved = Linearization(e.body, e.state, replace(e.observation, evidence=far))
    torch.testing.assert_close(terms["relative"].residuals(moved), terms["relative"].residuals(e), rtol=0, atol=1e-10)
    assert (terms["keypoints_3d"].residuals(moved) - terms["keypoints_3d"].residuals(e)).abs().max() > 0.1


def test_height_is_the_height_of_the_mesh():
    body, term = free_body(), KnownHeight(free_body())
    betas = draw(20, 10)
    y = body.shaped(betas)[..., 1]
    # the highest vertex is not the same one for everybody, but nearly
    torch.testing.assert_close(term.of(betas), y.amax(1) - y.amin(1), rtol=0, atol=5e-3)


def test_the_floor_is_one_sided_but_for_contacts():
    body = free_body()
    e = sample_evaluation(body.points(COCO17), count=1)
    term = Ground(body.points(SOLES), ("left_heel",))
    up = torch.tensor([[0.0, -1.0, 0.0]]).double()
    heights = (body.points(SOLES).pose(e.state.params).points * up[:, None]).sum(-1)

    def at(offset: float) -> torch.Tensor:
        floor = GroundEvidence(up, torch.tensor([offset]).double(), torch.ones(1).double())
        evaluation = Linearization(e.body, e.state, replace(e.observation, evidence=Evidence(ground=floor)))
        return term.residuals(evaluation)[0]

    below = at(heights.min().item() - 0.05)  # the floor is below all of them: only the contact pays
    assert below[0] > 0 and (below[1:] == 0).all()
    assert (at(heights.max().item() + 0.05) < 0).all()  # all of them are in the floor


def refit(count: int, terms: list, evidence: Evidence, before: dict, last: dict) -> tuple[float, float]:
    """Mean joint error in metres, as it is, without and with the terms; coco17, 1 % noise."""
    person = people(count, "coco17", noise=0.01)
    with_them = with_terms(fitter(), terms, before, last)
    fits = fitter().fit(person.keypoints, person.camera), with_them.fit(person.keypoints, person.camera, evidence=evidence)  # fmt: skip  # noqa: E501
    joints = (free_body().points(SMPL24).pose(f.state.params).joints for f in fits)
    return tuple((j - person.joints).norm(dim=-1).mean().item() for j in joints)


def test_points_in_3d_make_the_fit_good():
    """24 joints with 1 cm of noise: the error falls to about that."""
    person, points = people(12, "coco17", noise=0.01), free_body().points(SMPL24)
    evidence = Evidence(points=PointEvidence(person.joints + 0.01 * draw(12, 24, 3), torch.ones(12, 24).double()))
    terms = [Keypoints3D(points, sigma=WIDE_3D, name="wide"), Keypoints3D(points)]
    without, better = refit(12, terms, evidence, {"wide": WIDE_WEIGHT}, {"keypoints_3d": WEIGHT})
    assert without > 0.05 and better < 0.02


def test_the_height_brings_the_depth():
    """Who is known to be tall stands farther away: the true height lowers the error of the absolute positions."""
    count = 40  # of 12 it depends on who is among them
    person, term = people(count, "coco17", noise=0.01), KnownHeight(free_body())
    height = Measure(term.of(person.params.betas), torch.full((count,), 0.02).double())
    without, better = refit(count, [term], Evidence(height=height), {"height": 1.0}, {"height": 1.0})
    assert better < 0.8 * without
