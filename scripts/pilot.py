"""Datalists and grid of the pilot: the methods on the hippocampus, on CHAOS and on the phantom.

    python scripts/pilot.py ../shared/data --output pilot
    conemos experiments pilot/grid.json --output pilot/runs --cores 2

The first folder holds `hippocampus` and `chaos_t2spir`: `images/`, `labels/` and `partial_annotations.csv` each.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fire
from conemos_bundle.commands import datalist, phantom

METHODS = ["conemos", "psl_loss", "dodnet", "multi_layer", "multi_decoder", "individual", "pseudo_label"]
REGIONS = {
    "hippocampus": {"hippocampus": [1, 2], "anterior": [1], "posterior": [2]},
    "chaos_t2spir": {
        "abdominal_organs": [1, 2, 3, 4],
        "liver": [1],
        "kidneys": [2, 3],
        "right_kidney": [2],
        "left_kidney": [3],
        "spleen": [4],
    },
}
PHANTOM_SIZE = 64  # voxels of 6 mm: what 2 cores can train on
SMALL_PATCHES = {"most_voxels": 48**3}  # for scans larger than the hippocampus: steps of about the same time


def main(data: str, output: str = "pilot", epochs: int = 10, seeds: tuple[int, ...] = (0,)) -> None:
    """Write ``hippocampus.json``, ``chaos_t2spir.json``, ``phantom/`` and ``grid.json``.

    Args:
        data: folder of the two real data sets.
        output: folder for the files.
        epochs: of 200 steps each, for every method alike.
        seeds: of every method.
    """
    folder = Path(output).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    datasets: dict[str, dict[str, Any]] = {}
    for name, regions in REGIONS.items():
        source = Path(data).absolute() / name
        table = str(source / "partial_annotations.csv")
        datalist(str(source), str(folder / f"{name}.json"), csv=table, regions=regions, name=name)  # type: ignore[arg-type]
        settings = {} if name == "hippocampus" else SMALL_PATCHES
        datasets[name] = {"datalist": f"{name}.json", "dataset_dir": str(source), "settings": settings}
    if not (folder / "phantom").exists():
        phantom(str(folder / "phantom"), fidelity="full", size=PHANTOM_SIZE, complete_test=True)
    settings = {**SMALL_PATCHES, "rotation_degrees": 180, "flip_probability": [0.5, 0.5, 0.5]}
    datasets["phantom"] = {"datalist": "phantom/datalist.json", "dataset_dir": "phantom", "settings": settings}
    few = {"methods": METHODS[:3], "seeds": list(seeds)}
    runs = [
        {"datasets": ["hippocampus"], "methods": METHODS, "seeds": list(seeds)},
        {"datasets": ["hippocampus"], **few, "shares": [0.25]},
        {"datasets": ["hippocampus"], "methods": ["conemos"], "seeds": list(seeds), "conditioned": [1]},
        {"datasets": ["chaos_t2spir"], **few},
        {"datasets": ["phantom"], **few},
    ]
    grid = {"datasets": datasets, "settings": {"max_epochs": epochs, "sampling_rule": "uniform"}, "runs": runs}
    (folder / "grid.json").write_text(json.dumps(grid, indent=4) + "\n", encoding="utf-8")
    print(f"wrote {folder / 'grid.json'}")


if __name__ == "__main__":
    fire.Fire(main)
