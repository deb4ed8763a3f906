"""Pseudo-labelling: networks trained on what is annotated label the rest (Filbrandt et al., 2021)."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from conemos_bundle.data.datalist import Datalist, read_datalist, scan_items, write_datalist
from conemos_bundle.data.fraction import keep_fraction
from conemos_bundle.errors import UserError
from conemos_bundle.files import folder_in_one_step, write_in_one_step
from conemos_bundle.training.settings import of_teacher
from conemos_bundle.training.workflows import run_training_config
from conemos_bundle.transforms.masks import vanishes
from conemos_bundle.utils.known import known_voxels
from conemos_bundle.volumes import save_mask
from ignite.engine import Engine, Events
from monai.utils import convert_to_numpy, set_determinism

logger = logging.getLogger(__name__)


def label_the_rest(
    datalist: str | os.PathLike[str],
    dataset_dir: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    teacher_dir: str | os.PathLike[str] | None,
    settings: Mapping[str, Any],
    others: Mapping[str, Any] | None = None,
    fraction: float = 1.0,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Both stages before the unified network: train individual networks, then label what no one annotated.

    The teacher's training goes on where it was cut, and so does labeling: scans that are labeled are not labeled
    again, unless by another teacher. A real annotation is never replaced. Where a prediction is empty, or too small for
    the spacing of training, the region stays unknown.

    Args:
        datalist: the datalist.
        dataset_dir: where its relative paths start.
        output_dir: folder of the run; the labels go to ``pseudo_labels/`` in it.
        teacher_dir: folder of the individual networks' run; a finished one with the same settings is used as it is.
            None: ``individual_networks`` in the run's folder.
        settings: ``settings`` of the configuration; the teacher takes what is not of this method (`of_teacher`).
        others: ``other_settings`` of it.
        fraction: of the training scans.
        seed: of the run.

    Returns:
        training items as `scan_items` gives them, with the pseudo-labels beside the annotations.

    Raises:
        UserError: what the teacher's training says; or a scan could not be labeled, when the others are: training
            would not take it either.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("pseudo-labeling: trains its networks one after the other; start it without torchrun")
    teacher = Path(output_dir, "individual_networks") if teacher_dir is None else Path(teacher_dir)
    for_teacher = of_teacher(settings, others or {})
    shared = {"datalist": Path(datalist), "dataset_dir": Path(dataset_dir), "fraction": fraction, "seed": seed}
    logger.info(f"pseudo-labeling, stage 1: individual networks, in {teacher}")
    run_training_config(["individual"], {**shared, "output_dir": teacher, **for_teacher}, logging_file=False)
    data = keep_fraction(read_datalist(datalist), fraction, seed)
    folder = Path(output_dir) / "pseudo_labels"
    done = folder / "datalist.json"
    _forget_other_teachers(folder, teacher / "model.pt")
    if not done.exists():
        logger.info(f"pseudo-labeling, stage 2: labeling what is not annotated, in {folder}")
        labeling = {
            **shared,
            "output_dir": folder,
            "evaluation_dir": folder,
            "split": "training",
            "ckpt_path": teacher / "model.pt",
            **{name: for_teacher[name] for name in ("device",) if name in for_teacher},
        }
        run_training_config(["evaluate", "label_unknown"], labeling, logging_file=False)
        write_datalist(with_pseudo_labels(data, dataset_dir, folder), done)
    set_determinism(seed)  # as if the network to come were the first
    # not what stands in the file: the run may have been moved or copied since
    return scan_items(with_pseudo_labels(data, dataset_dir, folder), "training", dataset_dir)


def _forget_other_teachers(folder: Path, weights: Path) -> None:
    """Remove the labels in ``folder``, unless they are of these weights."""
    mark, teacher = folder / "teacher.txt", hashlib.sha256(weights.read_bytes()).hexdigest()
    if mark.is_file() and mark.stat().st_size < 1000 and mark.read_bytes() == teacher.encode():
        return
    shutil.rmtree(folder, ignore_errors=True)
    write_in_one_step(mark, lambda part: part.write_text(teacher, encoding="utf-8"))


def unlabeled(items: Sequence[dict[str, Any]], folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Those of the items that `SaveUnknownRegions` has not made a folder for."""
    return [item for item in items if not (Path(folder) / item["name"]).is_dir()]


def with_pseudo_labels(data: Datalist, dataset_dir: str | os.PathLike[str], folder: Path) -> Datalist:
    """``data`` with the masks in ``folder`` (``<scan>/<region>.nii.gz``) for regions that are not annotated.

    Args:
        data: the datalist.
        dataset_dir: where its relative paths start.
        folder: of the masks.
    """
    items = iter(scan_items(data, "training", dataset_dir))
    scans = []
    for scan in data.training:
        if scan.masks:  # scans without any annotation have no item, and are not used
            saved = folder.absolute() / next(items)["name"]
            unknown = [region for region in data.regions if region not in scan.masks]
            labels = {region: str(saved / f"{region}.nii.gz") for region in unknown}
            present = {region: file for region, file in labels.items() if Path(file).exists()}
            scan = scan.model_copy(update={"masks": {**scan.masks, **present}})
        scans.append(scan)
    return data.model_copy(update={"training": scans})


class SaveUnknownRegions:
    """Handler of an evaluator: save the predicted mask of each unknown region, unless nothing of it is left at the
    spacing of training. Absent regions are known, and so are those of which some voxels are.

    Args:
        folder: masks go to ``<folder>/<scan>/<region>.nii.gz``, on the scan's own grid.
        regions: names of the K regions, in channel order.
        spacing: of training, in mm.
    """

    def __init__(self, folder: str | os.PathLike[str], regions: Sequence[str], spacing: Sequence[float]) -> None:
        self.folder = Path(folder)
        self.regions = list(regions)
        self.spacing = list(spacing)

    def attach(self, engine: Engine) -> None:
        """Follow the evaluator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.save)

    def save(self, engine: Engine) -> None:
        """Save the masks of the scans that were just predicted."""
        batch: Any = engine.state.batch
        outputs: Any = engine.state.output
        for scan, output in zip(batch, outputs, strict=True):
            affine = np.asarray(output["image"].affine, float)
            with folder_in_one_step(self.folder / str(scan["name"])) as folder:  # that it is there says: labeled
                for k, region in enumerate(self.regions):
                    mask = convert_to_numpy(output["pred"][k]) > 0
                    known, _ = known_voxels(output["label"][k])
                    if not known.any() and not vanishes(mask, affine, self.spacing):
                        header = output["image"].meta.get("nifti_header")
                        save_mask(folder / f"{region}.nii.gz", mask.astype(np.uint8), affine, header)
