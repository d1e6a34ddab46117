"""Counts agree with their nouns, wherever the package says one."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import hmrfit
from hmrfit.ops.how_many import how_many, singular

PACKAGE = Path(hmrfit.__file__).parent

NOUNS = "people|persons|frames|photographs|cameras|views|keypoints|joints|tracks|hands|fits|rows|samples|clips|warnings"
"""What users have one of."""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((1, "people"), "1 person"),
        ((0, "people"), "0 people"),
        ((3, "frames"), "3 frames"),
        ((1, "bodies"), "1 body"),
        ((1, "vertices"), "1 vertex"),
        ((1, "tracks were", "track was"), "1 track was"),
        ((2, "tracks were", "track was"), "2 tracks were"),
    ],
)
def test_a_number_and_its_noun(words: tuple, expected: str) -> None:
    assert how_many(*words) == expected


def test_singulars() -> None:
    assert [singular(word) for word in ("people", "matrices", "axes", "rows")] == ["person", "matrix", "axis", "row"]


def counts_in(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of every number, constants apart, that an f-string puts before a noun as it is."""
    for node in ast.walk(ast.parse(source)):
        for value, text in zip(node.values, node.values[1:], strict=False) if isinstance(node, ast.JoinedStr) else ():
            if not (isinstance(value, ast.FormattedValue) and isinstance(text, ast.Constant)):
                continue
            what = ast.unparse(value.value)
            if re.match(rf" ({NOUNS})\b(?!'| a second)", text.value) and not what.split(".")[-1].lstrip("_").isupper():
                yield node.lineno, f"{{{what}}}{text.value[:30]}"


SEVERAL_ALWAYS = (
    ("adapt_detector.py", "{count} people with"),  # as many as adapting needs
    ("cli/evaluate_hands.py", "{side} hands"),
    ("io/keypoint_checks/__init__.py", "{len(points)} keypoints lie"),
    ("io/keypoint_checks/__init__.py", "{len(there)} keypoints lie"),
    ("io/keypoint_files/frames.py", "{count} people in frame"),  # fit_sequence takes one
    ("io/keypoint_files/frames.py", "{len(tracks)} tracks"),
    ("priors/joints.py", "{count} joints that it does not name"),
    ("train/keypoint_people.py", "{[len(one) for one in people]} people"),
    ("video/track_files.py", "{len(groups)} tracks w"),
    ("video/tracking.py", "{len(tracks)} tracks w"),
)
"""Counts that are never one where they are said."""


def test_every_count_agrees_with_its_noun() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {text}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, text in counts_in(path.read_text())
        if not any(str(path).endswith(file) and text.startswith(start) for file, start in SEVERAL_ALWAYS)
    ]
    assert not found, "say these with hmrfit.ops.how_many:\n" + "\n".join(found)


def test_the_search_finds_what_it_is_for() -> None:
    assert list(counts_in("f\"{len(result)} persons in {n} frames, {how_many(1, 'rows')}, {MOST} people\"")) == [
        (1, "{len(result)} persons in "),
        (1, "{n} frames, "),
    ]
