"""The command ``python deploy -i DICOM_FOLDER -o OUT -m model.ts``."""

from __future__ import annotations

import sys
from pathlib import Path

try:
    from conemos_bundle.errors import exit_with, find_user_error
except ImportError:
    sys.exit("error: conemos_bundle is not installed for this Python; run deploy/setup.sh and use its Python")
from options import parse
from sdk_start import prepare_sdk


def main() -> None:
    """Run the command; a user's error is one line on stderr and exit code 1."""
    try:
        options = parse(sys.argv[1:])
        prepare_sdk(options.log_level)
        from command import segment, summary

        print(summary(segment(options), Path(options.output).expanduser().absolute()))
    except Exception as error:
        user_error = find_user_error(error)
        if user_error is None:
            raise
        exit_with(user_error)
    except KeyboardInterrupt:
        sys.exit("error: interrupted")


if __name__ == "__main__":
    main()
