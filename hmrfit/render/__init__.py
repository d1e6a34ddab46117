"""Pictures of bodies: silhouettes, part maps, depth and shaded overlays; and mesh files."""

MESHES = ("obj", "ply", "glb")
"""Mesh files, by suffix; here, where the command line finds them without torch."""
