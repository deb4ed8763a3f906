"""Scans as files: voxels and their place in space."""
