"""A picture of one scan: each region at its own voxel spacing, in the box that it is looked for in.

    python scripts/draw_scales.py RUN SCAN --output docs/images/scales.png --masks "{'eyes': 'eyes.nii.gz'}"

RUN was trained with `--scales own`. A panel per region shows the voxels that the network sees, the region as it is
found (color) and as it was drawn (white), and the boxes of what is looked for within it.
"""

from __future__ import annotations

from collections.abc import Mapping

import fire
import matplotlib as mpl

mpl.use("Agg")
import nibabel
import numpy as np
import torch
from conemos_bundle.inferers.own_scale import each_at_its_scale
from conemos_bundle.predictor import Predictor
from conemos_bundle.predictor.scans import scan_image
from conemos_bundle.transforms import OrientToRASd, ResampleToSpacingd
from conemos_bundle.transforms.own_scale import pool
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle
from monai.data import MetaTensor
from monai.transforms import Compose

COLORS = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2"]


def main(
    run: str, scan: str, output: str = "scales.png", masks: Mapping[str, str] | None = None, axis: int = 2
) -> None:
    """Draw.

    Args:
        run: folder of the run, or a bundle.
        scan: the scan's file.
        output: the picture's file.
        masks: the regions' masks as somebody drew them.
        axis: of RAS that slices are across.
    """
    predictor = Predictor.load(run, device="cpu")
    scales, inferer = predictor._scales, predictor._inferer
    assert scales is not None, f"{run}: has one scale"
    item = predictor._prepare(scan_image(scan, None))
    image = torch.as_tensor(item["image"])[None]

    def look(part: torch.Tensor, codes: list[int], known_by: tuple[int, object]) -> torch.Tensor:
        options = {"window": scales.patch_sizes[known_by[0]], "scales": None, "parents": None}
        return inferer(part, predictor._network, regions=torch.tensor(codes), **options)

    with torch.no_grad():
        every = list(each_at_its_scale(image, range(len(predictor.regions)), scales, look))
    found = {one.region: one for one in every}
    drawn = {region: _on_grid(file, item["image"]) for region, file in (masks or {}).items()}
    spacing = np.linalg.norm(item["image"].affine.numpy()[:3, :3], axis=0)
    figure, panels = plt.subplots(1, len(found), figsize=(2.6 * len(found), 3.2), facecolor="white")
    for panel, k in zip(np.atleast_1d(panels), sorted(found, key=lambda k: _depth(k, scales.within)), strict=True):
        _draw(panel, k, found, image, scales, predictor.regions, drawn, axis, spacing)
    figure.tight_layout(pad=0.4)
    figure.savefig(output, dpi=110)


def _depth(region: int, within: Mapping[int, int]) -> int:
    return 0 if region not in within else 1 + _depth(within[region], within)


def _on_grid(file: str, image: MetaTensor) -> np.ndarray:
    """A mask on the grid of a prepared scan."""
    spacing = np.linalg.norm(image.affine.numpy()[:3, :3], axis=0)
    prepare = Compose([OrientToRASd("mask"), ResampleToSpacingd("mask", spacing, mode="nearest")])
    return prepare({"mask": scan_image(nibabel.load(file), None)})["mask"].numpy()[0] > 0.5


def _draw(panel, k, found, image, scales, regions, drawn, axis, spacing) -> None:
    one, color = found[k], COLORS[k % len(COLORS)]
    factor = np.array(scales.factors[scales.level[k]])
    mask = (one.logits > 0).numpy()
    rest = [a for a in range(3) if a != axis]
    at = int(np.median(np.nonzero(mask)[axis])) if mask.any() else sum(b[axis] for b in one.box) // 2
    voxels = pool(image[0], tuple(factor))[0].numpy().take(at // factor[axis], axis)
    shape = np.array(mask.shape)[rest]
    view = [slice(one.box[0][a], one.box[1][a]) for a in rest]
    extent = (-0.5, voxels.shape[0] * factor[rest[0]] - 0.5, -0.5, voxels.shape[1] * factor[rest[1]] - 0.5)
    panel.imshow(voxels.T, cmap="gray", origin="lower", extent=extent, interpolation="nearest")
    for array, style in ((drawn.get(regions[k]), "white"), (mask, color)):
        if array is not None and array.take(at, axis).any():
            panel.contour(array.take(at, axis).T.astype(float), [0.5], colors=style, linewidths=1.6)
    for inner, outer in scales.within.items():
        if outer == k and inner in found:
            first, end = (np.array(found[inner].box)[i][rest] for i in (0, 1))
            panel.add_patch(
                Rectangle(first - 0.5, *(end - first), fill=False, ec=COLORS[inner % len(COLORS)], lw=1.6, ls="--")
            )
    centers = [(v.start + min(v.stop, n)) / 2 - 0.5 for v, n in zip(view, shape, strict=True)]
    half = max(min(v.stop, n) - v.start for v, n in zip(view, shape, strict=True)) / 2
    panel.set(
        xlim=(centers[0] - half, centers[0] + half), ylim=(centers[1] - half, centers[1] + half), xticks=[], yticks=[]
    )
    outer = scales.within.get(k)
    millimeters = float(np.min(spacing * factor))
    place = "whole scan" if outer is None else f"around {regions[outer]}"
    panel.set_title(f"{regions[k]}\n{place}, {millimeters:.3g} mm", fontsize=9)


if __name__ == "__main__":
    fire.Fire(main)
