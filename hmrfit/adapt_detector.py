"""The shipped estimate adapted to one's own detector and people, of 2D keypoints alone.

    outcome = hmrfit.adapt("keypoints/", "adapted", minutes=10)
    hmrfit.Pipeline("adapted/adapted.yaml").fit("photo.jpg", "photo.json")

    adapted/adapted.yaml             settings that name the three files below, which lie beside it
    adapted/keypoint_hmr.npz         the network
    adapted/error_model.npz          how wrong it is
    adapted/keypoint_offsets.npz     where the detector's keypoints lie on the body
    adapted/report.json              before and after
    adapted/run/                     the run's state, to go on after a stop and to look at

Where the adapted model got worse on synthetic people, none of the first four files is there: see `Adaptation.worse`.
"""

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hmrfit.assets import locate
from hmrfit.build import build_fitter
from hmrfit.camera import Camera
from hmrfit.config import Config, ConfigError, load_config
from hmrfit.io.atomic import atomic_write
from hmrfit.io.image import image_size as size_of_file
from hmrfit.io.keypoint_files import PersonKeypoints, read_keypoints
from hmrfit.io.keypoint_files.find import PHOTO_SUFFIXES
from hmrfit.io.keypoint_files.frames import keypoint_files_of
from hmrfit.io.photo import read_photo
from hmrfit.motion import load_frames, read_pool
from hmrfit.network.checkpoints import load_error_model, load_hmr, save_network
from hmrfit.network.encoders import KeypointEncoder
from hmrfit.ops.how_many import how_many
from hmrfit.priors.gmm import PoseGmm
from hmrfit.priors.limits import JointLimits
from hmrfit.train.adaptation import (
    Adaptation,
    AdaptationPlan,
    Adapter,
    Say,
    SyntheticPoses,
    drawn,
    enough_people,
    write_json,
)
from hmrfit.train.fit_store import FitKey
from hmrfit.train.keypoint_people import KnownPeople
from hmrfit.train.people_stream import PosePool
from hmrfit.types import Keypoints
from hmrfit.video.track_files import FORMAT as TRACKS_FORMAT
from hmrfit.video.track_files import read_tracks_file
from hmrfit.with_hands import BODY

NETWORK, ERRORS, OFFSETS = "keypoint_hmr.npz", "error_model.npz", "keypoint_offsets.npz"
SETTINGS, REPORT, RUN = "adapted.yaml", "report.json", "run"

MOST_PEOPLE = 20_000
"""Of more, so many are drawn."""

MOST_FRAMES = 20_000
"""Of motion, so many frames are drawn by the weights of their classes: synthetic people are a few thousand."""

NAMED = 3
"""Reasons that an error message lists."""

PathLike = str | os.PathLike[str]

YAML = """\
# {what}
#     hmrfit fit PHOTOS -o OUT --config {name}
# The files lie beside this one.

PRIORS:
  INITIAL_ESTIMATE: ./{network}
  ERROR_MODEL: ./{errors}
  KEYPOINT_OFFSETS: ./{offsets}
"""


def adapt(
    keypoints: PathLike | Sequence[PathLike],
    out: PathLike,
    *,
    keypoint_set: str | Sequence[str] | None = None,
    images: PathLike | None = None,
    image_size: tuple[int, int] | None = None,
    motion: PathLike | None = None,
    plan: AdaptationPlan | None = None,
    config: Config = None,
    say: Say = lambda _: None,
    quiet: bool = True,
) -> Adaptation:
    """Adapts the shipped keypoint estimate, and the points on the body that the fit looks at, to a detector.

    Args:
        keypoints: files and folders of them, in any format that `fit` reads; tracks.json of a video; what `hmrfit fit`
            keeps of its detector in OUT/keypoints. Of many people, 20,000 are drawn.
        out: the folder for what comes of it; a run that was stopped there goes on.
        keypoint_set: their names, where the files do not say them.
        images: a folder with the photographs, where the files do not say how large they are. image_size: (width,
            height) of all of them, pixels.
        motion: a folder of motion for the synthetic people; None for the shipped set of poses.
        plan: how long; 10 minutes by default, with the same plan the same bits only if it has `steps`.
        config: settings that name the networks to begin with. say: is told what is done. quiet: no progress bar.
    Returns:
        Scores before and after. Files are handed over only where `worse` is empty.
    Raises:
        ValueError, OSError: before any work, about what is given.
    """
    settings = load_config(config) if config is None or not hasattr(config, "PRIORS") else config
    if settings.BODY.PATH != BODY or settings.FIT.STAGES or not settings.PRIORS.INITIAL_ESTIMATE:
        raise ConfigError("What is adapted is the default fit of the free body: leave BODY, FIT.STAGES and such out.")
    if settings.PRIORS.KEYPOINT_OFFSETS:
        raise ConfigError("PRIORS.KEYPOINT_OFFSETS: these settings are adapted already. Begin with the shipped ones.")
    folder = Path(out)
    refuse_others_files(folder)
    files = [keypoints] if isinstance(keypoints, str | os.PathLike) else list(keypoints)
    people = enough_people(people_of_files(files, keypoint_set, images, image_size))
    hmr = load_hmr(locate(settings.PRIORS.INITIAL_ESTIMATE))
    if not isinstance(hmr.encoder, KeypointEncoder):
        raise ConfigError("PRIORS.INITIAL_ESTIMATE: what is adapted is a network that sees keypoints, not images.")
    poses = poses_of(settings, motion)
    errors = load_error_model(locate(settings.PRIORS.ERROR_MODEL))
    adapter = Adapter(build_fitter(settings), hmr, errors, people, poses, folder / RUN, plan, say, quiet)
    outcome = adapter.run()
    write_json(folder / REPORT, outcome.report)
    if not outcome.worse:
        hand_over(outcome, folder)
    return outcome


def hand_over(outcome: Adaptation, folder: Path) -> None:
    """Writes the three files and the settings that name them, these last."""
    save_network(folder / NETWORK, outcome.hmr, half=True, adapted=outcome.report)
    shutil.copyfile(folder / RUN / ERRORS, folder / ERRORS)
    outcome.offsets.save(folder / OFFSETS)
    what = f"hmrfit adapted to {outcome.people} people's keypoints ({len(outcome.offsets.names)} of each)."
    text = YAML.format(what=what, name=folder / SETTINGS, network=NETWORK, errors=ERRORS, offsets=OFFSETS)
    with atomic_write(folder / SETTINGS) as temporary:
        temporary.write_text(text, encoding="utf-8")


def refuse_others_files(folder: Path) -> None:
    """Raises FileExistsError where files of these names are in the folder, but no run."""
    names = (NETWORK, ERRORS, OFFSETS, SETTINGS, REPORT)
    found = [name for name in names if os.path.lexists(folder / name)]
    if found and not (folder / RUN).is_dir():
        raise FileExistsError(
            f"'{folder}' holds {', '.join(found)}, but no run of `hmrfit adapt`, and nothing is overwritten. Choose "
            "another folder with -o."
        )


# ---- the user's people


def people_of_files(
    files: Sequence[PathLike],
    keypoint_set: str | Sequence[str] | None = None,
    images: PathLike | None = None,
    image_size: tuple[int, int] | None = None,
) -> KnownPeople:
    """Everybody in the files, in their order; those who cannot be read are left out.

    Raises:
        ValueError, OSError: a file that cannot be read, nobody at all, several keypoint sets, an unknown size.
    """
    parts: list[tuple[FitKey, Keypoints, Camera]] = []
    reasons: list[str] = []
    for file in [file for path in files for file in _files_below(Path(path))]:
        own = _people_of_file(file, keypoint_set)
        for place, (image, some) in enumerate(groupby(own, lambda person: person.image)):
            people = list(some)
            try:
                size = image_size or _size(people[0], images)
                photo = read_photo(None, people, keypoint_set, image_size=size)
            except (ValueError, OSError) as error:
                reasons.append(f"{file.name}: {error}")
                continue
            seen = photo.keypoints
            for row, person in enumerate(photo.people):
                key = FitKey(str(file), str(image if image is not None else place), f"{place}/{person.person_id}/{row}")
                parts.append((key, seen[[row]], photo.camera[[row]]))
    if not parts:
        raise ValueError("There is nobody to adapt to. " + " ".join(reasons[:NAMED]))
    sets = Counter(part[1].names for part in parts)
    if len(sets) > 1:
        counts = ", ".join(
            f"{how_many(count, 'people')} with {how_many(len(names), 'keypoints')}"
            for names, count in sets.most_common()
        )
        raise ValueError(
            f"A detector has one set of keypoints, and here are several: {counts}. Adapt to each by itself."
        )
    chosen = [parts[i] for i in drawn(len(parts), MOST_PEOPLE, 0).tolist()]
    keypoints, cameras = Keypoints.cat([part[1] for part in chosen]), Camera.cat([part[2] for part in chosen])
    return KnownPeople.without_truth(keypoints, cameras, [part[0] for part in chosen])


def _files_below(path: Path) -> list[Path]:
    """The file, or a folder's keypoint files. Raises FileNotFoundError: there is none."""
    files = keypoint_files_of(path)
    if not files:
        raise FileNotFoundError(f"There are no keypoint files in '{path}'.")
    return files


def _people_of_file(file: Path, keypoint_set: str | Sequence[str] | None) -> list[PersonKeypoints]:
    """Of a keypoint file, or of a video's tracks.json."""
    if file.suffix == ".json" and file.is_file():
        with file.open("rb") as opened:
            begins = opened.read(100)
        if TRACKS_FORMAT.encode() in begins:
            return _people_of_tracks(file)
    return read_keypoints(file, keypoint_set)


def _people_of_tracks(file: Path) -> list[PersonKeypoints]:
    """Everybody who is somebody's track, frame by frame."""
    content = read_tracks_file(file)
    seen = content.seen
    return [
        PersonKeypoints(
            seen.names, seen.xy[i], seen.confidence[i], file, str(track), str(int(seen.frame[i])), content.size
        )
        for i, track in enumerate(content.tracks)
        if track is not None
    ]


def _size(person: PersonKeypoints, images: PathLike | None) -> tuple[int, int] | None:
    """(width, height) of the photograph: as the file says, or of the photograph that it names, or that is called like
    it. Raises ValueError: none is known."""
    if person.image_size is not None:
        return None  # read_photo follows it
    folder = person.source.parent if images is None else Path(images)
    stem = Path(person.image).stem if person.image else person.source.stem.removesuffix("_keypoints")
    named = [person.image_path, *(folder / f"{stem}{suffix}" for suffix in PHOTO_SUFFIXES)]
    for path in named:
        if path is not None and path.is_file():
            with suppress(ValueError):
                return size_of_file(path)
    raise ValueError(
        f"How large is the photograph of '{person.source.name}'? The file does not say it, and there is no '{stem}' in "
        f"'{folder}'. Give --images FOLDER, or --image-size WIDTH HEIGHT."
    )


# ---- poses of synthetic people


def poses_of(settings: Any, motion: PathLike | None) -> SyntheticPoses:
    """Of a folder of motion, its training sequences and its validation sequences; else the shipped set of poses, every
    fifth for the hold-out."""
    gmm, limits = PoseGmm.from_file(locate(settings.PRIORS.GMM)), JointLimits.from_file(locate(settings.PRIORS.LIMITS))
    if motion is not None:
        pool = read_pool(Path(motion))
        frames, held_out = ({**load_frames(pool, part)} for part in ("train", "validation"))
        for name, some in (("train", frames), ("validation", held_out)):
            if not len(some["poses"]):
                raise ValueError(f"'{motion}' has no motion for {name}: give more sequences, or leave --motion out.")
        origin, frames, held_out = f"'{motion}'", _fewer(frames), _fewer(held_out)
        rest = torch.as_tensor(held_out["poses"])
    else:
        with np.load(locate("poses"), allow_pickle=False) as data:
            body = data["poses"].astype(np.float64).reshape(len(data["poses"]), -1, 3)
        poses = np.concatenate([np.zeros_like(body[:, :1]), body], 1)
        aside = np.arange(len(poses)) % 5 == 4
        rest, origin = torch.as_tensor(poses[aside]), "the shipped set of poses"
        frames = {"poses": poses[~aside], "driven": np.ones(poses[~aside].shape[:2], bool)}
        frames["weight"] = np.ones(len(frames["poses"]))
    return SyntheticPoses(PosePool.build(frames, gmm, limits, settings.SEED), rest, origin)


def _fewer(frames: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """At most `MOST_FRAMES`, drawn by weight, which are then all alike."""
    weight = frames["weight"] / frames["weight"].sum()
    count = min(MOST_FRAMES, int((weight > 0).sum()))
    rows = np.sort(np.random.default_rng(0).choice(len(weight), count, replace=False, p=weight))
    found = {name: frames[name][rows] for name in ("poses", "driven")}
    return found | {"weight": np.ones(len(rows))}
