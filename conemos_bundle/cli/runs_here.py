"""The runs below ``./runs``: what a command names where it was not told which one, or told wrong."""

from __future__ import annotations

from pathlib import Path

from conemos_bundle.errors import UsageError
from conemos_bundle.utils.nearest import check_path

DEEPEST = 4  # folders: runs/<grid>/<data set>/<method>/<seed>
MOST_NAMED = 5


def runs_here(folder: str = "runs") -> list[str]:
    """The runs with weights below a folder of the working directory, those written last first.

    Example::

        >>> runs_here("no such folder")
        []
    """
    found = []
    for depth in range(1, DEEPEST + 1):
        for weights in Path(folder).glob("/".join(["*"] * depth + ["model.pt"])):
            try:
                if weights.with_name("run.json").is_file():
                    found.append((-weights.stat().st_mtime, str(weights.parent)))
            except OSError:  # went away meanwhile, or is not ours to read
                continue
    return [name for _, name in sorted(found)]


def name_runs(option: str) -> str:
    """``"; runs here: --model runs/a, runs/b"``, or nothing where there are none."""
    found = runs_here()
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return f"; runs here: {option} {', '.join(found[:MOST_NAMED])}{more}" if found else ""


def check_model_folder(path: str, option: str) -> Path:
    """The folder that an option names, if it is there.

    Raises:
        UsageError: it is not; names the runs that could be meant.
    """
    try:
        return check_path(path, is_folder=True)
    except UsageError as error:
        raise UsageError(f"{error}{name_runs(option)}") from error
