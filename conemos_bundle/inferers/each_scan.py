"""Inference scan by scan: one that cannot be segmented does not end the others."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from conemos_bundle.errors import OutputError, UserError, find_user_error, printable
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
    items = list(dataset.data)
    try:
        return segment_items(items, lambda item: run_scan(evaluator, dataset, item)[0].get("result", {}))
    finally:
        dataset.data = items


def segment_items(
    items: Sequence[dict[str, Any]],
    segment: Callable[[dict[str, Any]], dict[str, Any]],
    finished: Callable[[Mapping[str, str]], object] | None = None,
    in_all: int | None = None,
) -> list[dict[str, Any]]:
    """Segment each scan, and print what was written; as `segment_each`.

    Args:
        items: as `find_scans` gives them.
        segment: segments one and writes it; returns the result of `SaveImageRegionsd`.
        finished: called when all are done, with what was wrong, by the names of the scans that failed.
        in_all: number of scans, with those that were done before.

    Returns:
        the results.

    Raises:
        UserError: at the end, where a scan could not be segmented; at once, where nothing can be written.
    """
    results: list[dict[str, Any]] = []

    def work(item: dict[str, Any]) -> None:
        if "problem" in item:
            raise UserError(item["problem"])
        results.append(segment(item))
        _show(item, results[-1])

    try:
        failed = each_scan(items, work, in_all)
    except UserError as error:
        if finished is not None and not isinstance(error, OutputError):
            finished({items[0]["name"]: str(error)})  # the only one
        raise
    if not items:
        print("nothing to do: all scans are done")
    if len(items) > 1:
        show_table(items, failed, "segmented")
    if finished is not None:
        finished(failed)
    if failed:
        raise UserError(f"{len(failed)} of {in_all or len(items)} scans were not segmented: {', '.join(failed)}")
    return results


def each_scan(
    items: Sequence[dict[str, Any]], work: Callable[[dict[str, Any]], object], in_all: int | None = None
) -> dict[str, str]:
    """Do something for each scan. One that a user could mend is told in one line, and the others are done.

    Args:
        items: of the scans, with their ``name``.
        work: called with each item.
        in_all: number of scans, where these are one process's share of them.

    Returns:
        what was wrong, by the names of the scans that failed.

    Raises:
        OutputError: nothing can be written: the next scan would fare no better.
        UserError: the only scan failed.
    """
    failed: dict[str, str] = {}
    for item in items:
        try:
            work(item)
        except Exception as error:
            told = find_user_error(error)
            if told is None or isinstance(told, OutputError) or (in_all or len(items)) == 1:
                raise
            print(f"error: {told}", file=sys.stderr, flush=True)
            failed[item["name"]] = str(told)
    return failed


def show_table(items: Sequence[dict[str, Any]], failed: Collection[str], done: str) -> None:
    """Print what has become of each scan: ``done``, such as ``"segmented"``, or ``FAILED``."""
    names = {printable(item["name"]): item["name"] in failed for item in items}
    width = max(map(len, names))
    print("\n".join(f"{name:{width}}  {'FAILED' if bad else done}" for name, bad in names.items()), flush=True)


def run_scan(evaluator: Evaluator, dataset: Dataset, item: dict[str, Any]) -> list[Any]:
    """Run an evaluator, made for ``dataset``, on one item alone; what it leaves as output.

    Raises:
        Exception: what went wrong, of whatever kind.
    """
    logging.getLogger("ignite").setLevel(logging.CRITICAL)  # it would log the traceback of what is told in one line
    evaluator.logger.setLevel(logging.CRITICAL)
    dataset.data = [item]
    evaluator.state.epoch_length, evaluator.state.output = 1, None
    errors: list[Exception] = []
    # an engine that an error left amid a run does nothing, without a word, when it is run the next time
    with evaluator.add_event_handler(Events.EXCEPTION_RAISED, lambda _, error: errors.append(error)):
        evaluator.run()
    if errors:
        raise errors[0]
    output: Any = evaluator.state.output
    return list(output)


def _show(item: dict[str, Any], result: dict[str, Any]) -> None:
    files = [item["image"]] if isinstance(item["image"], str) else item["image"]
    print(", ".join(map(printable, files)))
    for region, size in result.get("regions", {}).items():
        searched = f"; looked for in the whole scan: no {size['not_found']} was found" if "not_found" in size else ""
        sure = f", confidence {size['confidence']:.2f}" if "confidence" in size else ""
        print(f"  {region}: {size['voxels']} voxels, {size['volume_ml']:.3f} ml{sure}{searched}")
    for written in result.get("outputs", []):
        print(f"  {printable(written)}", flush=True)
