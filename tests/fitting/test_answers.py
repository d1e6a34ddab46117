"""Other answers: which components are offered, how probable they are, and that they are fitted, merged, and independent
of the batch."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from hmrfit.fitting.answers import SAME, SHARPNESS, OtherAnswers, covering, merged, tempered
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.uncertainty import Answers, KeypointNoise, Posterior
from tests.helpers.fits import joints_of, people, photograph, shipped

COUNT = 6


@cache
def fit() -> Fit:
    return shipped().fit(people(COUNT, "coco17", noise=0.01, missing=0.1).keypoints, photograph(COUNT))


@cache
def answers() -> Answers:
    return shipped().answers(fit())


def posterior() -> Posterior:
    found = answers().posterior
    assert found is not None
    return found


def distances(*places: float) -> Tensor:
    """(1, n, n) of bodies at places on a line, metres."""
    x = torch.tensor(places).double()
    return (x[:, None] - x).abs()[None]


def test_what_is_offered_is_what_most_of_the_mixture_is_near_to():
    """Two groups on a line, the first body in neither: each gets one of its own, and its whole weight."""
    d = distances(0.0, 0.10, 0.11, 0.12, -0.2, -0.21)
    weight = torch.tensor([[0.1, 0.2, 0.2, 0.2, 0.15, 0.15]]).double()
    components, probability = covering(d, weight, keep=3, worth=0.01)
    assert components[0, 0] == 0 and sorted(components[0, 1:3].tolist()) == [2, 4]
    expected = {0: 0.1, 2: 0.6, 4: 0.3}
    for component, p in zip(components[0, :3].tolist(), probability[0, :3].tolist(), strict=True):
        assert p == pytest.approx(expected[component])
    assert probability[0, 3] == 0  # nothing else is worth a centimetre


def test_nothing_is_offered_where_all_components_are_one_body():
    components, probability = covering(distances(0.0, 0.001, 0.002), torch.full((1, 3), 1 / 3).double(), 2, 0.004)
    assert components[0, 0] == 0
    torch.testing.assert_close(probability, torch.tensor([[1.0, 0.0, 0.0]]).double())


def test_a_component_of_no_weight_is_not_offered():
    _, probability = covering(distances(0.0, 0.5), torch.tensor([[1.0, 0.0]]).double(), 1, 0.004)
    assert probability.tolist() == [[1.0, 0.0]]


def test_of_exact_keypoints_answers_are_surer():
    """A seventh and more, and the others as before; both in one batch."""
    noise = KeypointNoise.of(["exact"] * COUNT, [None] * COUNT, len(fit().observation.keypoints.names))
    nearly = replace(noise, residuals=torch.full((COUNT, 1), 1e-9).double())  # counts for nothing, but is no word of it
    mixed = replace(nearly, residuals=nearly.residuals * (torch.arange(COUNT) > 0)[:, None])
    exact, other = (shipped().answers(replace(fit(), keypoint_noise=one)).posterior for one in (mixed, nearly))
    assert exact is not None and other is not None
    assert (exact.covariance[0, 0].diagonal() < 0.95 * other.covariance[0, 0].diagonal())[:60].all()
    torch.testing.assert_close(exact.covariance[1:], other.covariance[1:])


def test_answers_that_are_the_same_are_one():
    joints = torch.zeros(1, 4, 2, 3).double()
    joints[0, 1, 1, 0], joints[0, 2, 1, 0], joints[0, 3, 1, 0] = 2 * SAME, 2.5 * SAME, 0.5 * SAME
    found = merged(joints, torch.tensor([[0.4, 0.3, 0.2, 0.1]]).double())
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.5, 0.0, 0.0]]).double())


def test_the_answer_of_the_fit_comes_first_and_the_others_by_probability():
    p = posterior().probability
    assert torch.equal(answers().hypotheses[0].params.rotations, fit().state.params.rotations)
    torch.testing.assert_close(p.sum(1), torch.ones(COUNT).double())
    assert (p[:, 1:-1] >= p[:, 2:]).all() and p.shape[1] <= 4


def test_most_people_have_several_answers_and_they_are_different_bodies():
    there = posterior().probability > 0
    assert (there.sum(1) > 1).sum() >= COUNT - 1
    placed = torch.stack([joints_of(state) - joints_of(state)[:, :1] for state in answers().hypotheses], 1)
    for i in range(placed.shape[1]):
        for j in range(i):
            both = there[:, i] & there[:, j]
            assert ((placed[:, i] - placed[:, j]).norm(dim=-1).amax(-1)[both] > SAME).all()


def test_every_answer_meets_the_keypoints():
    """Like the fit's own: a few hundredths of the box."""
    keypoints, body = fit().observation.keypoints, shipped().point_body(fit().observation.keypoints.names)
    for h, state in enumerate(answers().hypotheses):
        there = posterior().probability[:, h] > 0
        away = (state.camera.project(body.pose(state.params).points) - keypoints.xy).norm(dim=-1)
        mean = (away * keypoints.presence).sum(1) / keypoints.presence.sum(1) / fit().observation.box_size
        assert (mean[there] < 0.03).all()


