"""A cohort of 30 scans of which 3 are bad: how many of the other 27 does each way of running a batch do?

    python tests/integration/verify_cohort.py WORK

WORK is a folder that does not exist yet. Prints, for each entry, how many were done and the exit code; ends with exit
code 1 where one of them is not as it should be. About two minutes on a CPU.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
TINY = ["--max_epochs", "1", "--steps_per_epoch", "2", "--batch_size", "1", "--channels", "[4,8]", "--num_workers", "0"]
BAD = {7: "truncated", 15: "NaN", 22: "constant"}


def call(*words: object, cwd: Path = ROOT) -> tuple[int, str]:
    """Exit code and what was printed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, env=environment, cwd=cwd)
    return done.returncode, done.stdout + done.stderr


def conemos(*words: object) -> tuple[int, str]:
    """As `call`, of our command."""
    return call("-m", "conemos_bundle", *words)


def spoil(file: Path, how: str) -> None:
    """Make a scan bad."""
    image = nibabel.load(file)
    voxels = image.get_fdata(dtype=np.float32)
    if how == "truncated":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        return
    if how == "NaN":
        voxels[1, 1, 1] = np.nan
    else:
        voxels[:] = 0
    nibabel.save(nibabel.Nifti1Image(voxels, image.affine), file)


def main(work: Path) -> int:
    """See the module's docstring."""
    work.mkdir(parents=True)
    data, run = work / "data", work / "run"
    assert not conemos("phantom", data, "--training", 4, "--validation", 2, "--test", 30, "--size", 24)[0]
    listed = data / "datalist.json"
    assert not conemos("train", listed, "--output_dir", run, *TINY)[0]
    assert not conemos("pack", run, "--output", work / "bundle")[0]
    images = [data / scan["image"] for scan in json.loads(listed.read_text())["test"]]
    scans = work / "scans"
    scans.mkdir()
    for i, how in BAD.items():
        spoil(images[i], how)
    for image in images:
        shutil.copy(image, scans / image.name)
    bad = [images[i].name.removesuffix(".nii.gz") for i in BAD]
    good = len(images) - len(bad)
    failures = 0

    def show(entry: str, code: int, told: str, done: int) -> None:
        nonlocal failures
        named = all(f"{name}.nii.gz" in told for name in bad)
        lines = sum(line.startswith("error: ") for line in told.splitlines())
        ours = told.split("torch/distributed/elastic/")[
            0
        ]  # torchrun prints a traceback of its own after a worker's end
        fine = code == 1 and done == good and named and "Traceback (most" not in ours
        failures += not fine
        print(
            f"{'PASS' if fine else 'FAIL'}  {entry}: {done} of {good} done, exit code {code}, {lines} lines of errors"
        )

    def masks(folder: Path) -> int:
        return len(list(folder.glob("*/brain.nii.gz")))

    def bundle_run(*words: object) -> tuple[int, str]:
        return call("-m", "monai.bundle", "run", *words, cwd=work / "bundle")

    code, told = conemos("predict", scans, "--model", run, "--regions", "brain", "--output", work / "a")
    show("conemos predict", code, told, masks(work / "a"))
    print("\n".join(line for line in told.splitlines() if line.endswith(("segmented", "FAILED")))[:400], "…")
    code, told = conemos("predict", scans, "--model", run, "--regions", "brain", "--output", work / "a")
    print(f"      started again: {told.count('done already')} done already")
    for name, files in (("inference", "inference"), ("batch_inference", "inference.json','configs/batch_inference")):
        code, told = bundle_run(
            "--config_file", f"['configs/{files}.json']", "--dataset_dir", scans, "--output_dir", work / name,
            "--regions", "['brain']",
        )  # fmt: skip
        show(f"monai.bundle run, {name}.json", code, told, masks(work / name))
    code, told = conemos("evaluate", listed, "--run", run)
    rows = pd.read_csv(run / "evaluation_test" / "per_scan.csv")
    show("conemos evaluate", code, told, rows["scan"].nunique())
    print("\n".join(line for line in told.splitlines() if line.endswith(("evaluated", "FAILED")))[:400], "…")
    options = ["--datalist", listed, "--ckpt_path", run / "model.pt", "--bundle_root", ROOT]
    for name, start, overlays in (
        ("monai.bundle run evaluating", [], ["train", "evaluate"]),
        (
            "the same in two processes",
            ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"],
            ["train", "evaluate", "multi_gpu_evaluate"],
        ),
    ):
        folder = work / name.replace(" ", "_")
        files = [str(CONFIGS / f"{overlay}.json") for overlay in overlays]
        code, told = call(
            *start, "-m", "monai.bundle", "run", "evaluating", "--config_file", repr(files), *options,
            "--evaluation_dir", folder,
        )  # fmt: skip
        show(name, code, told, pd.read_csv(folder / "per_scan.csv")["scan"].nunique())
    content = json.loads(listed.read_text())
    content["training"], content["test"] = content["test"], []
    (data / "labels.json").write_text(json.dumps(content))
    words = ["--datalist", data / "labels.json", "--ckpt_path", run / "model.pt", "--bundle_root", ROOT]
    files = [str(CONFIGS / f"{overlay}.json") for overlay in ("train", "evaluate", "label_unknown")]
    code, told = call(
        "-m", "monai.bundle", "run", "evaluating", "--config_file", repr(files), *words, "--split", "training",
        "--output_dir", work / "labels",
    )  # fmt: skip
    labeled = [path for path in (work / "labels").iterdir() if path.is_dir() and not path.name.startswith(".")]
    show("pseudo-labels (label_unknown.json)", code, told, len(labeled))
    return failures


if __name__ == "__main__":
    sys.exit(min(1, main(Path(sys.argv[1]).absolute())))
