"""The floor: the term, its derivative, contacts, and other frames."""

import pytest
import torch
from helpers.bodies import free_body
from helpers.measured import at, check_measured, knowing, moved, other_frame

from hmrfit.fitting.parameters import Linearization
from hmrfit.fitting.terms.ground import SOLES, Floor, FloorTerm, Plane

TERM = FloorTerm(free_body().points(SOLES), ("left_heel", "right_big_toe"))
FLOOR = Floor((0.1, -1.0, 0.2), 2.0)


def plane(e: Linearization) -> Plane:
    """Through the bodies' ankles or so; of the third person nothing is known."""
    up = torch.nn.functional.normalize(torch.tensor([FLOOR.up]).double(), dim=-1).expand(3, 3)
    return Plane(up, (e.state.params.transl * up).sum(-1) - 0.6, torch.tensor([1.0, 1.0, 0.0]).double())


def known() -> tuple[Linearization, Plane]:
    e = at()
    return knowing(e, ground=plane(e)), plane(e)


def test_derivatives_and_sums():
    check_measured(TERM, known()[0])


def test_without_a_floor_there_is_an_error_message():
    with pytest.raises(ValueError, match="The term 'ground' looks at a measurement that was not given"):
        TERM.residuals(at())


def test_the_floor_is_one_sided_but_for_contacts():
    e = at(1)
    term = FloorTerm(free_body().points(SOLES), ("left_heel",))
    up = torch.tensor([[0.0, -1.0, 0.0]]).double()
    heights = (free_body().points(SOLES).pose(e.state.params).points * up[:, None]).sum(-1)

    def at_height(offset: float) -> torch.Tensor:
        floor = Plane(up, torch.tensor([offset]).double(), torch.ones(1).double())
        return term.residuals(knowing(e, ground=floor))[0]

    below = at_height(heights.min().item() - 0.05)  # the floor is below all of them: only the contact pays
    assert below[0] > 0 and (below[1:] == 0).all()
    assert (at_height(heights.max().item() + 0.05) < 0).all()  # all of them are in the floor


def test_where_no_floor_is_known_nothing_is_paid():
    assert not TERM.residuals(known()[0])[2].any()


def test_in_another_cameras_frame_bodies_and_floor_have_the_same_residuals():
    e, record = known()
    rotation, translation = other_frame()
    there = FLOOR.seen_from(record, rotation, translation)
    found = TERM.residuals(knowing(moved(e, rotation, translation), ground=there))
    torch.testing.assert_close(found, TERM.residuals(e), rtol=0, atol=1e-9)
    assert TERM.residuals(e).any() and not torch.equal(there.offset, record.offset)
    torch.testing.assert_close(there.up.norm(dim=-1), torch.ones(3).double())


def test_there_and_back_is_the_same_floor():
    """x -> R x + t, then x -> R^T x - R^T t."""
    _, record = known()
    rotation, translation = other_frame()
    back = rotation.mT, -(rotation.mT @ translation[..., None]).squeeze(-1)
    again = FLOOR.seen_from(FLOOR.seen_from(record, rotation, translation), *back)
    for name in ("up", "offset", "weight"):
        torch.testing.assert_close(getattr(again, name), getattr(record, name))


def test_the_floor_is_known_in_every_view():
    assert FLOOR.in_view(2, 3) is FLOOR


def test_the_soles_are_never_below_the_floor_even_without_contacts():
    e, record = known()
    sunk = FloorTerm(free_body().points(SOLES)).residuals(knowing(e, ground=record))
    heights = (free_body().points(SOLES).pose(e.state.params).points * record.up[:, None]).sum(-1)
    below = heights < record.offset[:, None]
    assert torch.equal(sunk[:2] != 0, below[:2])
