"""Gender and age: the file behind them, the terms, and what they do to a fit."""

import numpy as np
import pytest
import torch
from helpers.bodies import demo_points, free_body
from helpers.fits import people, shipped
from helpers.measured import at, check_measured
from torch import Tensor

import hmrfit
from hmrfit.fitting.terms.base import Known
from hmrfit.fitting.terms.gender_age import ADULTS, Age, AgeTerm, Gender, GenderTerm, shapes_of
from hmrfit.fitting.terms.height import HeightTerm
from hmrfit.io.photo import read_photo
from hmrfit.synthetic.people import Corruption, make_people
from hmrfit.types import RecordTable

GIVEN = {"keypoint_set": "coco17", "image_size": (640, 480)}


def read(measurement: hmrfit.Measurement, count: int = 3) -> Known:
    points = np.stack([demo_points(480)] * count)
    return measurement.read(read_photo(None, points, "coco17", image_size=(640, 480)), free_body())


def height_of(betas: Tensor) -> Tensor:
    return HeightTerm(free_body()).of(betas)


def test_adults_of_both_sexes_are_the_bodys_shape_space():
    mean, covariance = shapes_of(free_body()).mixture(0, *ADULTS)
    assert np.abs(mean).max() < 0.25
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), 1, atol=0.15)


@pytest.mark.parametrize("gender, age, metres", [(2, 35, 1.756), (1, 35, 1.629), (2, 8, 1.281), (1, 8, 1.276)])
def test_people_are_as_tall_as_published(gender: int, age: float, metres: float):
    mean, _ = shapes_of(free_body()).mixture(gender, np.array([float(age)]), np.ones(1))
    assert float(height_of(torch.tensor(mean)[None])) == pytest.approx(metres, abs=0.025)


def test_derivatives_and_sums():
    gender, age = read(Gender(["male", "female", None])).record, read(Age([40, 9, None])).record
    check_measured(GenderTerm(), at(gender=gender))
    check_measured(AgeTerm(), at(age=age))
    check_measured(AgeTerm(), at(age=age, gender=gender))


def test_where_the_age_is_known_its_term_speaks_for_both():
    gender, age = read(Gender("male")).record, read(Age([40, 9, None])).record
    alone, both = (GenderTerm().residuals(at(gender=gender, **more)) for more in ({}, {"age": age}))
    assert alone.any(1).all() and not both[:2].any() and torch.equal(both[2], alone[2])
    unknown, known = (AgeTerm().residuals(at(age=age, **more)) for more in ({}, {"gender": gender}))
    assert (unknown[:2] != known[:2]).any(1).all() and not known[2].any()


def test_of_a_child_the_term_is_the_population_itself():
    """-log N(μ, Σ), not what is left beside the prior of adults."""
    e = at(age=read(Age(8)).record)
    mean, covariance = shapes_of(free_body()).mixture(0, *_quadrature(8.0, 1.0))
    away = e.state.params.betas.numpy() - mean
    expected = np.einsum("bi,ij,bj->b", away, np.linalg.inv(covariance), away)
    np.testing.assert_allclose(AgeTerm().residuals(e).square().sum(1).numpy(), expected, rtol=1e-6)


def _quadrature(years: float, std: float) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(7)
    return years + std * nodes, weights / weights.sum()


def test_children_are_small_and_men_are_tall():
    """Twenty children of eight: as everybody is an adult without it, their heights are half a metre off."""
    count, shapes = 20, shapes_of(free_body())
    mean, covariance = shapes.mixture(2, np.array([8.0]), np.ones(1))
    betas = torch.tensor(np.random.default_rng(0).multivariate_normal(mean, covariance, count))
    poses = torch.cat([torch.zeros(count, 1, 3).double(), people(count).params.to_rotvecs()[1].view(count, -1, 3)], 1)
    names = hmrfit.keypoint_sets()["coco17"]
    crowd = make_people(
        free_body(), poses, names, torch.Generator().manual_seed(0), corruption=Corruption(0.01, 0.0), betas=betas
    )
    known = [Age(8), Gender("boy")]
    fitter = shipped()
    records = {one.name: read(one, count) for one in known}
    staged = [term for one in records.values() for term in one.terms]
    schedule = fitter.schedule.with_terms(staged)
    told = fitter.with_schedule(schedule, terms={**fitter.terms, **{s.term.name: s.term for s in staged}})
    table = RecordTable({name: one.record for name, one in records.items()})
    off = [
        (height_of(fit.state.params.betas) - height_of(betas)).abs().mean().item()
        for fit in (
            fitter.fit(crowd.keypoints, crowd.camera),
            told.fit(crowd.keypoints, crowd.camera, None, None, table),
        )
    ]
    assert off[0] > 0.25 and off[1] < 0.08


def test_the_result_says_what_was_believed_and_no_warning_of_a_small_child():
    male, female = (hmrfit.fit(None, demo_points(480), **GIVEN, measurements=[Gender(g)]) for g in ("male", "woman"))
    assert height_of(male.params.betas) - height_of(female.params.betas) > 0.08
    assert male.measurements["gender"] == "male, 1.75 ± 0.07 m tall if grown up"
    child = hmrfit.fit(None, demo_points(480), **GIVEN, measurements=[Age(8)])
    assert child.measurements["age"].startswith("8 ± 1 years, 1.2") and not any(child.warnings[0])
    assert any("outside of the body's shapes" in w for w in read(Age(3)).warnings[0])


@pytest.mark.parametrize(
    "known, match",
    [
        (Gender("mael"), "not 'mael'. Did you mean 'male'"),
        (Gender(["male", "male"]), "one for each of the 1 person"),
        (Age(200), "between 3 and 90"),
        (Age(20, std=-1), "between 0 and 30"),
    ],
)
def test_what_is_wrong_with_it_is_said(known: hmrfit.Measurement, match: str):
    with pytest.raises(ValueError, match=match):
        hmrfit.fit(None, demo_points(480), **GIVEN, measurements=[known])


def test_other_bodies_are_refused():
    body = free_body().to()
    body.shapedirs = body.shapedirs * 2
    photo = read_photo(None, demo_points(480)[None], "coco17", image_size=(640, 480))
    with pytest.raises(ValueError, match="about the betas of the free body"):
        Gender("male").read(photo, body)
