"""Where each region was looked for, and where it is: how often a box misses it, counted on a split's scans.

    python scripts/own_scale_boxes.py runs/own phantom/own_scale_study.json --output boxes.csv

Per region: scans that annotate it; those where the region that it is looked for within was not found (so the whole scan
was searched); those where a hundredth or more of it, and all of it, lies outside of the box that it was looked for in;
mean Dice (of the network's grid) where the box holds it, and where it does not.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import fire
import pandas as pd
import torch
from conemos_bundle.data import read_datalist, scan_items
from conemos_bundle.inferers import infer
from conemos_bundle.inferers.own_scale import Box, each_at_its_scale
from conemos_bundle.predictor.loading import load_model
from conemos_bundle.runs.run import read_record
from conemos_bundle.scales import planned_scales
from conemos_bundle.transforms import preparation


def main(run: str, datalist: str, split: str = "test", output: str | None = None, threads: int = 1) -> None:
    """Count.

    Args:
        run: folder of a run with scales.
        datalist: of the scans; its paths start at its folder.
        split: whose scans.
        output: a CSV file; beside it, ``<name>_each.csv`` has every scan and region.
        threads: of PyTorch.
    """
    torch.set_num_threads(threads)
    model, network = load_model(run, device="cpu")
    plan = read_record(model.weights).plan.model_dump()
    scales = planned_scales(plan, model.regions)
    assert scales is not None, f"{run}: trained with one scale for all"
    data = read_datalist(datalist)
    prepare = preparation(plan, model.regions, resample_masks=True)
    look = partial(_look, network, scales.patch_sizes)
    rows = []
    for item in scan_items(data, split, Path(datalist).parent):
        prepared = prepare(item)
        masks = dict(zip(prepared["annotated"].tolist(), torch.as_tensor(prepared["label"]) == 1, strict=True))
        image = torch.as_tensor(prepared["image"])[None]
        for found in each_at_its_scale(image, list(masks), scales, look):
            reference = masks.get(found.region)
            if reference is None or not reference.any():
                continue
            inside = reference[tuple(slice(a, b) for a, b in zip(*found.box, strict=True))].sum()
            overlap = (reference & (found.logits > 0)).sum()
            row: dict[str, Any] = {"scan": Path(item["image"]).name, "region": model.regions[found.region]}
            row |= {"missed": int(found.missed is not None), "in_box": float(inside / reference.sum())}
            row["dice"] = float(2 * overlap / (reference.sum() + (found.logits > 0).sum()))
            rows.append(row)
    each = pd.DataFrame(rows)
    table = each.groupby("region", sort=False).apply(_count, include_groups=False).reset_index()
    print(table.to_string(index=False))
    if output is not None:
        table.to_csv(output, index=False, float_format="%.4g")
        each.to_csv(Path(output).with_name(f"{Path(output).stem}_each.csv"), index=False, float_format="%.4g")


@torch.no_grad()
def _look(
    network: torch.nn.Module, windows: list[list[int]], part: torch.Tensor, codes: list[int], known_by: tuple[int, Box]
) -> torch.Tensor:
    return infer(part, network, torch.tensor(codes), mode="window", window=windows[known_by[0]])


def _count(scans: pd.DataFrame) -> pd.Series:
    held = scans["in_box"] > 0.99
    counts = {"scans": len(scans), "container_missed": scans["missed"].sum(), "partly_outside": (~held).sum()}
    counts |= {"all_outside": (scans["in_box"] == 0).sum(), "not_found": (scans["dice"] == 0).sum()}
    return pd.Series({**counts, "dice_held": scans[held]["dice"].mean(), "dice_outside": scans[~held]["dice"].mean()})


if __name__ == "__main__":
    fire.Fire(main)
