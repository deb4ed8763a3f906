"""The starter and the environment that it makes."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from conemos_bundle.utils.paths import bundle_folder

from tests.locks import locked, needed

SCRIPTS = bundle_folder() / "scripts"


def test_versions_that_monai_label_runs_with() -> None:
    major = {name: int(version.split(".")[0]) for name, version in locked("label").items()}
    assert {name: major[name] for name in ("numpy", "pydicom", "pynetdicom", "jsonschema")} == {
        "numpy": 1, "pydicom": 2, "pynetdicom": 2, "jsonschema": 3,
    }  # fmt: skip
    assert not major.keys() & {"sam2", "sam-2", "mlflow", "monailabel"}
    assert locked("monailabel").keys() == {"monailabel"}


def test_the_environment_has_what_the_package_needs() -> None:
    """`conemos label-app` runs there: a dependency that is missing ends the starter in a traceback."""
    assert "monai" in needed() and needed().keys() <= locked("label").keys()


def test_a_folder_that_is_not_there_is_told_before_anything_is_installed(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "start_label_server.py"), "--studies", str(tmp_path / "none")]
    done = subprocess.run([*command, "--environment", str(tmp_path / "env")], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and "no such folder" in done.stderr
    assert not (tmp_path / "env").exists()


def test_the_programs_of_the_environment_are_found(tmp_path: Path) -> None:
    """MONAI Label fetches dcmqi from GitHub where it does not find it on the path."""
    assert "dcmqi" in locked("label")
    starter = runpy.run_path(str(SCRIPTS / "start_label_server.py"))
    python = starter["environment_python"](tmp_path / "env")
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$PATH"\n')  # in the place of `python -m conemos_bundle label-app …`
    python.chmod(0o755)
    done = tmp_path / "env" / f"{starter['MONAI_LABEL']}.installed"
    done.write_text("\n".join(lock.read_text(encoding="utf-8") for lock in starter["LOCKS"]), encoding="utf-8")
    command = [sys.executable, str(SCRIPTS / "start_label_server.py"), "--studies", str(tmp_path), "--no_start"]
    started = subprocess.run(
        [*command, "--environment", str(tmp_path / "env"), "--app", str(tmp_path / "app")],
        capture_output=True,
        text=True,
    )
    assert started.returncode == 0, started.stderr
    assert started.stdout.split(os.pathsep)[0] == str(python.parent)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--host 0.0.0.0", "error: --host 0.0.0.0: whoever reaches it could read the scans"),
        ("--host label.hospital --ssl_certfile c --ssl_keyfile k", "error: --host label.hospital: whoever"),
        ("--authentication login.example", "error: --authentication: give the realm's address"),
        ("--authentication http://x --without_authentication", "error: --authentication or --without_authentication"),
        ("--ssl_certfile c", "error: --ssl_certfile and --ssl_keyfile go together"),
        ("--host 0.0.0.0 --without_authentication", "warning: scans and tokens travel unencrypted"),
        ("--host 0.0.0.0 --authentication https://x/realms/y", "warning: scans and tokens travel unencrypted"),
        ("", "error: none: no such folder"),
        ("--host localhost --authentication https://x", "error: none: no such folder"),
    ],
)
def test_others_may_ask_only_where_somebody_says_so(options: str, message: str, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "start_label_server.py"), "--studies", "none", *options.split()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.replace(f"{tmp_path}/", "").startswith(message)
    assert not list(tmp_path.iterdir())
