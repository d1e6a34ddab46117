"""Runs of frames with exchanged sides are found by the jumps at their ends; what does not jump is left as it is."""

import numpy as np
import pytest
import torch
from helpers.groups import walk
from scipy.ndimage import gaussian_filter1d

from hmrfit.keypoints import COCO17
from hmrfit.network.label_model import EXCHANGES, exchanged_places, places_as_fitted
from hmrfit.network.label_runs import CHANGE, FARTHEST, RATE, STEP, _jumps, exchanged_runs
from hmrfit.types import Keypoints

ARMS, LEGS, ALL = (1 + list(EXCHANGES).index(kind) for kind in ("The arms", "The legs", "Everything"))
UNDECIDED = np.full((12, len(EXCHANGES)), -2.0)


def frames(*exchanged: tuple[int, int, int]) -> Keypoints:
    """The walk with (exchange, from, to) done to its frames."""
    points = torch.tensor(walk()[1])
    seen, kinds = Keypoints(points[..., :2], points[..., 2], COCO17), torch.zeros(12, dtype=torch.long)
    for kind, first, last in exchanged:
        kinds[first:last] = kind
    return seen.rearranged(places_as_fitted(COCO17, kinds))


def found(keypoints: Keypoints, odds: np.ndarray = UNDECIDED, fps: float = 30.0) -> list[int]:
    return exchanged_runs(keypoints, np.arange(12), fps, lambda: odds).tolist()


@pytest.mark.parametrize("kind", [ARMS, LEGS, ALL])
@pytest.mark.parametrize(("first", "last"), [(3, 7), (6, 7), (0, 4), (9, 12)])
def test_a_run_is_found_frame_by_frame(kind: int, first: int, last: int) -> None:
    assert found(frames((kind, first, last))) == [kind if first <= t < last else 0 for t in range(12)]


def test_two_runs() -> None:
    assert found(frames((ARMS, 2, 4), (LEGS, 7, 10))) == [0, 0, ARMS, ARMS, 0, 0, 0, LEGS, LEGS, LEGS, 0, 0]


def test_tidy_frames_are_not_even_looked_at() -> None:
    def never() -> np.ndarray:
        raise AssertionError("the network was asked")

    assert not exchanged_runs(frames(), np.arange(12), 30.0, never).any()


def test_what_is_exchanged_from_end_to_end_is_not_changed_by_the_networks_word_alone() -> None:
    sure = UNDECIDED.copy()
    sure[:, ARMS - 1] = 9.0
    assert not any(found(frames((ARMS, 0, 12)), sure))
    assert not any(found(frames(), sure))


def test_the_network_says_which_side_of_a_jump_is_right() -> None:
    seen = frames((ARMS, 0, 6))  # as many frames one way as the other
    before, after = UNDECIDED.copy(), UNDECIDED.copy()
    before[:6, ARMS - 1], after[6:, ARMS - 1] = 3.0, 3.0
    assert found(seen, before) == [ARMS] * 6 + [0] * 6
    assert found(seen, after) == [0] * 6 + [ARMS] * 6


def test_who_moves_is_not_exchanged_where_frames_are_far_apart_in_time() -> None:
    assert any(found(frames((ARMS, 3, 7)))) and not any(found(frames((ARMS, 3, 7)), fps=1.0))


def test_jumps_are_the_sum_over_keypoints_written_out() -> None:
    seen = frames((ALL, 4, 6))
    seen = Keypoints(seen.xy, seen.confidence * (torch.arange(17) != 9), COCO17)
    places = [list(range(17)), *exchanged_places(COCO17).tolist()]
    between, box = _jumps(seen, np.full(11, 1 / 30)), seen.box_size().numpy()
    for t, a, b in ((3, 0, ALL), (3, 0, 0), (5, LEGS, ARMS), (0, ARMS, ARMS)):
        total = CHANGE * (a != b)
        for k in range(17):
            i, j = places[a][k], places[b][k]
            if seen.confidence[t, i] > 0 and seen.confidence[t + 1, j] > 0:
                step = STEP * 0.5 * (box[t] + box[t + 1]) * RATE / 30
                far = float((seen.xy[t, i] - seen.xy[t + 1, j]).norm()) / step
                total += 0.5 * min(far * far, FARTHEST)
        assert between[t, a, b] == pytest.approx(total)


def test_any_smooth_motion_keeps_its_names() -> None:
    """Random places that move smoothly are no bodies; nothing about them jumps."""
    rng = np.random.default_rng(0)
    for _ in range(10):
        xy = 400 + 150 * gaussian_filter1d(rng.normal(size=(40, 17, 2)), 6, axis=0) * 6**0.5
        seen = Keypoints(torch.tensor(xy), torch.ones(40, 17).double(), COCO17)
        assert not exchanged_runs(seen, np.arange(40), 30.0, lambda: np.full((40, len(EXCHANGES)), -2.0)).any()