def test_costs_are_those_of_the_energy_of_the_fit():
    p, cost = posterior().probability, answers().cost
    assert torch.equal(cost.isfinite(), p > 0)
    torch.testing.assert_close(cost[:, 0], fit().cost)
    assert (cost[:, 1:] > cost[:, :1])[p[:, 1:] > 0].all()


def test_whoever_has_fewer_answers_has_the_first_again():
    p = posterior().probability
    for h, state in enumerate(answers().hypotheses):
        absent = p[:, h] == 0
        assert torch.equal(state.params.transl[absent], fit().state.params.transl[absent])


def test_covariances_are_positive_definite():
    covariance = posterior().covariance
    assert covariance.isfinite().all() and (torch.linalg.eigvalsh(covariance[:, 0]) > 0).all()


def test_answers_are_independent_of_the_batch():
    for i in (0, 4):
        alone = shipped().answers(fit()[[i]])
        H = len(alone.hypotheses)
        assert alone.posterior is not None
        torch.testing.assert_close(alone.posterior.probability[0], posterior().probability[i, :H], atol=1e-9, rtol=0)
        for own, all_of in zip(alone.hypotheses, answers().hypotheses, strict=False):
            torch.testing.assert_close(joints_of(own)[0], joints_of(all_of)[i], atol=1e-6, rtol=0)


def test_large_batches_are_taken_in_pieces(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hmrfit.fitting.fitter.CHUNK", 4)
    pieces = shipped().answers(fit())
    assert pieces.posterior is not None
    torch.testing.assert_close(pieces.posterior.probability, posterior().probability, atol=1e-9, rtol=0)


def test_fewer_are_offered_where_fewer_are_asked_for():
    seeker = shipped().schedule.seeker
    assert isinstance(seeker, OtherAnswers)
    body = shipped().point_body(fit().observation.keypoints.names)
    one = OtherAnswers(seeker.network, seeker.read, keep=1)(fit(), body, shipped().terms)
    assert len(one.hypotheses) == 2
    none = OtherAnswers(seeker.network, seeker.read, keep=0)(fit(), body, shipped().terms)
    assert len(none.hypotheses) == 1 and none.posterior is not None and (none.posterior.probability == 1).all()


def test_without_people_there_is_nothing():
    empty = shipped().answers(fit()[[]])
    assert len(empty.cost) == 0


def test_probabilities_are_tempered_weights():
    found = tempered(torch.tensor([[0.81, 0.16, 0.03, 0.0], [1.0, 0.0, 0.0, 0.0]]).double())
    torch.testing.assert_close(found.sum(1), torch.ones(2).double())
    assert found[1].tolist() == [1.0, 0.0, 0.0, 0.0] and found[0, 3] == 0
    torch.testing.assert_close(found[0, 0] / found[0, 1], torch.tensor((81 / 16) ** SHARPNESS).double())
