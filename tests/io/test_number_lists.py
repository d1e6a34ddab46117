"""JSON of nothing but numbers, a matrix at a time."""

import json
from pathlib import Path

import numpy as np
import pytest

from hmrfit.io import number_lists
from hmrfit.io.budget import TooLarge, file_limits
from hmrfit.io.number_lists import read_matrices


@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize("indent", [None, 1])
def test_numbers_come_back_whatever_the_chunks_are(
    tmp_path: Path, rng: np.random.Generator, chunk: int, indent: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(number_lists, "CHUNK", chunk)
    joints, vertices = rng.normal(size=(3, 4, 3)), [rng.normal(size=(n, 3)) for n in (5, 6)]
    two = [joints.tolist(), [v.tolist() for v in vertices]]
    for content, expected in ((joints.tolist(), [joints]), (two, [joints, vertices])):
        (tmp_path / "a.json").write_text(json.dumps(content, indent=indent))
        found = read_matrices(tmp_path / "a.json")
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("content", [[[[[1, 2]], [[3, 4]]], []], [[[[1, 2]], [[3, 4]]], [[], []]]])
def test_vertices_may_be_missing(tmp_path: Path, content: list) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content))
    joints, vertices = read_matrices(tmp_path / "a.json")
    assert len(joints) == 2 and all(v.size == 0 for v in vertices)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[[1, 2], [3, 4]]", "cut off"),
        ("", "a list of matrices, or lists"),
        ("[[[1, 2], [3]]]", "no list of matrices"),
        ("[[[1, NaN]]]", "NaN is no number"),
        ('{"a": 1}', "a list of matrices, or lists"),
        ('[[[1, "a"]]]', "numbers in lists only"),
        ("[1, 2]", "a list of matrices, or lists"),
        ("[[[1, 2]]]]", "not equally deep"),
        ("[[[1, 2]], [[[3]]]]", "not equally deep"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_matrices(tmp_path / "a.json")


def test_it_keeps_to_the_budget(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(np.zeros((100, 21, 3)).tolist()))
    with file_limits(gigabytes=1e-5), pytest.raises(TooLarge):
        read_matrices(tmp_path / "a.json")
