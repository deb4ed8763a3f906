"""The report of `conemos check`: problems, how many scans annotate what, how regions relate, their scales."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from conemos_bundle.data.annotated import count_annotated
from conemos_bundle.data.check import Checked
from conemos_bundle.data.datalist import Datalist
from conemos_bundle.data.relations import group_relations
from conemos_bundle.data.scale_plan import scale_rows
from conemos_bundle.data.suggest import Suggestion
from conemos_bundle.reports.page import MOST_ROWS, write_page


class Problem(NamedTuple):
    """A line of `check_data_set` in its parts; some may be empty."""

    severity: str
    where: str
    what: str
    to_do: str


def read_problem(line: str, root: str | Path = "") -> Problem:
    """The parts of a problem's line: ``severity: where: what; to do``. No word of it is lost.

    Args:
        line: of `check_data_set`.
        root: the folder of the data set, which is left out of the names of files.

    Example::

        >>> read_problem("error: /data/a.nii.gz: not binary (0 and 1); name the region's 'values'", "/data")
        Problem(severity='error', where='a.nii.gz', what='not binary (0 and 1)', to_do="name the region's 'values'")
    """
    severity, _, rest = line.partition(": ")
    where, colon, told = rest.replace(os.path.join(root, ""), "").partition(": ")
    if not colon:
        where, told = "", where
    what, _, to_do = told.partition("; ")
    return Problem(severity, where, what, to_do)


def write_check_report(
    file: str | Path,
    data: Datalist,
    folder: str | Path,
    checked: Checked,
    plan: Mapping[str, Any] | None = None,
    suggestion: Suggestion | None = None,
    sides: str = "",
) -> Path:
    """Write the report on a data set.

    Args:
        file: the page's.
        data: the datalist, with the regions in it that were found absent.
        folder: where its relative paths start.
        checked: what reading it has shown.
        plan: of `plan_scales`; None where there are errors, and nothing is suggested then.
        suggestion: of `suggest_method`.
        sides: of `advise_on_sides`.

    Returns:
        its path.

    Raises:
        OutputError: it cannot be written.
    """
    problems = [read_problem(line, folder) for line in checked.lines]
    problems.sort(key=lambda each: each.severity != "error")
    counts = count_annotated(data)
    return write_page(
        Path(file).expanduser().absolute(),
        "checked",
        name=data.name,
        description=data.description,
        problems=problems[:MOST_ROWS],
        n_errors=sum(each.severity == "error" for each in problems),
        n_warnings=sum(each.severity != "error" for each in problems),
        regions=data.regions,
        counts=counts,
        n_scans=sum(each.scans for each in counts.values()),
        known=_known(checked.known),
        declared=data.inside,
        relations=group_relations(checked.relations, data.regions) if len(data.regions) > 1 else [],
        scales=scale_rows(plan) if plan is not None else [],
        suggestion=suggestion,
        sides=sides,
        most=MOST_ROWS,
    )


def _known(known: Mapping[tuple[str, str], Sequence[float]]) -> list[tuple[str, str, str, int]]:
    """Split, region, mean known part of the voxels in percent, and number of scans where some are ignored."""
    return [(split, region, f"{100 * fmean(parts):.3g}", len(parts)) for (split, region), parts in known.items()]
