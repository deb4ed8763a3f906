"""Peak memory and time of `conemos predict` on a large synthetic scan, for one, two and more regions.

    python scripts/large_scan.py --size 256 256 200 --spacing 1 --regions 1 2 20
    python scripts/large_scan.py --size 512 512 400 --spacing 0.3 --regions 1 2 20

The network has the architecture of the package's model, random weights, and K regions, the second of which lies inside
of the first. A body of noise lies amid air. Each prediction is a process of its own; its peak (VmHWM) is the kernel's.
The network's grid is of 1 mm: a smaller spacing of the scan means fewer windows.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np
import torch
from conemos_bundle.networks import FiLMUNet
from conemos_bundle.utils.paths import bundle_folder

PREDICT = """
import re, sys
from conemos_bundle.cli import predict
scan, model, output, output_format, regions = sys.argv[1:]
predict(scan, model=model, output=output, output_format=output_format, regions=regions, device="cpu")
print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read()).group(0))
"""


def make_scan(path: Path, size: list[int], spacing: float) -> None:
    """An ellipsoid of noise, int16, that fills 0.8 of each axis; air is 0."""
    axes = [np.linspace(-1.25, 1.25, length, dtype=np.float32) ** 2 for length in size]
    voxels = np.zeros(size, np.int16)
    rng = np.random.default_rng(0)
    for i, distance in enumerate(axes[0]):
        body = distance + axes[1][:, None] + axes[2] < 1
        voxels[i][body] = rng.integers(200, 1000, int(body.sum()), dtype=np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([spacing, spacing, spacing, 1])), path)


def make_model(folder: Path, regions: list[str], channels: list[int], window: int, overlap: float) -> None:
    """The package's bundle with another number of regions, random weights and other windows."""
    shutil.copytree(bundle_folder() / "configs", folder / "configs")
    inference = json.loads((folder / "configs" / "inference.json").read_text())
    metadata = json.loads((folder / "configs" / "metadata.json").read_text())
    metadata["network_data_format"]["outputs"]["pred"]["channel_def"] = dict(
        enumerate(["background", *regions])  # JSON makes text of the numbers
    )
    inference["network_def"].update(num_regions=len(regions), channels=channels)
    inference.update(window=[window] * 3, overlap=overlap, inside={regions[1]: regions[0]})
    for name, content in (("inference", inference), ("metadata", metadata)):
        (folder / "configs" / f"{name}.json").write_text(json.dumps(content))
    arguments = {name: value for name, value in inference["network_def"].items() if name != "_target_"}
    torch.manual_seed(0)
    (folder / "models").mkdir()
    torch.save(FiLMUNet(**arguments).state_dict(), folder / "models" / "model.pt")


def main() -> None:
    """Make the scan and the model, and predict."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--size", type=int, nargs=3, default=[256, 256, 200])
    parser.add_argument("--spacing", type=float, default=1.0, help="of the scan, in mm; the network's is 1 mm")
    parser.add_argument("--regions", type=int, nargs="+", default=[1, 2, 20], help="how many, one prediction each")
    parser.add_argument("--channels", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--overlap", type=float, default=0.5)
    parser.add_argument("--format", default="files")
    options = parser.parse_args()
    names = [f"region_{k}" for k in range(max(2, *options.regions))]
    with tempfile.TemporaryDirectory() as folder:
        scan, model = Path(folder) / "scan.nii.gz", Path(folder) / "model"
        make_scan(scan, options.size, options.spacing)
        make_model(model, names, options.channels, options.window, options.overlap)
        for count in options.regions:
            output, asked, begin = Path(folder) / f"out_{count}", ",".join(names[:count]), time.monotonic()
            command = [sys.executable, "-c", PREDICT, str(scan), str(model), str(output), options.format, asked]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            found = re.search(r"VmHWM:\s+(\d+) kB", done.stdout)
            peak = int(found.group(1)) / 2**20 if found else float("nan")
            print(f"{count:3} regions: {peak:.2f} GiB, {time.monotonic() - begin:.0f} s", flush=True)
            shutil.rmtree(output)


if __name__ == "__main__":
    main()
