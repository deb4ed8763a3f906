"""Checks of `verify_label.py` that annotators may teach the server a region that its model does not know.

The model that is served knows the hippocampus and its posterior half, and is trained here, in a minute or two.
Annotators draw the anterior half in five scans, over HTTP; what they call a cyst lies elsewhere in each, so no model
learns it.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from conemos_bundle.predictor import Predictor
from conemos_bundle.volumes.seg_nrrd import read_seg_nrrd

Check = Iterator[tuple[str, bool, str]]
MODEL, TRAINER = "two_regions", "two_regions_new_region"
OLD, NEW, CYST = ["hippocampus", "posterior"], "anterior", "cyst"
HELD, DRAWN, TRAINING, VALIDATION = 4, 5, 24, 4  # scans
# The anterior half is nearly half of the hippocampus: the old model's own best answer, "hippocampus", has a Dice of .65
# with it. Four scans brought .85 where this was tried; between the two, so that the region was learned, not found.
LEAST_DICE = 0.75
TEACHING = {"max_epochs": 4, "steps_per_epoch": 50}  # of 20: the most is learned in the first


def _conemos(*words: object) -> None:
    environment = {**os.environ, **{f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}}
    command = [sys.executable, "-m", "conemos_bundle", *map(str, words)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"error: {' '.join(command)}:\n{done.stdout[-2000:]}")


def train_two_regions(source: Path, scans: list[str], folder: Path) -> Path:
    """Train a small model of ``OLD`` on scans of ``source``, and pack it; the bundle."""
    with (folder / "base.csv").open("w", newline="") as file:
        rows = [[scan, "train" if k < TRAINING else "val", 1, 1] for k, scan in enumerate(scans)]
        csv.writer(file).writerows([["scan", "split", *OLD], *rows])
    regions = {"hippocampus": [1, 2], "posterior": [2]}
    _conemos("datalist", source, "--csv", folder / "base.csv", "--regions", regions, "-o", folder / "base.json")
    _conemos(
        "train", folder / "base.json", "--output_dir", folder / "base", "--channels", [8, 16, 32], "--patch_size",
        [32, 48, 32], "--max_epochs", 2, "--steps_per_epoch", 100, "--num_workers", 0,
    )  # fmt: skip
    _conemos("pack", folder / "base", folder / "bundle", "--name", MODEL)
    return folder / "bundle"


def _draw(label: Path, target: Path, where: np.random.Generator, coarse: bool = False) -> None:
    """What an annotator submits: 1 the anterior half, 2 a cube in the background; ``coarse``: on another grid."""
    image = nibabel.load(label)
    reference = np.asarray(image.dataobj)
    drawn = (reference == 1).astype(np.uint8)
    while not (drawn == 2).any():
        x, y, z = (where.integers(0, size - 8) for size in reference.shape)
        if not reference[x : x + 8, y : y + 8, z : z + 8].any():
            drawn[x : x + 8, y : y + 8, z : z + 8] = 2
    step = 2 if coarse else 1
    affine = image.affine @ np.diag([step, step, step, 1])
    nibabel.save(nibabel.Nifti1Image(drawn[::step, ::step, ::step], affine), target)


def _submit(server: Any, scan: str, file: Path) -> int:
    told = {"label_info": [{"name": NEW, "idx": 1}, {"name": CYST, "idx": 2}]}
    return int(server("PUT", f"/datastore/label?image={scan}&tag=final", told, {"label": file})[0])


def _contents(model: Path) -> dict[str, bytes]:
    """All that is served; the history may grow."""
    files = (path for path in model.rglob("*") if path.is_file() and "conemos_bundle" not in path.parts)
    return {str(f.relative_to(model)): f.read_bytes() for f in files if f.name not in (".lock", "history.json")}


def _answers(server: Any, scans: list[str]) -> list[Any]:
    """Of each scan, what the server says of the old regions: label map, segments, voxels and confidences."""
    answers: list[Any] = []
    for scan in scans:
        for regions in (OLD, OLD[1:]):
            _, image = server.infer(scan, "image", MODEL, regions=regions)
            _, file = server.infer(scan, "image", MODEL, regions=regions, output_format="seg.nrrd")
            _, told = server.infer(scan, "json", MODEL, regions=regions)
            masks, affine, names = read_seg_nrrd(file)
            arrays = [np.asarray(image.dataobj), image.affine, masks, affine]
            answers.append([[array.tobytes() for array in arrays], names, told["regions"]])
    return answers


def _offered(server: Any) -> list[str]:
    """The regions that clients are shown."""
    return list(json.loads(server("GET", "/info/")[1])["models"][MODEL]["labels"])


def _dice(mask: np.ndarray, other: np.ndarray) -> float:
    return 2 * float((mask & other).sum()) / float(mask.sum() + other.sum())


def new_region(start: Callable[..., Any], server: Any, source: Path, folder: Path) -> Check:
    """Serve a model of two regions, draw a third, press *train*; ``start`` starts a server on ``folder``."""
    studies, model = folder / "studies", folder / "app" / "model" / MODEL
    studies.mkdir(parents=True)
    names = [file.name.removesuffix(".nii.gz") for file in sorted((source / "images").glob("*.nii.gz"))]
    held, drawn, rest = names[:HELD], names[HELD : HELD + DRAWN], names[HELD + DRAWN :][: TRAINING + VALIDATION]
    for scan in (*held, *drawn):
        shutil.copyfile(source / "images" / f"{scan}.nii.gz", studies / f"{scan}.nii.gz")
    began = time.monotonic()
    bundle = train_two_regions(source, rest, folder)
    yield "a model of two regions", bundle.is_dir(), f"{time.monotonic() - began:.0f} s, {TRAINING} scans"

    options = ("--bundle", str(bundle), "--training_pause", "1")
    with _served(start, options):
        status, told = server.infer(held[0], "json", MODEL, regions=NEW)
        good = status == 400 and _offered(server) == OLD
        yield "a region that it does not know", good, f"{status} {told['detail']}"
        served, answers = _contents(model), _answers(server, held)
        yield from _refusals(server, source, drawn, folder)
        yield "nothing of that changed the model", _contents(model) == served, f"{len(served)} files"

        task, last = server.train(TRAINER, region=NEW, **TEACHING), _last(model)
        split = f"{len(last['trained_on'])} scans learned, {DRAWN - len(last['trained_on'])} held out"
        good = task["status"] == "DONE" and last["replaced"] and last["region"] == NEW
        yield f"taught {NEW}", good, f"{task['status']} after {task['seconds']} s, {split}; {last['reason']}"
        yield "offered by name, without a restart", _offered(server) == [*OLD, NEW], str(_offered(server))
        yield from _quality(server, source, held)
        yield "old regions as before, to the bit", _answers(server, held) == answers, f"{len(answers)} answers"
        numbers = [_probabilities(place, studies, held) for place in (bundle, model)]
        same = all(np.array_equal(old, new) for old, new in zip(*numbers, strict=True))
        yield "and their probabilities", same, f"{sum(map(np.size, numbers[0])):,} numbers of {HELD} scans"
        same = Path(last.get("backup", "none")).read_bytes() == served["models/model.pt"]
        yield "the old weights are kept", same, Path(last["backup"]).name

        served = _contents(model)
        for again in (NEW, NEW.upper()):
            yield _refused(server, f"taught {again} again", f"the model knows {NEW} already", region=again)
        yield "which changed nothing", _contents(model) == served and _offered(server) == [*OLD, NEW], ""
    with _served(start, options):  # the last one was killed
        models = list(json.loads(server("GET", "/info/")[1])["models"])
        status, image = server.infer(held[0], "image", f"{MODEL}_{NEW}")
        good = _offered(server) == [*OLD, NEW] and status == 200 and bool(np.asarray(image.dataobj).any())
        yield "killed and started again", good and _answers(server, held) == answers, ", ".join(models)


@contextmanager
def _served(start: Callable[..., Any], options: tuple[str, ...]) -> Iterator[None]:
    process = start(*options)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _last(model: Path) -> dict[str, Any]:
    """The last training in the history."""
    history: list[dict[str, Any]] = json.loads((model / "models" / "history.json").read_text(encoding="utf-8"))
    return history[-1]


def _probabilities(model: Path, studies: Path, scans: list[str]) -> list[Any]:
    """Of the old regions, from the files that are served."""
    predictor = Predictor.load(model, "cpu", mode=None)
    return [predictor(studies / f"{scan}.nii.gz", OLD, probabilities=True).probabilities for scan in scans]


def _refused(server: Any, name: str, line: str, **request: Any) -> tuple[str, bool, str]:
    """A training that ends with that line."""
    task = server.train(TRAINER, **request)
    last = (list(task["details"]) or [""])[-1]
    return name, task["status"] == "ERROR" and line in last, f"{task['status']}, {last.rpartition(' - ')[2]}"


def _refusals(server: Any, source: Path, drawn: list[str], folder: Path) -> Check:
    """Submit label by label; too few, too many names, a known one, and what cannot be learned."""
    yield _refused(server, "no label yet", "no submitted label holds a region that is new")
    where, files = np.random.default_rng(0), {scan: folder / f"{scan}.nii.gz" for scan in drawn}
    for scan, file in files.items():
        _draw(source / "labels" / f"{scan}.nii.gz", file, where, coarse=scan == drawn[1])
    for scan in drawn[:2]:
        _submit(server, scan, files[scan])
    yield _refused(server, "one scan, and one on another grid", f"{NEW} is drawn in 1 of the submitted", region=NEW)
    _draw(source / "labels" / f"{drawn[1]}.nii.gz", files[drawn[1]], where)
    statuses = [_submit(server, scan, file) for scan, file in files.items()]
    yield f"{len(files)} scans submitted", set(statuses) == {200}, str(statuses)
    yield _refused(server, "two names, none said", f"there are {NEW}, {CYST}")
    yield _refused(server, "a name that it knows", "the model knows posterior already", region="Posterior")
    yield _refused(server, "a name that leads elsewhere", "region", region="../../x")
    task = server.train(TRAINER, region=CYST, max_epochs=2, steps_per_epoch=20)
    last = _last(folder / "app" / "model" / MODEL)
    good = task["status"] == "DONE" and not last["replaced"] and "the old model stays" in last["reason"]
    yield "what cannot be learned is not served", good, f"{task['status']} after {task['seconds']} s, {last['reason']}"
    yield "and not offered", _offered(server) == OLD, str(_offered(server))


def _quality(server: Any, source: Path, held: list[str]) -> Check:
    """Dice of the new region on scans that nobody annotated, beside what the old model's best answer could have."""
    dices, bounds = [], []
    for scan in held:
        reference = np.asarray(nibabel.load(source / "labels" / f"{scan}.nii.gz").dataobj)
        _, told = server.infer(scan, "json", MODEL, regions=NEW)
        _, image = server.infer(scan, "image", MODEL, regions=NEW)
        dices.append(_dice(np.asarray(image.dataobj) == told["regions"][NEW]["value"], reference == 1))
        bounds.append(_dice(reference > 0, reference == 1))
    each, bound = ", ".join(f"{dice:.2f}" for dice in dices), float(np.mean(bounds))
    text = f"mean Dice {np.mean(dices):.3f} ({each}); that of the whole hippocampus: {bound:.3f}"
    yield f"{NEW} in {len(held)} other scans", float(np.mean(dices)) >= LEAST_DICE > bound, text
