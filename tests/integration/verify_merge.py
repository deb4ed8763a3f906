"""Two people teach two copies of a model a region each; merged, every region is what it was, to the bit.

python tests/integration/verify_merge.py SCANS       # folder of the hippocampus crops: images/, labels/; some minutes
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import fire
import nibabel
import numpy as np

REGIONS = {"hippocampus": [1, 2], "anterior": [1], "posterior": [2]}
BASE, *TAUGHT = REGIONS  # what the base knows, and what each person adds
SMALL = {"channels": "[4,8,16]", "max_epochs": 2, "steps_per_epoch": 40, "patch_size": "[24,32,24]"}


def conemos(folder: Path, command: str, *words: object, threads: int = 1, **options: object) -> None:
    """A command, started in a folder."""
    line = [sys.executable, "-m", "conemos_bundle", command, *words]
    line += [word for option, value in options.items() for word in (f"--{option}", value)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    subprocess.run([str(word) for word in line], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)


def write_datalist(scans: Path, file: Path, region: str, first: int, training: int) -> None:
    """Some scans that are annotated for one region."""
    names = sorted(path.name for path in (scans / "images").glob("*.nii.gz"))[first : first + training + 1]
    entries = [
        {
            "image": f"images/{name}",
            "subject": name.split(".")[0],
            "masks": {region: {"file": f"labels/{name}", "values": REGIONS[region]}},
        }
        for name in names
    ]
    content = {"training": entries[:-1], "validation": entries[-1:]}
    file.write_text(json.dumps({"regions": [region], "dataset_dir": str(scans.absolute()), **content}))


def probabilities(root: Path, model: Path, scans: list[Path], mode: str, threads: int) -> dict[str, np.ndarray]:
    """Of all regions that a model knows, by scan and region."""
    output = root / "predicted" / f"{model.parent.name}_{model.name}_{mode}_{threads}"
    conemos(root, "predict", *scans, "--probabilities", model=model, output=output, mode=mode, threads=threads)
    files = sorted(output.rglob("*_probability.nii.gz"))
    return {str(file.relative_to(output)): np.asanyarray(nibabel.load(file).dataobj) for file in files}


def main(scans: str, training: int = 4) -> None:
    """Verify it.

    Args:
        scans: folder of the crops.
        training: scans of each person; one more chooses the epoch.
    """
    data = Path(scans).absolute()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        write_datalist(data, root / "base.json", BASE, 0, 2 * training)
        conemos(root, "train", "base.json", output_dir="base", **SMALL)
        own = {name: value for name, value in SMALL.items() if name.endswith(("epochs", "epoch"))}
        for person, region in enumerate(TAUGHT, 1):
            folder = root / f"person_{person}"
            shutil.copytree(root / "base", folder / "base")
            write_datalist(data, folder / "few.json", region, 20 * person, training)
            conemos(folder, "add-region", "few.json", model="base", region=region, output="grown", seed=person, **own)
        grown = [root / f"person_{person}" / "grown" for person in (1, 2)]
        files = [folder / f"{region}.region.pt" for folder, region in zip(grown, TAUGHT, strict=True)]
        conemos(root, "merge", "base", *files, output="merged")
        tested = sorted((data / "images").glob("*.nii.gz"))[60:63]
        for mode in ("window", "whole"):
            for threads in (1, 2):
                merged, before, *theirs = (
                    probabilities(root, model, tested, mode, threads)
                    for model in (root / "merged", root / "base", *grown)
                )
                assert len(merged) == len(tested) * len(REGIONS) and len(before) == len(tested)
                assert all(merged.keys() > one.keys() for one in (before, *theirs))
                for one in (before, *theirs):
                    assert all(np.array_equal(merged[name], one[name]) for name in one), (mode, threads)
                assert len({array.tobytes() for array in merged.values()}) == len(merged)  # no two regions are alike
                print(f"{mode}, {threads} thread(s): all regions as before, to the bit, in {len(tested)} scans")
        other = root / "person_2" / "other"
        conemos(root, "train", "base.json", output_dir=other, **{**SMALL, "max_epochs": 1, "seed": 9})
        line = [sys.executable, "-m", "conemos_bundle", "merge", str(other), str(files[0]), "--output", "wrong"]
        refused = subprocess.run(line, cwd=root, capture_output=True, text=True, check=False)
        assert refused.returncode == 1 and refused.stderr.count("\n") == 1 and not (root / "wrong").exists(), refused
        print(refused.stderr.strip())


if __name__ == "__main__":
    fire.Fire(main)
