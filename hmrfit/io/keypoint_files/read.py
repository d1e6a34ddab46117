"""From a keypoint file of any known format to its people."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hmrfit.io import bounded
from hmrfit.io.bounded import read_text, refuse_url
from hmrfit.io.budget import brief
from hmrfit.io.keypoint_files.array_formats import read_npy, read_npz
from hmrfit.io.keypoint_files.json_formats import JSON_FORMATS
from hmrfit.io.keypoint_files.names import AskedSet
from hmrfit.io.keypoint_files.person import Found, PersonKeypoints, finish
from hmrfit.io.keypoint_files.tables import read_csv, read_txt


def read_keypoints(
    path: str | os.PathLike,
    keypoint_set: AskedSet = None,
    image_size: tuple[int, int] | None = None,
) -> list[PersonKeypoints]:
    """The people of a keypoint file; an empty list where it is in order but sees nobody.

    Args:
        keypoint_set: a set's name or its names; needed where the file does not say it, and stronger where it does, but
            for the order: a file that names the same points in another order is believed.
        image_size: (width, height) of the image, pixels, kept with the people where the file says none. Formats that
            write shares of it are read as such without it (`PersonKeypoints.shares`); `at_size` makes pixels of them.
    Raises:
        FileNotFoundError: there is no such file. ValueError: it cannot be read, or its set is unknown; says what to do.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(
            f"'{path}' is a folder. Give one keypoint file, or use find_keypoint_file(image, folder)."
        )
    if not path.exists():
        refuse_url(path, "the keypoint file")
        raise FileNotFoundError(f"There is no keypoint file '{path}'.")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"'{path}': unknown kind of file. Keypoints are read from {', '.join(READERS)}.")
    bounded.check_regular(path)
    return list(finish(reader(path), path, keypoint_set, image_size))


def _read_json(path: Path) -> Iterator[Found]:
    yield from parse_json(read_text(path, latin=True), f"'{path}'")


def parse_json(text: str, name: str) -> Iterator[Found]:
    """The people of a JSON text."""
    yield from people_of_json(bounded.parse_json(text, name), name)


def people_of_json(content: Any, name: str) -> Iterator[Found]:
    """The people of what a JSON file of any known format held.

    Raises:
        ValueError: it is none of the formats, or built differently.
    """
    if content == []:
        return
    for form in JSON_FORMATS:
        if form.recognises(content):
            try:
                yield from form.read(content, name)
            except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
                said = f"{type(error).__name__}: {brief(str(error))}"
                raise ValueError(f"{name} looks like {form.name}, but is built differently ({said}).") from error
            return
    known = ", ".join(dict.fromkeys(form.name for form in JSON_FORMATS))
    raise ValueError(f"{name} is JSON, but none of the keypoint formats that are known: {known}.")


READERS: dict[str, Callable[[Path], Iterator[Found]]] = {
    ".json": _read_json, ".npy": read_npy, ".npz": read_npz, ".csv": read_csv, ".tsv": read_csv, ".txt": read_txt,
}  # fmt: skip
"""By suffix."""
