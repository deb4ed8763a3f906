"""Does confidence rank scans as their true Dice does? Spearman's correlation per region, over test scans.

    conemos datalist DATA/hippocampus --csv DATA/hippocampus/partial_annotations.csv \\
        --regions "{'hippocampus': [1, 2], 'anterior': [1], 'posterior': [2]}" --output hippocampus.json
    python scripts/confidence_check.py hippocampus.json --output docs/results/confidence.csv

Writes a row per scan and region; prints the correlation, and how long a confidence takes beside a segmentation.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pandas as pd
import torch
from conemos_bundle import Predictor
from conemos_bundle.data import scan_items
from conemos_bundle.data.datalist import read_datalist, scans_folder
from conemos_bundle.inferers.confidence import soft_dice_confidence
from conemos_bundle.metrics.dice import dice
from conemos_bundle.transforms import LoadImageScand
from conemos_bundle.transforms.masks import LoadRegionMasksd
from scipy.stats import spearmanr


def rows_of(predictor: Predictor, item: dict) -> list[dict]:
    """Confidence and Dice of each annotated region of a scan."""
    loaded = LoadRegionMasksd(predictor.regions)(LoadImageScand("image")(item))
    annotated = [predictor.regions[int(k)] for k in loaded["annotated"]]
    found = predictor(item["image"], annotated, confidences=True, keep=False)
    return [
        {
            "scan": Path(item["image"]).name.removesuffix(".nii.gz"),
            "region": region,
            "confidence": round((found.confidences or {})[region], 4),
            "dice": round(dice(found[region], mask.numpy()), 4),
        }
        for region, mask in zip(annotated, loaded["label"], strict=True)
    ]


def main() -> None:
    """Segment the scans, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datalist", type=Path)
    parser.add_argument("--model", help="a run or a bundle; default: that of this package")
    parser.add_argument("--split", default="test")
    parser.add_argument("--output", type=Path, default=Path("confidence.csv"))
    options = parser.parse_args()
    predictor = Predictor.load(options.model, "cpu")
    start, rows = time.perf_counter(), []
    datalist = read_datalist(options.datalist)
    items = scan_items(datalist, options.split, scans_folder(options.datalist, datalist))
    for item in items:
        rows += rows_of(predictor, item)
    seconds = (time.perf_counter() - start) / len(items)
    table = pd.DataFrame(rows)
    table.to_csv(options.output, index=False)
    for region, group in table.groupby("region", sort=False):
        rank = spearmanr(group["confidence"], group["dice"])
        means = f"mean confidence {group['confidence'].mean():.3f}, mean Dice {group['dice'].mean():.3f}"
        print(f"{region}: {len(group)} scans, Spearman {rank.statistic:.2f} (p = {rank.pvalue:.1e}), {means}")
    logits = torch.randn(64, 64, 64)
    start = time.perf_counter()
    for _ in range(20):
        soft_dice_confidence(logits.sigmoid())
    spent = (time.perf_counter() - start) / 20
    print(f"{seconds:.2f} s a scan; a confidence of 64 x 64 x 64 voxels: {spent * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
