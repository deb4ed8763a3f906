"""``conemos phantom``: write the synthetic data set."""

from __future__ import annotations

from pathlib import Path

from conemos_bundle.cli.next_step import say_next


def phantom(
    output: str,
    training: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    size: int | None = None,
    seed: int = 0,
    fidelity: str = "small",
    mothers: int | None = None,
    complete_test: bool = False,
    workers: int = 0,
) -> None:
    """Write a partially annotated data set of synthetic fetal scans, and print how many scans annotate each region.

    Args:
        output: a folder that does not exist yet or is empty.
        training: how many training scans; 40, at full fidelity 174 as in the paper's Table 1.
        validation: how many validation scans; 6, at full fidelity 42.
        test: how many test scans; 10, at full fidelity 73.
        size: voxels per side; 48 of 4 mm, at full fidelity 128 of 3 mm. The field of view stays the same.
        seed: the same seed gives the same data set.
        fidelity: small (stylized, for a demonstration) or full (docs/phantom.md).
        mothers: how many mothers the scans at full fidelity are of; 91 of 289 scans, in proportion for other numbers.
        complete_test: annotate all regions in all test scans at full fidelity, not only Table 1's fraction.
        workers: processes that draw; 0: this one. The scans are the same.

    Raises:
        UserError: a setting makes no sense, or ``output`` is taken or cannot be written.
    """
    from conemos_bundle.data.datalist import SPLITS
    from conemos_bundle.phantom import make_phantom

    datalist = make_phantom(
        str(output), training, validation, test, size, seed, str(fidelity), mothers, bool(complete_test), workers
    )
    print(f"{output}: synthetic scans, datalist.json")
    names = ["scans", *datalist.regions, "mothers"]
    print(f"{'annotated scans':16}" + "".join(f"{name:>10}" for name in names))
    for split in SPLITS:
        scans = datalist.scans(split)
        numbers = [len(scans), *(sum(region in scan.masks for scan in scans) for region in datalist.regions)]
        numbers.append(len({scan.subject for scan in scans}))
        print(f"{split:16}" + "".join(f"{number:>10}" for number in numbers))
    say_next("check", str(Path(str(output)) / "datalist.json"))
