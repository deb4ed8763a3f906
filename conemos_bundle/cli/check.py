"""`conemos check`: what is wrong with a data set, how many scans annotate each region, and how regions relate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from conemos_bundle.cli.next_step import say_next
from conemos_bundle.errors import UserError
from conemos_bundle.utils.nearest import check_path


def check(datalist: str, dataset_dir: str | None = None, empty: str | None = None, report: str | None = None) -> None:
    """Read every scan and mask of a datalist and print what is wrong, one line per problem.

    Below the problems come the number of annotated scans per split and region, of those where a region is absent, which
    part of the voxels is known where some are ignored, which regions contain, overlap or exclude which, with the number
    of scans that tell, at which spacing, and where, each region is looked for with ``--scales own``, and the method to
    try first, with the reason.

    Args:
        datalist: the datalist's file.
        dataset_dir: the folder that its relative paths start at; default: what it says itself.
        empty: ``absent``: an empty mask is no error but says that its region is absent. That is written into the
            datalist (``"absent": true``), so that training and evaluation take it the same way.
        report: an HTML file to write all of this into, such as ``check.html``.

    Raises:
        SystemExit: with code 1 where there is an error; warnings alone are no reason.
        UserError: the datalist or the folder cannot be read, or the datalist or the report cannot be written.
    """
    check_path(str(datalist), is_folder=False)
    if dataset_dir is not None:
        check_path(str(dataset_dir), is_folder=True)

    if report is not None:
        from conemos_bundle.reports.page import reject_unwritable_report

        reject_unwritable_report(str(report))

    from conemos_bundle.data.absent import check_empty_option, with_absent
    from conemos_bundle.data.annotated import annotated_scans
    from conemos_bundle.data.check import check_data_set
    from conemos_bundle.data.datalist import read_datalist, scan_items, scans_folder, write_datalist
    from conemos_bundle.data.plan import plan_input
    from conemos_bundle.data.relations import describe
    from conemos_bundle.data.scale_plan import describe_scales, plan_scales
    from conemos_bundle.data.suggest import advise_on_sides, suggest_method

    empty_is_absent = check_empty_option(empty)
    data = read_datalist(datalist)
    folder = scans_folder(str(datalist), data, dataset_dir)
    checked = check_data_set(data, folder, empty_is_absent)
    lines, relations, known, found, volumes = checked
    print("\n".join(lines) if lines else "no problems")
    if found:
        data = with_absent(data, found)
        try:
            write_datalist(data, str(datalist))
        except OSError as error:
            raise UserError(f"{datalist}: cannot write into it what is absent ({error.strerror})") from error
        print(f"{len(found)} empty mask(s) declared absent in {datalist}")
    print(f"\nannotated scans\n{annotated_scans(data)}")
    if known:
        print(f"\nvoxels known, in scans where some are ignored\n{_known(known, data.regions)}")
    if len(data.regions) > 1:
        print("\nregions (number of scans that tell)")
        print("\n".join(describe(relations, data.regions)))
    plan, suggestion, sides = None, suggest_method(data, volumes), advise_on_sides(data.regions)
    if not any(line.startswith("error: ") for line in lines):
        items = scan_items(data, "training", folder)
        plan = plan_scales(plan_input(items), items, data, "own")
        print(f"\nscales (train --scales own)\n{describe_scales(plan)}\n\nmethod: {suggestion}")
        if sides:
            print(f"sides: {sides}")
    if report is not None:
        from conemos_bundle.reports.checked import write_check_report

        print(f"wrote {write_check_report(str(report), data, folder, checked, plan, suggestion, sides)}", flush=True)
    if plan is None:
        raise SystemExit(1)
    places = () if dataset_dir is None else ("--dataset_dir", str(dataset_dir))
    say_next("train", str(datalist), *places, *suggestion.words, "--output_dir", "runs/mine")


def _known(known: Mapping[tuple[str, str], Sequence[float]], regions: Sequence[str]) -> str:
    from conemos_bundle.data.datalist import SPLITS

    lines = []
    for split in SPLITS:
        parts = {region: known[split, region] for region in regions if (split, region) in known}
        texts = [f"{region} {100 * fmean(part):.3g}% ({len(part)} scans)" for region, part in parts.items()]
        lines += [f"{split}: {', '.join(texts)}"] if texts else []
    return "\n".join(lines)
