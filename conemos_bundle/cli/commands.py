"""Typer commands made of functions: signature and docstring of a function say all that its command needs to know.

A function stays what a script or a notebook calls. Parameters without a default become arguments, the others options,
``*scans`` any number of arguments, and ``**settings`` settings of a configuration file, which typer does not know. The
help is the docstring's.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from conemos_bundle.cli.arguments import names_of, pairs_of, values_of
from conemos_bundle.errors import UsageError
from conemos_bundle.utils.config_files import is_path_setting
from conemos_bundle.utils.nearest import suggestion
from conemos_bundle.utils.values import value_of

SHORT = {"o": ("output", "output_dir", "evaluation_dir"), "r": ("regions",), "m": ("model",)}
_OUTPUT_SETTING = {"train": "output_dir", "evaluate": "evaluation_dir"}  # -o of commands that know it as a setting
_SIMPLE: Mapping[str, type] = {"str": str, "int": int, "float": float, "bool": bool}
# annotations as they are written, without "| None"
_READERS: Mapping[str, Callable[[str], Any]] = {
    "str | list[str]": names_of,
    "str | Sequence[str]": names_of,
    "Sequence[str]": names_of,
    "dict[str, int | list[int]] | list[str]": values_of,
    "dict[str, str]": pairs_of,
}


class Words(NamedTuple):
    """A command line, read: what typer gets, and settings that it does not know."""

    for_typer: list[str]
    settings: dict[str, Any]


def _annotation(parameter: inspect.Parameter) -> str:
    return str(parameter.annotation).removesuffix(" | None")


def _is_list(parameter: inspect.Parameter) -> bool:
    return re.match(r"str \| |Sequence|int \| (list|tuple)", _annotation(parameter)) is not None


def read_words(function: Callable[..., Any], words: Sequence[str], name: str) -> Words:
    """Read the words behind a command's name.

    ``--dataset-dir``, ``--dataset_dir`` and ``-dataset_dir`` are one option; a list takes the words that follow it, or
    one word with commas; an argument may be written as an option, a switch as ``--archive False``.

    Args:
        function: the function behind the command.
        words: what was typed.
        name: of the command.

    Raises:
        UsageError: an unknown or incomplete option, an argument that is missing or too much.
    """
    if any(word in ("-h", "--help") for word in words):
        return Words(["--help"], {})
    parameters = inspect.signature(function).parameters
    takes_settings = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    variadic = [n for n, p in parameters.items() if p.kind is p.VAR_POSITIONAL]
    options = {n: p for n, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    required = [n for n, p in options.items() if p.default is p.empty]
    arguments: list[str] = []
    named: dict[str, str] = {}
    found: list[str] = []
    settings: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            arguments += rest
            break
        if not _is_option(word):
            arguments.append(word)
            continue
        option, equals, value = _split(word, options, name)
        parameter = options.get(option)
        given = [value] if equals else []
        if parameter is None and option.removeprefix("no_") in options and option.startswith("no"):
            found.append(f"--{option}")
        elif parameter is None and not takes_settings:
            near = suggestion(f"--{option}", [f"--{each}" for each in options])
            raise UsageError(f"{word.partition('=')[0]}: no such option of 'conemos {name}'{near}")
        elif parameter is None:
            if not given and rest and not _is_option(rest[0]):
                given = [rest.pop(0)]
            if not given and is_path_setting(option):
                raise UsageError(f"--{option}: needs a value")
            settings[option] = (given[0] if is_path_setting(option) else value_of(given[0])) if given else True
        elif _annotation(parameter) == "bool":
            if not given and rest and isinstance(value_of(rest[0]), bool):
                given = [rest.pop(0)]
            yes = value_of(given[0]) if given else True
            if not isinstance(yes, bool):
                raise UsageError(f"--{option} {given[0]}: write --{option} or --no_{option}")
            found.append(f"--{option}" if yes else f"--no_{option}")
        else:
            if not given and rest and not _is_option(rest[0]):
                given = [rest.pop(0)]
            open_places = variadic or len(arguments) + len(named) < len(required)
            while _is_list(parameter) and rest and not _is_option(rest[0]):
                if open_places and ("/" in rest[0] or Path(rest[0]).expanduser().exists()):
                    break
                given.append(rest.pop(0))
            if not given:
                raise UsageError(f"--{option}: needs a value")
            if option in required:
                named[option] = given[0]
            else:
                found += [f"--{option}", ",".join(each.strip(",") if len(given) > 1 else each for each in given)]
    placed = _place(arguments, named, required, bool(variadic), name)
    return Words([*found, "--", *placed], settings)


def _is_option(word: str) -> bool:
    return re.match(r"--?[A-Za-z+]", word) is not None


def _split(word: str, options: Mapping[str, Any], command: str) -> tuple[str, str, str]:
    """An option's name as it is in Python, ``=`` or nothing, and what follows that."""
    text, equals, value = word.lstrip("-").partition("=")
    text = text.replace("-", "_")
    if not word.startswith("--") and len(text) == 1 and text in SHORT:
        fit = [each for each in SHORT[text] if each in options]
        text = fit[0] if fit else _OUTPUT_SETTING.get(command, text) if text == "o" else text
    return text, equals, value


