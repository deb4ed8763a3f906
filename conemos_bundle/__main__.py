"""The command ``conemos``; also ``python -m conemos_bundle``."""

from __future__ import annotations

import fire
from conemos_bundle.errors import run_command


def _commands() -> dict[str, object]:
    from conemos_bundle import commands

    return {
        "datalist": commands.datalist,
        "check": commands.check,
        "train": commands.train,
        "evaluate": commands.evaluate,
        "predict": commands.predict,
        "label-app": commands.label_app,
        "pack": commands.pack,
        "export": commands.export,
        "import-keras": commands.import_keras,
        "phantom": commands.phantom,
        "experiments": commands.experiments,
        "report": commands.report,
    }


def main() -> None:
    """Run a command; a user's error is one line on stderr and exit code 1."""
    run_command(lambda: fire.Fire(_commands(), name="conemos"))


if __name__ == "__main__":
    main()
