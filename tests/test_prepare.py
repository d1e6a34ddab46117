"""What a call asks of the energy: terms, weights and settings, used by the fit or refused before any work."""

import numpy as np
import pytest
import torch
from helpers.bodies import demo_points

import hmrfit
from hmrfit.fitting.terms.base import FunctionTerm
from hmrfit.prepare import known_up

SIZE = (640, 480)
"""The picture in which weights and settings were found to change nothing, without a word."""

NAN = float("nan")


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return demo_points(SIZE[1])


@pytest.fixture(scope="module")
def plain(points: np.ndarray) -> hmrfit.FitResult:
    return fit(points)


def fit(points: np.ndarray, **asked: object) -> hmrfit.FitResult:
    return hmrfit.fit(None, points, **{"keypoint_set": "coco17", "image_size": SIZE} | asked)


def same(a: hmrfit.FitResult, b: hmrfit.FitResult) -> bool:
    """The same poses and betas, to the last digit."""
    return np.array_equal(a.poses, b.poses) and np.array_equal(a.betas, b.betas)


# the keypoints' noise


@pytest.mark.parametrize("noise", [{"keypoint_source": "exact"}, {"keypoint_std": 0.03}], ids=str)
def test_noise_that_is_known_changes_how_sure_a_fit_is_and_nothing_else(
    points: np.ndarray, plain: hmrfit.FitResult, noise: dict[str, object]
) -> None:
    told = fit(points, **noise)
    assert same(told, plain) and not np.allclose(told.joint_std, plain.joint_std, rtol=0.02)
    assert list(plain.keypoint_source) == ["detector"]
    assert list(told.keypoint_source) == [noise.get("keypoint_source", "given")]
    assert (told.keypoint_std == 0.03).all() == ("keypoint_std" in noise)
    wider = "keypoint_std" in noise
    assert (told.joint_std[0, 1:].mean() > plain.joint_std[0, 1:].mean()) == wider


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("config", ["fit_spin", {"FIT.START": "library"}], ids=str)
def test_noise_is_refused_by_fits_without_the_term_that_has_one(points: np.ndarray, config: object) -> None:
    for noise in ({"keypoint_source": "labelled"}, {"keypoint_std": 0.02}):
        (name,) = noise
        with pytest.raises(ValueError, match=f"{name} changes nothing here.*'keypoints'"):
            fit(points, config=config, **noise)
        with pytest.raises(ValueError, match=f"{name} changes nothing here.*reprojection"):
            views = {"image_size": SIZE, "keypoint_set": "coco17", "cameras": [hmrfit.Camera.from_size(*SIZE)] * 2}
            hmrfit.fit_views([None] * 2, [points] * 2, np.stack([np.eye(4)] * 2), **views, **noise)


# weights

FROM_SCRATCH = {"FIT.START": "library", "FIT.HYPOTHESES": 2, "FIT.LIBRARY": 20}
"""A quick fit of several starts."""


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("weights", [{"gmm": 1000}, {"shape": 1000}, {"upright": 1e4}, {"reprojection": 1e6}])
def test_weights_of_terms_that_the_fit_does_not_use(points: np.ndarray, weights: dict[str, float]) -> None:
    """Each names the terms that it does use, and how to add this one."""
    (name,) = weights
    said = rf"no term '{name}'\..*It has: anchor, joint_limits, keypoints\..*terms=\['{name}'\] adds it"
    with pytest.raises(ValueError, match=said):
        fit(points, weights=weights)


@pytest.mark.parametrize("name", ["anchor", "joint_limits", "keypoints"])
def test_every_weight_that_the_fit_uses_changes_it(points: np.ndarray, name: str) -> None:
    """Of a person whose knee is seen where it can hardly be."""
    bent = points + np.eye(17)[:, 13:14] * [60, -60, 0]
    plain = fit(bent)
    assert plain.term_cost[name][0] > 0
    assert not same(fit(bent, weights={name: 0.01}), plain)


