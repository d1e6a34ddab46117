"""Videos: their frames read and written, cuts in them, and who is who from frame to frame."""
