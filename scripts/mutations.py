"""Break the wiring of a training in one place at a time: a test must fail each time.

    python scripts/mutations.py [--output docs/results/mutations.csv]

Each change is made in a copy of the repository, where the tests of the wiring are run. Prints and writes a row per
change: what was changed, where, how many tests fail and which one first; SURVIVED where none does, and the exit code is
then 1. Seven minutes on a busy core.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import fire

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("conemos_bundle", "configs", "models", "tests", "pyproject.toml")
TESTS = [
    "tests/training/test_wiring.py", "tests/training/test_schedule.py", "tests/training/test_defaults.py",
    "tests/training/test_settings.py", "tests/training/test_regions_per_scan.py",
    "tests/transforms/test_augment.py", "tests/transforms/test_prepare.py",
    "tests/data/test_loading.py", "tests/inferers/test_inference.py", "tests/test_config_files.py",
    "tests/predictor/test_loading.py::test_a_run_is_asked_in_windows_of_the_patch_that_it_was_trained_on",
    "tests/test_configs.py::test_declared_containment_holds_when_it_is_switched_on",
    "tests/test_configs.py::test_evaluation_only_where_annotated_whatever_the_order_of_the_regions[train]",
]  # fmt: skip


class Change(NamedTuple):
    """One thing that is wrong: in Python a text that stands once in the file, in JSON a place in it (``a::b``)."""

    what: str
    file: str
    old: str
    new: Any
    chosen_by: str = "writer"  # of the tests; "reader": somebody who chose it before looking at any test


_HANDLERS = "conemos_bundle/training/handlers.py"
_PARTS = (
    "            Curve(output_dir, optimizer, validator, datalist.regions) if is_first else None,\n",
    "            Checkpoint(\n"
    "                output_dir, network, optimizer, scheduler, validator, identity=started_with, resume=resume,\n"
    "                also=extra_modules,\n            ),\n",
)
CHANGES = [
    Change("schedule stepped per epoch", _HANDLERS, "print_lr=False, epoch_level=False", "print_lr=False"),
    Change(
        "period of the cosine in epochs",
        "conemos_bundle/training/schedule.py",
        "T_max=max_epochs * steps_per_epoch",
        "T_max=max_epochs",
    ),
    Change("checkpoint before curve", _HANDLERS, "".join(_PARTS), "".join(_PARTS[::-1])),
    Change(
        "batch × K instead of batch",
        "configs/train.json",
        "train::dataloader::batch_size",
        "$@batch_size * @num_regions",
    ),
    Change(
        "masks interpolated linearly",
        "conemos_bundle/transforms/prepare.py",
        '"label": "nearest"',
        '"label": "bilinear"',
    ),
    Change(
        "crop around the label, not the region drawn",
        "conemos_bundle/transforms/augment.py",
        'RandCropByPosNegLabeld(BOTH, "foreground"',
        'RandCropByPosNegLabeld(BOTH, "label"',
    ),
    Change(
        "FiLM weight decay does not reach the optimizer",
        "configs/train.json",
        "optimizer::params::film_weight_decay",
        0.0,
    ),
    Change("bfloat16 does not reach training", "configs/train.json", "train::inferer::bfloat16", False),
    Change("bfloat16 does not reach validation", "configs/train.json", "validate::inferer::bfloat16", False),
    Change(
        "rule of cross-entropy inverted",
        "conemos_bundle/training/defaults.py",
        'return 0.0 if plan["whole_scans"] else 1.0',
        'return 1.0 if plan["whole_scans"] else 0.0',
    ),
    Change(
        "threshold of 0.4 in validation",
        "configs/train.json",
        "validate::postprocessing::transforms::1::threshold",
        0.4,
    ),
    Change(
        "threshold of 0.4 in evaluation",
        "configs/evaluate.json",
        "validate::postprocessing::transforms/3::threshold",
        0.4,
    ),
    Change("threshold of 0.4 in prediction", "configs/inference.json", "postprocessing::transforms::2::threshold", 0.4),
    Change("another default sampling rule", "configs/train.json", "sampling_rule", "inverse_size"),
    Change(
        "one region is learned where all are asked for", "configs/train.json", "train::dataset::regions_per_scan", 1
    ),
    Change("noise ten times as strong", "configs/train.json", "augmentation::steps::noise::std", 0.5),
    Change("another learning rate than 1e-3", "configs/train.json", "learning_rate", 0.003),
    Change("another learning rate than the paper's 1e-5", "configs/paper.json", "learning_rate", 1e-4),
    Change(
        "windows without Gaussian blending",
        "conemos_bundle/inferers/inference.py",
        'mode="gaussian"',
        'mode="constant"',
    ),
    Change("every process writes the record", _HANDLERS, "inside, config) if is_first else None", "inside, config)"),
    Change(
        "a setting is left out of the identity",
        "conemos_bundle/training/settings.py",
        '{"fraction"}  #',
        '{"fraction", "learning_rate"}  #',
    ),
    Change(
        "the model is chosen on the test scans",
        "configs/train.json",
        "validate::dataset::data::split",
        "test",
        "reader",
    ),
    Change("every seed draws the same samples", "configs/train.json", "train::sampler::seed", 0, "reader"),
    Change("regions in the order of the datalist", "configs/evaluate.json", "regions", "$@data.regions", "reader"),
    Change("sides of the window in another order", "configs/inference.json", "window", [56, 40, 40], "reader"),
    Change(
        "the teacher does not go into the checkpoint",
        "configs/methods/mean_teacher.json",
        "extra_modules",
        {},
        "reader",
    ),
    Change("a run forgets which region lies inside which", _HANDLERS, "inside, config)", "None, config)", "reader"),
    Change(
        "scans without a region are not drawn",
        "conemos_bundle/data/loading.py",
        ", absent=dataset.absent",
        "",
        "reader",
    ),
    Change(
        "crops where the image is bright, not where the answer is known",
        "conemos_bundle/transforms/augment.py",
        'image_key="known"',
        'image_key="image"',
        "reader",
    ),
    Change(
        "a run is predicted with the window of the bundle",
        "conemos_bundle/predictor/loading.py",
        '        "window": record.plan.patch_size,\n',
        "",
        "reader",
    ),
    Change(
        "the overlap of windows is not passed on",
        "conemos_bundle/inferers/inference.py",
        "overlap=overlap, ",
        "",
        "reader",
    ),
]


def mutate(text: str, change: Change) -> str:
    """The file's text with the change in it.

    Raises:
        ValueError: the place is not there, or not just once.
    """
    if not change.file.endswith(".json"):
        if text.count(change.old) != 1:
            raise ValueError(f"{change.file}: {change.old!r} stands there {text.count(change.old)} times")
        return text.replace(change.old, change.new)
    content = json.loads(text)
    # an overlay has keys with "::" in them: "/" then goes inside
    above, _, inner = change.old.partition("/")
    parts = [above, *inner.split("::")] if inner else above.split("::")
    place: Any = content
    for part in parts[:-1]:
        place = place[int(part) if isinstance(place, list) else part]
    if parts[-1] not in place or place[parts[-1]] == change.new:
        raise ValueError(f"{change.file}: nothing to change at {change.old}")
    place[parts[-1]] = change.new
    return json.dumps(content, indent=4, ensure_ascii=False) + "\n"


def failing_tests(copy: Path) -> list[str]:
    """The tests of the wiring that fail in a copy of the repository.

    Raises:
        RuntimeError: pytest itself failed, or tested another package than the copy's.
    """
    environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    python = [sys.executable, "-c", "import conemos_bundle; print(conemos_bundle.__file__)"]
    found = subprocess.run(python, cwd=copy, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(found).is_relative_to(copy):
        raise RuntimeError(f"{found} would be tested")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=no", "-rfE", *TESTS]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    if done.returncode not in (0, 1) or bool(done.returncode) != bool(failed):
        raise RuntimeError(f"pytest ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return failed


def main(output: str = "docs/results/mutations.csv") -> None:
    """Make each change, run the tests, print and write the table.

    Args:
        output: the table's file; a relative path starts at the repository.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder).resolve() / "copy"
        copy.mkdir()
        for name in COPIED:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, copy / name)
        if failed := failing_tests(copy):
            sys.exit(f"{failed[0]} fails before anything is changed")
        for change in CHANGES:
            file, started = copy / change.file, time.perf_counter()
            text = file.read_text(encoding="utf-8")
            file.write_text(mutate(text, change), encoding="utf-8")
            failed = failing_tests(copy)
            file.write_text(text, encoding="utf-8")
            rows.append({
                "change": change.what, "file": change.file, "chosen_by": change.chosen_by,
                "tests_that_fail": len(failed), "first": failed[0] if failed else "SURVIVED",
            })  # fmt: skip
            print(f"{change.what:48} {len(failed):3}  {rows[-1]['first']}  ({time.perf_counter() - started:.0f} s)")
    with (ROOT / output).open("w", newline="", encoding="utf-8") as table:
        writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    survived = sum(row["tests_that_fail"] == 0 for row in rows)
    print(f"{len(rows)} changes, {survived} survived")
    sys.exit(1 if survived else 0)


if __name__ == "__main__":
    fire.Fire(main)
