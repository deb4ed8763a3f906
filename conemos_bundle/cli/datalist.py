"""`conemos datalist`: write a datalist for a data set that lies in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from conemos_bundle.cli.next_step import say_next
from conemos_bundle.errors import UsageError, UserError
from conemos_bundle.utils.nearest import check_path, suggestion

if TYPE_CHECKING:
    from conemos_bundle.data.datalist import Datalist

KINDS = ("folders", "decathlon", "nnunet", "csv", "segmentations")


def datalist(
    source: str,
    output: str = "datalist.json",
    kind: str | None = None,
    csv: str | None = None,
    regions: dict[str, int | list[int]] | list[str] | None = None,
    inside: dict[str, str] | None = None,
    ignore: int | list[int] | None = None,
    empty: str | None = None,
    subject: str | None = None,
    validation: float = 0.15,
    test: float = 0.25,
    seed: int = 0,
    dataset_dir: str | None = None,
    name: str | None = None,
    description: str | None = None,
    modality: str | None = None,
    license: str | None = None,
    reference: str | None = None,
) -> None:
    """Write a datalist for folders of masks, a Medical Decathlon task, nnU-Net v2 raw data, label maps with a CSV, or
    3D Slicer's segmentations.

    Args:
        source: the folder of the data set.
        output: the datalist to write; an earlier one of the same data set is replaced, nothing else is.
        kind: ``folders``, ``decathlon``, ``nnunet``, ``csv`` or ``segmentations``; default: what the folder looks like.
        csv: table of what is annotated: columns scan, split, subject (optional), one per region with 1, 0 or nothing,
            or ``absent``.
        regions: label values of each region, ``{'hippocampus': [1, 2], 'anterior': [1]}``, outer first; needed with a
            CSV, replaces the labels of dataset.json. For folders of masks and segments: their names, outer first.
        inside: which region lies inside which other, ``{'anterior': 'hippocampus'}``: then `conemos check` looks
            whether the annotations agree, and ``--overlay inside`` sees to it that the predictions do.
        ignore: value, or values, of masks and label maps whose voxels nobody has annotated.
        empty: ``absent``: an empty mask says that its region is not there; every mask is read. Otherwise
            `conemos check` takes it for a mistake.
        subject: regular expression whose one group is the subject in a scan's name; default: the whole name, or BIDS's
            ``sub-…`` at its beginning. Names that look like several times of one patient are told.
        validation: part of the subjects for validation, where the source does not say.
        test: part of the subjects for the test, where the source does not say.
        seed: seed of that split.
        dataset_dir: the folder that the datalist's paths start at; default: ``source``. The datalist says so itself.
        name: name of the data set; default: what dataset.json says, or the folder's name.
        description: what the data set shows.
        modality: such as ``MR``.
        license: the data set's license.
        reference: what to cite.

    Raises:
        UserError: something in the source or the options is wrong; nothing is written then.
    """
    folder = check_path(str(source), is_folder=True).absolute()
    root = folder if dataset_dir is None else check_path(str(dataset_dir), is_folder=True).absolute()
    target = Path(str(output)).expanduser().absolute()
    if target.is_dir():
        raise UserError(f"{output}: is a folder; pass --output with the file to write")
    if kind is not None and kind not in KINDS:
        raise UsageError(f"--kind {kind}: use one of {', '.join(KINDS)}{suggestion(kind, KINDS)}")
    if kind is not None and (csv is None) == (kind == "csv"):
        raise UsageError(
            "--kind csv needs --csv TABLE" if csv is None else f"--csv {csv}: does not go with --kind {kind}"
        )
    if csv is not None and not (folder / str(csv)).is_file():
        check_path(str(csv), is_folder=False)
    if type(seed) is not int:
        raise UsageError(f"--seed {seed}: pass an integer")

    if empty is not None:  # then masks are read, with torch and MONAI, which take seconds to import
        from conemos_bundle.data.absent import check_empty_option, declare_absent

        check_empty_option(empty)

    from conemos_bundle.data.annotated import annotated_scans
    from conemos_bundle.data.datalist import Datalist, stored_folder, write_datalist
    from conemos_bundle.importers import scans_of
    from conemos_bundle.importers.split import split_by_subject
    from conemos_bundle.utils.records import one_line
    from pydantic import ValidationError

    earlier = _earlier(target, str(output))
    fractions = scans_of.split_fractions(validation, test)
    found = scans_of.import_scans(folder, root, kind or scans_of.guess_kind(folder, csv), csv, regions, subject)
    scans_of.ignore_values(found, ignore)
    if subject is None:
        scans_of.look_for_time_points(found)
    if empty is not None:
        found.unsplit, _ = declare_absent(found.unsplit, root)
        found.split = {split: declare_absent(scans, root)[0] for split, scans in found.split.items()}
    if found.split:  # the source's own validation or test scans
        drawn = {split: fractions[split] for split in ("validation", "test") if split not in found.split}
        fractions = {"training": 1 - sum(drawn.values()), **drawn}
    splits = {**split_by_subject(found.unsplit, fractions, seed), **found.split}
    options = {
        "name": name,
        "description": description,
        "modality": modality,
        "license": license,
        "reference": reference,
    }
    given = {key: str(text) for key, text in options.items() if text is not None}
    fields = {"name": folder.name, **found.fields, **given, "dataset_dir": stored_folder(target, root)}
    try:
        data = Datalist.model_validate({**fields, "regions": found.regions, "inside": inside or {}, **splits})
    except ValidationError as error:
        line = one_line(error)
        where = f"--inside {inside}: " if "'inside'" in line else ""
        where = next((f"--{key}: " for key in given if line.startswith(f"{key}: ")), where)
        raise UserError(f"{where or f'{source}: '}{line}") from error
    if earlier is not None:
        _check_same_data_set(earlier, data, target, str(output))
    write_datalist(data, target)

    bare = sum(not scan.masks for scan in data.training)
    notes = [f"scans without any mask of these regions, in 'training' and not used: {bare}"] if bare else []
    replaced = " in place of another one of this data set" if earlier not in (None, data) else ""
    print("\n".join([*found.notes, annotated_scans(data), *notes, f"wrote {target}{replaced}"]))
    say_next("check", str(output))


def _earlier(target: Path, output: str) -> Datalist | None:
    """The datalist that is there already; nothing else is written over."""
    from conemos_bundle.data.datalist import read_datalist

    if not target.exists():
        return None
    try:
        return read_datalist(target)
    except UserError as error:
        raise UserError(f"{output}: is there already and is no datalist; pass another --output") from error


def _check_same_data_set(earlier: Datalist, data: Datalist, target: Path, output: str) -> None:
    from conemos_bundle.data.datalist import scans_folder

    places = [scans_folder(target, each).resolve() for each in (earlier, data)]
    if earlier.name != data.name or places[0] != places[1]:
        raise UserError(
            f"{output}: is the datalist of another data set, {earlier.name!r} in {places[0]}; pass another --output, "
            "or remove it"
        )
