"""Files for other programs."""

MOTIONS = ("npz", "glb", "bvh", "smpl")
"""Motion files, by suffix; here, where the command line finds them without torch."""
