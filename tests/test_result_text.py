"""Results in words: warnings grouped, and errors of few, of many and of none."""

import numpy as np

from hmrfit.result_text import reprojection, warning_lines


def test_warnings_name_the_people_that_they_are_about() -> None:
    names = [str(i) for i in range(9)]
    of = lambda *rows: [["It is so."] if i in rows else [] for i in range(9)]  # noqa: E731
    assert warning_lines(of(4), "people", names) == ["person 4: It is so."]
    assert warning_lines(of(0, 1, 2, 5), "frames", names) == ["frames 0-2, 5: It is so."]
    assert warning_lines(of(0, 2, 4, 6, 8), "people", names) == ["people 0, 2, 4, 6, ... (5 in all): It is so."]
    assert warning_lines([["A."], ["B.", "A."]], "people", ["left", "right"]) == [
        "people left, right: A.",
        "person right: B.",
    ]


def test_shares_of_few_of_many_and_of_none() -> None:
    names = [str(i) for i in range(9)]
    assert reprojection(np.array([0.01]), "people", names[:1]) == "1.0 % of the box"
    assert reprojection(np.arange(9) / 100, "people", names) == "median 4.0 % of the box, worst 8.0 % (person 8)"
    assert reprojection(np.array([np.nan]), "people", names[:1]) == "1 person without keypoints"
    assert reprojection(np.array([np.nan] * 2), "frames", names[:2]) == "2 frames without keypoints"
