"""Scans as files: voxels and their place in space, read in one way by every command and host."""

from conemos_bundle.volumes.geometry import Geometry
from conemos_bundle.volumes.reading import EXTENSIONS, Volume, has_extension, read_geometry, read_volume

__all__ = ["EXTENSIONS", "Geometry", "Volume", "has_extension", "read_geometry", "read_volume"]
