"""The command ``python -m conemos_bundle.hosts.deploy -i DICOM_FOLDER -o OUT -m model.ts``."""

from __future__ import annotations

import sys
from pathlib import Path

from conemos_bundle.errors import run_command
from conemos_bundle.hosts.deploy.options import parse
from conemos_bundle.hosts.deploy.sdk_start import prepare_sdk


def segment_series() -> None:
    """Read the options, segment the series and print what came of it."""
    options = parse(sys.argv[1:])
    prepare_sdk(options.log_level)
    from conemos_bundle.hosts.deploy.command import segment, summary

    print(summary(segment(options), Path(options.output).expanduser().absolute()))


if __name__ == "__main__":
    run_command(segment_series)
