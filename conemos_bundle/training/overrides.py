"""Refusing settings on the command line that no configuration has, and paths that would be read as numbers."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from pydoc import locate
from typing import Any

from conemos_bundle.errors import UsageError
from conemos_bundle.utils.config_files import REGIONS_ARE_GIVEN, has_setting, is_path_setting
from conemos_bundle.utils.nearest import suggestion
from monai.bundle import ComponentLocator, ConfigComponent, ConfigParser, run


def _config_files(text: str) -> list[str]:
    """``a.json`` or ``['a.json','b.json']`` as a list."""
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        value = text
    return [str(file) for file in value] if isinstance(value, list | tuple) else str(value).split(",")


def _is_option(word: str) -> bool:
    return re.match(r"--|-[A-Za-z]", word) is not None


def _as_fire_reads(words: Sequence[str]) -> dict[str, str]:
    """Options and their values: ``--a-b 1``, ``-a_b=1``, ``--a_b``, which is True, and ``--noa_b``, which is False."""
    options: dict[str, str] = {}
    for word, following in zip_longest(words, words[1:]):
        if not _is_option(word) or word == "--":
            continue
        option, equals, value = word.lstrip("-").partition("=")
        option = option.replace("-", "_")
        if not equals and following is not None and not _is_option(following):
            value = following
        elif not equals:
            is_no = option.startswith("no") and option not in inspect.signature(run).parameters
            option, value = (option[2:], "False") if is_no else (option, "True")
        options[option] = value
    return options


def reject_unknown_overrides(argv: Sequence[str] | None = None) -> None:
    """Refuse a misspelled ``--setting`` of `python -m monai.bundle run`, which MONAI would silently add.

    Args:
        argv: the command line; default: this process's. Anything but `monai.bundle run` is left alone.

    Raises:
        UsageError: a setting is in none of the configuration files, or a path would be read as a number.
    """
    argv = sys.argv if argv is None else argv
    if len(argv) < 2 or argv[1] != "run" or not Path(argv[0]).as_posix().endswith("monai/bundle/__main__.py"):
        return
    options = _as_fire_reads(argv[2:])
    if "args_file" in options or "config_file" not in options:
        return  # settings come from elsewhere too
    files = _config_files(options["config_file"])
    if not all(file.endswith(".json") and Path(file).is_file() for file in files):
        return  # MONAI says what is wrong with it, or reads another format
    known = ConfigParser.load_config_files(files)
    for option in options:
        if option not in inspect.signature(run).parameters and not has_setting(known, option):
            near = suggestion(f"--{option}", [f"--{name}" for name in known])
            raise UsageError(f"--{option}: no such setting in {options['config_file']}{near or '; mind the spelling'}")
        reject_unknown_argument(known, option)
        if is_path_setting(option):
            _reject_number(option, options[option])


def reject_unknown_argument(config: Any, option: str) -> None:
    """Refuse a new argument, below a ``_target_`` of a configuration, that the class or function does not take.

    Args:
        config: as `has_setting` has found the setting in it.
        option: the setting, ``a::b``.

    Raises:
        UsageError: naming the argument that is nearest.
    """
    *above, last = re.split("::|#", option.lstrip("+"))
    for part in above:
        if isinstance(config, list) and part.isdigit() and int(part) < len(config):
            config = config[int(part)]
        elif isinstance(config, dict) and part in config:
            config = config[part]
        else:
            return  # behind a reference
    if not isinstance(config, dict) or last in config or last.startswith("_") or "_target_" not in config:
        return
    component = locate(str(ConfigComponent(config, locator=ComponentLocator()).resolve_module_name()))
    try:
        parameters = inspect.signature(component).parameters  # type: ignore[arg-type]
    except (TypeError, ValueError):  # there is none, or it does not say what it takes
        return
    if last not in parameters and not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        path = option[: -len(last)]
        near = suggestion(f"--{option}", [f"--{path}{name}" for name in parameters])
        raise UsageError(f"--{option}: {config['_target_']} has no argument {last!r}{near}")


def _reject_number(option: str, text: str) -> None:
    """MONAI reads a folder ``2024_01_05`` as the number 20240105, and ``1e3`` as 1000.0."""
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return
    for read in value if isinstance(value, list | tuple) else [value]:
        if read is not None and not isinstance(read, str):
            raise UsageError(
                f"--{option} {text}: would be read as {value!r}, not as a path; write --{option} ./{text.strip('[]')}"
            )


def reject_other_regions(regions: Any, given: Any) -> None:
    """A step of a configuration: refuse regions, or an order of them, that the data set or the run does not have.

    An overlay or `python -m monai.bundle` could set them; each channel would then have another region's name.

    Args:
        regions: of the configuration.
        given: the datalist that is trained on, or the record of the run that is evaluated.

    Raises:
        UsageError: they differ.
    """
    if regions != given.regions:
        raise UsageError(
            f"--regions {str(regions)[:60]}: {REGIONS_ARE_GIVEN}: {', '.join(given.regions)}; leave it out"
        )


def reject_no_vectors(spacing: Any, patch_size: Any, flip_probability: Any, seed: Any) -> None:
    """A step of a configuration: refuse what are not three numbers, one per axis, in their range; a seed below 0.

    Raises:
        UsageError: one is none.
    """

    def three(value: Any, kinds: tuple[type, ...], low: float, high: float) -> bool:
        sides = value if isinstance(value, list | tuple) else []
        return len(sides) == 3 and all(type(side) in kinds and low <= side <= high for side in sides)

    if spacing is not None and not three(spacing, (int, float), 1e-5, 1e3):
        raise UsageError(f"--spacing {str(spacing)[:60]}: give three numbers above 0, in mm, such as [1,1,2]")
    if patch_size is not None and not three(patch_size, (int,), 1, 4096):
        raise UsageError(f"--patch_size {str(patch_size)[:60]}: give three whole numbers, such as [64,64,32]")
    if not three(flip_probability, (int, float), 0, 1):
        raise UsageError(f"--flip_probability {str(flip_probability)[:60]}: give three numbers from 0 to 1")
    if type(seed) is not int or not 0 <= seed < 2**32:
        raise UsageError(f"--seed {str(seed)[:60]}: give a whole number of at least 0")


def reject_no_counts(minutes: Any = None, **settings: Any) -> None:
    """A step of a configuration: refuse settings that are not whole numbers of at least 1, and a time that is none.

    Raises:
        UsageError: one is none.
    """
    is_number = isinstance(minutes, int | float) and not isinstance(minutes, bool)
    if minutes is not None and not (is_number and 0 < minutes < float("inf")):
        raise UsageError(f"--minutes {str(minutes)[:60]}: give a number above 0")
    for name, value in settings.items():
        if type(value) is not int or value < 1:
            raise UsageError(f"--{name} {str(value)[:60]}: give a whole number of at least 1")
