"""Charts say the numbers they were given, in well-formed SVG."""

import math
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmrfit.report.charts import Svg, bars, histogram, matrix, ticks

SPACE = "{http://www.w3.org/2000/svg}"


def read(svg):
    assert isinstance(svg, Svg)
    return ElementTree.fromstring(svg)


def texts(svg):
    return [element.text for element in read(svg).iter(f"{SPACE}text")]


def test_a_histogram_has_the_fractions_of_its_bins_and_the_medians():
    svg = histogram({"a & b": [1.0, 1, 1, 9], "c": [5.0] * 4 + [math.nan]}, "mm", bins=10)
    assert "a & b, median 1" in texts(svg) and "c, median 5" in texts(svg) and "mm" in texts(svg)
    assert "100 %" in texts(svg)  # the highest bin, all of c
    lines = [element.get("points").split() for element in read(svg).iter(f"{SPACE}polyline")]
    assert len(lines) == 2 and all(len(line) == 20 for line in lines)
    heights = [[float(point.split(",")[1]) for point in line] for line in lines]
    floor, top = max(heights[0]), min(heights[1])
    assert [h for h in heights[1] if h < floor] == [top] * 2  # one bin, two corners
    assert sorted({round((floor - h) / (floor - top), 3) for h in heights[0]}) == [0, 0.25, 0.75]


def test_bars_are_as_long_as_their_values_and_nan_has_none():
    svg = bars({"knee": {"guess": 10.0, "fit": 5.0}, "wrist": {"guess": math.nan, "fit": 20.0}}, "mm")
    widths = [float(e.get("width")) for e in read(svg).iter(f"{SPACE}rect") if float(e.get("width")) != 10]
    assert len(widths) == 3  # the legend's squares are 10 wide
    assert widths == pytest.approx([widths[2] / 2, widths[2] / 4, widths[2]], abs=0.1)
    assert {"knee", "wrist", "guess", "fit", "10", "5", "20"} <= set(texts(svg))


def test_a_matrix_has_percentages_of_its_rows():
    svg = matrix([[3, 1], [0, 0]], ["head", "<arm>"], ["head", "<arm>"], "true")
    assert "75.0" in texts(svg) and "25.0" in texts(svg) and "<arm>" in texts(svg)
    titles = [element.text for element in read(svg).iter(f"{SPACE}title")]
    assert "head taken for <arm>: 1" in titles and len(titles) == 4


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_round_few_and_inside(low, extent):
    found = ticks(low, low + extent)
    assert 2 <= len(found) <= 11
    assert all(low - 1e-6 * extent <= t <= low + 1.000001 * extent for t in found)
    steps = np.diff(found)
    digits = f"{steps[0]:.6e}"
    assert np.allclose(steps, steps[0]) and digits.startswith(("1.0", "2.0", "5.0", "9.99", "4.99", "1.99"))


def test_a_chart_of_nothing_has_a_text():
    for svg in (
        histogram({"a": [math.nan]}, "mm"),
        histogram({}, "mm"),
        bars({}, "mm"),
        bars({"a": {"b": math.nan}}, ""),
    ):
        assert texts(svg) == ["nothing to draw"]
    assert texts(matrix(np.zeros((0, 0)), [], [])) == [None]
