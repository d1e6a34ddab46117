"""Ray Data: a table of people in, a row for each out, those who cannot be fitted with their reason; a second run does
nothing."""

from pathlib import Path

import numpy as np
import pytest
from helpers.bodies import demo_points

from hmrfit.engines.fit_rows import FitAsked, RowFitter
from hmrfit.engines.ray_data import RayRun

pytestmark = pytest.mark.ray
ray = pytest.importorskip("ray")
parquet = pytest.importorskip("pyarrow.parquet")


def moved(points: np.ndarray, pixels: float) -> np.ndarray:
    """To the right."""
    return points + np.array([pixels, 0, 0])


def test_a_table_of_people(tmp_path: Path) -> None:
    import pyarrow as pa

    points = demo_points(120)
    people = [(moved(points, i)).ravel().tolist() for i in range(6)] + [[1.0, 2.0]]
    rows = [
        {"id": f"p{i}", "keypoints": p, "keypoint_set": "coco17", "image_size": [160, 120]}
        for i, p in enumerate(people)
    ]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "people.parquet")
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False)  # with 2, a second run with a checkpoint hung
    try:
        run = RayRun(str(tmp_path / "people.parquet"), str(tmp_path / "out"), FitAsked(), actors=1)
        run.run()
        files = sorted(run.people.iterdir())
        run.run()  # everybody is there
        assert sorted(run.people.iterdir()) == files
    finally:
        ray.shutdown()
    found = {row["id"]: row for row in parquet.read_table(run.people).to_pylist()}
    assert sorted(found) == [f"p{i}" for i in range(7)] and "3 K numbers" in found["p6"]["reason"]
    for row in RowFitter(FitAsked())(rows)[:6]:
        np.testing.assert_allclose(found[row["id"]]["poses"], row["poses"], atol=1e-6)
