"""Scans as files: voxels and their place in space, read in one way by every command and host."""

from conemos_bundle.volumes.geometry import Geometry
from conemos_bundle.volumes.reading import (
    EXTENSIONS,
    Volume,
    data_files,
    has_extension,
    has_header,
    nifti_header,
    read_geometry,
    read_volume,
)
from conemos_bundle.volumes.saving import is_sheared, save_mask

__all__ = [
    "EXTENSIONS",
    "Geometry",
    "Volume",
    "data_files",
    "has_extension",
    "has_header",
    "is_sheared",
    "nifti_header",
    "read_geometry",
    "read_volume",
    "save_mask",
]
