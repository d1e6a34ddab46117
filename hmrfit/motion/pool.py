"""A folder of motion -> a pool of clean, thinned, weighted frames.

Read, clean, thin to about 15 frames a second, drop near-duplicates within a split, and weight every class by about
1 / sqrt(its size), so that what was filmed for long does not drown the rest.

`split.json` is the one list of the sequences that are held out; every script and benchmark reads it. No prior and no
network is ever fitted on "test": whole sequences, and some whole action classes. "validation" is for choosing settings.
Everything else, also any motion of your own, is "train". Two recordings of one CMU trial and the two partners of one
dance always share a split.

Two kinds of folder: our own (`MANIFEST.json` beside one tar.xz a source, read in memory, nothing is ever unpacked to
disk), or any folder of motion files, whose class is the name of the folder a file lies in.
"""

import hashlib
import json
import lzma
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from hmrfit.io.atomic import write_npz
from hmrfit.io.bounded import read_json, read_npz
from hmrfit.io.budget import check_bytes
from hmrfit.io.own_files import first_array
from hmrfit.motion.clean import clean, unlike_frames
from hmrfit.motion.motion import Motion
from hmrfit.motion.read import SUFFIXES, motions_from_bytes, read_motions
from hmrfit.ops.how_many import how_many

FPS = 15.0
"""Frames a second of the pool."""

HAND_KEYED = "mesh2motion"
"""Animated by hand, not captured: all its clips together are one class when weights are given."""

_VERSION = 1
"""Of the cache; to be raised when a reader or the cleaning changes."""

SPLITS = ("train", "validation", "test")


@cache
def split_lists() -> dict[str, frozenset[str]]:
    """ "test" and "validation" -> names of the sequences in them."""
    content = json.loads(Path(__file__).with_name("split.json").read_text())
    return {part: frozenset(name for names in content[part].values() for name in names) for part in SPLITS[1:]}


def split(motion: Motion | str) -> str:
    """ "train", "validation" or "test" for a motion, or for its name (the `id` of the manifest)."""
    name = motion if isinstance(motion, str) else motion.name
    for part, names in split_lists().items():
        if name in names:
            return part
    return SPLITS[0]


class ManifestEntry(TypedDict):
    """What the manifest says of one sequence."""

    id: str
    file: str
    label: str
    clip: NotRequired[str]
    subject: NotRequired[str | None]
    native_fps: NotRequired[float | None]


def read_archive(path: Path, entries: list[ManifestEntry]) -> Iterator[Motion]:
    """The motions of one tar.xz that its manifest lists, in the order of the archive. Nothing is written to disk."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing, though the manifest beside it lists files of it. Copy it again.")
    wanted: dict[str, list[ManifestEntry]] = {}
    for entry in entries:
        wanted.setdefault(f"{path.name.removesuffix('.tar.xz')}/{entry['file']}", []).append(entry)
    try:
        with tarfile.open(path, "r:xz") as archive:
            for member in archive:
                if member.isfile() and member.name in wanted and (file := archive.extractfile(member)) is not None:
                    check_bytes(2 * member.size, f"'{path}', {member.name}")
                    yield from _from_entries(file.read(), wanted[member.name], path)
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise ValueError(f"{path} cannot be read ({error}). Truncated? Copy it again.") from error


def _from_entries(data: bytes, entries: list[ManifestEntry], path: Path) -> Iterator[Motion]:
    source = path.name.removesuffix(".tar.xz")
    named = {entry["clip"]: entry for entry in entries if "clip" in entry}
    try:
        if named:
            pairs = [(m, named[m.name]) for m in motions_from_bytes(data) if m.name in named]
        else:
            # a reader that finds no rate in its file takes the manifest's; it replaces all others below
            rate = entries[0].get("native_fps") if source == "cmu_expmap" else None
            pairs = [(motions_from_bytes(data, entries[0]["id"], source, fps=rate)[0], entries[0])]
    except ValueError as error:
        raise ValueError(f"{path}, {entries[0]['file']}: {error}") from error
    for motion, entry in pairs:
        subject = entry.get("subject") or source
        fps = entry.get("native_fps") or motion.fps
        yield replace(motion, name=entry["id"], label=entry["label"], subject=subject, source=source, fps=fps)


def read_folder(folder: str | Path) -> Iterator[Motion]:
    """Every motion below a folder, one after the other, as it was recorded.

    Raises:
        FileNotFoundError: no such folder, or no motion in it.
        ValueError: a file that cannot be read, by name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}. Expected a folder of motion files.")
    if (folder / "MANIFEST.json").is_file():
        manifest = read_json(folder / "MANIFEST.json")
        for source, entries in manifest.items():
            yield from read_archive(folder / f"{source}.tar.xz", entries)
        return
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise FileNotFoundError(f"{folder} holds no motion files ({', '.join(SUFFIXES)}) and no MANIFEST.json.")
    for path in files:
        for motion in read_motions(path):
            name = str(path.relative_to(folder).with_suffix(""))
            clip = f"{name}/{motion.name}" if motion.name != path.stem else name
            yield replace(motion, name=clip, label=path.parent.name, subject=path.parent.name)


def thin(motion: Motion, fps: float = FPS) -> Motion:
    """Every n-th frame, n such that the rate comes nearest to `fps`."""
    return motion[:: max(1, round(motion.fps / fps))]


def _prepare(motion: Motion) -> Motion | None:
    """In a world with y up, cleaned at the native rate (where jumps show), then thinned; without a shape."""
    cleaned = clean(motion.y_up())
    return None if cleaned is None else replace(thin(cleaned), betas=None)


