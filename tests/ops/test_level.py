"""The level frame: a rotation whose y axis points straight down, whatever the camera; odd directions are refused."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hmrfit.ops.level import level_rotation, unit_up

NUMBERS = st.floats(-1e3, 1e3).filter(lambda x: x == 0 or abs(x) > 1e-3)
VECTORS = st.tuples(NUMBERS, NUMBERS, NUMBERS).filter(any)


@given(VECTORS)
def test_the_level_frame_has_up_above_and_is_a_rotation(up: tuple[float, float, float]) -> None:
    L, unit = level_rotation(up), unit_up(up)
    torch.testing.assert_close(L @ L.T, torch.eye(3).double(), rtol=0, atol=1e-12)
    assert torch.linalg.det(L) == pytest.approx(1)
    torch.testing.assert_close(L @ unit, torch.tensor([0.0, -1, 0]).double(), rtol=0, atol=1e-12)
    ahead = L[2]  # in the camera's frame: along the ground, and where the camera looks, if that is no matter of chance
    assert abs(float(ahead @ unit)) < 1e-12
    if abs(float(unit[2])) < 0.99:
        assert float(ahead[2]) > 0
        assert abs(float((L @ torch.tensor([0.0, 0, 1]).double())[0])) < 1e-12


def test_a_level_camera_and_an_unknown_one_stay_as_they_are() -> None:
    eye = torch.eye(3).double()
    assert torch.equal(level_rotation(None), eye)
    torch.testing.assert_close(level_rotation((0, -2, 0)), eye)


@pytest.mark.parametrize(("up", "ahead"), [((0, 0, -1), (0, -1, 0)), ((0, 0, 1), (0, 1, 0))])
def test_straight_down_the_top_of_the_picture_is_ahead(up: tuple, ahead: tuple) -> None:
    """As a camera that bends down from the level until it sees the ground only; and the other way round."""
    np.testing.assert_allclose(level_rotation(up)[2], ahead, atol=1e-12)


@pytest.mark.parametrize("up", [(0, 0, 0), (0, -1), (0, np.nan, 1), (np.inf, 0, 0), np.eye(3)])
def test_what_points_nowhere_is_refused(up: object) -> None:
    with pytest.raises(ValueError, match=r"^up should"):
        unit_up(up)


@pytest.mark.parametrize("up", ["up", None, object(), [1, "x", 0]])
def test_what_is_no_vector_is_refused(up: object) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^up should be three"):
        unit_up(up)


@pytest.mark.parametrize("up", [(0, 1e-200, 0), (0, 1e300, 0), torch.tensor([0.0, 3, 0], requires_grad=True)])
def test_any_length_is_a_direction(up: object) -> None:
    assert unit_up(up).tolist() == [0, 1, 0]
