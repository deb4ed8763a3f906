"""The options of ``python -m conemos_bundle.hosts.deploy``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import NoReturn

from conemos_bundle.errors import UsageError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see python -m conemos_bundle.hosts.deploy --help")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options, each with an environment variable behind it, as MONAI Application Packages set them.

    Raises:
        UsageError: an unknown option, or no input, output or model.
    """
    parser = _Parser(
        prog="python -m conemos_bundle.hosts.deploy",
        description="Segment regions of one DICOM series: DICOM SEG, a NIfTI a region and a report.",
    )
    add, environment = parser.add_argument, os.environ.get
    add("-i", "--input", default=environment("HOLOSCAN_INPUT_PATH"), help="folder of the DICOM series")
    add("-o", "--output", default=environment("HOLOSCAN_OUTPUT_PATH"), help="folder for the results")
    add(
        "-m", "--model", default=environment("HOLOSCAN_MODEL_PATH"), help="model.ts with its configuration, or a bundle"
    )
    add("-r", "--regions", default=environment("CONEMOS_REGIONS"), help="names, with commas between; none: all")
    add("-s", "--series", default=environment("CONEMOS_SERIES"), help="UID, number or description of one of several")
    add("-d", "--device", default=environment("CONEMOS_DEVICE"), help="cpu or cuda; none: a GPU where there is one")
    add(
        "-c",
        "--codes",
        default=environment("CONEMOS_CODES"),
        help="a table like conemos_bundle/volumes/region_codes.csv",
    )
    add("-l", "--log-level", default="ERROR", choices=["DEBUG", "INFO", "WARNING", "ERROR"], help="of the SDK")
    options = parser.parse_args(list(arguments))
    for name in ("input", "output", "model"):
        if not getattr(options, name):
            raise UsageError(f"--{name} is missing; see python -m conemos_bundle.hosts.deploy --help")
    return options
