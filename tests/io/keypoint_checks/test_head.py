"""Which way a head looks: from its points, and from which of them are seen."""

import numpy as np
import pytest

from hmrfit.io.keypoint_checks.head import HEAD_PARTS, MIRRORED, POINTS, YAWS, Head


def head(yaw: float, seen: str = "11111", pitch: float = 0.0) -> Head:
    """A head turned to the person's own left by `yaw` degrees, then nodding; which of HEAD_PARTS are seen, 1 or 0."""
    angle, nod = np.radians(yaw), np.radians(pitch)
    left, up, forward = POINTS.T
    towards = forward * np.cos(angle) - left * np.sin(angle)
    z = left * np.cos(angle) + forward * np.sin(angle) + 1j * (up * np.cos(nod) - towards * np.sin(nod))
    visible = np.array([mark == "1" for mark in seen])
    return Head(z, visible, visible, ~visible, True)


def looks(one: Head) -> float:
    """Degrees."""
    return float(np.degrees(YAWS[one.energies().argmin()]))


@pytest.mark.parametrize("pitch", [-30.0, 0.0, 30.0])
@pytest.mark.parametrize(
    ("yaw", "seen"), [(0, "11111"), (30, "11101"), (-30, "11110"), (60, "11101"), (-80, "11010"), (180, "00011")]
)
def test_a_head_is_found_looking_where_it_looks(yaw, seen, pitch):
    one = head(yaw, seen, pitch)
    assert abs((looks(one) - yaw + 180) % 360 - 180) <= 30


@pytest.mark.parametrize(("yaw", "seen"), [(0, "11111"), (40, "10101"), (-40, "11010"), (70, "10101"), (-90, "11010")])
def test_exchanged_sides_cost_a_visible_face(yaw, seen):
    """Somebody who shows the left ear looks to the picture's left: to their own right."""
    right = head(yaw, seen)
    assert right.energies().min() + 4.5 < right.mirrored().energies().min()


def test_points_alone_do_not_decide_left_and_right():
    """What is not known to be seen may show through the back of the head: the same picture from behind."""
    given = head(10.0)
    unknown = Head(given.z, given.placed, given.seen, given.unseen, False)
    assert unknown.mirrored().energies().min() == pytest.approx(unknown.energies().min(), abs=0.2)
    assert looks(unknown.mirrored()) == pytest.approx(180 - 10, abs=10)


def test_a_head_without_seen_points_decides_nothing():
    nothing = head(0.0, "00000")
    assert np.ptp(nothing.energies()) == 0


def test_mirrored_names():
    swap = {"left": "right", "right": "left"}
    mirrored = [HEAD_PARTS[i] for i in MIRRORED]
    assert mirrored == ["_".join(swap.get(word, word) for word in part.split("_")) for part in HEAD_PARTS]
