"""``conemos phantom``: write the synthetic data set."""

from __future__ import annotations

from conemos_bundle.data.datalist import SPLITS
from conemos_bundle.phantom import make_phantom


def phantom(
    output: str, training: int = 40, validation: int = 6, test: int = 10, size: int = 48, seed: int = 0
) -> None:
    """Write a partially annotated data set of synthetic fetal scans, and print how many scans annotate each region.

    Args:
        output: a folder that does not exist yet or is empty.
        training: how many training scans.
        validation: how many validation scans.
        test: how many test scans.
        size: voxels a side; the field of view stays 192 mm.
        seed: the same seed gives the same data set.

    Raises:
        UserError: a number makes no sense, or ``output`` is taken or cannot be written.
    """
    datalist = make_phantom(str(output), training, validation, test, size, seed)
    print(f"{output}: synthetic scans, datalist.json")
    print(f"{'annotated scans':16}" + "".join(f"{name:>10}" for name in ["scans", *datalist.regions]))
    for split in SPLITS:
        scans = datalist.scans(split)
        numbers = [len(scans), *(sum(region in scan.masks for scan in scans) for region in datalist.regions)]
        print(f"{split:16}" + "".join(f"{number:>10}" for number in numbers))
