"""Fits of many people at once, beyond one process: what a table of results holds, and the engines that make it."""
