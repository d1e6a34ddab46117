"""Pictures of bodies: silhouettes, part maps, depth, shaded overlays, and mesh files."""
