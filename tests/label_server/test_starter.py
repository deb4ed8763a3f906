"""The starter and the environment that it makes."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from conemos_bundle.paths import bundle_folder

SCRIPTS = bundle_folder() / "scripts"


def test_versions_that_monai_label_runs_with() -> None:
    lines = (SCRIPTS / "label_requirements.txt").read_text(encoding="utf-8").splitlines()
    major = {found[1]: int(found[2]) for line in lines if (found := re.match(r"([\w-]+)[^=]*==(\d+)", line))}
    assert {name: major[name] for name in ("numpy", "pydicom", "pynetdicom", "jsonschema")} == {
        "numpy": 1, "pydicom": 2, "pynetdicom": 2, "jsonschema": 3,
    }  # fmt: skip
    assert not any(line.startswith(("sam2", "mlflow", "torch", "monailabel")) for line in lines)


def test_the_environment_has_what_the_package_needs() -> None:
    """`conemos label-app` runs there: a dependency that is missing ends the starter in a traceback."""
    text = (SCRIPTS / "label_requirements.txt").read_text(encoding="utf-8")
    installed = {re.split(r"[\[=<>]", line)[0].lower() for line in text.splitlines()} | {"torch"}  # by the starter
    project = (bundle_folder() / "pyproject.toml").read_text(encoding="utf-8")
    needed = re.search(r"^dependencies = \[(.*?)^\]", project, re.MULTILINE | re.DOTALL)
    assert needed is not None
    names = {re.split(r"[\[=<>]", line.strip().strip('",'))[0] for line in needed[1].splitlines() if line.strip()}
    assert "monai" in names and names <= installed


def test_a_folder_that_is_not_there_is_told_before_anything_is_installed(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "start_label_server.py"), "--studies", str(tmp_path / "none")]
    done = subprocess.run([*command, "--environment", str(tmp_path / "env")], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and "no such folder" in done.stderr
    assert not (tmp_path / "env").exists()


def test_the_programs_of_the_environment_are_found(tmp_path: Path) -> None:
    """MONAI Label fetches dcmqi from GitHub where it does not find it on the path."""
    requirements = (SCRIPTS / "label_requirements.txt").read_text(encoding="utf-8")
    assert "dcmqi==" in requirements
    starter = runpy.run_path(str(SCRIPTS / "start_label_server.py"))
    python = starter["environment_python"](tmp_path / "env")
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$PATH"\n')  # in the place of `python -m conemos_bundle label-app …`
    python.chmod(0o755)
    done = tmp_path / "env" / f"{starter['MONAI_LABEL']}.installed"
    done.write_text("\n".join([*starter["TORCH"], requirements]), encoding="utf-8")
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
