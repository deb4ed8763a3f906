"""`conemos check`: what is wrong with a data set, how many scans annotate each region, and how regions relate."""

from __future__ import annotations

from pathlib import Path

from conemos_bundle.commands.datalist import annotated_scans
from conemos_bundle.data.check import problems_and_relations
from conemos_bundle.data.datalist import read_datalist
from conemos_bundle.data.relations import describe


def check(datalist: str, dataset_dir: str | None = None) -> None:
    """Read every scan and mask of a datalist and print what is wrong, one line a problem.

    Below the problems come the number of annotated scans a split and region, and which regions contain, overlap or
    exclude which, with the number of scans that tell.

    Args:
        datalist: the datalist's file.
        dataset_dir: the folder that its relative paths start at; default: the datalist's own.

    Raises:
        SystemExit: with code 1 where there is an error; warnings alone are no reason.
        UserError: the datalist or the folder cannot be read.
    """
    data = read_datalist(datalist)
    lines, relations = problems_and_relations(
        data, Path(str(datalist)).parent if dataset_dir is None else str(dataset_dir)
    )
    print("\n".join(lines) if lines else "no problems")
    print(f"\nannotated scans\n{annotated_scans(data)}")
    if len(data.regions) > 1:
        print("\nregions (number of scans that tell)")
        print("\n".join(describe(relations, data.regions)))
    if any(line.startswith("error: ") for line in lines):
        raise SystemExit(1)