def read_pool(
    folder: str | Path, cache: str | Path | None = None, seen: Callable[[Motion], None] | None = None
) -> list[Motion]:
    """All motion below a folder, cleaned, at about 15 frames a second, near-duplicates within a split removed.

    Args:
        folder: our `mocap` folder, or any folder of motion files.
        cache: a file to keep the result in (npz); read when it was made from the same files. None: nothing is kept.
        seen: gets every sequence as it is read, for a progress bar; none of them where the cache is read.

    Returns:
        One Motion a sequence, those of which nothing was left omitted. Frames that were dropped leave gaps in time.
    """
    folder = Path(folder)
    fingerprint = _fingerprint(folder) if cache else ""
    kept = _load_cache(Path(cache), fingerprint) if cache and Path(cache).is_file() else None
    if kept is not None:
        return kept
    prepared = []
    for motion in read_folder(folder):
        prepared.append(_prepare(motion))
        if seen is not None:
            seen(motion)
    pool = drop_duplicates([motion for motion in prepared if motion is not None])
    if cache:
        _save_cache(Path(cache), fingerprint, pool)
    return pool


def drop_duplicates(pool: list[Motion]) -> list[Motion]:
    """Frames like one already kept in the same split are left out; motions of which nothing is left too."""
    kept: dict[int, Motion] = {}
    for part in SPLITS:
        members = [i for i, motion in enumerate(pool) if split(motion) == part]
        if not members:
            continue
        keep = unlike_frames(np.concatenate([pool[i].poses for i in members]))
        edges = np.cumsum([len(pool[i]) for i in members])[:-1]
        for i, mask in zip(members, np.split(keep, edges), strict=True):
            if mask.any():
                kept[i] = pool[i][mask]
    return [kept[i] for i in sorted(kept)]


def load_frames(pool: list[Motion], part: str) -> dict[str, NDArray]:
    """The frames of one split as arrays.

    Args:
        part: "train", "validation", "test" or "all".

    Returns:
        poses (N, 24, 3) float64 rotation vectors, driven (N, 24) bool, label (N,) and name (N,) str,
        weight (N,) proportional to 1 / sqrt(frames of the class), mean 1.
    """
    if part not in (*SPLITS, "all"):
        raise ValueError(f"Unknown split '{part}'. Expected one of {', '.join(SPLITS)} or 'all'.")
    chosen = [m for m in pool if part in ("all", split(m))]
    if not chosen:
        raise ValueError(f"There is no motion in the split '{part}' of this pool ({how_many(len(pool), 'motions')}).")
    classes = np.concatenate([np.full(len(m), m.source if m.source == HAND_KEYED else m.label) for m in chosen])
    return {
        "poses": np.concatenate([m.poses for m in chosen]),
        "driven": np.concatenate([m.driven for m in chosen]),
        "label": np.concatenate([np.full(len(m), m.label) for m in chosen]),
        "name": np.concatenate([np.full(len(m), m.name) for m in chosen]),
        "weight": class_weights(classes),
    }


def class_weights(classes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) weights proportional to 1 / sqrt(size of the class), mean 1, for (N,) class names."""
    _, index, count = np.unique(classes, return_inverse=True, return_counts=True)
    weight = 1.0 / np.sqrt(count[index])
    return weight / weight.mean()


def _fingerprint(folder: Path) -> str:
    """Of what a cache was made from: the files' names, sizes and times, the split, the code's version."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    facts = [(str(p.relative_to(folder)), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    lists = Path(__file__).with_name("split.json").read_text()
    return hashlib.sha256(repr((_VERSION, facts, lists)).encode()).hexdigest()


FINGERPRINT = "stamp"
"""The name of a cache's first array."""

_TEXTS = ("name", "label", "subject", "source")


def check_cache(path: Path) -> None:
    """That a pool may be kept there.

    Raises:
        FileExistsError: there is a file, and it is no cache of a pool.
    """
    if os.path.lexists(path) and not (path.is_file() and first_array(path) == FINGERPRINT):
        raise FileExistsError(
            f"'{path}' is in the way: the motion that was read is kept there, and this file is not that. Choose "
            "another folder with --out, or move it away."
        )


def _save_cache(path: Path, fingerprint: str, pool: list[Motion]) -> None:
    arrays = {FINGERPRINT: np.array(fingerprint)}
    arrays |= {key: np.concatenate([getattr(m, key) for m in pool]) for key in ("poses", "transl", "driven")}
    arrays |= {key: np.array([getattr(m, key) for m in pool]) for key in _TEXTS}
    arrays |= {"fps": np.array([m.fps for m in pool]), "length": np.array([len(m) for m in pool])}
    write_npz(path, arrays, compress=False)


def _load_cache(path: Path, fingerprint: str) -> list[Motion] | None:
    """None when the cache was made from other files or cannot be read: it is then made anew."""
    try:
        if str(read_npz(path, (FINGERPRINT,))[FINGERPRINT]) != fingerprint:
            return None
        arrays = read_npz(path)
        edges = np.cumsum(arrays["length"])[:-1]
        parts = [np.split(arrays[key], edges) for key in ("poses", "transl")]
        driven = np.split(arrays["driven"], edges)
        texts = zip(*(arrays[key].tolist() for key in _TEXTS), strict=True)
        rows = zip(*parts, arrays["fps"].tolist(), driven, texts, strict=True)
        return [Motion(*row[:-1], *row[-1]) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
