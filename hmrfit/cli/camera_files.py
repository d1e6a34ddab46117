"""Which file is of which calibrated camera, and whether the files belong together: known before any work.

    cam02.mp4                  the camera named cam02, cam2 or cam_02
    Miqus_4_26578.avi          the camera named 26578: its name is a part of the file's
    cam1/0001.jpg              the camera named cam1, where the files' own names say nothing

Every file is of another camera. Frame i of all videos is of one instant, so they have one rate and one length.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import torch

from hmrfit.io.calibration import read_calibration
from hmrfit.io.calibration.opencv_storage import NO_SIZE
from hmrfit.io.calibration.rig import CameraCalibration
from hmrfit.io.keypoint_files.readers import READERS
from hmrfit.ops.check import brief_repr
from hmrfit.ops.how_many import how_many
from hmrfit.video.source import Video

MOST_DRIFT = 0.5
"""Frames by which two videos of different rates may drift apart until their end."""

MOST_PADDING = 16
"""Pixels by which a video's sides may differ from what its camera was calibrated for: codecs fill up to whole blocks,
or cut what they filled. The top left corner stays."""

MOST_OFF = 0.2
"""Fraction: how far a size that was guessed from the principal point may be from the pictures'."""

FEWEST = 2

KEYPOINT_ENDINGS = ("", "_json", "_keypoints", "_pose")
"""Of a camera's file or folder of keypoints, after the video's name."""


def cameras_of(files: Sequence[str], calibration: CameraCalibration, named: Sequence[str] | None) -> dict[str, str]:
    """Camera -> its file, in the order of the calibration.

    Args:
        named: the camera of each file, where the files' names do not say it.
    Raises:
        ValueError: one file alone, a name that the calibration lacks, a file of no camera, or two of one.
    """
    if len(files) < FEWEST:
        raise ValueError(
            f"--calibration is about several cameras, but only '{files[0]}' is named. Name the file of each camera in "
            "one call, in any order; for one camera leave --calibration out."
        )
    if named is not None:
        if len(named) != len(files):
            raise ValueError(
                f"--cameras names {how_many(len(named), 'cameras')} for {how_many(len(files), 'files')}. Name one "
                "for each file."
            )
        chosen = [calibration.names[calibration.index(name)] for name in named]
    else:
        chosen = _by_name(files, calibration)
    for (i, first), (j, second) in combinations(enumerate(chosen), 2):
        if first == second:
            raise ValueError(
                f"'{files[i]}' and '{files[j]}' are both taken for the camera '{first}'. {_how(calibration)}"
            )
    order = {name: place for place, name in enumerate(calibration.names)}
    return dict(sorted(zip(chosen, files, strict=True), key=lambda pair: order[pair[0]]))


def _by_name(files: Sequence[str], calibration: CameraCalibration) -> list[str]:
    """The camera whose name each file's name has; else each file's folder's."""
    ways: list[Callable[[Path], list[str]]] = [lambda path: [path.name, path.stem], lambda path: [path.parent.name]]
    found = [[_named_in(way(Path(file).absolute()), calibration.names) for file in files] for way in ways]
    clear = [[names[0] for names in one] for one in found if all(len(names) == 1 for names in one)]
    if clear:
        return next((names for names in clear if len(set(names)) == len(names)), clear[0])
    file, names = next((f, n) for f, n in zip(files, found[0], strict=True) if len(n) != 1)
    what = f"may be of the cameras {', '.join(names)}" if names else "has the name of no camera"
    raise ValueError(f"'{file}' {what} of '{calibration.source}'. {_how(calibration)}")


def _how(calibration: CameraCalibration) -> str:
    return (
        f"It has {brief_repr(list(calibration.names), 200)}. Name the files like the cameras, or give the camera of "
        "each file in the order of the files: --cameras NAME NAME ..."
    )


def _named_in(texts: Sequence[str], names: Sequence[str]) -> list[str]:
    """The cameras that a file's name names: those that it equals, else those whose name is a part of it."""
    words = [_words(text) for text in texts]
    equal = [name for name in names if any(own in words for own in _ways_to_write(name))]
    return equal or [name for name in names if any(_is_part(own, words) for own in _ways_to_write(name))]


def _ways_to_write(name: str) -> list[list[str]]:
    """A camera's name in words; of a COLMAP image's also without its suffix."""
    return [own for own in (_words(name), _words(Path(name).stem)) if own]


def _words(text: str) -> list[str]:
    """Runs of letters, and numbers without leading zeros: cam_02 is cam 2."""
    return [
        word.lstrip("0") or "0" if word.isdecimal() else word for word in re.findall(r"\d+|[^\W\d_]+", text.casefold())
    ]


def _is_part(own: list[str], words: Sequence[list[str]]) -> bool:
    return any(own == of_one[i : i + len(own)] for of_one in words for i in range(len(of_one)))


# ---- whether they belong together


