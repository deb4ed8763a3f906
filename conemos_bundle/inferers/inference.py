"""Running a network on a scan: whole or in windows, in mixed precision, only for the regions asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from conemos_bundle.inferers.containment import keep_inside, with_ancestors
from monai.inferers import SlidingWindowInferer

MODES = ("window", "whole")


def infer(
    inputs: torch.Tensor,
    network: torch.nn.Module,
    regions: torch.Tensor | None = None,
    condition: torch.Tensor | None = None,
    mode: str = "whole",
    window: Sequence[int] | None = None,
    overlap: float = 0.5,
    bfloat16: bool = False,
    parents: Mapping[int, int] | None = None,
) -> torch.Tensor:
    """Logits (float32) of scans; partially applied, it is the ``inferer`` of MONAI's engines.

    Args:
        inputs: images ``(B, C, D, H, W)``.
        network: the network.
        regions: region code ``(R, K)``, passed on to the network; None: all K.
        condition: one-hot ``(B, K)``, passed on in training.
        mode: ``"window"``: sliding, of the size that the network was trained on, scans that are smaller padded to it;
            ``"whole"``: the scan as it is. Instance norm averages over all that it is given: on validation scans of up
            to 1.5 windows a side, ``"whole"`` lost 0.2 to 1.7 Dice points (docs/results.md).
        window: window size in voxels; needed for ``"window"``.
        overlap: overlap of neighbouring windows, in [0, 1); Gaussian weights blend them.
        bfloat16: autocast to bfloat16, on a CPU as on a GPU; needs no loss scaling.
        parents: region index to that of the region it lies inside of, and never leaves (`keep_inside`); not in
            training. Regions that were not asked for are computed where one that was lies inside of them.

    Returns:
        ``(B, R, D, H, W)``.

    Raises:
        ValueError: unknown mode, or no window.
    """
    if mode not in MODES:
        raise ValueError(f"mode {mode!r}: use one of {', '.join(MODES)}")
    if mode == "window" and window is None:
        raise ValueError("mode 'window' needs a window")
    arguments: dict[str, torch.Tensor] = {}
    asked = needed = None if regions is None else [int(k) for k in regions.argmax(1)]
    if regions is not None and asked is not None:
        needed = with_ancestors(asked, parents or {})
        arguments["regions"] = torch.eye(regions.shape[1], device=regions.device)[needed]
    if condition is not None:
        arguments["condition"] = condition

    with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=bfloat16):
        if mode == "whole" or window is None:
            logits = network(inputs, **arguments)
        else:
            sliding = SlidingWindowInferer(roi_size=window, sw_batch_size=1, overlap=overlap, mode="gaussian")
            logits = sliding(inputs, network, **arguments)
    logits = logits.float()
    if parents and condition is None:
        logits = keep_inside(logits, range(logits.shape[1]) if needed is None else needed, parents)
    return logits if asked is None else logits[:, : len(asked)]
