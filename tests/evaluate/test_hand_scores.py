"""Scores of hands against slow twins, and what they do not depend on."""

from itertools import pairwise

import numpy as np
import pytest
from helpers.hands import right_hand
from scipy.linalg import orthogonal_procrustes

from hmrfit.evaluate.hand_scores import (
    HandScores,
    Similarity,
    auc,
    f_scores,
    relative_root_error,
    scale_translation_aligned,
    wrist_relative_error,
)

HAND = right_hand(30.0).numpy() + np.array([0.02, 0.01, 0.7])


def noisy(rng: np.random.Generator, points: np.ndarray, by: float = 0.01) -> np.ndarray:
    return points + by * rng.standard_normal(points.shape)


def turned(points: np.ndarray, reflected: bool = False) -> np.ndarray:
    turn, _ = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))
    turn = turn * np.sign(np.linalg.det(turn)) * (-1 if reflected else 1)
    return 1.4 * points @ turn.T + [0.1, -0.3, 0.2]


def test_the_alignment_is_scipys_with_both_norms_divided_out(rng: np.random.Generator) -> None:
    predicted = noisy(rng, HAND)
    X, Y = predicted - predicted.mean(0), HAND - HAND.mean(0)
    norms = np.linalg.norm(X) + 1e-8, np.linalg.norm(Y) + 1e-8
    R, s = orthogonal_procrustes(Y / norms[1], X / norms[0])
    expected = X / norms[0] @ R.T * s * norms[1] + HAND.mean(0)
    np.testing.assert_allclose(Similarity.of(predicted, HAND).own(predicted), expected, atol=1e-12)


@pytest.mark.parametrize("reflected", [False, True])
def test_a_similar_hand_is_perfect_after_alignment_even_a_mirrored_one(reflected: bool) -> None:
    scores = HandScores()
    scores.update(turned(HAND, reflected), None, HAND, None)
    numbers = scores.numbers()
    assert numbers["aligned joints"] < 1e-3 and numbers["aligned joints AUC"] > 0.994  # nothing is at 0
    assert numbers["joints"] > 50


def test_the_auc_is_the_area_under_the_curve(rng: np.random.Generator) -> None:
    errors = rng.uniform(0, 0.08, (40, 3))
    thresholds = np.linspace(0, 0.05, 100)
    areas = []
    for k in range(3):
        fraction = [np.mean(errors[:, k] <= t) for t in thresholds]
        areas.append(sum((a + b) / 2 for a, b in pairwise(fraction)) / 99)
    assert auc(errors) == pytest.approx(np.mean(areas), abs=1e-12)
    assert auc(np.zeros((2, 3))) == 1.0


def test_f_scores_count_nearest_neighbours_both_ways(rng: np.random.Generator) -> None:
    predicted, truth = rng.uniform(0, 0.05, (50, 3)), rng.uniform(0, 0.05, (70, 3))
    apart = np.linalg.norm(predicted[:, None] - truth[None], axis=-1)
    for found, t in zip(f_scores(predicted, truth), (0.005, 0.015), strict=True):
        p, r = np.mean(apart.min(0) < t), np.mean(apart.min(1) < t)
        assert found == pytest.approx(2 * p * r / (p + r))
    assert f_scores(truth + 1.0, truth) == [0.0, 0.0]


def test_vertices_of_another_mesh_are_aligned_by_the_joints_and_shrink_as_published(rng: np.random.Generator) -> None:
    mesh = noisy(rng, np.repeat(HAND, 30, 0), 0.004)
    moved = Similarity.of(HAND + 0.1, HAND).others(mesh[:-1] + 0.1)
    norm = np.linalg.norm(HAND - HAND.mean(0))
    np.testing.assert_allclose(moved, norm * (mesh[:-1] - mesh[:-1].mean(0)) + mesh[:-1].mean(0), atol=1e-7)
    scores = HandScores()
    scores.update(HAND + 0.1, mesh[:-1] + 0.1, HAND, mesh)
    numbers = scores.numbers()
    assert "vertices" not in numbers and numbers["F@5"] == 0.0


def test_vertices_of_the_same_mesh_have_their_own_alignment(rng: np.random.Generator) -> None:
    mesh = noisy(rng, np.repeat(HAND, 10, 0), 0.004)
    scores = HandScores()
    scores.update(noisy(rng, HAND, 0.02), turned(mesh), HAND, mesh)
    numbers = scores.numbers()
    assert numbers["aligned vertices"] < 1e-3 < numbers["aligned joints"]
    assert numbers["aligned F@5"] == 1.0


def test_scale_and_translation_are_those_of_wrist_and_middle_knuckle() -> None:
    moved = scale_translation_aligned(2.5 * HAND - 3, HAND)
    np.testing.assert_allclose(moved, HAND, atol=1e-12)
    scores = HandScores(wrist_aligned=True)
    scores.update(2.5 * HAND - 3, None, HAND, None)
    assert scores.numbers()["scale-translation joints"] < 1e-9
    assert np.isfinite(scale_translation_aligned(np.zeros((21, 3)), HAND)).all()


def test_the_mean_is_over_hands_then_points(rng: np.random.Generator) -> None:
    scores = HandScores()
    hands = [noisy(rng, HAND) for _ in range(5)]
    for hand in hands:
        scores.update(hand, None, HAND, None)
    expected = 1000 * np.mean([np.linalg.norm(hand - HAND, axis=1) for hand in hands])
    assert scores.numbers()["joints"] == pytest.approx(expected)


def test_no_hand_is_no_number() -> None:
    with pytest.raises(ValueError, match="No hand was scored"):
        HandScores().numbers()


def test_errors_of_two_hands_as_interhand_has_them() -> None:
    shifted = HAND + np.array([0.0, 0.02, 0.0])
    assert wrist_relative_error(shifted, HAND) == pytest.approx(0.0, abs=1e-12)
    bent = HAND.copy()
    bent[8] += [0.03, 0.0, 0.0]
    valid = np.arange(21) != 8
    assert wrist_relative_error(bent, HAND) == pytest.approx(0.03 / 21)
    assert wrist_relative_error(bent, HAND, valid) == pytest.approx(0.0, abs=1e-12)
    assert relative_root_error(HAND[0] + 0.01, HAND[0], HAND[0], HAND[0]) == pytest.approx(0.01 * 3**0.5)
