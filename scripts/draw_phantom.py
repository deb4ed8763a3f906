"""Draw eight scans of the phantom at full fidelity with the outlines of the five regions, for docs/phantom.md.

python scripts/draw_phantom.py            # docs/images/phantom_scans.png; half a minute
"""

from __future__ import annotations

from pathlib import Path

import fire
import numpy as np
from conemos_bundle.phantom import REGIONS, draw_scan_at_full_fidelity
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

# told apart by color-blind readers too (Okabe and Ito)
COLORS = {"uterus": "#56b4e9", "body": "#f0e442", "brain": "#d55e00", "eyes": "#ffffff", "placenta": "#cc79a7"}
PLANES = ("sagittal", "coronal", "axial")
VIEW = 92  # voxels per side


def best_slice(masks: dict[str, np.ndarray], axis: int) -> int:
    """The slice across ``axis`` that shows most of all regions, each relative to its largest area."""
    areas = [mask.sum(axis=tuple(a for a in range(3) if a != axis)) for mask in masks.values()]
    return int(sum(area / area.max() for area in areas).argmax())


def view(image: np.ndarray, masks: dict[str, np.ndarray], axis: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A square of `VIEW` pixels around the uterus in the best slice across ``axis``: image, masks (rows, columns)."""
    index = best_slice(masks, axis)
    rows, columns = np.nonzero((masks["uterus"] | masks["placenta"]).any(axis=axis))
    corner = [int(np.clip((c.min() + c.max() - VIEW) // 2, 0, image.shape[0] - VIEW)) for c in (rows, columns)]
    crop = tuple(slice(start, start + VIEW) for start in corner)
    return image.take(index, axis)[crop].T, {name: mask.take(index, axis)[crop].T for name, mask in masks.items()}


def main(output: str = "docs/images/phantom_scans.png", seed: int = 0, size: int = 128) -> None:
    """Draw the first scans of eight mothers.

    Args:
        output: the picture to write.
        seed: of the data set.
        size: voxels per side.
    """
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    figure = Figure(figsize=(12.4, 6.9), dpi=100, layout=layout)
    for mother, ax in enumerate(figure.subplots(2, 4).flat):
        image, masks = draw_scan_at_full_fidelity(size, seed, "training", mother, 0)
        axis = mother % 3
        gray, outlines = view(image, masks, axis)
        ax.imshow(gray, cmap="gray", vmin=0, vmax=1, origin="lower", interpolation="nearest")
        for name, mask in outlines.items():
            if mask.any():
                ax.contour(mask, levels=[0.5], colors=[to_rgb(COLORS[name])], linewidths=1.1)
        ax.set_title(f"synthetic, mother {mother}, {PLANES[axis]}", fontsize=9)
        ax.axis("off")
    handles = [Line2D([], [], color=COLORS[name], linewidth=3, label=name) for name in REGIONS]
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=10, facecolor="0.25")
    for text in legend.get_texts():
        text.set_color("white")
    figure.suptitle("Synthetic scans, drawn by conemos phantom: not real data", fontsize=12, fontweight="bold")
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output)
    print(f"{output}: {Path(output).stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    fire.Fire(main)
