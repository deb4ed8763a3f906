"""Evaluation scan by scan: one that cannot be evaluated does not end the others, and what is done is not done again."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from conemos_bundle.errors import UserError
from conemos_bundle.evaluation.kept import FOLDER, find, keep
from conemos_bundle.evaluation.report import EvaluationReport, gather, is_distributed
from conemos_bundle.inferers.each_scan import each_scan, run_scan, show_table
from conemos_bundle.networks.interface import unwrapped
from conemos_bundle.runs.record import RECORD
from conemos_bundle.volumes.fingerprints import (
    file_contents,
    file_stamps,
    fingerprint,
    model_and_settings,
    weights_hash,
)
from monai.data import Dataset
from monai.engines import Evaluator
from torch import distributed


def evaluate_each(
    evaluator: Evaluator,
    dataset: Dataset,
    report: EvaluationReport | None = None,
    weights: str | os.PathLike[str] = "",
    indices: Iterable[int] | None = None,
) -> None:
    """Run an evaluator on each scan by itself, then write the report.

    What is known of a scan is kept beside the report until all scans are done: an evaluation that is started again
    evaluates what is missing, and what has changed.

    Args:
        evaluator: made for ``dataset``, without metrics of its own.
        dataset: of items as `scan_items` gives them.
        report: attached to the evaluator; None: the evaluator's handlers keep what they want.
        weights: path of ``model.pt``.
        indices: this process's share of the scans; None: all.

    Raises:
        UserError: at the end, where a scan could not be evaluated; at once, where nothing can be written.
    """
    items = list(dataset.data)
    mine = items if indices is None else [items[i] for i in indices]
    inferer: Any = vars(evaluator).get("inferer")
    regions = [] if report is None else report.region_names
    settings = model_and_settings(
        weights,
        network=unwrapped(vars(evaluator)["network"]),
        record=weights_hash(Path(weights).with_name(RECORD)),  # regions, spacing
        regions=regions,
        inference=getattr(inferer, "keywords", {}),
    )

    def evaluate(item: dict[str, Any]) -> None:
        if report is None:
            run_scan(evaluator, dataset, item)
            return
        name, folder, stamps = item["name"], report.output_dir / FOLDER, file_stamps(item)
        key = fingerprint(settings, item, file_contents(item))
        kept = find(folder, name, key)
        if kept is not None:
            report.take(name, kept)
            return
        run_scan(evaluator, dataset, item)
        if file_stamps(item) != stamps:
            raise UserError(f"{item['image']}: it or a mask of it changed while it was evaluated")
        if len(items) > 1:
            keep(folder, name, key, report.kept(name))

    failed = dict(gather(list(each_scan(mine, evaluate, len(items)).items())))
    dataset.data = items
    if report is not None:
        report.write(failed, str(settings["model"]))
    first = not is_distributed() or distributed.get_rank() == 0
    if first and failed:
        show_table(items, failed, "evaluated")
    if first and report is not None and not failed:
        shutil.rmtree(report.output_dir / FOLDER, ignore_errors=True)
    if not failed:
        return
    told = UserError(
        f"{len(failed)} of {len(items)} scans were not evaluated: {', '.join(failed)}; mend them and start again: "
        "the others are not evaluated again"
    )
    if not is_distributed():
        raise told
    if first:
        print(f"error: {told}", file=sys.stderr, flush=True)
    distributed.barrier()  # torchrun ends all processes as soon as one has failed
    sys.exit(1)
