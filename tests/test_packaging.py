"""`pip install .` brings all of the package."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from conemos_bundle.utils.version import __version__
from setuptools.dist import Distribution

ROOT = Path(__file__).parents[1]
BESIDE_THE_PACKAGE = {
    "conemos_bundle.configs",
    "conemos_bundle.configs.methods",
    "conemos_bundle.examples",
    "conemos_bundle.models",
}


def test_every_folder_of_the_package_is_installed() -> None:
    listed = re.search(r"^packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE)
    assert listed is not None
    folders = {file.parent.relative_to(ROOT).as_posix() for file in (ROOT / "conemos_bundle").rglob("*.py")}
    expected = {folder.replace("/", ".") for folder in folders} | BESIDE_THE_PACKAGE
    assert set(re.findall(r'"(.+?)"', listed[1])) == expected


def test_the_wheel_holds_the_example_scans_as_small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    setup = Distribution()
    setup.parse_config_files()
    folder = ROOT / setup.package_dir["conemos_bundle.examples"]
    files = [file for pattern in setup.package_data["conemos_bundle.examples"] for file in folder.glob(pattern)]
    cases = ("hippocampus_165", "hippocampus_320")
    scans = {f"{kind}/{case}.nii.gz" for kind in ("images", "labels") for case in cases}
    assert {file.relative_to(folder).as_posix() for file in files} == {"README.md", "datalist.json", *scans}
    assert all(file.stat().st_size < 50_000 for file in files)
    assert "CC BY-SA 4.0" in (folder / "README.md").read_text(encoding="utf-8")
    assert "examples/README.md" in setup.metadata.license_files  # the license travels with them


def test_the_templates_of_reports_are_installed() -> None:
    folder = ROOT / "conemos_bundle" / "reports"
    listed = re.search(r'^"conemos_bundle.reports" = \["(.+)"\]$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert listed is not None
    beside = {file for file in folder.rglob("*") if file.is_file() and file.suffix not in (".py", ".pyc")}
    assert len(beside) == 7 and set(folder.glob(listed[1])) == beside


def test_the_version_is_the_same_wherever_it_stands() -> None:
    texts = {
        name: (ROOT / name).read_text(encoding="utf-8") for name in ("pyproject.toml", "CITATION.cff", "CHANGELOG.md")
    }
    listed = re.search(r'^version = "(.+)"$', texts["pyproject.toml"], re.MULTILINE)
    heading = re.search(r"^## \[(\d[^]]*)\] - (\d{4}-\d\d-\d\d)$", texts["CHANGELOG.md"], re.MULTILINE)
    assert listed is not None and heading is not None
    citation = yaml.safe_load(texts["CITATION.cff"])
    model = json.loads((ROOT / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert {listed[1], heading[1], citation["version"], model["version"]} == {__version__}
    assert str(citation["date-released"]) == heading[2] and __version__ in model["changelog"]
    assert texts["CHANGELOG.md"].index("## [Unreleased]") < heading.start()
