"""Files of a few kilobytes that would take gigabytes, minutes, or the stack; by the suffix or the kind they are for."""

from fuzzing.array_bombs import NPY, NPZ, PICKLE, Bomb, edited_npz
from fuzzing.media_bombs import BVH, CSV, GLB, IMAGES, JSON, TEXT, YAML
from fuzzing.network_bombs import H5, MAT, NETWORK, TORCH, nested_settings

__all__ = ["Bomb", "edited_npz", "of"]

BY_SUFFIX: dict[str, list[Bomb]] = {
    ".npz": NPZ,
    ".npy": NPY,
    ".pkl": PICKLE,
    ".json": JSON,
    ".csv": CSV,
    ".yaml": YAML,
    ".glb": GLB,
    ".bvh": BVH,
    ".txt": TEXT,
    ".pt": TORCH,
    ".mat": MAT,
    ".h5": H5,
    **IMAGES,
}

BY_KIND: dict[str, list[Bomb]] = {
    "network.npz": [*NETWORK, nested_settings],
    "discriminator.npz": [*NETWORK, nested_settings],
    "body.npz": [*NPZ, *PICKLE],
    "body.pkl": [*PICKLE, *NPZ],
}


def of(kind: str, suffix: str) -> list[Bomb]:
    """The bombs for a kind of file."""
    return BY_KIND.get(kind, BY_SUFFIX.get(suffix, []))