def calibration_for(
    path: str, unit: float | None, files: Sequence[str], named: Sequence[str] | None
) -> tuple[CameraCalibration, dict[str, str]]:
    """(the cameras of these files, `cameras_of`). Errors: those of both."""
    whole = read_calibration(path, unit)
    cameras = cameras_of(files, whole, named)
    return whole.select(list(cameras)), cameras


def at_sizes(calibration: CameraCalibration, sizes: Sequence[tuple[int, int]]) -> CameraCalibration:
    """The cameras with the sizes that their pictures have, which they were calibrated for. Raises ValueError."""
    guessed = NO_SIZE in calibration.notes
    notes = [note for note in calibration.notes if note != NO_SIZE]
    for name, size in zip(calibration.names, sizes, strict=True):
        known = calibration.image_size(name)
        said = f"{size[0]} × {size[1]} pixels, but it was calibrated for {known[0]} × {known[1]}"
        off = [
            abs(own / due - 1) / MOST_OFF if guessed else abs(own - due) / MOST_PADDING
            for own, due in zip(size, known, strict=True)
        ]
        if max(off) >= 1:
            turned = " It was turned by a quarter." if size == known[::-1] else ""
            raise ValueError(
                f"The pictures of camera '{name}' have {said}.{turned} Give pictures of that size, neither scaled nor "
                "cut."
            )
        if max(off) > 0 and not guessed:
            notes.append(
                f"The pictures of camera '{name}' have {said}: their top left corners were taken for the same."
            )
    camera = replace(calibration.camera, size=torch.tensor(sizes).to(calibration.camera.size))
    return replace(calibration, camera=camera, notes=tuple(notes))


def check_synchronous(videos: Mapping[str, Video], end: float | None) -> None:
    """That frame i of all videos can be of one instant. videos: by the camera's name. Raises ValueError."""
    (first, one), *others = videos.items()
    for name, other in others:
        length = max(one.length or 0, other.length or 0)
        if abs(one.fps - other.fps) / one.fps * length > MOST_DRIFT:
            raise ValueError(
                f"The cameras have different frame rates: '{first}' {one.fps:g}, '{name}' {other.fps:g} frames a "
                "second. Make them equal first (ffmpeg -r), or give the true rate of all with --fps where a "
                "file says it wrong."
            )
    lengths = {name: video.length for name, video in videos.items() if video.length is not None}
    if len(set(lengths.values())) < 2:
        return
    short, long = min(lengths, key=lambda n: lengths[n]), max(lengths, key=lambda n: lengths[n])
    common = (lengths[short] - 1) / one.fps
    if end is None or end > common + MOST_DRIFT / one.fps:
        raise ValueError(
            f"The videos have different lengths: '{short}' {lengths[short]}, '{long}' "
            f"{how_many(lengths[long], 'frames')}. Frame i "
            f"of all has to be of one instant: cut them so that they begin together. If they do, --end {common:.3f} "
            "takes the seconds that all have."
        )


def keypoints_of(files: Sequence[str], given: Sequence[str] | None, of_videos: bool) -> dict[str, str | None]:
    """File -> its keypoint file or folder; None: they are to be found.

    Args:
        given: one for each, in their order; or one folder: of videos, it holds them by the videos' names. Photographs
            may have one file of all, too.
    Raises:
        FileNotFoundError: there is none for a video. ValueError: another number of them than of files.
    """
    if given is None:
        return dict.fromkeys(files)
    for name in given:
        if not Path(name).exists():
            raise FileNotFoundError(f"There is no keypoint file or folder '{name}'.")
    if len(given) == 1 and not of_videos:
        return dict.fromkeys(files, given[0])
    if len(given) == 1 and Path(given[0]).is_dir():
        return {file: _in_folder(Path(given[0]), Path(file)) for file in files}
    if len(given) != len(files):
        raise ValueError(
            f"-k names {how_many(len(given), 'files')} of keypoints, but there are "
            f"{how_many(len(files), 'cameras')}. Give -k for each, in the "
            "order of their files, or one folder that holds a file or folder by the name of each."
        )
    return dict(zip(files, given, strict=True))


def _in_folder(folder: Path, video: Path) -> str:
    there = {path.name.casefold(): path for path in folder.iterdir()}
    for ending in KEYPOINT_ENDINGS:
        for suffix in ("", *READERS):
            if (found := there.get(f"{video.stem}{ending}{suffix}".casefold())) is not None and found != video:
                return str(found)
    raise FileNotFoundError(
        f"'{folder}' has no keypoints of '{video.name}': expected a file {video.stem}.json (or another keypoint file), "
        f"or a folder {video.stem} or {video.stem}_json with a file for each frame."
    )


def notes_of_calibration(calibration: CameraCalibration) -> list[str]:
    """What had to be assumed to read it, in the command line's words."""
    return [note.replace("scale=", "--unit") for note in calibration.notes]
