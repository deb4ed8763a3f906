"""Write a partially annotated data set of phantom scans."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from conemos_bundle.data.datalist import SPLITS, Datalist, Scan, write_datalist
from conemos_bundle.errors import UserError
from conemos_bundle.files import folder_in_one_step, sweep
from conemos_bundle.phantom import counts
from conemos_bundle.phantom.anatomy import REGIONS, draw_fetus, draw_mother, region_masks, signed_distances
from conemos_bundle.phantom.appearance import epi_image
from conemos_bundle.phantom.field_of_view import FIELD
from conemos_bundle.phantom.full import GREY_LEVELS, draw_full_scan
from conemos_bundle.phantom.geometry import Array, grid_points
from conemos_bundle.utils.processes import start_worker
from numpy.typing import NDArray
from tqdm import tqdm

FIDELITIES = ("small", "full")
FIELD_OF_VIEW = {"small": 192.0, "full": FIELD}  # mm per side
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
    with folder_in_one_step(target) as part:
        entries: dict[str, list[Scan]] = {}
        for split in SPLITS:
            if full:
                numbers = counts.annotated_numbers(scans[split], split, complete_test and split == "test")
            else:
                numbers = counts.small_annotated_numbers(scans[split], split)
            annotated = counts.choose_annotated(scans[split], numbers, _rng(seed, split))
            entries[split] = _write_split(part, split, places[split], annotated, size, seed, fidelity, workers)
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


def draw_scan(
    size: int, spacing: float, seed: int, split: str, mother: int, scan: int
) -> tuple[Array, dict[str, NDArray[np.bool_]]]:
    """Draw scan number ``scan`` of mother number ``mother`` of ``split``, of the small phantom.

    Args:
        size: voxels per side.
        spacing: of the voxels, in mm.
        seed: of the data set.
        split: ``training``, ``validation`` or ``test``.
        mother: her number in the split, from 0.
        scan: its number among hers, from 0.

    Returns:
        image (size, size, size) in [0, 1], and the mask (size, size, size) of each region.
    """
    points = grid_points(size, spacing)
    anatomy = draw_mother(_rng(seed, split, mother))
    rng = _rng(seed, split, mother, 1 + scan)
    distances = signed_distances(points, anatomy, draw_fetus(rng, anatomy))
    return epi_image(points, spacing, anatomy, distances, rng), region_masks(distances)


def draw_scan_at_full_fidelity(
    size: int, seed: int, split: str, mother: int, scan: int
) -> tuple[Array, dict[str, NDArray[np.bool_]]]:
    """As `draw_scan`, of the full phantom: voxels of 384 / ``size`` mm."""
    return draw_full_scan(size, _rng(seed, split, mother), _rng(seed, split, mother, 1 + scan))


def _write_split(
    folder: Path,
    split: str,
    places: list[tuple[int, int]],
    annotated: list[list[str]],
    size: int,
    seed: int,
    fidelity: str,
    workers: int,
) -> list[Scan]:
    """Draw and write the scans of one split, each of a mother and with a number; return their entries."""
    write = partial(_write_scan, folder, split, size, seed, fidelity)
    indexed = [(index, *place, regions) for index, (place, regions) in enumerate(zip(places, annotated, strict=True))]
    if not workers:
        return _with_progress(map(write, indexed), split, len(indexed))
    # a new interpreter each: a fork would copy locks that threads of this process may hold
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), start_worker, (os.getpid(),)) as pool:
        return _with_progress(pool.map(write, indexed), split, len(indexed))


def _with_progress(scans: Iterable[Scan], split: str, number: int) -> list[Scan]:
    return list(tqdm(scans, desc=split, total=number, disable=None))


def _write_scan(
    folder: Path, split: str, size: int, seed: int, fidelity: str, what: tuple[int, int, int, list[str]]
) -> Scan:
    """Draw and write one scan: its index in the split, its mother and number, and the regions annotated in it."""
    index, mother, scan, regions = what
    spacing = FIELD_OF_VIEW[fidelity] / size
    if fidelity == "full":
        image, masks = draw_scan_at_full_fidelity(size, seed, split, mother, scan)
        name = f"{split}_{mother:03d}_{scan}.nii.gz"
    else:
        image, masks = draw_scan(size, spacing, seed, split, mother, scan)
        name = f"{split}_{index:03d}.nii.gz"
    _write_nifti(image, spacing, folder / "images" / name, GREY_LEVELS if fidelity == "full" else None)
    for region in regions:
        _write_nifti(masks[region].astype(np.uint8), spacing, folder / "masks" / region / name)
    files = {region: f"masks/{region}/{name}" for region in regions}
    return Scan(image=f"images/{name}", subject=f"{split}_mother_{mother:03d}", masks=dict(files))


def _full_places(scans: dict[str, int], mothers: int | None, seed: int) -> dict[str, list[tuple[int, int]]]:
    """Number of the mother and number of the scan among hers, for each scan of each split of the full phantom."""
    total, splits = sum(scans.values()), sum(number > 0 for number in scans.values())
    if mothers is None:
        mothers = min(total, max(splits, round(total * counts.MOTHERS / sum(counts.SCANS.values()))))
    if type(mothers) is not int or not splits <= mothers <= total:
        raise UserError(f"mothers {mothers!r}: give a whole number, {splits} to {total}: each has a scan, in one split")
    numbers = counts.mothers_of_splits(mothers, scans)
    return {split: counts.scans_of_mothers(scans[split], numbers[split], _rng(seed, split)) for split in SPLITS}


def _small_places(scans: dict[str, int], mothers: int | None, seed: int) -> dict[str, list[tuple[int, int]]]:
    """As `_full_places`, for the small phantom, whose mothers have 1 to 3 scans each."""
    if mothers is not None:
        raise UserError(f"mothers {mothers!r}: only with --fidelity full; in the small phantom they have 1 to 3 scans")
    places: dict[str, list[tuple[int, int]]] = {}
    for split in SPLITS:
        pairs: list[tuple[int, int]] = []
        for mother in range(scans[split]):
            number = _rng(seed, split, mother, 0).integers(1, counts.SMALL_MOST + 1)
            pairs += [(mother, scan) for scan in range(number)]
        places[split] = pairs[: scans[split]]
    return places


def _rng(seed: int, split: str, *numbers: int) -> np.random.Generator:
    """A generator of its own for a split, a mother, or a scan: none depends on how many there are."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split), *numbers)))


def _write_nifti(array: NDArray, spacing: float, path: Path, grey_levels: int | None = None) -> None:
    """Write ``array`` with a RAS affine whose origin is the center of the grid; as whole grey levels, if given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(array.shape) - 1) / 2
    if grey_levels:
        array = np.round(array * grey_levels).astype(np.int16)
    nifti = nib.Nifti1Image(array, affine)
    nifti.set_sform(affine, code="scanner")
    nifti.set_qform(affine, code="scanner")
    nifti.header.set_xyzt_units("mm")
    if grey_levels:
        nifti.header.set_slope_inter(1 / grey_levels, 0)
    nib.save(nifti, path)
