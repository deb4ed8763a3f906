"""A picture of scans' predictions: each scan in three orthogonal planes, with outlines of reference and prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from conemos_bundle.transforms.intensity import intensity_range, to_unit
from conemos_bundle.transforms.resample import closest_ras
from conemos_bundle.utils.plain import no_formulas
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
_ENDS = (("P", "A"), ("L", "R"), ("L", "R"))  # what lies at the left and right of each plane
_SHARE_OF_VIEW = 0.6  # of a view's side, taken by the longest side of the region
_SMALLEST_VIEW = 30.0  # mm: an eye is shown in its surroundings


@dataclass(frozen=True)
class View:
    """One plane of a scan around a region: images (rows, columns), the first row at the bottom."""

    grey: np.ndarray  # 0 to 255
    prediction: np.ndarray
    reference: np.ndarray
    aspect: float  # height of a pixel over its width


def grey_levels(channel: torch.Tensor) -> np.ndarray:
    """A channel (D, H, W) as bytes, which is all a picture needs; the darkest and brightest 0.5% are clipped.

    Example::

        >>> grey_levels(torch.tensor([[[0.0, 5.0, 10.0]]])).tolist()
        [[[0, 127, 255]]]
    """
    low, high, _ = intensity_range(channel, 0.5, 99.5)
    grey: np.ndarray = (to_unit(channel, low, high) * 255).numpy().astype(np.uint8)
    return grey


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
    orientation = closest_ras(affine)
    spacing = voxel_sizes(affine @ inv_ornt_aff(orientation, image.shape))
    image, prediction, reference = (apply_orientation(array, orientation) for array in (image, prediction, reference))

    start, stop = (np.array(corner) for corner in generate_spatial_bounding_box((prediction | reference)[None]))
    side = max(np.max((stop - start) * spacing) / _SHARE_OF_VIEW, _SMALLEST_VIEW)
    side = min(side, np.max(image.shape * spacing))  # no wider than the image
    first = np.floor((start + stop) / 2 - side / 2 / spacing).astype(int)
    last = np.ceil((start + stop) / 2 + side / 2 / spacing).astype(int)
    crop = tuple(slice(max(low, 0), high) for low, high in zip(first, last, strict=True))
    outside = list(zip(np.maximum(-first, 0), np.maximum(last - image.shape, 0), strict=True))
    image, prediction, reference = (np.pad(array[crop], outside) for array in (image, prediction, reference))

    views = []
    for axis in range(3):
        across, up = (other for other in range(3) if other != axis)
        index = int(reference.sum(axis=(across, up)).argmax())
        grey, predicted, referred = (array.take(index, axis).T for array in (image, prediction, reference))
        views.append(View(grey, predicted, referred, aspect=float(spacing[up] / spacing[across])))
    return tuple(views)


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
            ax = axes[row, column]
            ax.imshow(view.grey, cmap="gray", vmin=0, vmax=255, origin="lower", interpolation="bilinear")
            ax.set_aspect(view.aspect)
            height, width = view.grey.shape
            side = min(width, height * view.aspect)  # square tiles, though voxels do not divide the cube evenly
            ax.set_xlim((width - 1 - side) / 2, (width - 1 + side) / 2)
            ax.set_ylim((height - 1 - side / view.aspect) / 2, (height - 1 + side / view.aspect) / 2)
            ax.set(xticks=[], yticks=[])
            for mask, (_, color, line) in zip((view.reference, view.prediction), _OUTLINES, strict=True):
                ax.contour(mask, levels=[0.5], colors=color, linewidths=line)
            for place, end in zip((0.04, 0.96), _ENDS[row], strict=True):
                text = ax.text(place, 0.5, end, transform=ax.transAxes, ha="center", va="center")
                text.set(color="white", fontsize=8, path_effects=[withStroke(linewidth=2, foreground="black")])
            ax.spines[:].set_visible(False)
    for row, plane in enumerate(PLANES):
        axes[row, 0].set_ylabel(plane, fontsize=9)
    figure.suptitle(title, fontsize=12, fontweight="bold")
    handles = [Line2D([], [], color=color, linewidth=line, label=name) for name, color, line in _OUTLINES]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure
