"""Running a network on a scan: whole or in windows, in mixed precision, only for the regions asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from conemos_bundle.inferers.containment import keep_inside, with_ancestors
from monai.inferers import SlidingWindowInferer

MODES = ("auto", "whole", "window")
LARGEST_WHOLE = 1.5


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
        mode: ``"whole"`` volume; sliding ``"window"``; ``"auto"``: whole where no side is over 1.5 windows.
        window: window size in voxels; needed for the latter two.
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
    if mode != "whole" and window is None:
        raise ValueError(f"mode {mode!r} needs a window")
    arguments: dict[str, torch.Tensor] = {}
    asked = needed = None if regions is None else [int(k) for k in regions.argmax(1)]
    if regions is not None and asked is not None:
        needed = with_ancestors(asked, parents or {})
        arguments["regions"] = torch.eye(regions.shape[1], device=regions.device)[needed]
    if condition is not None:
        arguments["condition"] = condition

    with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=bfloat16):
        if mode == "auto" and window is not None:
            fits = all(side <= LARGEST_WHOLE * w for side, w in zip(inputs.shape[2:], window, strict=True))
            mode = "whole" if fits else "window"
        if mode == "whole" or window is None:
            logits = network(inputs, **arguments)
        else:
            sliding = SlidingWindowInferer(roi_size=window, sw_batch_size=1, overlap=overlap, mode="gaussian")
            logits = sliding(inputs, network, **arguments)
    logits = logits.float()
    if parents and condition is None:
        logits = keep_inside(logits, range(logits.shape[1]) if needed is None else needed, parents)
    return logits if asked is None else logits[:, : len(asked)]
