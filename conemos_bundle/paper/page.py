"""The report on a data set as one HTML file, made of the same parts as the Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from conemos_bundle.paper.parts import Picture, Section
from conemos_bundle.reports.page import MOST_ROWS, REPORT, write_page
from conemos_bundle.reports.pictures import embed


def write_comparison_page(
    folder: Path, dataset: str, tiles: Mapping[str, str], head: Mapping[str, str], sections: Sequence[Section]
) -> Path:
    """Write ``report.html`` into the folder of a report; the same parts give the same bytes.

    Args:
        folder: where the figures of the sections lie.
        dataset: name of the data set.
        tiles: numbers to begin with, by their words.
        head: what the numbers come from, by its words.
        sections: in their order.

    Returns:
        its path.

    Raises:
        OutputError: it cannot be written.
    """
    figures = [part for section in sections for part in section.parts if isinstance(part, Picture)]
    pictures = embed({figure.file: folder / figure.file for figure in figures})
    return write_page(
        folder / REPORT,
        "compared",
        dataset=dataset,
        tiles=tiles,
        head=head,
        sections=sections,
        pictures=pictures,
        most=MOST_ROWS,
    )