def test_a_larger_weight_leaves_a_smaller_residual(points: np.ndarray, plain: hmrfit.FitResult) -> None:
    heavy = fit(points, weights={"keypoints": 20.0})
    assert heavy.reprojection_error[0] < 0.7 * plain.reprojection_error[0]
    assert heavy.term_cost["keypoints"][0] / 20.0 < plain.term_cost["keypoints"][0] / 0.7


@pytest.mark.parametrize("name", ["gmm", "shape", "upright", "reprojection"])
def test_the_same_weights_change_the_fit_that_uses_them(points: np.ndarray, name: str) -> None:
    plain = fit(points, config=FROM_SCRATCH)
    assert not same(fit(points, config=FROM_SCRATCH, weights={name: 200.0}), plain)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"weights": {"keypoint": 3}}, r"no term 'keypoint'\. Did you mean 'keypoints'\?"),
        ({"weights": {"repojection": 3}, "config": FROM_SCRATCH}, r"Did you mean 'reprojection'\?"),
        ({"weights": {"mask": 3}}, r"no term 'mask'\."),
        ({"terms": ["gm"]}, r"no built-in term 'gm'\. Did you mean 'gmm'\?"),
        ({"terms": ["anchor"], "config": FROM_SCRATCH}, "begins at several starts"),
    ],
)
def test_the_nearest_term_is_named(points: np.ndarray, asked: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fit(points, **asked)


def test_a_weight_of_a_measurements_term(points: np.ndarray) -> None:
    """The more it weighs, the nearer is the height to the one that is known."""
    known = [hmrfit.Height(1.95, 0.1)]
    light, heavy = (fit(points, measurements=known, weights={"height": w}) for w in (0.1, 100.0))
    assert heavy.term_cost["height"][0] / 100.0 < light.term_cost["height"][0] / 0.1


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("weights", "error", "said"),
    [
        *[({"anchor": w}, ValueError, "weight of 'anchor'") for w in (NAN, -1, np.inf, 1e300, 10**400, [1, 1], [])],
        *[({"anchor": w}, TypeError, "weight of 'anchor' should be one") for w in ("1", None, True, 1j, "x")],
        ({"nope": 1}, ValueError, "no term 'nope'"),
        ({1: 2}, ValueError, "no term 1"),
        ([1], TypeError, "a dictionary"),
        ("anchor", TypeError, "a dictionary"),
        ({"anchor": 0, "keypoints": 0, "joint_limits": 0}, ValueError, "no term with a weight above 0"),
    ],
)
def test_weights_that_are_none(points: np.ndarray, weights: object, error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        fit(points, weights=weights)


# settings


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("setting", [{"FIT.SIGMA": 0.5}, {"FIT.HYPOTHESES": 12}, {"FIT.LIBRARY": 5}])
def test_settings_that_the_fit_does_not_use(points: np.ndarray, setting: dict[str, float]) -> None:
    (key,) = setting
    with pytest.raises(ValueError, match=rf"{key} changes nothing here.*FIT\.START=library"):
        fit(points, config=setting)


@pytest.mark.parametrize(
    "setting", [{"FIT.SIGMA": 0.5}, {"FIT.HYPOTHESES": 1}, {"FIT.LIBRARY": 5}], ids=lambda setting: next(iter(setting))
)
def test_the_same_settings_change_the_fit_from_a_library(points: np.ndarray, setting: dict[str, float]) -> None:
    """Without an initial estimate among the hypotheses, which may win whatever the others are."""
    alone = {"FIT.START": "library", "PRIORS.INITIAL_ESTIMATE": ""}
    plain, other = (fit(points, config=alone | more) for more in ({}, setting))
    assert not same(other, plain)


def test_a_setting_is_used_where_the_caller_adds_the_term_that_it_is_about(points: np.ndarray) -> None:
    fits = [fit(points, terms=["reprojection"], config={"FIT.SIGMA": sigma}) for sigma in (0.05, 0.5)]
    assert not same(*fits)


def test_a_given_start_leaves_the_settings_of_the_library_out(points: np.ndarray, plain: hmrfit.FitResult) -> None:
    with pytest.raises(ValueError, match=r"FIT\.HYPOTHESES changes nothing here"):
        fit(points, init=plain, config=FROM_SCRATCH)


# terms


def raises(state, output, observation):
    raise KeyError("mine")


WRONG_TERMS = {
    "raises": (raises, ValueError, "Term 'raises' cannot be computed: KeyError"),
    "one dimension": (lambda s, o, b: o.joints[:, 0, 0], ValueError, r"should return residuals \(B, M\)"),
    "three dimensions": (lambda s, o, b: o.joints, ValueError, r"should return residuals \(B, M\)"),
    "a sum": (lambda s, o, b: o.joints.sum(), ValueError, r"should return residuals \(B, M\)"),
    "another B": (lambda s, o, b: torch.zeros(7, 3).double(), ValueError, r"should return residuals \(B, M\)"),
    "nothing": (lambda s, o, b: None, TypeError, "should return a tensor"),
    "a list": (lambda s, o, b: [[0.0]], TypeError, "should return a tensor"),
    "numpy": (lambda s, o, b: o.joints.detach().numpy()[:, 0], TypeError, "should return a tensor"),
    "NaN": (lambda s, o, b: o.joints[:, :, 0] * NAN, ValueError, "is not finite"),
    "a NaN slope": (lambda s, o, b: (o.joints[:, :, 0] * 0).sqrt(), ValueError, "derivative or a square"),
    "a square too large": (lambda s, o, b: o.joints[:, :, 0] * 1e200, ValueError, "derivative or a square"),
    "too few arguments": (lambda s: s.params.betas, ValueError, "cannot be computed: TypeError"),
    "an index": (lambda s, o, b: o.joints[:, 99], ValueError, "cannot be computed: IndexError"),
    "in place": (lambda s, o, b: o.joints.mul_(2)[:, 0], ValueError, "in place"),
    "float32": (lambda s, o, b: o.joints[:, :, 0].float(), ValueError, "float32"),
    "a class": (FunctionTerm, TypeError, "should hold functions"),
    "a number": (3, TypeError, "should hold functions"),
}


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("name", WRONG_TERMS)
def test_terms_that_are_none(points: np.ndarray, name: str) -> None:
    term, error, said = WRONG_TERMS[name]
    with pytest.raises(error, match=said):
        fit(points, terms=[term])


@pytest.mark.usefixtures("no_work")
def test_a_list_of_terms_with_names_of_their_own(points: np.ndarray) -> None:
    fine = lambda s, o, b: o.joints[:, :, 0]  # noqa: E731
    for wrong in (fine, "terms", 3):
        with pytest.raises(TypeError, match="terms should be a list"):
            fit(points, terms=wrong)
    with pytest.raises(ValueError, match="has a term 'gmm' already"):
        fit(points, terms=[FunctionTerm(fine, "gmm")])
    with pytest.raises(ValueError, match="Two terms are named 'mine'"):
        fit(points, terms=[FunctionTerm(fine, "mine")] * 2)


# what is up


def test_what_is_up_is_what_is_given_or_the_floors() -> None:
    floor = hmrfit.Floor((0, -2, 0), -3)
    assert known_up(None, [], None) is None and known_up(None, [hmrfit.Height(1.8)], None) is None
    assert np.allclose(known_up(None, [hmrfit.Height(1.8), floor], None), [0, -1, 0])
    assert np.allclose(known_up((0.01, -1, 0), [floor], None), [0.01, -1, 0], atol=1e-4)
    with pytest.raises(ValueError, match="Give one of them"):
        known_up((0, 1, 0), [floor], None)
