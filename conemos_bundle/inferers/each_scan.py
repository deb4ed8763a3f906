"""Inference scan by scan: one that cannot be segmented does not end the others."""

from __future__ import annotations

import logging
import sys
from typing import Any

from conemos_bundle.errors import OutputError, UserError, find_user_error
from ignite.engine import Events
from monai.data import Dataset
from monai.engines import Evaluator


def segment_each(evaluator: Evaluator, dataset: Dataset) -> list[dict[str, Any]]:
    """Run an evaluator on each scan by itself, and print what it wrote.

    Of several scans, those that cannot be segmented are told in one line each, and the others are segmented.

    Args:
        evaluator: made for ``dataset``; its last transform leaves ``result``, as `SaveImageRegionsd` does.
        dataset: of items as `find_scans` gives them.

    Returns:
        the results.

    Raises:
        UserError: at the end, where a scan could not be segmented; at once, where nothing can be written.
    """
    logging.getLogger("ignite").setLevel(logging.CRITICAL)  # it would log the traceback of what is told in one line
    evaluator.logger.setLevel(logging.CRITICAL)
    items = list(dataset.data)
    results: list[dict[str, Any]] = []
    failed: dict[str, UserError] = {}
    for item in items:
        try:
            results.append(_segment(evaluator, dataset, item))
        except Exception as error:
            told = find_user_error(error)
            if told is None or isinstance(told, OutputError) or len(items) == 1:
                raise
            print(f"error: {told}", file=sys.stderr, flush=True)
            failed[item["name"]] = told
        else:
            _show(item, results[-1])
    dataset.data = items
    if not items:
        print("nothing to do: all scans are done")
    if len(items) > 1:
        width = max(len(item["name"]) for item in items)
        print("\n".join(f"{i['name']:{width}}  {'FAILED' if i['name'] in failed else 'segmented'}" for i in items))
    if failed:
        raise UserError(f"{len(failed)} of {len(items)} scans were not segmented: {', '.join(failed)}")
    return results


def _segment(evaluator: Evaluator, dataset: Dataset, item: dict[str, Any]) -> dict[str, Any]:
    if "problem" in item:
        raise UserError(item["problem"])
    dataset.data = [item]
    evaluator.state.epoch_length, evaluator.state.output = 1, None
    errors: list[Exception] = []
    # an engine that an error left amid a run does nothing, without a word, when it is run the next time
    with evaluator.add_event_handler(Events.EXCEPTION_RAISED, lambda _, error: errors.append(error)):
        evaluator.run()
    if errors:
        raise errors[0]
    output: Any = evaluator.state.output
    result: dict[str, Any] = output[0].get("result", {})
    return result


def _show(item: dict[str, Any], result: dict[str, Any]) -> None:
    files = [item["image"]] if isinstance(item["image"], str) else item["image"]
    print(", ".join(files))
    for region, size in result.get("regions", {}).items():
        print(f"  {region}: {size['voxels']} voxels, {size['volume_ml']:.3f} ml")
    for written in result.get("outputs", []):
        print(f"  {written}", flush=True)