def _place(
    arguments: list[str], named: Mapping[str, str], required: Sequence[str], is_open: bool, name: str
) -> list[str]:
    """The arguments in the order of the function's parameters, those that were written as options among them."""
    placed, waiting = [], list(arguments)
    for each in required:
        if each not in named and not waiting:
            raise UsageError(f"conemos {name}: {each.upper()} is missing; see 'conemos {name} --help'")
        placed.append(named[each] if each in named else waiting.pop(0))
    if waiting and not is_open:
        raise UsageError(f"{waiting[0]!r} is one argument too many; see 'conemos {name} --help'")
    return [*placed, *waiting]


def typer_command(function: Callable[..., Any], settings: Mapping[str, Any]) -> Callable[..., Any]:
    """What typer calls: annotated by the function's docstring, with texts to read instead of lists.

    It returns the call to make and makes none: typer would hide an interruption (Ctrl-C) or a closed output of ours.

    Args:
        function: its annotations are texts (``from __future__ import annotations``).
        settings: passed on to it besides.
    """
    helps = _argument_helps(function)
    readers: dict[str, Callable[[str], Any]] = {}
    parameters: list[inspect.Parameter] = []
    variadic = None
    in_front: list[str] = []
    for name, parameter in inspect.signature(function).parameters.items():
        text = helps.get(name, "")
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        default = parameter.default
        kind = _SIMPLE.get(_annotation(parameter), str)
        if parameter.kind is parameter.VAR_POSITIONAL:
            variadic, in_front = name, [each.name for each in parameters]
            info: Any = typer.Argument(help=text, metavar=f"{name.upper()}…", show_default=False)
            hint: Any = list[str]
            default = None
        elif default is parameter.empty:
            info = typer.Argument(help=text, metavar=name.upper(), show_default=False)
            hint = kind
        else:
            shorts = [f"-{letter}" for letter, names in SHORT.items() if name in names]
            both = f"--{name}/--no_{name}" if kind is bool else f"--{name}"
            if kind is str and _annotation(parameter) != "str":
                readers[name] = _READERS.get(_annotation(parameter), value_of)
                shown = _shown(default)
                default = None
                info = typer.Option(both, *shorts, help=text, metavar="…", show_default=shown or False)
            else:
                info = typer.Option(both, *shorts, help=text, show_default=default not in (None, ""))
            hint = kind | None if default is None else kind
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[hint, info])
        )

    def command(**given: Any) -> Callable[[], Any]:
        several = given.pop(variadic) or [] if variadic else []
        before = [given.pop(name) for name in in_front]  # what stands in front of *scans can be given by place alone
        given = {key: v for key, v in given.items() if not (key in readers and v is None)}
        given = {key: _read(key, readers[key], v) if key in readers else v for key, v in given.items()}
        return partial(function, *before, *several, **given, **settings)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__doc__ = _plain(inspect.cleandoc(function.__doc__ or "").split("\n\nArgs:")[0])
    return command


def _read(option: str, reader: Callable[[str], Any], text: str) -> Any:
    try:
        return reader(text)
    except ValueError as error:
        raise UsageError(f"--{option} {error}") from error


def described_parameters(function: Callable[..., Any]) -> dict[str, Any]:
    """The arguments and options of a function's command, as JSON: what its help says.

    Returns:
        ``arguments`` and ``options``, each a list, and ``takes_settings``: whether settings of train.json fit behind.
    """
    helps = _argument_helps(function)
    arguments, options, takes_settings = [], [], False
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_settings = True
        elif parameter.default is parameter.empty:
            is_open = parameter.kind is parameter.VAR_POSITIONAL
            arguments.append({"name": name.upper(), "several": is_open, "help": helps.get(name, "")})
        else:
            words = [f"--{name}", *(f"-{letter}" for letter, names in SHORT.items() if name in names)]
            kind = str(parameter.annotation)
            options.append({"words": words, "type": kind, "default": parameter.default, "help": helps.get(name, "")})
    return {"arguments": arguments, "options": options, "takes_settings": takes_settings}


def _shown(default: Any) -> str:
    if isinstance(default, list | tuple):
        return ",".join(map(str, default)) if any(each is not None for each in default) else ""
    return "" if default is None else str(default)


def _plain(text: str) -> str:
    return re.sub(r"``([^`]*)``|`([^`]*)`", lambda found: found[1] or found[2] or "", text)


def _argument_helps(function: Callable[..., Any]) -> dict[str, str]:
    """What the docstring's ``Args:`` say of each parameter."""
    text = inspect.cleandoc(function.__doc__ or "").partition("\nArgs:\n")[2].split("\n\n")[0]
    helps: dict[str, str] = {}
    for name, told in re.findall(r"^    (\w+): ((?:.|\n(?:        |$))*)", text, re.MULTILINE):
        helps[name] = _plain(" ".join(told.split()))
    return helps
