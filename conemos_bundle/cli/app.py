"""The command ``conemos``, on typer: it refuses what is wrong before anything heavy is imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import typer
from conemos_bundle import cli
from conemos_bundle.cli.commands import read_words, typer_command
from conemos_bundle.cli.settings import settings_help
from conemos_bundle.errors import UsageError, run_command
from conemos_bundle.utils.nearest import suggestion
from conemos_bundle.utils.processes import end_with_command, forks_end_with_us
from conemos_bundle.utils.version import __version__

COMMANDS: Mapping[str, tuple[Callable[..., Any], str]] = MappingProxyType(
    {
        "demo": (cli.demo, "Two real scans segmented, a taste of training."),
        "datalist": (cli.datalist, "Write a datalist for a folder of partly annotated scans."),
        "check": (cli.check, "Find what is wrong with a data set."),
        "train": (cli.train, "Train on a datalist."),
        "evaluate": (cli.evaluate, "Dice and surface distances of a run, per scan and region."),
        "predict": (cli.predict, "Segment regions of scans."),
        "add-region": (cli.add_region, "Teach a trained model another region from a few scans."),
        "merge": (cli.merge, "Join a model with regions taught to it; remove, rename."),
        "label-app": (cli.label_app, "Write an app for MONAI Label: 3D Slicer, OHIF."),
        "pack": (cli.pack, "Make a MONAI bundle of a run."),
        "export": (cli.export, "TorchScript, .pt2 and ONNX of a bundle."),
        "import-keras": (cli.import_keras, "Make a run of the authors' weights."),
        "phantom": (cli.phantom, "Write a synthetic fetal data set."),
        "experiments": (cli.experiments, "Train and compare a grid of methods."),
        "federate": (cli.federate, "One network of several sites whose scans stay there (NVIDIA FLARE)."),
        "report": (cli.report, "Statistics, tables and figures of finished runs."),
        "bench": (cli.bench, "Time training and inference against MONAI's networks."),
        "info": (cli.info, "Versions, device, the model's regions, all commands; --json for programs."),
    }
)
_TAKE_SETTINGS = ("train", "evaluate", "experiments", "add-region", "federate")


def _show_version(asked: bool) -> None:
    if asked:
        print(f"conemos {__version__}")
        raise typer.Exit


def make_app(settings: Mapping[str, Any]) -> typer.Typer:
    """The typer application; its commands get ``settings`` of a configuration besides their own options."""
    context = {"help_option_names": ["-h", "--help"]}
    app = typer.Typer(
        name="conemos",
        help="Train on partially annotated scans; segment any of their regions on demand.",
        context_settings=context,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )

    @app.callback()
    def conemos(
        version: bool = typer.Option(
            False, "--version", help="Show the version.", callback=_show_version, is_eager=True
        ),
    ) -> None:
        pass

    told = {name: settings_help(evaluation=name == "evaluate") for name in _TAKE_SETTINGS}
    for name, (function, short_help) in COMMANDS.items():
        epilog = told.get(name) if name != "federate" else None  # which takes some of them
        app.command(name, context_settings=context, short_help=short_help, epilog=epilog)(
            typer_command(function, settings if name in _TAKE_SETTINGS else {})
        )
    return app


def call_of(words: Sequence[str]) -> Callable[[], Any] | None:
    """What ``conemos`` does with these words, before anything of it is done; None after ``--help``.

    Raises:
        UsageError: something in them is wrong.
    """
    settings: dict[str, Any] = {}
    words = list(words)
    if words and not words[0].startswith("-") and "_CONEMOS_COMPLETE" not in os.environ:
        name = words[0].replace("_", "-")
        if name not in COMMANDS:
            raise UsageError(f"{words[0]}: no such command{suggestion(name, list(COMMANDS))}; see 'conemos --help'")
        read = read_words(COMMANDS[name][0], words[1:], name)
        words, settings = [name, *read.for_typer], read.settings
    app = make_app(settings)
    try:
        call = app(words or ["--help"], prog_name="conemos", standalone_mode=False)
    except Exception as error:
        if not hasattr(error, "format_message"):  # typer's own: a number that is none, …
            raise
        raise UsageError(" ".join(error.format_message().split())) from error
    return call if callable(call) else None


def run(words: Sequence[str]) -> None:
    """Run ``conemos`` with these words.

    Raises:
        UsageError: something in them is wrong; nothing has been done then.
    """
    call = call_of(words)
    if call is not None:
        call()


def main() -> None:
    """Run the command line; a user's error is one line on stderr and exit code 1, or 2 where the words are wrong."""

    def conemos() -> None:
        end_with_command()
        forks_end_with_us()
        run(sys.argv[1:])

    run_command(conemos)
