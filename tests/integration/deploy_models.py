"""The MONAI Deploy application beside `conemos predict`, of grown models too; `verify_deploy.py` runs it.

Both write a DICOM SEG of the same series. Pixels, codes and geometry must be equal, segment by segment.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import highdicom
import numpy as np
from conemos_bundle.hosts.deploy.dicom_series import find_series
from conemos_bundle.utils.paths import bundle_folder

LEARNED = "tail"  # what the grown model calls the posterior hippocampus of the examples
REGIONS = ["posterior", LEARNED, "hippocampus"]  # in another order than the grown model's


def conemos(folder: Path, *words: object) -> None:
    """A command of `conemos`, from ``folder``.

    Raises:
        RuntimeError: it failed.
    """
    command = [sys.executable, "-m", "conemos_bundle", *map(str, words)]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(f"conemos {words[0]}: {ran.stdout[-500:]}{ran.stderr[-1500:]}")


def grown_models(folder: Path) -> dict[str, Path]:
    """The hippocampus model, taught `LEARNED` for a moment: its run, its bundle, and a folder of its TorchScript."""
    root = bundle_folder() / "examples"
    data = json.loads((root / "datalist.json").read_text())
    for scan in data["test"]:
        scan["masks"] = {LEARNED: scan["masks"]["posterior"]}
    training, validation = data["test"]
    lists = {"training": [training], "validation": [validation], "test": []}
    datalist = folder / "few.json"
    datalist.write_text(json.dumps({**data, **lists, "regions": [LEARNED], "dataset_dir": str(root)}))
    run, packed = folder / "grown", folder / "packed"
    few = ["--max_epochs", 1, "--steps_per_epoch", 2, "--num_workers", 0, "--device", "cpu"]
    conemos(folder, "add-region", datalist, "--model", bundle_folder(), "--region", LEARNED, "--output", run, *few)
    conemos(folder, "pack", run, "--output", packed, "--name", "hippocampus_tail", "--formats", "ts")
    script = folder / "script"
    script.mkdir()
    shutil.copy(packed / "models" / "model.ts", script)
    return {"a grown run": run, "a grown run, packed": packed, "a grown run, as TorchScript": script}


def predicted_seg(model: Path, regions: list[str], series: Path, out: Path) -> Path:
    """The DICOM SEG that `conemos predict` makes."""
    options = ["--model", model, "--regions", *regions, "--output", out, "--output_format", "dicom_seg"]
    conemos(out.parent, "predict", series, *options, "--device", "cpu")
    return out / f"{series.name}.seg.dcm"


def verify_models(app: list[str], series: Path, folder: Path) -> int:
    """Print what differs between both programs' SEGs, of each model; how many models are wrong.

    Args:
        app: the application's command.
        series: a folder of one DICOM series.
        folder: an existing one to work in.
    """
    print("\n| model | regions | SEG of the application against `conemos predict` |\n| --- | --- | --- |", flush=True)
    failures = 0
    models = {"the hippocampus model": bundle_folder(), **grown_models(folder)}
    for number, (name, model) in enumerate(models.items()):
        regions = [region for region in REGIONS if number or region != LEARNED]
        out = folder / f"application_{number}"
        command = [*app, "-i", series, "-o", out, "-m", model, "-r", ",".join(regions), "-d", "cpu"]
        ran = subprocess.run([*map(str, command)], cwd=folder, capture_output=True, text=True, check=False)
        if ran.returncode:
            wrong = [f"exit code {ran.returncode}: {ran.stderr[-300:]}"]
        else:
            other = predicted_seg(model, regions, series, folder / f"predicted_{number}")
            wrong = differing(out / "segmentation.dcm", other, series)
        failures += bool(wrong)
        print(f"| {name} | {', '.join(regions)} | {'; '.join(wrong) or 'equal'} |", flush=True)
    return failures


def differing(one: Path, other: Path, series: Path) -> list[str]:
    """What differs between two SEGs of a series, segment by segment; none: all is equal.

    Args:
        one: a file.
        other: another one.
        series: the folder of the images that both refer to.
    """
    uids = [image.SOPInstanceUID for image in find_series(series)]
    segs = [highdicom.seg.segread(file) for file in (one, other)]
    pixels = [seg.get_pixels_by_source_instance(uids) for seg in segs]  # (D, H, W, R)
    if pixels[0].shape != pixels[1].shape:
        return [f"shapes {[array.shape for array in pixels]}"]
    wrong = []
    for index, (left, right) in enumerate(zip(*(seg.SegmentSequence for seg in segs), strict=True)):
        if not np.array_equal(pixels[0][..., index], pixels[1][..., index]):
            wrong.append(f"{left.SegmentLabel}: {int((pixels[0] != pixels[1])[..., index].sum())} voxels")
        if not pixels[0][..., index].any() or pixels[0][..., index].all():
            wrong.append(f"{left.SegmentLabel}: nothing or everything, which compares nothing")
        if left.to_json_dict() != right.to_json_dict():  # label, codes, color, algorithm
            wrong.append(f"{left.SegmentLabel}: what the segment says of itself")
    geometry = [seg.get_volume_geometry() for seg in segs]
    if not np.array_equal(geometry[0].affine, geometry[1].affine) or geometry[0].shape != geometry[1].shape:
        wrong.append("geometry")
    frames = [[frame.to_json_dict() for frame in seg.PerFrameFunctionalGroupsSequence] for seg in segs]
    wrong += ["frames"] if frames[0] != frames[1] else []
    wrong += ["SegmentsOverlap"] if segs[0].SegmentsOverlap != segs[1].SegmentsOverlap else []
    return wrong
