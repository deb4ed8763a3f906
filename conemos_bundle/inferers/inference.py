"""Running a network on a scan: whole or in windows, in mixed precision, only for the regions asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from conemos_bundle.inferers.containment import keep_inside, with_ancestors
from conemos_bundle.inferers.encode_once import EncodeOnce
from conemos_bundle.inferers.own_scale import Box, Look, each_at_its_scale
from conemos_bundle.inferers.windows import count_windows, skip_air
from conemos_bundle.networks.pairs import VOXELS_AT_ONCE
from conemos_bundle.scales import Scales
from monai.inferers import SlidingWindowInferer
from tqdm import tqdm

MODES = ("window", "whole")


def infer(
    inputs: torch.Tensor,
    network: torch.nn.Module,
    regions: torch.Tensor | None = None,
    mode: str = "whole",
    window: Sequence[int] | None = None,
    overlap: float = 0.5,
    bfloat16: bool = False,
    parents: Mapping[int, int] | None = None,
    scales: Scales | None = None,
    voxels_at_once: int = VOXELS_AT_ONCE,
    progress: str | None = None,
) -> torch.Tensor:
    """Logits (float32) of scans; partially applied, it is the ``inferer`` of MONAI's engines.

    Args:
        inputs: images ``(B, C, D, H, W)``.
        network: the network.
        regions: indices ``(R,)``, or, in training, ``(B, R)``, for each image its own, and -1 where there are fewer:
            these are not computed, their logits are 0; None: all K.
        mode: ``"window"``: sliding, of the size that the network was trained on, scans that are smaller padded to it,
            windows of nothing but air left out (`skip_air`);
            ``"whole"``: the scan as it is. Instance norm averages over all that it is given: on validation scans of up
            to 1.5 windows per side, ``"whole"`` lost 0.2 to 1.7 Dice points (docs/results.md).
        window: window size in voxels; needed for ``"window"``; with scales, each has its own.
        overlap: overlap of neighboring windows, in [0, 1); Gaussian weights blend them.
        bfloat16: autocast to bfloat16, on a CPU as on a GPU; needs no loss scaling.
        parents: region index to that of the region it lies inside of, and never leaves (`keep_inside`); not with
            regions of each image's own. Regions that were not asked for are computed where one that was lies inside of
            them.
        scales: of each region (`region_scales`); the image has the plan's spacing. Each region is looked for in the box
            of the one that it lies within, with a margin, at its own spacing (`each_at_its_scale`), and what is logged
            where that one is not found; not with regions of each image's own. None: one spacing, the whole scan.
        voxels_at_once: of pairs of an image and a region of its own that are decoded in one go, see `decode_pairs`.
        progress: what a bar that counts the windows is called; it is shown on a terminal only. None: no bar.

    Returns:
        ``(B, R, D, H, W)``.

    Raises:
        ValueError: unknown mode, or no window.
    """
    if mode not in MODES:
        raise ValueError(f"mode {mode!r}: use one of {', '.join(MODES)}")
    if mode == "window" and window is None:
        raise ValueError("mode 'window' needs a window")
    asked = needed = None if regions is None or regions.dim() == 2 else regions.tolist()
    if asked is not None:
        needed = with_ancestors(asked, parents or {})
        regions = torch.tensor(needed, device=inputs.device)
    if scales is not None and (regions is None or regions.dim() == 1):
        every = list(range(len(scales.level))) if needed is None else needed

        def look(part: torch.Tensor, codes: list[int], known_by: tuple[int, Box]) -> torch.Tensor:
            if isinstance(network, EncodeOnce):
                network.begin(known_by)
            indices = torch.tensor(codes, device=part.device)
            of_level = scales.patch_sizes[known_by[0]]
            return infer(part, network, indices, mode, of_level, overlap, bfloat16, progress=progress)

        logits = torch.stack([_at_own_scales(image[None], every, scales, look) for image in inputs])
        if parents:
            logits = keep_inside(logits, every, parents)
        return logits if asked is None else logits[:, : len(asked)]
    given = {} if regions is None else {"regions": regions}

    with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=bfloat16):
        if mode == "whole" and regions is not None and regions.dim() == 2 and regions.shape[1] > 1:
            logits = _of_pairs(inputs, network, regions, voxels_at_once)
        elif mode == "whole" or window is None:
            logits = network(inputs, **given)
        else:
            logits = _of_windows(inputs, network, window, overlap, progress, given)
    logits = logits.float()
    if parents and (regions is None or asked is not None):
        logits = keep_inside(logits, range(logits.shape[1]) if needed is None else needed, parents)
    return logits if asked is None else logits[:, : len(asked)]


def _at_own_scales(image: torch.Tensor, regions: Sequence[int], scales: Scales, look: Look) -> torch.Tensor:
    """Logits ``(R, D, H, W)`` of an image ``(1, C, D, H, W)``."""
    logits = {found.region: found.logits for found in each_at_its_scale(image, regions, scales, look)}
    return torch.stack([logits[region] for region in regions])


def _of_windows(
    inputs: torch.Tensor,
    network: torch.nn.Module,
    window: Sequence[int],
    overlap: float,
    progress: str | None,
    options: Mapping[str, torch.Tensor],
) -> torch.Tensor:
    windows = count_windows(inputs.shape[2:], window, overlap) * len(inputs)
    sliding = SlidingWindowInferer(window, sw_batch_size=1, overlap=overlap, mode="gaussian", with_coord=True)
    hidden = True if progress is None or windows == 1 else None  # None: unless stderr is a terminal
    # not MONAI's own bar, which stays, on every stderr
    with tqdm(total=windows, desc=progress, unit="window", leave=False, disable=hidden) as bar:
        logits: torch.Tensor = sliding(inputs, skip_air(network, inputs, bar), **options)  # type: ignore[assignment]
    return logits


def _of_pairs(
    inputs: torch.Tensor, network: torch.nn.Module, regions: torch.Tensor, voxels_at_once: int
) -> torch.Tensor:
    """Logits ``(B, R, D, H, W)`` of each image's own regions ``(B, R)``, 0 where an index is -1."""
    images, places = (regions >= 0).nonzero(as_tuple=True)
    asked = regions[images, places].unsqueeze(1)
    logits = network(inputs, regions=asked, images=images, voxels_at_once=voxels_at_once)
    return logits.new_zeros(*regions.shape, *logits.shape[2:]).index_put((images, places), logits.squeeze(1))
