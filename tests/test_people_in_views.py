"""People are matched between cameras by geometry: in any order, with broken tracks, strangers and errors."""

import numpy as np
import pytest

from hmrfit.people_in_views import ViewTrack, match_people

T, K = 30, 12
LENS = np.array([[1000.0, 0, 500], [0, 1000, 400], [0, 0, 1]])


def facing(angle: float) -> np.ndarray:
    """A camera six metres from the origin that looks at it."""
    c, s = np.cos(angle), np.sin(angle)
    return LENS @ np.array([[c, 0, s, 0], [0, 1, 0, 0], [-s, 0, c, 6.0]])


P = np.stack([facing(a) for a in (0.0, 1.1, 2.3, -1.4)])


def person(seed: int, x: float, z: float) -> np.ndarray:
    """(T, K, 3) a cloud as large as a person that walks."""
    rng = np.random.default_rng(seed)
    shape = rng.normal(scale=(0.25, 0.5, 0.2), size=(K, 3))
    path = np.linspace(0, 1, T)[:, None] * rng.normal(size=3) * [1, 0, 1]
    return shape + (path + np.array([x, 0, z]))[:, None]


def track(points: np.ndarray, view: int, frames: slice = slice(None), noise: float = 4.0) -> ViewTrack:
    image = np.einsum("ij,tkj->tki", P[view], np.concatenate([points, np.ones((T, K, 1))], -1))
    rng = np.random.default_rng(view)
    xy = image[..., :2] / image[..., 2:] + rng.normal(scale=noise, size=(T, K, 2))
    return ViewTrack(np.arange(T)[frames], xy[frames], np.ones((T, K))[frames])


A, B, C = person(0, -0.8, 0.3), person(1, 0.9, -0.4), person(2, 0.1, 1.2)


def of(people: list, who: list[list[str]]) -> set[frozenset[tuple[int, str]]]:
    """The persons by the letters of their tracks."""
    return {frozenset((v, who[v][i]) for v, tracks in one.items() for i in tracks) for one in people}


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])
def test_three_people_are_told_apart_in_any_order(order) -> None:
    bodies = {"A": A, "B": B, "C": C}
    who = [list("ABC"), list("CAB"), list("BC"), list("CA")]
    views = [[track(bodies[name], v) for name in who[v]] for v in range(4)]
    found = match_people([views[v] for v in order], P[list(order)])
    expected = {frozenset((v, n) for v in range(4) if n in who[v]) for n in "ABC"}
    back = [{order[v]: tracks for v, tracks in one.items()} for one in found]
    assert of(back, who) == expected


def test_a_track_in_pieces_is_one_person() -> None:
    whole, broken = track(A, 0), [track(A, 1, slice(0, 12)), track(A, 1, slice(15, 30))]
    found = match_people([[whole], broken], P[:2])
    assert found == [{0: [0], 1: [0, 1]}]


def test_somebody_only_one_camera_sees_stays_alone() -> None:
    found = match_people([[track(A, 0), track(B, 0)], [track(A, 1)]], P[:2])
    assert found == [{0: [0], 1: [0]}, {0: [1]}]


def test_no_common_frame_is_no_agreement() -> None:
    found = match_people([[track(A, 0, slice(0, 10))], [track(A, 1, slice(20, 30))]], P[:2])
    assert len(found) == 2


def test_nobody_is_nobody() -> None:
    assert match_people([[], []], P[:2]) == []
