from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conemos_bundle import errors
from conemos_bundle.errors import UserError, find_user_error


def raised(how: str) -> BaseException:
    """An error that came from a `UserError` in one of the ways Python knows."""
    try:
        try:
            raise UserError("a.nii: mend it")
        except UserError as error:
            if how == "itself":
                raise
            if how == "twice":
                try:
                    raise KeyError("transform") from error
                except KeyError as second:
                    raise RuntimeError("applying transform") from second
            if how == "cause":
                raise RuntimeError("applying transform") from error
            raise RuntimeError("while handling it")  # noqa: B904 - the context alone
    except Exception as error:
        return error


@pytest.mark.parametrize("how", ["itself", "cause", "twice", "context"])
def test_the_users_error_is_found_behind_those_that_wrap_it(how: str) -> None:
    found = find_user_error(raised(how))
    assert isinstance(found, UserError)
    assert str(found) == "a.nii: mend it"


def test_other_errors_are_none_of_the_users() -> None:
    assert find_user_error(None) is None
    assert find_user_error(ValueError("a bug")) is None
    chained = RuntimeError("outer")
    chained.__cause__ = ValueError("inner")
    assert find_user_error(chained) is None


def test_a_circle_of_causes_ends() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert find_user_error(first) is None


def test_a_user_error_is_a_value_error() -> None:
    assert issubclass(UserError, ValueError)


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    root = Path(errors.__file__).parents[1]
    return subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("raise RuntimeError('wrapped') from UserError('a.nii: mend it')", "error: a.nii: mend it\n"),
        ("raise RuntimeError('a bug')", "Traceback (most recent call last):"),
    ],
)
def test_the_hook_prints_one_line_for_a_users_error_alone(statement: str, expected: str) -> None:
    code = f"from conemos_bundle.errors import *\nshow_user_errors_in_one_line()\n{statement}"
    done = run_python(code)
    assert done.returncode == 1
    assert done.stderr == expected or (expected.startswith("Traceback") and done.stderr.startswith(expected))


@pytest.mark.parametrize(
    ("statement", "last_line"),
    [
        ("raise RuntimeError('wrapped') from UserError('a.nii: mend it')", "error: a.nii: mend it"),
        ("raise KeyboardInterrupt", "error: interrupted; run the same command again to go on"),
        ("raise RuntimeError('a bug')", "RuntimeError: a bug"),
    ],
)
def test_a_command_ends_in_one_line_where_a_user_can_mend_it(statement: str, last_line: str) -> None:
    code = f"from conemos_bundle.errors import *\ndef command():\n    {statement}\nrun_command(command)"
    done = run_python(code)
    lines = done.stderr.splitlines()
    assert (done.returncode, lines[-1]) == (130 if "interrupted" in last_line else 1, last_line)
    assert (len(lines) == 1) == last_line.startswith("error: ")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_end_with_the_exit_code_alone(closed: str) -> None:
    code = "from conemos_bundle.errors import *; run_command(lambda: (_ for _ in ()).throw(UserError('bad')))"
    done = subprocess.run(["sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "" if "2" in closed else "error: bad\n")


def test_a_message_is_one_line_that_a_terminal_shows() -> None:
    assert str(UserError("a\nb\x1b[31m.nii: größe")) == "a\\nb\\x1b[31m.nii: größe"
