"""`conemos add-region` and `conemos merge`: a trained model learns another region, and models become one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conemos_bundle.cli.next_step import say_next
from conemos_bundle.names import region_name
from conemos_bundle.utils.config_files import check_settings, overlay_files
from conemos_bundle.utils.nearest import check_path


def add_region(
    datalist: str, model: str, region: str, output: str, capacity: str = "low_rank", rank: int = 4, **options: Any
) -> None:
    """Teach a trained model another region from a handful of scans; its old regions stay as they are, to the bit.

    Args:
        datalist: the datalist; regions in it other than the new one are left alone.
        model: folder of a finished run, or of a bundle.
        region: the new region.
        output: folder of the grown model; the region alone goes to ``<region>.region.pt`` in it.
        capacity: what is learned beside the frozen weights: ``film``, ``low_rank`` or ``decoder``; or ``all``
            weights, the old regions rehearsed by the model's own predictions, which may cost them something.
        rank: of the changes of ``low_rank``.
        options: any setting of the training: ``--max_epochs 10 --minutes 5 --learning_rate 0.01 …``

    Raises:
        UserError: the model cannot grow or knows the region, no scan is annotated for it, or a setting is wrong.
    """
    check_path(str(datalist), is_folder=False)
    check_path(str(model), is_folder=True)
    check_settings(list(options), overlay_files(["add_region"]))

    from conemos_bundle.growing import add_region as grow

    logging.getLogger("ignite").setLevel(logging.CRITICAL)  # what it tells of errors is raised too
    folder = grow(str(datalist), str(model), str(region), str(output), capacity, rank, log=True, **options)
    region = region_name(str(region))  # as its files have it
    if capacity == "all":
        print(f"{folder} knows {region} too; its other regions against what they were ({folder / 'old_regions.csv'}):")
        print((folder / "old_regions.csv").read_text(), end="")
    else:
        print(f"{folder} knows {region} too; its other regions are computed as before, to the bit")
        print(f"the region alone: {folder / f'{region}.region.pt'}; 'conemos merge' joins such files with the model")
    say_next("predict", "SCAN", "--model", str(folder), "--regions", region)


def merge(
    model: str, *files: str, output: str = "merged", remove: Sequence[str] = (), rename: dict[str, str] | None = None
) -> None:
    """Join a model with regions that were taught to it (.region.pt files), by anyone; or remove and rename regions.

    Args:
        model: folder of a finished run, or of a bundle.
        files: ``.region.pt`` files of ``conemos add-region``.
        output: the folder to make.
        remove: regions to leave out.
        rename: new names, by the old ones: ``spleen=lien,liver=hepar``.

    Raises:
        UserError: a file was made for another model, a region is unknown or there twice, or the folder exists.
    """
    check_path(str(model), is_folder=True)
    for file in files:
        check_path(str(file), is_folder=False)

    from conemos_bundle.growing import merge_regions

    folder = merge_regions(str(model), files, str(output), list(remove), rename)
    print(f"wrote {Path(folder)}")
    say_next("predict", "SCAN", "--model", str(folder))
