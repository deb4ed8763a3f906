"""Write a partially annotated data set of phantom scans."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from conemos_bundle.data.datalist import SPLITS, Datalist, Scan, write_datalist
from conemos_bundle.errors import UserError
from conemos_bundle.files import folder_in_one_step, sweep
from conemos_bundle.phantom import counts
from conemos_bundle.phantom.anatomy import REGIONS
from conemos_bundle.phantom.scan import generator, write_scan
from conemos_bundle.utils.processes import start_worker
from tqdm import tqdm

FIDELITIES = ("small", "full")
# On coarser grids an eye may hold no voxel, and its mask would be empty: half the diagonal of a voxel has to be less
# than the radius of the smallest eye
SMALLEST = {"small": 24, "full": 64}  # voxels per side
SIZE = {"small": 48, "full": 128}


def make_phantom(
    output: str | os.PathLike[str],
    training: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    size: int | None = None,
    seed: int = 0,
    fidelity: str = "small",
    mothers: int | None = None,
    complete_test: bool = False,
    workers: int = 0,
) -> Datalist:
    """Write a data set of synthetic fetal scans: images, masks of the annotated regions, and ``datalist.json``.

    Scans belong to mothers, and a mother's scans stand in one split. What a scan shows depends on ``seed``, ``size``,
    ``fidelity`` and its place (split, mother, number), not on how many there are.

    Args:
        output: a folder that does not exist yet or is empty.
        training: how many training scans; 40, at full fidelity Table 1's 174.
        validation: how many validation scans; 6, at full fidelity 42.
        test: how many test scans; 10, at full fidelity 73.
        size: voxels per side; 48 of 4 mm, at full fidelity 128 of 3 mm. The field of view stays 192 and 384 mm.
        seed: the same seed gives the same data set.
        fidelity: ``small`` (stylized, for a demonstration) or ``full`` (docs/phantom.md).
        mothers: how many mothers the scans of the full phantom are of; 91 for 289 scans, in proportion for others.
            Those of the small one have 1 to 3 scans each.
        complete_test: annotate all regions in all test scans of the full phantom too. Those of the small one always
            are; otherwise Table 1's numbers, in proportion, are annotated.
        workers: processes that draw; 0: this one. The scans are the same.

    Returns:
        the datalist, as written.

    Raises:
        UserError: a setting makes no sense, ``output`` is taken, or cannot be written.
    """
    if fidelity not in FIDELITIES:
        raise UserError(f"fidelity {fidelity!r}: use one of {', '.join(FIDELITIES)}")
    full = fidelity == "full"
    size = SIZE[fidelity] if size is None else size
    scans = {
        split: (counts.SCANS if full else counts.SMALL_SCANS)[split] if number is None else number
        for split, number in zip(SPLITS, (training, validation, test), strict=True)
    }
    for name, number in {**scans, "size": size, "seed": seed, "workers": workers}.items():
        smallest = SMALLEST[fidelity] if name == "size" else 0
        if type(number) is not int or number < smallest:
            raise UserError(f"{name} {number!r}: give a whole number, {smallest} or more")
    places = _full_places(scans, mothers, seed) if full else _small_places(scans, mothers, seed)
    target = Path(output).expanduser().resolve()
    sweep(target.parent)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{output}: exists and is not an empty folder; pass another --output, or remove it")
    with folder_in_one_step(target) as part, _drawing(workers) as draw:
        entries: dict[str, list[Scan]] = {}
        for split in SPLITS:
            if full:
                numbers = counts.annotated_numbers(scans[split], split, complete_test and split == "test")
            else:
                numbers = counts.small_annotated_numbers(scans[split], split)
            annotated = counts.choose_annotated(scans[split], numbers, generator(seed, split))
            what = [(i, *at, names) for i, (at, names) in enumerate(zip(places[split], annotated, strict=True))]
            drawn = draw(partial(write_scan, part, split, size, seed, fidelity), what)
            entries[split] = [Scan(**scan) for scan in tqdm(drawn, desc=split, total=len(what), disable=None)]
        datalist = Datalist(
            name="phantom",
            description="Synthetic scans of a fetus in the uterus, drawn by a program. Not real data.",
            modality="synthetic MR",
            license="CC0-1.0",
            regions=list(REGIONS),
            training=entries["training"],
            validation=entries["validation"],
            test=entries["test"],
        )
        write_datalist(datalist, part / "datalist.json")
    return datalist


@contextmanager
def _drawing(workers: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """`map`, or one that ``workers`` processes do; one pool for all splits, since its processes start slowly."""
    if not workers:
        yield map
        return
    # a new interpreter each: a fork would copy locks that threads of this process may hold
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), start_worker, (os.getpid(),)) as pool:
        yield pool.map


def _full_places(scans: dict[str, int], mothers: int | None, seed: int) -> dict[str, list[tuple[int, int]]]:
    """Number of the mother and number of the scan among hers, for each scan of each split of the full phantom."""
    total, splits = sum(scans.values()), sum(number > 0 for number in scans.values())
    if mothers is None:
        mothers = min(total, max(splits, round(total * counts.MOTHERS / sum(counts.SCANS.values()))))
    if type(mothers) is not int or not splits <= mothers <= total:
        raise UserError(f"mothers {mothers!r}: give a whole number, {splits} to {total}: each has a scan, in one split")
    numbers = counts.mothers_of_splits(mothers, scans)
    return {split: counts.scans_of_mothers(scans[split], numbers[split], generator(seed, split)) for split in SPLITS}


def _small_places(scans: dict[str, int], mothers: int | None, seed: int) -> dict[str, list[tuple[int, int]]]:
    """As `_full_places`, for the small phantom, whose mothers have 1 to 3 scans each."""
    if mothers is not None:
        raise UserError(f"mothers {mothers!r}: only with --fidelity full; in the small phantom they have 1 to 3 scans")
    places: dict[str, list[tuple[int, int]]] = {}
    for split in SPLITS:
        pairs: list[tuple[int, int]] = []
        for mother in range(scans[split]):
            number = generator(seed, split, mother, 0).integers(1, counts.SMALL_MOST + 1)
            pairs += [(mother, scan) for scan in range(number)]
        places[split] = pairs[: scans[split]]
    return places
