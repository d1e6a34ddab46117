"""Error messages: what was expected, what came, the nearest right name."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from hmrfit.ops.check import brief_repr, check_finite, check_shape, did_you_mean, nearest_name, numbers


def test_letters_are_bound_across_calls():
    sizes = check_shape(torch.zeros(4, 17, 2), "B K 2", "xy")
    assert sizes == {"B": 4, "K": 17}
    assert check_shape(np.zeros((4, 17)), "B K", "confidence", sizes) == sizes
    with pytest.raises(ValueError, match=r"confidence should have the shape \(B=4, K=17\), but has \(4, 16\)"):
        check_shape(np.zeros((4, 16)), "B K", "confidence", sizes)


@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 5, 3)])
def test_leading_dimensions_are_free(shape):
    check_shape(np.zeros(shape), "... 3", "points")


@pytest.mark.parametrize(
    ("shape", "pattern"), [((2, 3), "B 4"), ((2, 3), "B B"), ((3,), "B 3"), ((), "... 3"), ((2, 2, 3), "B 3")]
)
def test_misfits_are_refused(shape, pattern):
    with pytest.raises(ValueError, match="should have the shape"):
        check_shape(np.zeros(shape), pattern, "x")


def test_the_hint_ends_the_message_and_the_callers_sizes_stay():
    sizes = {"B": 2}
    with pytest.raises(ValueError, match=r"Transpose it\.$"):
        check_shape(np.zeros((3, 2)), "B 3", "x", sizes, hint="Transpose it.")
    check_shape(np.zeros((2, 5)), "B K", "x", sizes)
    assert sizes == {"B": 2}


def test_what_has_no_shape_is_a_type_error():
    with pytest.raises(TypeError, match="not list"):
        check_shape([[1, 2]], "K 2", "xy")


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_finite(make):
    check_finite(make([[1.0, 2.0]]), "x")
    check_finite(make([1, 2]), "whole numbers")
    with pytest.raises(ValueError, match=r"xy holds 2 NaN or infinite numbers of 4 \(the first at \[0, 1\]\)"):
        check_finite(make([[1.0, float("nan")], [float("inf"), 2.0]]), "xy")


def test_names():
    known = ("coco17", "openpose25", "Smpl24")
    assert nearest_name("coco_17", known) == "coco17"
    assert nearest_name("SMPL24", known) == "Smpl24"
    assert nearest_name("zzz", known) is None
    assert did_you_mean("openpos", known) == " Did you mean 'openpose25'?"
    assert did_you_mean("zzz", known) == ""


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        np.float32(1.5),
        np.array(1.5),
        torch.tensor(1.5),
        torch.tensor(1.5, requires_grad=True),
        Fraction(3, 2),
        np.array(1.5, object),
    ],
)
def test_one_number_in_any_form(value):
    found = numbers(value, "x", "one number", ())
    assert found.shape == () and found.dtype == np.float64 and found == 1.5


@pytest.mark.parametrize(
    "value",
    [
        True,
        [True, False],
        np.array(True),
        "1.5",
        b"1.5",
        ["1", "2"],
        1j,
        [1.0, 2j],
        None,
        [None],
        object(),
        {1.0},
        {},
        [[1.0], [1.0, 2.0]],
        np.array(["1"]),
        np.array([object()]),
        torch.tensor([True]),
        torch.tensor([1j]),
        print,
        np.array(["2020-01-01"], "datetime64[D]"),
    ],
)
def test_what_is_no_real_number_is_a_type_error(value):
    with pytest.raises(TypeError, match="x should be one number, not"):
        numbers(value, "x", "one number")


@pytest.mark.parametrize("value", [np.nan, [1.0, np.inf], 10**400, [10**5000, 1], np.longdouble("1e400")])
def test_numbers_are_finite(value):
    with pytest.raises(ValueError, match="x should be numbers, but holds 1 NaN or infinite"):
        numbers(value, "x", "numbers")


def test_shapes_and_ranges_of_numbers():
    assert numbers(2, "x", "numbers", (3,)).tolist() == [2, 2, 2]
    assert np.array_equal(numbers([1, None], "x", "numbers", finite=False), [1, np.nan], equal_nan=True)
    given = np.ones(2)
    numbers(given, "x", "numbers", (2,))[0] = 5
    assert given[0] == 1
    for wrong in ([1, 2], [], [[1, 2, 3]]):
        with pytest.raises(ValueError, match=r"x should be numbers, but has the shape"):
            numbers(wrong, "x", "numbers", (3,))
    for wrong in (0.5, 2.5):
        with pytest.raises(ValueError, match=f"between 1 and 2, but is {wrong}"):
            numbers([1, wrong], "x", "numbers", low=1, high=2)


def test_anything_can_be_shown():
    assert brief_repr("abc") == "'abc'" and len(brief_repr(np.ones(999))) <= 60 and "int" in brief_repr(10**5000)


@pytest.mark.parametrize(
    ("name", "known", "near"),
    [
        (".fbx", (".obj", ".ply", ".glb"), ""),  # another format is no slip of the pen
        (".png", (".obj", ".ply", ".glb"), ""),
        (".gbl", (".obj", ".ply", ".glb"), " Did you mean '.glb'?"),
        ("lsp", ("2d-lsp", "lsp-full", "lsp-spin", "3dpw"), " Did you mean 'lsp-full' or 'lsp-spin'?"),
        ("coco", ("smpl24", "coco17"), " Did you mean 'coco17'?"),
        ("wrist_left", ("left_ankle", "left_wrist"), " Did you mean 'left_wrist'?"),
        ("gm", ("limits", "gmm"), " Did you mean 'gmm'?"),
        ("sitting", ("labelled", "detector", "exact"), ""),
    ],
)
def test_only_a_slip_of_the_pen_is_guessed(name: str, known: tuple[str, ...], near: str) -> None:
    assert did_you_mean(name, known) == near
