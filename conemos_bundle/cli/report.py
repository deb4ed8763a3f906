"""`conemos report`: statistics, tables and figures of the paper's experiments, from the folders of finished runs."""

from __future__ import annotations

from pathlib import Path

from conemos_bundle.errors import UserError
from conemos_bundle.utils.nearest import check_path


def report(
    runs: str,
    output: str,
    steps: int | None = None,
    measure: bool = False,
    size: int | tuple[int, int, int] | None = None,
    rounds: int = 20,
) -> None:
    """Compare the finished and evaluated runs below a folder, and write a report on each data set.

    A run needs ``run.json``, ``evaluation_test/`` and, for time and validation, ``curve.csv``; neither weights nor
    scans. One data set's report is written into ``output`` itself, those of several into a folder each.

    Args:
        runs: the folder that holds the runs.
        output: the folder to write ``report.html``, ``report.md``, figures and tables into.
        steps: only runs of this many training steps.
        measure: first time the inference of each method on this machine, into ``inference.csv`` in the report's folder,
            where later reports find it.
        size: voxels of the patch that is timed, one number or three; default: that of CoNeMOS's training.
        rounds: how often each method is timed.

    Raises:
        UserError: there is nothing to compare, runs must not be compared, or a file cannot be read or written.
    """
    check_path(str(runs), is_folder=True)

    from functools import partial

    from conemos_bundle.files import write_in_one_step
    from conemos_bundle.names import folder_name
    from conemos_bundle.paper.collect import EvaluatedRun, find_runs
    from conemos_bundle.paper.methods import CONEMOS
    from conemos_bundle.paper.report import write_report
    from conemos_bundle.paper.sections import INFERENCE
    from conemos_bundle.paper.timing import measure as measure_inference
    from conemos_bundle.reports.page import REPORT as PAGE

    of_dataset: dict[str, list[EvaluatedRun]] = {}
    for run in find_runs(str(runs), steps):
        of_dataset.setdefault(run.dataset, []).append(run)
    for dataset, found in list(of_dataset.items()):
        if not any(run.is_standard and run.method == CONEMOS for run in found):
            print(
                f"{dataset}: skipped, no run of {CONEMOS} on all training scans with the usual convolutions conditioned"
            )
            del of_dataset[dataset]
    if not of_dataset:
        raise UserError(f"{runs}: no run of {CONEMOS} to compare the others with; train and evaluate one")
    target = Path(str(output)).expanduser()
    folders = {name: target if len(of_dataset) == 1 else target / folder_name(name, "data") for name in of_dataset}
    if len(set(folders.values())) < len(folders):
        raise UserError(f"{runs}: two data sets' names make the same folder; write a report on each by itself")
    for dataset, found in of_dataset.items():
        folder = folders[dataset]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: cannot make this folder ({error.strerror}); choose another --output") from error
        if measure:
            patch = [size] * 3 if isinstance(size, int) else size
            table = measure_inference([run for run in found if run.is_standard], patch, rounds)
            write_in_one_step(folder / INFERENCE, partial(table.to_csv, index=False))
        written = write_report(found, folder)
        print(f"wrote {written}\nnext: open {written.with_name(PAGE)}")
