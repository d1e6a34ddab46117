"""Real motion in SMPL's convention: readers for AMASS npz, BVH, exponential-map text, DeepMimic text and GLB clips.

    pool = read_pool("recordings", cache="pool.npz")
    frames = load_frames(pool, "train")      # poses (N, 24, 3), driven (N, 24), label, name, weight

What is shipped with the library is fitted from motion; the motion itself is not shipped.
"""

from hmrfit.motion.motion import Motion
from hmrfit.motion.pool import check_cache, load_frames, read_folder, read_pool, split
from hmrfit.motion.read import read_motion, read_motions
from hmrfit.motion.rest import mirror_poses

__all__ = [
    "Motion", "check_cache", "load_frames", "mirror_poses", "read_folder", "read_motion", "read_motions", "read_pool",
    "split",
]  # fmt: skip
