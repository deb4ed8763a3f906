"""The report of an evaluation: metrics of each scan, a summary of each region, and pictures."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
import torch.distributed
from conemos_bundle.errors import OutputError, UserError
from conemos_bundle.evaluation import tables
from conemos_bundle.evaluation.kept import ScanReport
from conemos_bundle.evaluation.montage import View, draw_montage, gray_levels, orthogonal_views
from conemos_bundle.evaluation.slices import SLICES, Slice, largest_slice, write_slices
from conemos_bundle.files import part_folder, publish, shown
from conemos_bundle.metrics.dice import dice
from conemos_bundle.metrics.surface_distance import sd95
from conemos_bundle.utils.known import known_voxels
from conemos_bundle.utils.plain import cells
from ignite.engine import Engine, Events
from monai.data.utils import affine_to_spacing
from monai.utils import convert_to_numpy

_logger = logging.getLogger(__name__)
_Item = TypeVar("_Item")
_REMOVED_FIRST = ("per_scan.csv", "summary.json", "report.html")  # the last is made of them, by `conemos evaluate`


def evaluation_folder(weights: str | os.PathLike[str], split: str) -> str:
    """``evaluation_<split>`` beside the weights that are evaluated."""
    return os.path.join(os.path.dirname(os.path.abspath(weights)), f"evaluation_{split}")


class EvaluationReport:
    """Write metrics and pictures of every scan that an evaluator has predicted.

    Attach it to a MONAI evaluator that decollates, run that, and call `write`. After each iteration
    ``engine.state.output`` holds one dictionary per scan, on the scan's own grid: the image, a `MetaTensor`
    (C, D, H, W); the prediction (K, D, H, W), binary; the label (K, D, H, W), binary, with NaN in ignored voxels and in
    the channels of regions that are unknown. ``engine.state.batch`` names each scan (``name``, unique, and
    ``subject``). The first process writes:

    - ``per_scan.csv``: Dice, SD95 and volumes, one row per scan and region that is annotated or absent. Where the
      reference is empty, Dice and SD95 are too, and ``false_positive_ml`` is the volume predicted. Ignored voxels count
      in no column, and where there are any, SD95 is empty: a distance may end in them;
    - ``summary.json`` and ``summary.md``: mean, standard deviation, median and number of scans of each region; false
      positives where a region is absent;
    - ``slices.npz``: a slice of each scan and region, from which methods are drawn side by side (`largest_slice`);
    - ``montage_<region>.png``: the best, median and worst scan by Dice.

    Args:
        output_dir: folder for the files; made where it does not exist.
        region_names: names of the K regions, in channel order.
        image_key: key of the image in the engine's output.
        pred_key: key of the prediction.
        label_key: key of the label.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        region_names: Sequence[str],
        image_key: str = "image",
        pred_key: str = "pred",
        label_key: str = "label",
    ) -> None:
        self.output_dir = Path(output_dir)
        self.region_names = list(region_names)
        self.image_key = image_key
        self.pred_key = pred_key
        self.label_key = label_key
        self._rows: list[dict[str, Any]] = []
        # Only planes are kept: which scan is the median is known at the end, and volumes would not fit into memory.
        self._views: dict[tuple[str, str], tuple[View, ...]] = {}
        self._slices: dict[tuple[str, str], Slice] = {}

    def attach(self, engine: Engine) -> None:
        """Follow the scans that ``engine`` predicts; `write` is for afterwards.

        Raises:
            UserError: there can be no folder for the report.
        """
        try:  # before the evaluation, not after hours of it
            self.output_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{self.output_dir}: cannot make this folder for the report ({error.strerror}); choose another one"
            ) from error
        for name in _REMOVED_FIRST:
            if (self.output_dir / name).is_dir():
                raise UserError(f"{self.output_dir / name}: is a folder, where a file shall be written; remove it")
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add_scans)

    def _add_scans(self, engine: Engine) -> None:
        batch: Any = engine.state.batch
        outputs: Any = engine.state.output
        for scan, output in zip(batch, outputs, strict=True):
            self._add_scan(str(scan["name"]), str(scan["subject"]), output)

    def _add_scan(self, name: str, subject: str, output: dict[str, Any]) -> None:
        image, predictions, labels = (output[key] for key in (self.image_key, self.pred_key, self.label_key))
        expected = (len(self.region_names), *image.shape[1:])
        if tuple(predictions.shape) != expected or tuple(labels.shape) != expected:
            raise ValueError(
                f"{name}: prediction {tuple(predictions.shape)} and label {tuple(labels.shape)} must be {expected}: "
                "a channel per region, on the image's grid"
            )
        affine = convert_to_numpy(image.affine).astype(float)
        spacing = affine_to_spacing(affine)
        milliliters = abs(float(np.linalg.det(affine[:3, :3]))) / 1000  # of a sheared grid too
        gray = gray_levels(convert_to_numpy(image[0]))
        for index, region in enumerate(self.region_names):
            known, label = (convert_to_numpy(part) for part in known_voxels(labels[index]))
            if not known.any():
                continue
            reference = label > 0
            prediction = (convert_to_numpy(predictions[index]) > 0) & known
            predicted_ml = np.count_nonzero(prediction) * milliliters
            self._rows.append(
                {
                    "scan": name,
                    "subject": subject,
                    "region": region,
                    "dice": dice(prediction, reference),
                    "sd95_mm": sd95(prediction, reference, spacing) if known.all() else np.nan,
                    "sd95_voxels": sd95(prediction, reference) if known.all() else np.nan,
                    "reference_ml": np.count_nonzero(reference) * milliliters,
                    "predicted_ml": predicted_ml,
                    "false_positive_ml": np.nan if reference.any() else predicted_ml,
                }
            )
            if reference.any():
                self._views[name, region] = orthogonal_views(gray, prediction, reference, affine)
                self._slices[name, region] = largest_slice(gray, prediction, reference, affine)

    def kept(self, name: str) -> ScanReport:
        """What there is of a scan."""
        return ScanReport(
            [row for row in self._rows if row["scan"] == name],
            {region: views for (scan, region), views in self._views.items() if scan == name},
            {region: one for (scan, region), one in self._slices.items() if scan == name},
        )

    def take(self, name: str, kept: ScanReport) -> None:
        """Add what `kept` gave."""
        self._rows += kept.rows
        self._views.update({(name, region): views for region, views in kept.views.items()})
        self._slices.update({(name, region): one for region, one in kept.slices.items()})

    def write(self, failed: Mapping[str, str] | None = None, model: str = "") -> None:
        """Write all files, in the first process, and forget the scans.

        Args:
            failed: the scans that could not be evaluated, by name, and why.
            model: of `weights_hash`.

        Raises:
            OutputError: they cannot be written.
        """
        gathered = sorted(gather(self._rows), key=lambda row: (row["scan"], self.region_names.index(row["region"])))
        rows = pd.DataFrame(gathered, columns=list(tables.ROW_COLUMNS))
        rows = rows.drop_duplicates(["scan", "region"])  # samplers repeat scans so that each process has as many
        picks = {region: tables.best_median_worst(rows[rows["region"] == region]) for region in self.region_names}
        wanted = {(row["scan"], region) for region, picked in picks.items() for _, row in picked}
        views = dict(gather([(key, planes) for key, planes in self._views.items() if key in wanted]))
        slices = dict(sorted(dict(gather(list(self._slices.items()))).items()))
        self._rows, self._views, self._slices = [], {}, {}
        if is_distributed() and torch.distributed.get_rank() > 0:
            return

        summary = tables.summarise(rows, self.region_names)
        absent = tables.false_positives(rows, self.region_names)
        markdown = tables.to_markdown(summary, absent)
        missed = tables.not_found(rows)
        markdown += f"\n{missed}\n" if missed else ""
        content = tables.to_dict(summary, absent)
        if failed:
            markdown += f"\nNot evaluated, and in no number above: {', '.join(failed)}.\n"
            content["failed"] = dict(failed)
        if model:
            content["model"] = model
        summary_json = json.dumps(content, indent=4, allow_nan=False) + "\n"
        files: dict[str, Callable[[Path], Any]] = {SLICES: partial(write_slices, slices=slices)}
        for region, picked in picks.items():
            if picked:
                columns = [(_heading(role, row), views[row["scan"], region]) for role, row in picked]
                figure = draw_montage(columns, title=region)
                files[f"montage_{region}.png"] = partial(figure.savefig, format="png")
        for name, text in (("summary.md", markdown), ("summary.json", summary_json)):
            files[name] = partial(Path.write_text, data=text, encoding="utf-8")
        files["per_scan.csv"] = partial(cells(rows).to_csv, index=False)
        self._replace(files)
        _logger.info("report on %d scans in %s\n%s", rows["scan"].nunique(), self.output_dir, markdown)

    def _replace(self, files: Mapping[str, Callable[[Path], Any]]) -> None:
        """Write all files, then put them in the place of an earlier evaluation's. Whoever is killed in between leaves
        none that is complete: ``per_scan.csv`` goes first and comes last."""
        try:
            with part_folder(self.output_dir) as part:
                for name, write in files.items():
                    write(part / name)
                for name in _REMOVED_FIRST:
                    (self.output_dir / name).unlink(missing_ok=True)
                for earlier in self.output_dir.glob("montage_*.png"):  # some of regions that are no longer there
                    earlier.unlink(missing_ok=True)
                for name in files:
                    publish(part / name, self.output_dir / name)
        except OSError as error:
            raise OutputError(
                f"{shown(error.filename or self.output_dir)}: cannot be written ({error.strerror or error}); "
                "make room, or choose another folder, and start again"
            ) from error


def _heading(role: str, row: pd.Series) -> str:
    name = row["scan"] if len(row["scan"]) <= 32 else f"{row['scan'][:15]}…{row['scan'][-16:]}"
    return f"{role}: {name}\nDice {row['dice']:.3f}, SD95 {row['sd95_mm']:.1f} mm"


def is_distributed() -> bool:
    """Whether this is one of several processes."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def gather(items: list[_Item]) -> list[_Item]:
    """The items of all processes, in every process."""
    if not is_distributed():
        return items
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, items)
    return [item for part in parts for item in part]
