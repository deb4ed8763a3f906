"""Reading what others may have written: JSON files as data, held against a schema, never evaluated.

Whatever is read here may end up in a configuration of MONAI, which evaluates texts and instantiates dictionaries with
``_target_``. So each kind of file has a schema that names all that it may hold, and no text of it looks like an
expression, a reference or a macro.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import unicodedata
from pathlib import Path
from typing import Annotated, Any, TypeVar

from conemos_bundle.errors import UserError
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

MOST_BYTES = 2**26
MOST_LETTERS = 10_000
_EVALUATED = re.compile(r"\s*[$@%]")
_RELATIVE = re.compile(r"[@%](#|::)")  # MONAI replaces these wherever they stand in a text


def plain_text(text: str) -> str:
    """The text, which MONAI's parser leaves alone.

    Raises:
        ValueError: the parser would evaluate or replace it, or it is no Unicode text.
    """
    if _EVALUATED.match(text):
        raise ValueError(f"{text[:20]!r} may not begin with '$', '@' or '%'")
    if _RELATIVE.search(text):
        raise ValueError(f"{text[:20]!r} may not hold '@' or '%' before '#' or '::'")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{text[:20]!r} is not Unicode text") from error
    return text


def path_text(text: str) -> str:
    """The text, if it can be a path: what it names need not exist.

    Raises:
        ValueError: it is empty, longer than systems take, or holds control characters or what is no Unicode.
    """
    try:
        size = len(os.fsencode(text))
    except UnicodeEncodeError as error:
        raise ValueError(f"{text[:20]!r} cannot be a path: not Unicode text") from error
    if not text or any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise ValueError(f"{text[:20]!r} cannot be a path: empty, or with control characters")
    if size > 4096 or any(len(os.fsencode(part)) > 255 for part in re.split(r"[/\\]", text)):
        raise ValueError(f"'{text[:20]}…' cannot be a path: too long")
    return text


PathText = Annotated[str, AfterValidator(path_text)]
Text = Annotated[str, Field(max_length=MOST_LETTERS), AfterValidator(plain_text)]
_missing = BeforeValidator(lambda cell: None if cell in ("", "nan") or cell != cell else cell)
Share = Annotated[float | None, Field(ge=0, le=1), _missing]  # cells of a table; where there is no number, they are
Amount = Annotated[float | None, Field(ge=0), _missing]  # empty
Number = Annotated[int | None, Field(ge=0, le=10**15), _missing]
Model = TypeVar("Model", bound="Strict")


class Strict(BaseModel):
    """A schema: these fields, of these types, finite numbers, nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def one_line(error: ValidationError) -> str:
    """Where the first error is, and what it is."""
    first = error.errors(include_url=False)[0]
    place = ".".join(
        str(part) for part in first["loc"] if not str(part).startswith(("str", "MaskSource", "list[", "function-"))
    )
    message = str(first["msg"]).removeprefix("Value error, ")
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    line = f"{place}: {message}{more}" if place else f"{message}{more}"
    return " ".join(line.split()) if len(line) < 600 else f"{' '.join(line[:600].split())} …"


def read_text(path: str | os.PathLike[str], what: str = " it", hint: str = "") -> str:
    """The content of a text file in UTF-8; arguments as for `read_json`.

    Raises:
        UserError: it cannot be read, is no file, no text, or larger than 64 MB.
    """
    try:
        if Path(path).exists() and not Path(path).is_file():  # a device or a pipe might never end
            raise UserError(f"{path}: cannot read{what} (not a file){hint}")
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise UserError(f"{path}: cannot read{what} (larger than {MOST_BYTES >> 20} MB){hint}")
        return content.decode("utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot read{what} ({error.strerror or error}){hint}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot read{what} (not UTF-8 text){hint}") from error


def read_json(path: str | os.PathLike[str], what: str = " it", hint: str = "") -> Any:
    """The content of a JSON file: no number that is not finite, no key twice, no depth that exhausts the stack.

    Args:
        path: the file.
        what: it is, such as ``" the datalist"``, for the error.
        hint: what to do, such as ``"; 'conemos datalist' writes one"``.

    Raises:
        UserError: it cannot be read so.
    """
    content = read_text(path, what, hint)
    try:
        return json.loads(content, object_pairs_hook=_dictionary, parse_constant=_reject_constant, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not valid JSON (line {error.lineno}: {error.msg}){hint}") from error
    except RecursionError as error:
        raise UserError(f"{path}: not valid JSON (nested too deeply){hint}") from error
    except ValueError as error:  # a key twice, a number of thousands of digits
        raise UserError(f"{path}: not valid JSON ({error}){hint}") from error


def read_as(schema: type[Model], path: str | os.PathLike[str], what: str = " it", hint: str = "") -> Model:
    """A JSON file, held against a schema; arguments as for `read_json`.

    Raises:
        UserError: it cannot be read, or is no such thing.
    """
    content = read_json(path, what, hint)
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {one_line(error)}") from error
    except RecursionError as error:
        raise UserError(f"{path}: nested too deeply") from error


def read_table(schema: type[Model], path: str | os.PathLike[str], hint: str = "; write it again") -> list[Model]:
    """The rows of a table (CSV with a header), each held against a schema.

    Args:
        schema: of a row; texts become its types.
        path: the file.
        hint: what to do where it is no such table.

    Raises:
        UserError: it cannot be read, or is no such table.
    """
    content = read_text(path, " this table", hint)
    try:
        lines = csv.DictReader(io.StringIO(content, newline=""), strict=True)
        columns = list(lines.fieldnames or [])
        rows = list(lines)
    except csv.Error as error:
        raise UserError(f"{path}: cannot read this table ({error}){hint}") from error
    twice = [column for column in columns if columns.count(column) > 1]
    missing = [name for name, field in schema.model_fields.items() if field.is_required() and name not in columns]
    if missing or twice:
        wrong = f"lacks the column {missing[0]!r}" if missing else f"has the column {twice[0][:60]!r} twice"
        raise UserError(f"{path}: {wrong}{hint}")
    checked = []
    for i, row in enumerate(rows):
        if None in row or None in row.values():
            raise UserError(f"{path}: cannot read this table (row {i + 1} has not {len(columns)} cells){hint}")
        try:
            checked.append(schema.model_validate(row, strict=False))
        except ValidationError as error:
            raise UserError(f"{path}: row {i + 1}: {one_line(error)}{hint}") from error
    return checked


def _dictionary(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    names = [unicodedata.normalize("NFC", name) for name, _ in pairs]  # one name for people, and for schemas
    if len(set(names)) < len(pairs):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:60]!r} stands twice in one place")
    return content


def _integer(text: str) -> int:
    if len(text) > 300:
        raise ValueError("a number of more than 300 digits")
    return int(text)


def _reject_constant(text: str) -> None:
    raise ValueError(f"{text} is not a finite number")
