"""Keypoints from a Parquet table, by photograph."""

from pathlib import Path

import numpy as np
import pytest

from hmrfit.io.keypoint_files import KeypointSource, read_keypoints

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

POINTS = np.random.default_rng(0).uniform(5, 300, (3, 17, 3)) * np.array([1, 1, 0]) + np.array([0, 0, 0.9])


def write(path: Path, **changed: list) -> Path:
    columns = {
        "photograph": ["a.jpg", "b.jpg", "b.jpg"],
        "keypoints": [p.ravel().tolist() for p in POINTS],
        "keypoint_set": ["coco17"] * 3,
        "image_size": [[640, 480]] * 3,
        "person": ["x", "y", "z"],
    }
    parquet.write_table(pa.table({k: v for k, v in (columns | changed).items() if v is not None}), path)
    return path


def test_people_by_photograph(tmp_path: Path) -> None:
    path = write(tmp_path / "k.parquet")
    one, *two = (KeypointSource().people(tmp_path / f"{name}.jpg", path) for name in "ab")
    assert [p.person_id for p in one] == ["x"] and [p.person_id for p in two[0]] == ["y", "z"]
    np.testing.assert_allclose(one[0].xy, POINTS[0, :, :2])
    assert one[0].image_size == (640, 480) and len(one[0].names) == 17


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    assert len(read_keypoints(write(tmp_path / "k.parquet", keypoint_set=None), "coco17")) == 3
    with pytest.raises(ValueError, match="3 K numbers"):
        read_keypoints(write(tmp_path / "k.parquet", keypoints=[[1.0, 2.0]] * 3))
    with pytest.raises(ValueError, match="3 K numbers"):
        read_keypoints(write(tmp_path / "k.parquet", keypoints=None))
