"""Rows of people and of photographs, fitted as one call fits them; what cannot be fitted is a row with its reason."""

from pathlib import Path

import numpy as np
import pytest
from helpers.bodies import demo_points

import hmrfit
from hmrfit.engines.fit_rows import FitAsked, RowFitter
from hmrfit.io.keypoint_files import read_keypoints

POINTS = demo_points(120)


def moved(points: np.ndarray, pixels: float) -> np.ndarray:
    """To the right."""
    return points + np.array([pixels, 0, 0])


def person(name: str, points: np.ndarray | None = POINTS, **more: object) -> dict:
    known = {"id": name, "keypoint_set": "coco17", "image_size": [160, 120]}
    return known | {"keypoints": None if points is None else np.asarray(points).ravel().tolist()} | more


def test_people_of_a_table_and_their_errors() -> None:
    bad = [person("b", POINTS[:5]), person("c", POINTS * np.nan), person("d", image_size=None)]
    rows = RowFitter(FitAsked())([person("a"), *bad, person("e", moved(POINTS, 3))])
    assert [row["id"] for row in rows] == ["a", "b", "c", "d", "e"]
    assert all(row["poses"] is None and row["reason"] for row in rows[1:4])
    alone = hmrfit.fit(None, POINTS, keypoint_set="coco17", image_size=(160, 120))
    np.testing.assert_allclose(rows[0]["poses"], alone.poses[0], atol=1e-6)
    np.testing.assert_allclose(rows[0]["joint_std"], alone.joint_std[0], atol=1e-6)
    assert rows[4]["reprojection_error"] < 0.05


def test_what_points_up_is_in_the_rows() -> None:
    row = RowFitter(FitAsked(up="likely"))([person("a")])[0]
    found = hmrfit.fit(None, POINTS, keypoint_set="coco17", image_size=(160, 120), up="likely")
    assert found.up_std is not None  # sure enough to be taken
    np.testing.assert_allclose(row["up"], found.up, atol=1e-6)
    assert row["up_std"] == pytest.approx(found.up_std, abs=1e-6)
    known = RowFitter(FitAsked(measurements=[hmrfit.Up(pitch=20.0)], up="likely"))([person("a")])[0]
    np.testing.assert_allclose(known["up"], [0, -np.cos(np.radians(20)), -np.sin(np.radians(20))], atol=1e-9)
    assert known["up_std"] is None
    assert RowFitter(FitAsked())([person("a")])[0]["up"] is None


def test_photographs_are_read_by_the_worker(tmp_path: Path) -> None:
    hmrfit.write_image(tmp_path / "a.jpg", np.full((120, 160, 3), 90, np.uint8))
    np.save(tmp_path / "a.npy", np.stack([POINTS, moved(POINTS, 2)]))
    people = lambda path: read_keypoints(path.with_suffix(".npy"), "coco17")  # noqa: E731
    photographs = [{"id": name, "photograph": str(tmp_path / f"{name}.jpg")} for name in ("a", "b")]
    rows = RowFitter(FitAsked(people=people))(photographs)
    assert [row["id"] for row in rows] == ["a", "a", "b"] and [row["person"] for row in rows[:2]] == ["0", "1"]
    assert rows[0]["poses"] and "b.npy" in rows[2]["reason"]
