from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conemos_bundle.utils.paths import without_folders

from tests.machine_paths import ROOT, entries, machine_paths, of_this_machine

HOMES = re.compile(rb"(?:/(?:home|Users|root|work|tmp)|[A-Z]:\\{1,2}Users)[/\\]+\w")


def test_known_folders_get_names_and_of_others_the_last_part_is_left() -> None:
    folders = {"DATA": "/home/ann/scans", "RUN": "/home/ann/scans/runs/a", "BUNDLE": r"C:\Users\ann\bundle"}
    texts = {
        "/home/ann/scans": "DATA",
        "/home/ann/scans/b/c.nii.gz": "DATA/b/c.nii.gz",
        "/home/ann/scans/runs/a/model.pt": "RUN/model.pt",
        "/home/ann/scans2/c.nii.gz": "…/c.nii.gz",
        "/media/my disk/teacher/": "…/teacher",
        r"C:\Users\ann\bundle\configs": "BUNDLE/configs",
        r"C:\Users\ann\x.json": "…/x.json",
        r"\\server\ann\x.json": "…/x.json",
        "$torch.load('/home/ben/w.pt')": "$torch.load('…/w.pt')",
        "relative/x.json": "relative/x.json",
        "$@a / 2 + len(@b)/len(@c)": "$@a / 2 + len(@b)/len(@c)",
        "@data": "@data",
    }
    assert without_folders({"a": [*texts], "n": 1.5}, folders) == {"a": [*texts.values()], "n": 1.5}


def test_a_packed_bundle_and_its_archive_name_nothing_of_this_machine(bundle: Path) -> None:
    files = [file for file in [*bundle.rglob("*"), bundle.with_suffix(".zip")] if file.is_file()]
    assert len(files) > 100
    assert [found for file in files for found in machine_paths(file)] == []


def test_what_is_looked_for_is_found_in_archives_within_archives(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "config.json").write_text(f'"{tmp_path}/a"')
    inner = shutil.make_archive(str(tmp_path / "in" / "inner"), "zip", tmp_path / "in")
    (tmp_path / "in" / "config.json").unlink()
    outer = Path(shutil.make_archive(str(tmp_path / "outer"), "zip", Path(inner).parent))
    assert machine_paths(outer) and all("outer.zip!inner.zip!config.json" in found for found in machine_paths(outer))


def test_no_committed_file_names_a_folder_of_somebodys_machine() -> None:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    texts, found = of_this_machine(), []
    for name in filter(None, listed.split("\0")):
        if not (ROOT / name).is_file():
            continue
        for entry, content in entries(name, (ROOT / name).read_bytes()):
            found += [entry] if any(text in content for text in texts) else []
            # tests may make folders up
            found += [entry] if not name.startswith("tests/") and HOMES.search(content) else []
    assert found == []
