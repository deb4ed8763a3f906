"""The grid of experiments: data sets, methods, seeds, fractions of the training scans, conditioned layers."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from conemos_bundle.errors import UserError
from conemos_bundle.names import RegionName, same_file, told_apart
from conemos_bundle.utils.config_files import is_path_setting
from conemos_bundle.utils.paths import bundle_folder
from conemos_bundle.utils.records import PathText, Strict, Text, read_as
from conemos_bundle.utils.values import value_of
from pydantic import AfterValidator, Field

OWN_METHOD = "conemos"  # train.json without an overlay


# A grid may come from anybody. In a configuration these say what code is run: an overlay, a class, a folder of modules
_NAME = re.compile(r"[A-Za-z]\w*(::([A-Za-z]\w*|\d+))*")
_OF_THE_GRID = {
    "datalist",
    "dataset_dir",
    "output_dir",
    "overlay",
    "bundle_root",
    "imports",
    "initialize",
    "run",
    "seed",
}


def _setting_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name[:60]!r} is no setting that a grid may have: letters, digits, '_', and '::' inside")
    if name.split("::")[0] in _OF_THE_GRID or is_path_setting(name):  # a path would lead out of the output folder
        raise ValueError(f"{name[:60]!r} is no setting that a grid may have")
    return name


def _method(name: str) -> str:
    known = [OWN_METHOD, *sorted(file.stem for file in (bundle_folder() / "configs" / "methods").glob("*.json"))]
    if name not in known:
        raise ValueError(f"{name[:60]!r}: no such method; use {', '.join(known)}")
    return name


def _plain(value: Any) -> Any:
    """A value that the command line gives to a configuration as it is: it reads words like Python's literals."""
    read = value_of(_text(value))
    if type(read) is not type(value) or read != value or (isinstance(value, str) and value.startswith("-")):
        raise ValueError(f"{_text(value)[:60]!r} would be read as something else; write numbers and lists as JSON does")
    return value


Value = bool | int | float | Text | None
Settings = dict[Annotated[str, AfterValidator(_setting_name)], Annotated[Value | list[Value], AfterValidator(_plain)]]


class DataSet(Strict):
    """A data set: its datalist, where the paths in it start, and settings for all of its runs."""

    datalist: PathText
    dataset_dir: PathText
    settings: Settings = Field(default_factory=dict)


class Runs(Strict):
    """All combinations of these; ``conditioned`` None means the default, numbers are for CoNeMOS alone."""

    datasets: list[str] | None = None
    methods: list[Annotated[str, AfterValidator(_method)]] = Field(default=[OWN_METHOD])
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = Field(default=[0])
    fractions: list[Annotated[float, Field(gt=0, le=1)]] = Field(default=[1.0])
    conditioned: list[Annotated[int, Field(ge=0)] | None] = Field(default=[None])


class Grid(Strict):
    """A grid file: data sets by name, settings of every run, and which runs to make.

    ``threads`` is what one run may use: with more runs than that side by side, nobody waits for anybody.
    """

    datasets: dict[RegionName, DataSet]  # their names become folders, as those of regions become files
    settings: Settings = Field(default_factory=dict)
    runs: Annotated[list[Runs], Field(min_length=1)]
    threads: Annotated[int, Field(ge=1, le=4096)] = 1


@dataclass(frozen=True)
class PlannedRun:
    """One run of the grid."""

    folder: str  # below the output folder
    datalist: str
    dataset_dir: str
    method: str
    settings: dict[str, Any] = field(hash=False)
    teacher: str | None = None  # folder of the individual networks that pseudo-labeling starts from

    def training(self, output_dir: str) -> list[str]:
        """The arguments of ``conemos train``."""
        overlay = [] if self.method == OWN_METHOD else ["--overlay", self.method]
        settings = dict(self.settings)
        if self.teacher is not None:
            settings["teacher_dir"] = os.path.join(output_dir, self.teacher)
        if settings.get("cache") == "disk":
            settings["cache_dir"] = os.path.join(output_dir, "cache")  # the runs share what is prepared
        given = [f"--{name}={_text(value)}" for name, value in settings.items()]  # a value is never an option
        places = ["--dataset_dir", self.dataset_dir, "--output_dir", os.path.join(output_dir, self.folder)]
        return [self.datalist, *places, *overlay, *given]

    def evaluation(self, output_dir: str) -> list[str]:
        """The arguments of ``conemos evaluate``."""
        return [self.datalist, "--dataset_dir", self.dataset_dir, "--run", os.path.join(output_dir, self.folder)]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def read_grid(path: str | os.PathLike[str]) -> Grid:
    """Read and validate a grid file; paths in it start at its own folder.

    Raises:
        UserError: the file cannot be read or is no grid, or a datalist, a folder or a method does not exist.
    """
    grid = read_as(Grid, path, " the grid")
    if pair := same_file(list(grid.datasets)):
        raise UserError(f"{path}: datasets: {told_apart(pair)}")
    root = Path(path).absolute().parent
    for data in grid.datasets.values():
        data.datalist, data.dataset_dir = str(root / data.datalist), str(root / data.dataset_dir)
        for place, exists in ((data.datalist, os.path.isfile), (data.dataset_dir, os.path.isdir)):
            if not exists(place):
                raise UserError(f"{path}: {place}: no such {'file' if exists is os.path.isfile else 'folder'}")
    for runs in grid.runs:
        for name in runs.datasets or []:
            if name not in grid.datasets:
                raise UserError(f"{path}: data set {name!r} is none of {', '.join(grid.datasets)}")
    return grid


def expand(grid: Grid) -> list[PlannedRun]:
    """The runs of a grid, each once.

    Pseudo-labelling starts from the individual networks of the same data set, seed and fraction where the grid has
    them.
    """
    found: dict[str, PlannedRun] = {}
    for runs in grid.runs:
        every = product(
            runs.datasets or list(grid.datasets), runs.methods, runs.seeds, runs.fractions, runs.conditioned
        )
        for name, method, seed, fraction, conditioned in every:
            if conditioned is not None and method != OWN_METHOD:
                continue
            data = grid.datasets[name]
            settings = {**grid.settings, **data.settings, "seed": seed, "fraction": fraction}
            folder = f"{name}/{Path(method).stem}/seed{seed}" + ("" if fraction == 1 else f"_fraction{fraction!r}")
            if conditioned is not None:
                settings["n_conditioned"] = conditioned
                folder += f"_conditioned{conditioned}"
            found[folder] = PlannedRun(folder, data.datalist, data.dataset_dir, method, settings)
    for folder, run in found.items():
        teacher = folder.replace("/pseudo_label/", "/individual/")
        if run.method == "pseudo_label" and teacher in found:
            found[folder] = PlannedRun(folder, run.datalist, run.dataset_dir, run.method, run.settings, teacher)
    return list(found.values())
