"""A scan and the masks that were predicted in it, in three planes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from conemos_bundle.evaluation.montage import ENDS, PLANES, draw_plane, gray_levels, orthogonal_planes
from conemos_bundle.reports.pictures import data_uri, figure_picture
from conemos_bundle.transforms.masks import read_on_grid, region_mask
from conemos_bundle.utils.plain import no_formulas
from conemos_bundle.volumes import read_volume
from markupsafe import Markup
from matplotlib.figure import Figure

# told apart by color-blind readers (Okabe and Ito), and seen on gray
COLORS = ("#ff9f1c", "#1fb6ff", "#2dd4a7", "#f4e04d", "#e88ad2", "#ff6b4a", "#9aa8ff", "#ffffff")


class Plane(NamedTuple):
    """A picture of one plane: its name, what lies at its left and right, its address for an ``img``."""

    name: str
    ends: tuple[str, str]
    uri: Markup


def region_colors(regions: Sequence[str]) -> dict[str, str]:
    """A color for each region; with more than eight, some are used again.

    Example::

        >>> region_colors(["liver", "tumor"])
        {'liver': '#ff9f1c', 'tumor': '#1fb6ff'}
    """
    return {region: COLORS[i % len(COLORS)] for i, region in enumerate(regions)}


def mask_sources(files: Mapping[str, Sequence[str]], sizes: Mapping[str, Mapping[str, Any]]) -> dict[str, dict]:
    """Where the mask of each region lies among the files that were written of a scan.

    Args:
        files: which regions each file holds, as `output_files` says.
        sizes: what is known of each region; of a label map its ``value``.

    Returns:
        for each region the fields of a `MaskSource`; files of other formats are left out.

    Example::

        >>> mask_sources({"a_labelmap.nii.gz": ["liver"]}, {"liver": {"value": 3}})
        {'liver': {'file': 'a_labelmap.nii.gz', 'values': [3]}}
    """
    sources: dict[str, dict[str, Any]] = {}
    for file, regions in files.items():
        if not file.endswith((".nii.gz", ".seg.nrrd")):
            continue
        for channel, region in enumerate(regions):
            part: dict[str, Any] = {}
            if file.endswith(".seg.nrrd"):
                part = {"segment": region}
            elif file.endswith("_labelmap.nii.gz"):
                part = {"values": [sizes[region]["value"]]}
            elif file.endswith("_regions.nii.gz") and len(regions) > 1:
                part = {"channel": channel}
            sources[region] = {"file": file, **part}
    return sources


@no_formulas
def draw_planes(
    image: str | Sequence[str], sources: Mapping[str, Mapping[str, Any]], colors: Mapping[str, str], pixels: int
) -> list[Plane]:
    """Pictures of a scan's first channel with the outlines of the masks, where all of them together are largest.

    Args:
        image: the scan's file, folder, or files of its channels.
        sources: of `mask_sources`.
        colors: of each region.
        pixels: width and height of a picture.

    Returns:
        three planes; of a scan without any mask, or with empty ones, through its middle.

    Raises:
        UserError: the scan or a mask cannot be read, or lies on another grid.
    """
    volume = read_volume(image if isinstance(image, str) else list(image))
    gray, affine = gray_levels(volume.voxels[0]), volume.affine
    del volume
    # of many regions of a large scan, the masks would not fit into memory: an eighth of them does
    packed: dict[str, npt.NDArray[np.uint8]] = {}
    union = np.zeros(gray.shape, bool)
    for region, mask in _masks(sources, gray.shape, affine):
        union |= mask
        packed[region] = np.packbits(mask)

    def arrays() -> Iterator[np.ndarray]:
        yield gray
        for bits in packed.values():
            yield np.unpackbits(bits, count=gray.size).reshape(gray.shape).astype(bool)

    around = union if union.any() else np.ones_like(union)
    middle = union if union.any() else _middle(gray.shape)
    planes = []
    for name, ends, (its, aspect) in zip(
        PLANES, ENDS, orthogonal_planes(arrays(), around, middle, affine), strict=True
    ):
        figure = Figure(figsize=(pixels / 100, pixels / 100), dpi=100, facecolor="black")
        widths = np.linspace(4.5, 2.4, len(packed))  # outer regions come first: a thin line over a thick one, both show
        outlines = [
            (mask, colors[region], float(width)) for region, mask, width in zip(packed, its[1:], widths, strict=True)
        ]
        draw_plane(figure.add_axes((0, 0, 1, 1)), its[0], outlines, aspect, ends, letters=14)
        planes.append(Plane(name, ends, data_uri(figure_picture(figure))))
    return planes


def _masks(
    sources: Mapping[str, Mapping[str, Any]], shape: Sequence[int], affine: npt.NDArray[np.float64]
) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """Regions and their masks; a file of several is read once."""
    last = ""
    for region, source in sources.items():
        if source["file"] != last:
            last, voxels = source["file"], read_on_grid(source["file"], shape, affine)
        yield region, region_mask(voxels, source).numpy() > 0


def _middle(shape: Sequence[int]) -> npt.NDArray[np.bool_]:
    """A voxel in the middle."""
    mask = np.zeros(shape, bool)
    mask[tuple(side // 2 for side in shape)] = True
    return mask


def scan_file(image: str | Sequence[str]) -> str:
    """The first file of a scan, or its folder, without the folders above it: reports are passed on."""
    return Path(image if isinstance(image, str) else image[0]).name
