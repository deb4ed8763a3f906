"""How long the command line takes to help and to refuse, against importing PyTorch and MONAI."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import conemos_bundle
from conemos_bundle.paper.bench.groups import Call, Group
from conemos_bundle.paper.bench.setup import Setup
from conemos_bundle.utils.processes import NO_MODULES_OF_WORKING_DIRECTORY, commands_end_with_us

IMPORT = "import torch, monai"
COMMANDS = {  # words, and how the command ends
    IMPORT: (["-c", IMPORT], 0),
    "conemos --help": (["-m", "conemos_bundle", "--help"], 0),
    "conemos predict of a file that is not there": (["-m", "conemos_bundle", "predict", "nowhere.nii.gz"], 2),
}


def build_command(words: Sequence[str], folder: Path, ends: int = 0) -> Call:
    """A process of this Python in a folder.

    Raises (when called):
        RuntimeError: it ends with another exit code than ``ends``.
    """
    paths = [str(Path(conemos_bundle.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        **NO_MODULES_OF_WORKING_DIRECTORY,
        **commands_end_with_us(),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }

    def run() -> None:
        done = subprocess.run(  # noqa: S603 (a list, never a shell)
            [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != ends:
            told = done.stderr.strip().splitlines() or ["nothing printed"]
            raise RuntimeError(f"{' '.join(words[:3])} ended with {done.returncode}, not {ends}: {told[-1]}")

    return run


def startup_groups(setup: Setup) -> Iterator[Group]:
    """One group of processes."""
    with TemporaryDirectory() as folder:
        variants = {name: partial(build_command, words, Path(folder), ends) for name, (words, ends) in COMMANDS.items()}
        yield Group("startup", "Start-up of a process", variants, (IMPORT,))
