"""Run the MONAI Deploy application end to end, and compare it with ``python -m monai.bundle run`` voxel by voxel.

    bash scripts/setup_deploy.sh .venv-deploy
    python tests/integration/verify_deploy.py SCAN.nii.gz --python .venv-deploy/bin/python  # about 15 minutes

SCAN is a NIfTI that the hippocampus model can segment. DICOM series are made of it in a temporary folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import fire
import highdicom
import nibabel
import numpy as np
from conemos_bundle.hosts.deploy.dicom_series import find_series
from conemos_bundle.utils.paths import bundle_folder
from conemos_bundle.volumes.dicom import read_slices
from deploy_cases import bad_inputs, series_variants
from deploy_models import verify_models

REGIONS = ["hippocampus", "anterior", "posterior"]
OF_OPTIONS = {"region unknown", "region evaluated", "no input", "an unknown option"}  # bad inputs


@dataclass
class Ran:
    """A command that has ended."""

    code: int
    text: str
    seconds: float
    cpu: float
    peak_mb: float


def run(command: list[str], folder: Path, **environment: str) -> Ran:
    """Run a command from another working directory; the kernel knows the largest resident size of its process."""
    with tempfile.TemporaryFile() as output:
        start = time.monotonic()
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=folder, env={**os.environ, **environment}
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - start
        output.seek(0)
        text = output.read().decode(errors="replace").strip()
    return Ran(process.returncode, text, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def run_bundle(series: Path, out: Path) -> Ran:
    """``python -m monai.bundle run`` on a folder of series: ``out/<series>/<region>.nii.gz``.

    Raises:
        RuntimeError: it failed.
    """
    root = bundle_folder()
    ran = run(
        [
            sys.executable, "-m", "monai.bundle", "run", "--config_file", str(root / "configs" / "inference.json"),
            "--meta_file", str(root / "configs" / "metadata.json"), "--bundle_root", str(root),
            "--dataset_dir", str(series), "--output_dir", str(out),
        ],
        series.parent,
    )  # fmt: skip
    if ran.code:
        raise RuntimeError(ran.text)
    return ran


def export(file: Path) -> None:
    """Make the TorchScript file with its configuration, as the page says to."""
    root = bundle_folder()
    ran = run(
        [
            sys.executable, "-m", "monai.bundle", "ckpt_export", "network_def", "--filepath", str(file),
            "--ckpt_file", str(root / "models" / "model.pt"), "--meta_file", str(root / "configs" / "metadata.json"),
            "--config_file", str(root / "configs" / "inference.json"),
        ],
        root,
    )  # fmt: skip
    print(f"exported model.ts: exit code {ran.code}, {file.stat().st_size / 1e6:.1f} MB", flush=True)


def seg_masks(file: Path, series: Path) -> tuple[dict[str, np.ndarray], highdicom.seg.Segmentation]:
    """A SEG read back by highdicom, in the source images' order: region to ``(W, H, D)``."""
    seg = highdicom.seg.segread(file)
    datasets = find_series(series)
    pixels = seg.get_pixels_by_source_instance([dataset.SOPInstanceUID for dataset in datasets])  # (D, H, W, R)
    labels = [seg.get_segment_description(number).segment_label for number in seg.segment_numbers]
    return {label: pixels[..., index].T for index, label in enumerate(labels)}, seg


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Dice of two masks."""
    return 2 * float(np.logical_and(a, b).sum()) / float(a.sum() + b.sum())


def compare(series: Path, out: Path, expected: Path, regions: list[str]) -> list[str]:
    """What differs between the application's output and the bundle's, a line each; none: all is equal."""
    wrong = []
    report = json.loads((out / "report.json").read_text())
    masks, seg = seg_masks(out / "segmentation.dcm", series)
    affine = read_slices(find_series(series))[1]
    geometry = seg.get_volume().affine  # LPS, (slice, row, column)
    if list(masks) != regions or [*report["regions"]] != regions:
        wrong.append(f"regions {list(masks)}")
    for region in regions:
        made = nibabel.load(expected / f"{region}.nii.gz")
        own = np.asarray(made.dataobj)
        nifti = nibabel.load(out / "masks" / f"{region}.nii.gz")
        files = np.asarray(nifti.dataobj)
        voxels = int(own.sum())
        volume = voxels * abs(np.linalg.det(made.affine[:3, :3])) / 1000
        checks = {
            "SEG Dice": dice(masks[region], own) == 1.0 and np.array_equal(masks[region], own),
            "NIfTI voxels": np.array_equal(files, own) and files.dtype == own.dtype and voxels > 0,
            "NIfTI affine": np.allclose(nifti.affine, made.affine, atol=1e-5),
            "series affine": np.allclose(nifti.affine, affine, atol=1e-5),
            "volume": report["regions"][region]["voxels"] == voxels
            and np.isclose(report["regions"][region]["volume_ml"], volume, rtol=1e-6),
        }
        wrong += [f"{region}: {name}" for name, good in checks.items() if not good]
    spacing = np.linalg.norm(geometry[:3, :3], axis=0)
    if not np.allclose(spacing[[2, 1, 0]], np.linalg.norm(affine[:3, :3], axis=0), atol=1e-4):
        wrong.append(f"SEG spacing {spacing}")
    frames = len(find_series(series)) * len(regions)
    if int(seg.NumberOfFrames) != frames:
        wrong.append(f"SEG has {seg.NumberOfFrames} frames, expected {frames} with the empty ones")
    return wrong


def main(scan: str, python: str, only: str = "", model: str = "") -> None:
    """Verify everything, print Markdown, and exit with 1 where something is wrong.

    Args:
        scan: a NIfTI of the hippocampus, 1 mm.
        python: the Python of the application's environment.
        only: ``good``, ``bad`` or ``models``: that part alone.
        model: a ``.ts`` of this repository's model that was exported before; one is exported otherwise.
    """
    interpreter = Path(python).absolute()  # the commands run in other folders
    if not interpreter.is_file():
        sys.exit(f"error: {python}: no such file; bash scripts/setup_deploy.sh makes the application's environment")
    failures = 0
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary).resolve()
        ts = root / "model.ts"
        if model:
            shutil.copy(model, ts)
        elif only != "models":
            export(ts)
        (root / "series").mkdir()
        variants = series_variants(Path(scan).absolute(), root / "series")
        app = [str(interpreter), "-m", "conemos_bundle.hosts.deploy"]
        if only in ("", "good"):
            failures += verify_good(app, variants, ts, root)
        if only in ("", "bad"):
            failures += verify_bad(app, variants["axial"], ts, root)
        if only in ("", "models"):
            (root / "models").mkdir()
            failures += verify_models(app, variants["oblique"], root / "models")
    print(f"\n{'all as it should be' if not failures else f'{failures} WRONG'}")
    sys.exit(bool(failures))


def verify_good(app: list[str], variants: dict[str, Path], model: Path, root: Path) -> int:
    """Good series: the table of what came back; how many rows are wrong."""
    renamed = model.with_name("another name.ts")
    shutil.copy(model, renamed)
    ts, axial = ["-m", str(model)], variants["axial"]
    by_environment = {"HOLOSCAN_MODEL_PATH": str(model), "CONEMOS_REGIONS": "anterior"}
    two = ["posterior", "hippocampus"]
    cases: list[tuple[str, Path, list[str], list[str], dict[str, str]]] = [
        *((name, series, ts, REGIONS, {}) for name, series in variants.items()),
        ("axial, two regions asked for", axial, [*ts, "-r", ",".join(two)], two, {}),
        ("axial, by environment", axial, [], ["anterior"], by_environment),
        ("axial, renamed .ts", axial, ["-m", str(renamed)], REGIONS, {}),
        ("axial, a bundle's folder", axial, ["-m", str(bundle_folder())], REGIONS, {}),
    ]
    columns = [
        "series", "exit code", "Dice, SEG against bundle run", "NIfTI, affine, volumes", "SegmentsOverlap",
        "tags filled", "s", "CPU s", "peak MB",
    ]  # fmt: skip
    bundle = run_bundle(axial.parent, root / "bundle")
    print(
        f"bundle run on the {len(variants)} series: {bundle.seconds:.1f} s, {bundle.cpu:.1f} CPU s, "
        f"{bundle.peak_mb:.0f} MB",
        flush=True,
    )
    print(f"\n| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    failures, shown = 0, ""
    for number, (name, series, options, regions, environment) in enumerate(cases):
        out = root / f"out_{number}"
        ran = run([*app, "-i", str(series), "-o", str(out), *options], root, **environment)
        if ran.code or "Traceback" in ran.text:
            print(f"| {name} | {ran.code} | **{ran.text[-300:]}** |", flush=True)
            failures += 1
            continue
        shown = shown or ran.text.replace(f"{root}/", "")
        expected = root / "bundle" / series.name
        wrong = compare(series, out, expected, regions)
        masks, seg = seg_masks(out / "segmentation.dcm", series)
        report = json.loads((out / "report.json").read_text())
        own = {region: np.asarray(nibabel.load(expected / f"{region}.nii.gz").dataobj) for region in regions}
        scores = ", ".join(f"{region} {dice(masks[region], own[region])}" for region in regions)
        filled = ", ".join(report["series"]["tags_filled"]) or "none"
        overlap_expected = "YES" if "hippocampus" in regions and len(regions) > 1 else "NO"
        wrong += [] if seg.SegmentsOverlap == overlap_expected else [f"SegmentsOverlap {seg.SegmentsOverlap}"]
        left = sorted(path.name for path in out.iterdir())
        wrong += [] if left == ["masks", "report.json", "segmentation.dcm"] else [f"files {left}"]
        failures += bool(wrong)
        print(
            f"| {name} | {ran.code} | {scores} | {'; '.join(wrong) or 'equal'} | {seg.SegmentsOverlap} | {filled} "
            f"| {ran.seconds:.1f} | {ran.cpu:.1f} | {ran.peak_mb:.0f} |",
            flush=True,
        )
    print(f"\nIn the terminal, and the segments' codes as highdicom reads them:\n\n```\n{shown}\n```\n")
    seg = highdicom.seg.segread(root / "out_0" / "segmentation.dcm")
    for number in seg.segment_numbers:
        segment = seg.get_segment_description(number)
        kind = segment.segmented_property_type
        part = kind.get("SegmentedPropertyTypeModifierCodeSequence")
        print(
            f"- {number} {segment.segment_label}: {kind.scheme_designator} {kind.value} {kind.meaning}"
            + (f", modifier {part[0].CodeValue} {part[0].CodeMeaning}" if part else "")
        )
    return failures


def verify_bad(app: list[str], good: Path, model: Path, root: Path) -> int:
    """Bad inputs: each must end with code 1, or 2 where an option is wrong, and one line, and write nothing."""
    print("\n| bad input | exit code | printed |\n| --- | ---: | --- |")
    failures = 0
    (root / "bad").mkdir()
    cases = bad_inputs(root / "bad", good, model)
    kept = root / "kept"
    kept.mkdir()
    (kept / "report.json").write_text("{}")
    cases["an earlier run's folder"] = ["-i", str(good), "-m", str(model), "-o", str(kept)]
    cases["an output that is a file"] = ["-i", str(good), "-m", str(model), "-o", str(model)]
    for name, options in cases.items():
        out = root / "refused"
        ran = run([*app, "-o", str(out), *options], root)
        good_answer = (
            ran.code == (2 if name in OF_OPTIONS else 1) and ran.text.startswith("error: ") and "\n" not in ran.text
            and not out.exists() and not (root / "hacked").exists() and len(list(kept.iterdir())) == 1
        )  # fmt: skip
        failures += not good_answer
        text = ran.text.replace(f"{root}/", "").replace("\n", " ")
        uids = re.sub(r"(1\.2\.826\.0\.1\.3680043\.8\.498)\.\d+", r"\1…", text)
        print(f"| {name} | {ran.code} | {uids[:400]} {'' if good_answer else '**BAD**'} |", flush=True)
        shutil.rmtree(out, ignore_errors=True)
    return failures


if __name__ == "__main__":
    fire.Fire(main)
