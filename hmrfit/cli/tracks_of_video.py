"""Who is in a video: what tracks.json holds, what a keypoint file says, or what a detector finds, written down.

FOLDER/tracks.json        everybody, and who is who; once corrected it is the user's, and is taken as it is
FOLDER/detections.jsonl   the frames that were looked at, until all of them were: a run that was stopped goes on
"""

import hashlib
import os
import sys
from dataclasses import replace
from pathlib import Path

from hmrfit.cli.fit_flags import FitFlags
from hmrfit.io.bounded import read_bytes
from hmrfit.io.keypoint_files.frames import keypoint_files_of
from hmrfit.io.own_files import is_own
from hmrfit.video.finding import DetectionLog
from hmrfit.video.source import Video
from hmrfit.video.track_files import TracksFile, read_tracks_file, write_tracks
from hmrfit.video_fit import (
    Bars,
    VideoOptions,
    fingerprint_of_video,
    found_people,
    given_people,
    resolve_detector,
)

TRACKS, LOG = "tracks.json", "detections.jsonl"


def tracks_of_video(video: Video, folder: Path, flags: FitFlags, options: VideoOptions, bars: Bars) -> TracksFile:
    """The people of all frames that are looked at.

    Raises:
        ValueError, OSError: keypoints or a corrected file cannot be read; NoDetector: there is none.
    """
    file = folder / TRACKS
    kept = _kept(file)
    if kept is not None and not is_own(file):
        print(f"{TRACKS} was corrected since hmrfit wrote it: it is taken as it is.", file=sys.stderr)
        return replace(kept, notes=[*kept.notes, f"{TRACKS} was corrected by hand."])
    chosen = None
    if flags.keypoints is None:
        chosen = resolve_detector(flags.detector, flags.min_confidence)
        source = chosen.fingerprint
    else:
        source = digest_of(Path(flags.keypoints), flags.keypoint_set)
    fingerprint = fingerprint_of_video(video, options.window, source)
    tracked_by = hashlib.sha256(f"{fingerprint} {options}".encode()).hexdigest()
    if kept is not None and kept.fingerprint == tracked_by and not flags.overwrite:
        return kept
    log = DetectionLog(folder / LOG, fingerprint)
    if chosen is None:
        found = given_people(video, flags.keypoints, flags.keypoint_set, options)
    else:
        if flags.overwrite:
            log.remove()
        found = found_people(video, chosen.detect, options, log, bars)
    write_tracks(file, replace(found, fingerprint=tracked_by))
    log.remove()
    return read_tracks_file(file)  # as a second run reads it


def _kept(file: Path) -> TracksFile | None:
    """What tracks.json holds. Raises ValueError where a file of the user's cannot be read."""
    if not os.path.lexists(file):
        return None
    try:
        return read_tracks_file(file)
    except (ValueError, OSError):
        if is_own(file):
            return None
        raise


def digest_of(path: Path, keypoint_set: str | None) -> str:
    """Of a keypoint file, or of all in a folder."""
    digest = hashlib.sha256(repr(keypoint_set).encode())
    for file in keypoint_files_of(path):
        digest.update(file.name.encode())
        digest.update(read_bytes(file))
    return digest.hexdigest()
