"""Find the scans and the segments of a folder that 3D Slicer's segmentations were saved into."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unicodedata import normalize

from conemos_bundle.data.datalist import MaskSource, make_scan
from conemos_bundle.errors import UserError
from conemos_bundle.importers.folders import ImportedDataset, image_files, mask_source, relative_path
from conemos_bundle.names import check_region_names
from conemos_bundle.volumes.seg_nrrd import is_seg_nrrd, read_segments


def from_segmentations(
    source: Path, root: Path, subject: Callable[[str], str], regions: object = None
) -> ImportedDataset:
    """SOURCE/images/* and SOURCE/segmentations/<name of the image>.seg.nrrd, whose segments are the regions.

    Where a file lacks a segment, its region is unknown. Headers are read, no voxels.

    Args:
        source: the folder with ``images`` and ``segmentations``.
        root: where the paths of the datalist start.
        subject: gives the subject of a scan's name.
        regions: names of the segments to take, in paint order; default: all, as they come.

    Raises:
        UserError: a folder is missing or empty, a segmentation is none or matches no image, a region is no segment.
    """
    images, files = image_files(source / "images"), image_files(source / "segmentations")
    segments: dict[str, list[str]] = {}
    for name, file in files.items():
        if not is_seg_nrrd(file):
            raise UserError(f"{file}: not a .seg.nrrd; masks and label maps go elsewhere ('conemos datalist --help')")
        if name not in images:
            raise UserError(f"{file}: matches no image in {source / 'images'}; name it as its image, or remove it")
        segments[name] = [normalize("NFC", segment.name) for segment in read_segments(file)]
    there = list(dict.fromkeys(region for names in segments.values() for region in names))
    if isinstance(regions, dict):
        raise UserError("--regions: segments have no label values; pass a list of their names, or nothing")
    asked = list(regions) if isinstance(regions, list | tuple) else [regions]
    wanted = there if regions is None else check_region_names(asked, "--regions")
    for name, names in segments.items():  # a segment that nobody asks for may be called anything
        check_region_names([region for region in names if region in wanted], str(files[name]))
    check_region_names(wanted, "--regions")
    if lacking := [region for region in wanted if region not in there]:
        raise UserError(
            f"--regions: no segmentation has a segment {lacking[0]!r}; there are {', '.join(map(repr, there))}"
        )

    def masks(name: str) -> dict[str, str | MaskSource]:
        file = relative_path(files[name], root) if name in files else ""
        its = segments.get(name, [])
        return {region: mask_source(file=file, segment=region) for region in wanted if region in its}

    scans = [make_scan(relative_path(file, root), subject(name), masks(name)) for name, file in images.items()]
    return ImportedDataset(regions=wanted, unsplit=scans)
