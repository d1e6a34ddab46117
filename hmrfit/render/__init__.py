"""Pictures of bodies: silhouettes, part maps, depth and shaded overlays; and mesh files."""
