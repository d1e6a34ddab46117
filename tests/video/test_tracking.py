"""Tracks of people whose truth is known: orders, misses, crossings, re-entry, people who are nobody, cuts."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from helpers.bodies import free_body

from hmrfit.synthetic.walking import CROSSING, DetectorErrors, Footage, Walkers, observe, walkers
from hmrfit.video.cuts import find_cuts
from hmrfit.video.looks import BINS, LENGTH
from hmrfit.video.seen import PeopleSeen
from hmrfit.video.tracking import TrackingOptions, purity, track_people


@cache
def scene() -> Walkers:
    return walkers(free_body(), CROSSING, fps=15.0, size=(640, 400))


@cache
def footage(seed: int = 0) -> Footage:
    return observe(scene(), free_body(), DetectorErrors(), np.random.default_rng(seed))


def places(seen: PeopleSeen, tracks: list[np.ndarray]) -> set[frozenset[tuple[int, float]]]:
    """Each track as what it is made of, whatever the order of the rows."""
    return {frozenset((int(seen.frame[r]), float(seen.xy[r, 0, 0])) for r in track) for track in tracks}


@pytest.mark.parametrize("seed", range(3))
def test_two_who_cross_and_one_who_comes_back_are_kept_apart(seed: int) -> None:
    found = footage(seed)
    tracking = track_people(found.seen, 15.0)
    score = purity(found.truth, tracking.tracks)
    assert score["switches"] == 0 and score["tracks"] == 2 and score["idf1"] > 0.99
    assert any("not seen for" in note for note in tracking.notes)
    assert any("left out as nobody" in note for note in tracking.notes)
    assert not any((found.truth[track] < 0).any() for track in tracking.tracks)


def test_the_order_of_people_in_a_frame_changes_nothing() -> None:
    """A moving test: in every frame the people stand in another order, and no frame is exchanged with another."""
    seen = footage().seen
    order = np.random.default_rng(5).permutation(len(seen))
    shuffled = seen[order]
    one, other = track_people(seen, 15.0).tracks, track_people(shuffled, 15.0).tracks
    assert places(seen, one) == places(shuffled, other)
    for track in other:
        assert (np.diff(shuffled.frame[track]) > 0).all()


def test_one_frame_in_another_order_mixes_nobody_up() -> None:
    seen = footage().seen
    rows = np.flatnonzero(seen.frame == 10)
    order = np.arange(len(seen))
    order[rows] = rows[::-1]
    assert places(seen, track_people(seen, 15.0).tracks) == places(seen[order], track_people(seen[order], 15.0).tracks)


def test_the_size_of_the_picture_and_where_frames_begin_change_nothing() -> None:
    seen = footage().seen
    other = replace(seen, xy=3 * seen.xy, frame=seen.frame + 1000)
    same = track_people(seen, 15.0).tracks
    assert [t.tolist() for t in same] == [t.tolist() for t in track_people(other, 15.0).tracks]


def test_a_cut_ends_every_track() -> None:
    found = footage()
    tracks = track_people(found.seen, 15.0, cuts=[50]).tracks
    frames = [found.seen.frame[track] for track in tracks]
    assert all(f.max() < 50 or f.min() >= 50 for f in frames) and len(tracks) >= 4


def test_only_so_many_persons() -> None:
    found = footage()
    (track,) = track_people(found.seen, 15.0, options=TrackingOptions(most=1)).tracks
    assert set(found.truth[track]) == {0}  # who is nearer, and longer in the picture


def test_somebody_found_twice_is_one() -> None:
    found = footage()
    seen = found.seen
    twice = PeopleSeen(
        np.r_[seen.frame, seen.frame],
        np.concatenate([seen.xy, seen.xy + 1.0]),
        np.concatenate([seen.confidence, 0.9 * seen.confidence]),
        seen.names,
    )
    tracking = track_people(twice, 15.0)
    assert len(tracking.tracks) == 2 and all((track < len(seen)).all() for track in tracking.tracks)
    assert "found twice" in tracking.notes[0]


def standing(frames: np.ndarray, x: float, colour: int) -> PeopleSeen:
    """Somebody who stands at x, dressed in one of `BINS` colours."""
    rng = np.random.default_rng(colour)
    shape = np.stack([x + 30 * np.sin(np.arange(17.0)), np.linspace(100, 300, 17)], -1)
    looks = np.zeros((len(frames), LENGTH), np.float32)
    looks[:, [colour, BINS + colour]] = 1
    xy = shape + rng.normal(size=(len(frames), 17, 2))
    names = ("left_shoulder_coco", "right_shoulder_coco", *(f"point_{k}" for k in range(15)))
    return PeopleSeen(frames, xy, np.ones((len(frames), 17)), names, looks)


def both(*people: PeopleSeen) -> PeopleSeen:
    first = people[0]
    parts = [np.concatenate([getattr(p, field) for p in people]) for field in ("frame", "xy", "confidence", "looks")]
    return PeopleSeen(parts[0], parts[1], parts[2], first.names, parts[3])


def test_clothes_tell_who_comes_back() -> None:
    """Somebody leaves, and somebody at the same place comes: by the clothes another one; without them the same."""
    before, after = np.arange(30), np.arange(60, 90)
    other = both(standing(before, 300, 3), standing(after, 310, 9))
    assert len(track_people(other, 30.0).tracks) == 2
    assert len(track_people(both(standing(before, 300, 3), standing(after, 310, 3)), 30.0).tracks) == 1
    assert len(track_people(replace(other, looks=None), 30.0).tracks) == 1


def test_nobody_is_no_track() -> None:
    empty = PeopleSeen(np.zeros(0, np.intp), np.zeros((0, 17, 2)), np.zeros((0, 17)), footage().seen.names)
    assert track_people(empty, 30.0).tracks == []


def test_cuts_are_found_and_flashes_are_none() -> None:
    rng = np.random.default_rng(0)
    rooms = rng.integers(0, 255, (2, 12, 16, 3))
    frames = [rooms[0]] * 20 + [rooms[1]] * 20
    noisy = [np.clip(f + rng.normal(0, 3, f.shape), 0, 255).astype(np.uint8) for f in frames]
    assert find_cuts(noisy) == [20]
    noisy[8] = np.full_like(noisy[8], 255)
    assert find_cuts(noisy) == [20]
    assert find_cuts(noisy[:8]) == []
