"""The report: our numbers beside the published ones of the same quantity, charts, and the right people as cases."""

import re
from dataclasses import replace

import numpy as np
import pytest

from hmrfit.evaluate.protocol import PROTOCOLS, Details, Measure, Summary
from hmrfit.evaluate.published_numbers import _TABLES, published_numbers
from hmrfit.evaluate.scoring import ScoredRun
from hmrfit.report.evaluation import CASES, write_report

COUNT = 20


def run(predictor: str, protocol: str = "h36m-p2-hmr", shift: float = 0.0) -> ScoredRun:
    values = np.linspace(30, 125, COUNT)[::-1] + shift  # the first person is the worst
    measures = (Measure("PA-MPJPE", values.mean(), "mm", "lower", 0.0),)
    groups = {"Walking": (replace(measures[0], value=40.0 + shift),), "Sitting": (replace(measures[0], value=90.0),)}
    summary = Summary(protocol, measures, "14", "regressor", "alignment", "box", COUNT, groups=groups)
    joints = {"PA-MPJPE": np.stack([values, values + 10], 1)}
    confusion = np.array([[90, 10, 0], [5, 95, 0], [1, 0, 0]])
    details = Details({"PA-MPJPE": values}, joints, ("left_knee", "right_knee"), None, confusion, ("none", "head"))
    return ScoredRun(predictor, summary, details, np.arange(100, 100 + COUNT))


def read(path) -> str:
    return path.read_text(encoding="utf-8")


def test_the_table_has_both_runs_and_what_was_published(tmp_path):
    page = read(write_report(tmp_path, [run("initial estimate", shift=5), run("fit")]))
    for said in (
        "hmrfit: initial estimate",
        "82.50",
        "hmrfit: fit",
        "77.50",
        "Kanazawa et al., CVPR 2018",
        ">56.8<",
        ">82.3<",
    ):
        assert said in page
    assert "recalled" not in page


def test_the_total_is_called_so_where_there_are_groups():
    summary = run("fit").summary
    lines = [line.split("|")[1].strip() for line in summary.to_table().splitlines() if line.startswith("|")]
    assert lines[2:] == ["Walking", "Sitting", "all"]
    alone = replace(summary, groups={}).to_table().splitlines()
    assert [line.split("|")[1].strip() for line in alone if line.startswith("|")][2:] == ["h36m-p2-hmr"]


def test_numbers_that_were_only_recalled_say_so(tmp_path):
    page = read(write_report(tmp_path, [run("fit", "3dhp-official")]))
    assert "recalled, not checked at the source" in page and "the source does not name the joints" in page


def test_charts_are_there_with_their_names(tmp_path):
    page = read(write_report(tmp_path, [run("initial estimate", shift=5), run("fit")]))
    assert page.count("<svg") == 5  # a histogram, joints, groups, a confusion matrix each
    for said in ("right_knee", "Walking", "initial estimate, median 82.5", "head taken for none: 5", "ignored"):
        assert said in page
    assert page.index("Sitting") < page.index("Walking")  # the worst group first


def test_cases_are_the_best_the_median_and_the_worst(tmp_path):
    shown = []

    def show(predictor, row):
        shown.append((predictor, row))
        return np.full((8, 8, 3), 200, np.uint8)

    page = read(write_report(tmp_path, [run("initial estimate", shift=5), run("fit")], show))
    assert shown == [("fit", row) for row in (119, 118, 117, 110, 109, 108, 100, 101, 102)]
    assert "row 119: 30 mm" in page and len(shown) == 3 * CASES
    better = run("fit")
    higher = replace(better.summary, measures=(replace(better.summary.measures[0], better="higher"),))
    shown.clear()
    write_report(tmp_path, [replace(better, summary=higher)], show)
    assert [row for _, row in shown[:3]] == [100, 101, 102]


def test_a_run_without_details_is_a_table(tmp_path):
    bare = run("fit")
    bare = replace(bare, summary=replace(bare.summary, groups={}), details=Details())
    page = read(write_report(tmp_path, [bare], lambda *_: 1 / 0))
    assert "77.50" in page and "<svg" not in page and "the best" not in page


def test_no_runs_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one run"):
        write_report(tmp_path, [])


def test_published_rows_belong_to_protocols_and_their_measures():
    known = {name: PROTOCOLS.find(name) for name in PROTOCOLS.names()}
    assert set(_TABLES) <= set(known) and published_numbers("no such protocol") == ()
    for name, rows in _TABLES.items():
        measures = set(getattr(known[name], "measures", ())) or {"FG accuracy", "FG F1", "parts accuracy", "parts F1"}
        for row in rows:
            assert set(row.values) <= measures and row.source
            for measure, value in row.values.items():
                assert 0 < value <= (1 if re.match("FG|parts", measure) else 250)
