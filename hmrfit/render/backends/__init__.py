"""The renderers, one file each."""
