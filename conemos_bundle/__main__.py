"""The command ``conemos``; also ``python -m conemos_bundle``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from conemos_bundle.errors import run_command
from conemos_bundle.utils.processes import end_with_command, forks_end_with_us


def _commands() -> dict[str, Callable[..., Any]]:
    from conemos_bundle import cli

    return {
        "datalist": cli.datalist,
        "check": cli.check,
        "train": cli.train,
        "evaluate": cli.evaluate,
        "predict": cli.predict,
        "label-app": cli.label_app,
        "pack": cli.pack,
        "export": cli.export,
        "import-keras": cli.import_keras,
        "phantom": cli.phantom,
        "experiments": cli.experiments,
        "report": cli.report,
    }


def _run() -> None:
    end_with_command()
    forks_end_with_us()
    import fire
    from conemos_bundle.cli.arguments import keep_texts

    commands, words = _commands(), sys.argv[1:]
    if words and words[0] in commands:
        keep_texts(commands[words[0]], words[1:])
    fire.Fire(commands, name="conemos")


def main() -> None:
    """Run a command; a user's error is one line on stderr and exit code 1."""
    run_command(_run)


if __name__ == "__main__":
    main()
