"""Files for other programs."""

MOTIONS = ("npz", "glb", "bvh", "smpl", "trc", "mot", "sto", "csv")
"""Motion files, by suffix; here, where the command line finds them without torch."""
