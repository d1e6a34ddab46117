"""Scored runs as tables: which measures, in which order, with the difference of the last run and the first."""

import numpy as np
import pytest
from helpers.bodies import free_body, random_params
from helpers.evaluation import as_predictions

from hmrfit.datasets.spin_npz import SpinDataset
from hmrfit.evaluate.protocol import Details, EvaluationData, Measure, Setting, Summary, make_protocol, markdown
from hmrfit.evaluate.scoring import ScoredRun, compared, headline_table, score


def run(predictor: str, *values: float) -> ScoredRun:
    names = ("PA-MPJPE", "MPJPE", "PVE")
    measures = tuple(Measure(name, value, "mm", "lower", 0.0) for name, value in zip(names, values, strict=True))
    summary = Summary("3dpw", measures, "14", "regressor", "alignment", "box", 7)
    return ScoredRun(predictor, summary, Details())


def cells(table: str) -> list[list[str]]:
    lines = [line for line in table.splitlines() if "---" not in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_headline_has_its_measures_in_its_order() -> None:
    runs = [run("mean_pose", 132, 310.5, 345), run("fit", 53.54, 77.6, np.nan)]
    assert cells(headline_table(runs, ("PVE", "PA-MPJPE"))) == [
        ["3dpw", "PVE (mm)", "PA-MPJPE (mm)", "scored"],
        ["mean_pose", "345.00", "132.00", "7"],
        ["fit", "nan", "53.54", "7"],
    ]
    assert cells(headline_table(runs))[0] == ["3dpw", "PA-MPJPE (mm)", "MPJPE (mm)", "PVE (mm)", "scored"]


def test_tables_have_columns() -> None:
    table = headline_table([run("a", 1, 2, 3), run("a long name", 1, 2, 3)])
    assert len({len(line) for line in table.splitlines()}) == 1
    with pytest.raises(ValueError, match="shorter"):  # no cell is lost
        markdown([["head"], ["a", "b"]])


def test_runs_are_compared_with_the_first() -> None:
    runs = {name: run(name, *values).summary for name, values in (("start", (60, 80, 90)), ("fit", (53.5, 81, 90)))}
    assert cells(compared(runs))[-1] == ["last − first", "-6.50", "+1.00", "+0.00", ""]


def test_predictions_for_other_people_are_not_scored() -> None:
    people = SpinDataset(np.array(["a.jpg"] * 2), np.zeros((2, 2)), np.ones(2))
    data, protocol = EvaluationData("", people), make_protocol("h36m-p1-spin", Setting(free_body()))
    with pytest.raises(ValueError, match="predictions for 3 people, but 2 are to be scored"):
        score("fit", protocol, data, as_predictions(random_params(free_body(), 3)))
