"""Write a partially annotated data set of phantom scans."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
from conemos_bundle.data.datalist import SPLITS, Datalist, Scan, write_datalist
from conemos_bundle.errors import UserError
from conemos_bundle.phantom.anatomy import (
    REGIONS,
    Array,
    draw_fetus,
    draw_mother,
    grid_points,
    region_masks,
    signed_distances,
)
from conemos_bundle.phantom.appearance import epi_image
from numpy.typing import NDArray

FIELD_OF_VIEW = 192.0  # mm a side: the uterus, the placenta and some of the mother around them
SMALLEST = 24  # voxels a side: on coarser grids an eye may hold no voxel, and its mask would be empty
MOST_SCANS = 3  # of one mother
ANNOTATED = {"uterus": 0.2, "body": 0.2, "brain": 0.45, "eyes": 0.425, "placenta": 0.6}  # fraction of the scans
FEWEST = {"training": 1, "validation": 2}  # annotated scans a region


def make_phantom(
    output: str | os.PathLike[str],
    training: int = 40,
    validation: int = 6,
    test: int = 10,
    size: int = 48,
    seed: int = 0,
) -> Datalist:
    """Write a data set of synthetic fetal scans: images, masks of the annotated regions, and ``datalist.json``.

    Scans belong to mothers, 1 to 3 each, and a mother's scans stand in one split. Training and validation scans are
    partly annotated, test scans fully. What a scan shows depends on ``seed`` and ``size``, not on how many there are.

    Args:
        output: a folder that does not exist yet or is empty.
        training: how many training scans.
        validation: how many validation scans.
        test: how many test scans.
        size: voxels a side; the field of view stays 192 mm.
        seed: the same seed gives the same data set.

    Returns:
        the datalist, as written.

    Raises:
        UserError: a count, size or seed makes no sense, ``output`` is taken, or cannot be written.
    """
    numbers = {"training": training, "validation": validation, "test": test, "size": size, "seed": seed}
    for name, number in numbers.items():
        smallest = SMALLEST if name == "size" else 0
        if type(number) is not int or number < smallest:
            raise UserError(f"{name} {number!r}: give a whole number, {smallest} or more")
    target = Path(output).expanduser().resolve()
    part = target.with_name(target.name + ".part")
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise UserError(f"{output}: exists and is not an empty folder; pass another --output, or remove it")
        part.mkdir(parents=True)
    except FileExistsError as error:
        raise UserError(f"{part}: left by an interrupted run, or in use by another; remove it and try again") from error
    except OSError as error:
        raise UserError(f"{output}: cannot make this folder ({error.strerror}); pass another --output") from error
    try:
        datalist = Datalist(
            name="phantom",
            description="Synthetic scans of a fetus in the uterus, drawn by a program. Not real data.",
            modality="synthetic MR",
            licence="CC0-1.0",
            regions=list(REGIONS),
            training=_write_split(part, "training", training, size, seed),
            validation=_write_split(part, "validation", validation, size, seed),
            test=_write_split(part, "test", test, size, seed),
        )
        write_datalist(datalist, part / "datalist.json")
        if target.exists():
            target.rmdir()  # Windows replaces no folder, not even an empty one
        os.replace(part, target)
    except OSError as error:
        raise UserError(f"{output}: cannot write the data set ({error.strerror}); pass another --output") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return datalist


def draw_scan(
    size: int, spacing: float, seed: int, split: str, mother: int, scan: int
) -> tuple[Array, dict[str, NDArray[np.bool_]]]:
    """Draw scan number ``scan`` of mother number ``mother`` of ``split``.

    Args:
        size: voxels a side.
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


def choose_annotated(scans: int, split: str, rng: np.random.Generator) -> list[list[str]]:
    """Choose which regions are annotated in each of ``scans`` scans of ``split``.

    Each region gets its fraction of the scans; every scan gets a region where there are enough of them to go round.
    """
    if split == "test":
        return [list(REGIONS)] * scans
    numbers = {region: min(scans, max(FEWEST[split], round(ANNOTATED[region] * scans))) for region in REGIONS}
    annotations = rng.permutation([region for region, number in numbers.items() for _ in range(number)]).tolist()
    chosen = [{region} for region in annotations[:scans]]
    chosen += [set() for _ in range(scans - len(chosen))]
    for region in REGIONS:
        without = [index for index in range(scans) if region not in chosen[index]]
        missing = numbers[region] - (scans - len(without))
        for index in rng.permutation(without)[:missing]:
            chosen[index].add(region)
    return [[region for region in REGIONS if region in regions] for regions in chosen]


def _write_split(folder: Path, split: str, scans: int, size: int, seed: int) -> list[Scan]:
    """Draw and write the scans of one split; return their entries of the datalist."""
    spacing = FIELD_OF_VIEW / size
    annotated = choose_annotated(scans, split, _rng(seed, split))
    entries = []
    for index, (mother, scan) in enumerate(_mothers_and_scans(scans, split, seed)):
        image, masks = draw_scan(size, spacing, seed, split, mother, scan)
        name = f"{split}_{index:03d}.nii.gz"
        _write_nifti(image, spacing, folder / "images" / name)
        for region in annotated[index]:
            _write_nifti(masks[region].astype(np.uint8), spacing, folder / "masks" / region / name)
        files = {region: f"masks/{region}/{name}" for region in annotated[index]}
        entries.append(Scan(image=f"images/{name}", subject=f"{split}_mother_{mother:03d}", masks=dict(files)))
    return entries


def _mothers_and_scans(scans: int, split: str, seed: int) -> list[tuple[int, int]]:
    """Number of the mother and number of the scan among hers, for each scan of a split."""
    pairs: list[tuple[int, int]] = []
    for mother in range(scans):
        pairs += [(mother, scan) for scan in range(_rng(seed, split, mother, 0).integers(1, MOST_SCANS + 1))]
    return pairs[:scans]


def _rng(seed: int, split: str, *numbers: int) -> np.random.Generator:
    """A generator of its own for a split, a mother, or a scan: none depends on how many there are."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split), *numbers)))


def _write_nifti(array: NDArray, spacing: float, path: Path) -> None:
    """Write ``array`` with a RAS affine whose origin is the centre of the grid."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(array.shape) - 1) / 2
    nifti = nib.Nifti1Image(array, affine)
    nifti.set_sform(affine, code="scanner")
    nifti.set_qform(affine, code="scanner")
    nifti.header.set_xyzt_units("mm")
    nib.save(nifti, path)
