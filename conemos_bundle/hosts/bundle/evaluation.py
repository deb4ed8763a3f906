"""What a bundle tells of the evaluation of its run: figures, a table and pictures, made again from checked data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from conemos_bundle.errors import UserError
from conemos_bundle.evaluation.tables import SUMMARY, false_positives, read_rows, read_summary, summarise, to_markdown
from PIL import Image


class Evaluated(NamedTuple):
    """``dice``: mean of each region in [0, 1]; ``table``: Markdown; ``pictures``: files. All are empty without one."""

    dice: dict[str, float]
    table: str
    pictures: list[Path]


def read_evaluation(run: Path, regions: Sequence[str]) -> Evaluated:
    """The evaluation of a run on the test split.

    Args:
        run: the run's folder.
        regions: of its model.

    Raises:
        UserError: the evaluation is of other weights or does not say of which, scans failed in it, it knows other
            regions, or a picture is none or lies elsewhere: what is published comes from the run's own folder.
    """
    folder = run / "evaluation_test"
    if not (folder / SUMMARY).exists():
        return Evaluated({}, "", [])
    summary = read_summary(folder, run / "model.pt")
    if summary.failed:
        raise UserError(
            f"{folder / SUMMARY}: {len(summary.failed)} scans could not be evaluated: no result of the test split; "
            "mend them and evaluate again, or remove the folder"
        )
    if not summary.model:
        raise UserError(f"{folder / SUMMARY}: does not say of which weights; evaluate again, or remove the folder")
    rows = read_rows(folder / "per_scan.csv", regions)
    table = summarise(rows, regions)
    means = table["dice", "mean"].dropna()
    pictures = [file for region in regions if (file := folder / f"montage_{region}.png").exists()]
    for file in pictures:
        _check_picture(file, run)
    return Evaluated(
        {f"{region} mean Dice": round(float(mean), 4) for region, mean in means.items()},
        to_markdown(table, false_positives(rows, regions)),
        pictures,
    )


def _check_picture(file: Path, run: Path) -> None:
    if not file.resolve().is_relative_to(run.resolve()):
        raise UserError(f"{file}: is a link to another folder, and would be published; remove it")
    try:
        with Image.open(file, formats=["PNG"]) as image:
            image.verify()
    except Exception as error:  # Pillow raises whatever it likes on a broken file
        raise UserError(f"{file}: is no picture; evaluate again, or remove it") from error
