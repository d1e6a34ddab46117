"""Rows in, rows out: photographs or people of a table, fitted side by side. What every engine's workers do.

    {"id", "photograph"}                                          people are read, or detected, where the worker is
    {"id", "keypoints", "keypoint_set", "image_size", ...}        one person (`keypoint_files.parquet_tables`)
        ->  rows of `hmrfit.engines.rows`, whose `id` is that of the row they came of; `person` tells those of one
            photograph apart

Nothing raises: what cannot be fitted is a row with its reason.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hmrfit.config import load_config
from hmrfit.engines.rows import Row, empty_row, rows_of
from hmrfit.fitting.terms.base import Measurement
from hmrfit.io.keypoint_files import PersonKeypoints
from hmrfit.io.keypoint_files.parquet_tables import found_in
from hmrfit.io.keypoint_files.person import finish
from hmrfit.io.keypoint_noise import with_known_noise
from hmrfit.io.photo import Photo, read_photo
from hmrfit.keypoints import KeypointsFrom
from hmrfit.likely_up import UpLike
from hmrfit.make_result import compute_together
from hmrfit.ops.threads import own_threads
from hmrfit.pipeline import Pipeline
from hmrfit.result import FitResult

PeopleOf = Callable[[Path], Sequence[PersonKeypoints]]


@dataclass(frozen=True)
class FitAsked:
    """What the rows are fitted with; it is sent to every worker."""

    config: str | None = None
    overrides: Sequence[str] = ()
    measurements: Sequence[Measurement] = ()
    people: PeopleOf | None = None  # of a photograph
    keypoint_set: str | None = None
    focal: float | None = None
    focal_35mm: float | None = None
    keypoint_source: KeypointsFrom | None = None
    keypoint_std: float | None = None
    up: UpLike = None


@dataclass
class RowFitter:
    """Fits rows; its engine is built once."""

    asked: FitAsked
    pipeline: Pipeline = field(init=False)

    def __post_init__(self) -> None:
        self.pipeline = Pipeline.of(load_config(self.asked.config, self.asked.overrides))

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
        """In their order."""
        photos: dict[int, Photo] = {}
        done: dict[int, list[Row]] = {}
        for i, row in enumerate(rows):
            try:
                with self.pipeline.reading_hands_of(self.asked.measurements):
                    photos[i] = self._photo(row, i).without_image()
            except Exception as error:
                done[i] = [empty_row(row["id"], self._called(row), _said(error))]
        with own_threads(1):
            for i, result in self._fitted(photos).items():
                row = rows[i]
                try:
                    if isinstance(result, Exception):
                        raise result
                    done[i] = rows_of(result, row["id"], self._called(row))
                except Exception as error:
                    done[i] = [empty_row(row["id"], self._called(row), _said(error))]
        return [{**one, "id": rows[i]["id"]} for i in range(len(rows)) for one in done[i]]

    def _photo(self, row: Mapping[str, Any], number: int) -> Photo:
        asked = self.asked
        path: Path | None = None
        people: Sequence[PersonKeypoints]
        size = None
        if row.get("keypoints") is None:
            path = Path(row["photograph"])
            assert asked.people is not None
            people = asked.people(path)
        else:
            people = list(finish([found_in(row, number, "the table")], Path("table.parquet"), asked.keypoint_set))
            size = None if people and people[0].image_size is not None else row.get("image_size")
        photo = read_photo(
            path,
            people,
            focal=asked.focal,
            focal_35mm=asked.focal_35mm,
            image_size=None if size is None else tuple(size),
            decode=False,
        )
        return with_known_noise(photo, asked.keypoint_source, asked.keypoint_std)

    def _fitted(self, photos: Mapping[int, Photo]) -> dict[int, FitResult | Exception]:
        """All at once; where that fails, one by one."""
        if not photos:
            return {}
        try:
            found = self.pipeline.fit_photos(list(photos.values()), list(self.asked.measurements), self.asked.up)
        except Exception as error:
            if len(photos) == 1:
                return dict.fromkeys(photos, error)
            return {i: one for i, photo in photos.items() for one in self._fitted({i: photo}).values()}
        with suppress(Exception):  # each computes its own then
            compute_together(found)
        return dict(zip(photos, found, strict=True))

    @staticmethod
    def _called(row: Mapping[str, Any]) -> str:
        return str(row.get("photograph") or row.get("image") or row["id"])


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, ValueError | OSError) and str(error) else f"{type(error).__name__}: {error}"
