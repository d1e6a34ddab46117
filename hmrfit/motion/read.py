"""Any motion file -> Motion, by what is in it."""

from pathlib import Path

from hmrfit.io.bounded import decode, read_bytes
from hmrfit.io.budget import TooLarge
from hmrfit.motion.amass import motion_from_amass
from hmrfit.motion.bvh_dialects import motion_from_bvh
from hmrfit.motion.deepmimic import motion_from_deepmimic
from hmrfit.motion.expmap import motion_from_expmap
from hmrfit.motion.glb import motions_from_glb
from hmrfit.motion.motion import Motion

SUFFIXES = (".npz", ".bvh", ".glb", ".txt", ".json")


def _text(data: bytes) -> str:
    try:
        return decode(data, "its text")
    except TooLarge:
        raise
    except ValueError:
        return data.decode("latin-1")


def motions_from_bytes(data: bytes, name: str = "", dialect: str | None = None, **options: object) -> list[Motion]:
    """The motions in a file's bytes (a GLB holds many, all others one). See `read_motions`."""
    if data[:4] == b"glTF":
        return motions_from_glb(data, **options)
    if data[:2] == b"PK":
        return [motion_from_amass(data, name, **options)]
    text = _text(data)
    start = text[:1000].lstrip()
    if start.startswith("HIERARCHY"):
        return [motion_from_bvh(text, name, **options)]
    if start.startswith("{"):
        return [motion_from_deepmimic(text, name, cmu_jump=dialect == "cmu_jump", **options)]
    if start[:1] in tuple("-+.0123456789") and "," in start:
        return [motion_from_expmap(text, name, **options)]
    raise ValueError(
        f"{len(data)} bytes that are no known motion: expected AMASS npz, BVH, exponential-map text, DeepMimic JSON"
        " or GLB. An empty or truncated file?"
    )


def read_motions(path: str | Path, dialect: str | None = None, **options: object) -> list[Motion]:
    """All motions of a file, recognised by its contents.

    Args:
        dialect: "cmu_jump" for CMU trials in DeepMimic's form, which need repairs and cannot be told from the text.
        options: what the format's own reader takes (`skip`, `fps`, `clips`).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: unknown format, damaged, truncated, hostile: the letter says which file and what is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no motion file {path}.")
    try:
        return motions_from_bytes(read_bytes(path), path.stem, dialect, **options)
    except TooLarge as error:
        raise TooLarge(f"{path}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_motion(path: str | Path, dialect: str | None = None, **options: object) -> Motion:
    """The one motion of a file; of a GLB with several clips, name one: `clips=["Walk_Loop"]`. See `read_motions`."""
    motions = read_motions(path, dialect, **options)
    if len(motions) != 1:
        raise ValueError(
            f"{path} holds {len(motions)} clips; choose with clips=[name] or call read_motions. Clips: "
            + ", ".join(m.name for m in motions)
        )
    return motions[0]
