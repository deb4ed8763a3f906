"""A picture of scans' predictions: each scan in three orthogonal planes, with outlines of reference and prediction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from conemos_bundle.transforms.intensity import intensity_range, to_unit
from conemos_bundle.transforms.resample import closest_ras
from conemos_bundle.utils.plain import no_formulas
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from monai.transforms.utils import generate_spatial_bounding_box
from nibabel.affines import voxel_sizes
from nibabel.orientations import apply_orientation, inv_ornt_aff

# Blue and orange are told apart by color-blind readers; the thin line is drawn over the thick one, so both show.
_OUTLINES = (("reference", "#1fb6ff", 2.6), ("prediction", "#ff9f1c", 1.2))
PLANES = ("sagittal", "coronal", "axial")  # RAS: the plane's axis is left-right, posterior-anterior, inferior-superior
ENDS = (("P", "A"), ("L", "R"), ("L", "R"))  # what lies at the left and right of each plane
_SHARE_OF_VIEW = 0.6  # of a view's side, taken by the longest side of the region
_SMALLEST_VIEW = 30.0  # mm: an eye is shown in its surroundings


@dataclass(frozen=True)
class View:
    """One plane of a scan around a region: images (rows, columns), the first row at the bottom."""

    gray: np.ndarray  # 0 to 255
    prediction: np.ndarray
    reference: np.ndarray
    aspect: float  # height of a pixel over its width


def orthogonal_views(
    image: np.ndarray, prediction: np.ndarray, reference: np.ndarray, affine: np.ndarray
) -> tuple[View, ...]:
    """The sagittal, coronal and axial `View` of a region, each where the reference has its largest area.

    The views are cut around reference and prediction, to a cube in mm; what lies outside the image is 0.

    Args:
        image: image (D, H, W) as bytes.
        prediction: boolean mask of the same shape.
        reference: boolean mask of the same shape, not empty.
        affine: voxels to mm in RAS+, (4, 4).
    """
    views = orthogonal_planes([image, prediction, reference], prediction | reference, reference, affine)
    return tuple(View(gray, predicted, referred, aspect) for (gray, predicted, referred), aspect in views)


def orthogonal_planes(
    arrays: Iterable[np.ndarray], around: np.ndarray, largest: np.ndarray, affine: np.ndarray
) -> list[tuple[list[np.ndarray], float]]:
    """A sagittal, a coronal and an axial plane of each of several arrays of one scan, cut to a cube in mm.

    Args:
        arrays: each (D, H, W); they are read one after the other. What lies outside of them is 0.
        around: boolean mask (D, H, W), not empty; the cube has its bounding box in the middle.
        largest: boolean mask (D, H, W); each plane is where it has its largest area.
        affine: voxels to mm in RAS+, (4, 4).

    Returns:
        of each plane (`PLANES`): that of each array, (rows, columns), the first row at the bottom; and the height of a
        pixel over its width.
    """
    orientation = closest_ras(affine)
    spacing = voxel_sizes(affine @ inv_ornt_aff(orientation, around.shape))
    around, largest = (apply_orientation(array, orientation) for array in (around, largest))

    start, stop = (np.array(corner) for corner in generate_spatial_bounding_box(around[None]))
    side = max(np.max((stop - start) * spacing) / _SHARE_OF_VIEW, _SMALLEST_VIEW)
    side = min(side, np.max(around.shape * spacing))  # no wider than the image
    first = np.floor((start + stop) / 2 - side / 2 / spacing).astype(int)
    last = np.ceil((start + stop) / 2 + side / 2 / spacing).astype(int)
    crop = tuple(slice(max(low, 0), high) for low, high in zip(first, last, strict=True))
    outside = list(zip(np.maximum(-first, 0), np.maximum(last - around.shape, 0), strict=True))
    largest = np.pad(largest[crop], outside)
    others = [tuple(other for other in range(3) if other != axis) for axis in range(3)]
    places = [int(largest.sum(axis=pair).argmax()) for pair in others]
    planes: list[list[np.ndarray]] = [[], [], []]
    for array in arrays:
        cut = np.pad(apply_orientation(array, orientation)[crop], outside)
        for axis, place in enumerate(places):
            planes[axis].append(np.ascontiguousarray(cut.take(place, axis).T))
    return [(its, float(spacing[up] / spacing[across])) for its, (across, up) in zip(planes, others, strict=True)]


def gray_levels(channel: np.ndarray) -> np.ndarray:
    """An image (D, H, W) as bytes, which is all a picture needs; the darkest and brightest 0.5% are clipped.

    Example::

        >>> gray_levels(np.array([[[0.0, 5.0, 10.0]]])).tolist()
        [[[0, 127, 255]]]
    """
    values = torch.as_tensor(channel)
    low, high, _ = intensity_range(values, 0.5, 99.5)
    gray: np.ndarray = (to_unit(values, low, high) * 255).numpy().astype(np.uint8)
    return gray


def draw_plane(
    ax: Axes,
    gray: np.ndarray,
    outlines: Iterable[tuple[np.ndarray, str, float]],
    aspect: float,
    ends: tuple[str, str],
    letters: float = 8,
) -> None:
    """Draw one plane into square axes.

    Args:
        ax: the axes.
        gray: bytes (rows, columns), the first row at the bottom.
        outlines: masks of that shape, each with its color and the width of its line; empty ones have none.
        aspect: height of a pixel over its width.
        ends: what lies at the left and at the right.
        letters: their size in points.
    """
    ax.imshow(gray, cmap="gray", vmin=0, vmax=255, origin="lower", interpolation="bilinear")
    ax.set_aspect(aspect)
    height, width = gray.shape
    side = min(width, height * aspect)  # square tiles, though voxels do not divide the cube evenly
    ax.set_xlim((width - 1 - side) / 2, (width - 1 + side) / 2)
    ax.set_ylim((height - 1 - side / aspect) / 2, (height - 1 + side / aspect) / 2)
    ax.set(xticks=[], yticks=[])
    for mask, color, line in outlines:
        if mask.any() and min(mask.shape) > 1:  # Matplotlib warns of contours that are none
            ax.contour(mask, levels=[0.5], colors=color, linewidths=line)
    for place, end in zip((0.04, 0.96), ends, strict=True):
        text = ax.text(place, 0.5, end, transform=ax.transAxes, ha="center", va="center")
        text.set(color="white", fontsize=letters, path_effects=[withStroke(linewidth=2, foreground="black")])
    ax.spines[:].set_visible(False)


@no_formulas
def draw_montage(columns: Sequence[tuple[str, Sequence[View]]], title: str) -> Figure:
    """Draw one column per scan and one row per plane.

    Args:
        columns: for each scan its title and its three views.
        title: title of the picture.

    Returns:
        the figure; ``figure.savefig(path)`` writes it.
    """
    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0, hspace=0)
    figure = Figure(figsize=(2.9 * len(columns) + 0.3, 9.9), dpi=120, layout=layout)
    axes = figure.subplots(len(PLANES), len(columns), squeeze=False)
    for column, (heading, views) in enumerate(columns):
        axes[0, column].set_title(heading, fontsize=9)
        for row, view in enumerate(views):
            outlines = [
                (mask, color, line)
                for mask, (_, color, line) in zip((view.reference, view.prediction), _OUTLINES, strict=True)
            ]
            draw_plane(axes[row, column], view.gray, outlines, view.aspect, ENDS[row])
    for row, plane in enumerate(PLANES):
        axes[row, 0].set_ylabel(plane, fontsize=9)
    figure.suptitle(title, fontsize=12, fontweight="bold")
    handles = [Line2D([], [], color=color, linewidth=line, label=name) for name, color, line in _OUTLINES]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure
