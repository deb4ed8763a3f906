"""`conemos demo`: the model on two real scans, a taste of training, and what to type for one's own data."""

from __future__ import annotations

import csv
import os
import shlex
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conemos_bundle.errors import OutputError, UsageError, UserError
from conemos_bundle.utils.paths import examples_folder

if TYPE_CHECKING:
    from conemos_bundle.predictor import Predictor

MARK = ".conemos-demo"  # in a folder that a demonstration made, and the next one may write into
WRITTEN = ("masks", "pictures", "phantom", "run", "predictions")  # in it; whatever else is there stays
_SCANS = {"training": 24, "validation": 6, "test": 3}  # of 24³ voxels, for the taste
_BAR = 40  # letters of a Dice of 1


def demo(
    output: str = "demo",
    training: bool = True,
    phantom: bool = False,
    epochs: int | None = None,
    steps_per_epoch: int | None = None,
) -> None:
    """Segment two real scans, train for a minute or two, and say what to type for your own data. No network is used.

    The two scans ship with this package. ``anterior`` is asked for first, then every region, and the time of both is
    printed; a picture of each scan shows masks and reference. A small network then learns from synthetic scans that are
    each annotated for some of five regions.

    Args:
        output: where everything goes; what an earlier demonstration wrote there is replaced.
        training: train; ``--no_training`` stops after the pictures.
        phantom: the long demonstration instead: a larger synthetic data set, trained on until the pictures are good.
        epochs: epochs of training; default: 24, with the phantom 8.
        steps_per_epoch: steps of each; 40, with ``--phantom`` 100.

    Raises:
        UserError: ``output`` exists and is no demonstration, cannot be written to, or the package has no examples.
    """
    for option, number in {"epochs": epochs, "steps_per_epoch": steps_per_epoch}.items():
        if number is not None and number < 1:
            raise UsageError(f"--{option} {number}: give a number of at least 1")
    if phantom and not training:
        raise UsageError("--no_training: the demonstration on the phantom is a training; leave out one of the two")
    root = Path(str(output)).expanduser()
    _reject_taken(root)
    if not phantom:
        examples_folder()

    from conemos_bundle.files import one_writer

    started = time.monotonic()
    with one_writer(root):
        _make_room(root)
        if phantom:
            _phantom(root, epochs or 8, steps_per_epoch or 100)
        else:
            _examples(root, started)
            if training:
                _taste(root, epochs or 24, steps_per_epoch or 40)
    print(f"\ndone in {(time.monotonic() - started) / 60:.1f} minutes; everything is in {root}")
    print(
        "\nYour own scans, in DATA/images/, and masks, in DATA/masks/<region>/ (no mask: not annotated):\n"
        "  conemos datalist DATA --output datalist.json\n"
        "  conemos train datalist.json --output_dir runs/mine\n"
        "  conemos predict SCAN --model runs/mine --output predictions",
        flush=True,
    )


def _reject_taken(root: Path) -> None:
    if root.is_dir() and ((root / MARK).is_file() or not any(root.iterdir())):
        return
    if root.exists() or root.is_symlink():
        raise UserError(f"{root}: exists and is no demonstration; pass another --output")


def _make_room(root: Path) -> None:
    """Remove what an earlier demonstration wrote, and mark the folder as one."""
    try:
        for name in WRITTEN:
            if os.path.lexists(root / name):
                shutil.rmtree(root / name)
        (root / MARK).touch()
    except OSError as error:
        raise OutputError(
            f"{error.filename or root}: cannot be replaced ({error.strerror or error}); pass another --output"
        ) from error


def _say(*words: str) -> None:
    """Show a command so that it can be typed again."""
    print(f"\n$ conemos {shlex.join(words)}", flush=True)


def _conemos(*words: str) -> None:
    """Show a command and run it."""
    from conemos_bundle.cli.app import run

    _say(*words)
    run(words)


def _here(path: Path) -> str:
    """As one would type it."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _examples(root: Path, started: float) -> None:
    """The scans of the examples, by the model of the package."""
    print("Two T1-weighted scans around a hippocampus, which the model has not seen; loading PyTorch and the model …")
    print(f"(Medical Segmentation Decathlon, CC BY-SA 4.0: {_here(examples_folder() / 'README.md')})", flush=True)

    from conemos_bundle.data import read_datalist, scan_items
    from conemos_bundle.predictor import Predictor
    from conemos_bundle.reports.predicted import write_prediction_report
    from conemos_bundle.utils.memory import keep_freed_memory

    scans = scan_items(read_datalist(examples_folder() / "datalist.json"), "test", examples_folder())
    predictor = Predictor.load()
    keep_freed_memory(predictor.device)
    loaded = time.monotonic()
    one = _predict(predictor, scans, ["anterior"], root / "masks")
    print(f"\nanterior of two scans: {one:.1f} s, after {loaded - started:.1f} s of loading")
    every = _predict(predictor, scans, predictor.regions, root / "masks")
    number = len(predictor.regions)
    print(f"\nall {number} regions of two scans: {every:.1f} s; on demand costs what is asked for")
    print("pictures, with outlines of reference and prediction:")
    for scan in scans:
        print(f"  {_draw(scan, predictor.regions, root).resolve().as_uri()}")
    report = write_prediction_report(root / "masks", scans, predictor.regions, {"model": predictor.name})
    print(f"and a report, with volumes:\n  {report.resolve().as_uri()}")
    print(f"after {time.monotonic() - started:.1f} s", flush=True)


def _predict(predictor: Predictor, scans: Sequence[dict[str, Any]], regions: Sequence[str], output: Path) -> float:
    """Segment regions of the scans with a model that is loaded already; the seconds that it took."""
    from conemos_bundle.predictor import segment_scans

    _say("predict", *(_here(Path(scan["image"])) for scan in scans), "--regions", *regions, "--output", str(output))
    begun = time.monotonic()
    segment_scans(predictor, [scan["image"] for scan in scans], output, regions, resume=False)
    return time.monotonic() - begun


def _draw(scan: dict[str, Any], regions: Sequence[str], root: Path) -> Path:
    """A picture of a scan: a column per region, with its Dice."""
    import torch
    from conemos_bundle.evaluation.montage import draw_montage, gray_levels, orthogonal_views
    from conemos_bundle.files import write_in_one_step
    from conemos_bundle.inferers.saving import output_files
    from conemos_bundle.metrics.dice import dice
    from conemos_bundle.transforms.masks import region_mask
    from conemos_bundle.volumes import read_volume

    image = read_volume(scan["image"])
    gray = gray_levels(image.voxels[0])
    columns = []
    for region, file in zip(regions, output_files(root / "masks", scan["name"], regions, "files"), strict=True):
        found = read_volume(file, labels=True).voxels[0] > 0
        source = scan["masks"][region]
        labels = torch.from_numpy(read_volume(source["file"], labels=True).voxels)
        reference = region_mask(labels, source).numpy() > 0
        heading = f"{region}\nDice {dice(found, reference):.3f}"
        columns.append((heading, orthogonal_views(gray, found, reference, image.affine)))
    picture = root / "pictures" / f"{scan['name']}.png"
    figure = draw_montage(columns, title=scan["name"])
    write_in_one_step(picture, lambda part: figure.savefig(part, format="png"))
    return picture


def _taste(root: Path, epochs: int, steps: int) -> None:
    """Training in a minute or two: coarse synthetic scans, a small network."""
    print("\nA taste of training, on coarse synthetic scans that are each annotated for some of five regions")
    datalist, run = str(root / "phantom" / "datalist.json"), str(root / "run")
    numbers = [word for split, number in _SCANS.items() for word in (f"--{split}", str(number))]
    _conemos("phantom", str(root / "phantom"), "--size", "24", *numbers)
    _conemos(
        "train", datalist, "--output_dir", run, "--max_epochs", str(epochs), "--steps_per_epoch", str(steps),
        "--channels", "[8,16,32]", "--rotation_degrees", "30", "--sampling_rule", "uniform",
    )  # fmt: skip
    _show_curve(root / "run" / "curve.csv")
    _evaluate_and_predict(root, ("uterus", "body"))


def _show_curve(file: Path) -> None:
    print("\nDice on the validation scans, after each epoch (mean over the regions):")
    with file.open(encoding="utf-8", newline="") as rows:
        for row in csv.DictReader(rows):
            if row["validation_dice"]:
                dice = float(row["validation_dice"])
                print(f"  {row['epoch']:>3} {dice:.2f} {'#' * round(dice * _BAR)}")


def _phantom(root: Path, epochs: int, steps: int) -> None:
    """The phantom's demonstration."""
    datalist, run = str(root / "phantom" / "datalist.json"), str(root / "run")
    _conemos("phantom", str(root / "phantom"))
    _conemos("check", datalist)
    # half the usual features: enough for a phantom; every region equally often: the eyes need it
    _conemos(
        "train", datalist, "--output_dir", run, "--max_epochs", str(epochs), "--steps_per_epoch", str(steps),
        "--val_interval", "2", "--channels", "[8,16,32,64]", "--sampling_rule", "uniform", "--rotation_degrees", "180",
    )  # fmt: skip
    _evaluate_and_predict(root, ("brain", "placenta"))


def _evaluate_and_predict(root: Path, regions: Sequence[str]) -> None:
    """Measure the run on the test scans, show its pictures, and ask it for some regions of one of them."""
    from conemos_bundle.data import read_datalist

    datalist, run = root / "phantom" / "datalist.json", str(root / "run")
    _conemos("evaluate", str(datalist), "--run", run)
    print("pictures of the best, median and worst scan of each region:")
    for picture in sorted((root / "run" / "evaluation_test").glob("montage_*.png")):
        print(f"  {picture.resolve().as_uri()}")
    image = root / "phantom" / str(read_datalist(datalist).test[0].image)
    _conemos("predict", str(image), "--regions", *regions, "--model", run, "--output", str(root / "predictions"))
