"""From a keypoint file of any known format to its people."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from hmrfit.bounded import check_regular, read_json
from hmrfit.budget import brief
from hmrfit.data.keypoint_files.array_formats import read_csv, read_npy, read_npz
from hmrfit.data.keypoint_files.json_formats import JSON_FORMATS, AskedSet
from hmrfit.data.keypoint_files.person import PersonKeypoints


def read_keypoints(
    path: str | os.PathLike,
    keypoint_set: str | Sequence[str] | None = None,
    image_size: tuple[int, int] | None = None,
) -> list[PersonKeypoints]:
    """The people of a keypoint file; an empty list where it is in order but sees nobody.

    Args:
        keypoint_set: a set's name or its names; needed where the file does not say it, and stronger where it does.
        image_size: (width, height) of the image, pixels, kept with the people where the file says none.
    Raises:
        FileNotFoundError: there is no such file. ValueError: it cannot be read, or its set is unknown; says what to do.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(
            f"'{path}' is a folder. Give one keypoint file, or use find_keypoint_file(image, folder)."
        )
    if not path.exists():
        raise FileNotFoundError(f"There is no keypoint file '{path}'.")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"'{path}': unknown kind of file. Keypoints are read from {', '.join(READERS)}.")
    check_regular(path)
    people = list(reader(path, keypoint_set))
    return [p if p.image_size or image_size is None else replace(p, image_size=tuple(image_size)) for p in people]


def _read_json(path: Path, asked: AskedSet) -> Iterator[PersonKeypoints]:
    content = read_json(path)
    if content == []:
        return
    for form in JSON_FORMATS:
        if form.recognises(content):
            try:
                yield from form.read(content, path, asked)
            except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
                said = f"{type(error).__name__}: {brief(str(error))}"
                raise ValueError(f"'{path}' looks like {form.name}, but is built differently ({said}).") from error
            return
    known = ", ".join(dict.fromkeys(form.name for form in JSON_FORMATS))
    raise ValueError(f"'{path}' is JSON, but none of the keypoint formats that are known: {known}.")


READERS = {".json": _read_json, ".npy": read_npy, ".npz": read_npz, ".csv": read_csv}
"""By suffix."""
