from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.bundle import write_checksums, write_hugging_face_card, write_large_files, write_unit_tests


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in (
        ("models/model.pt", b"w" * (1024 * 1024 + 1)),
        ("models/model.ts", b"s"),
        ("docs/README.md", b"# Model Overview\n\n![Best](montage.png) [MONAI](https://monai.io)\n"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_sums_are_those_that_sha256sum_checks(folder: Path) -> None:
    sums = write_checksums(write_checksums(folder).parents[1])  # a second time: its own file is none of the weights
    assert subprocess.run(["sha256sum", "--check", sums.name], cwd=sums.parent, check=False).returncode == 0
    assert [line.split()[1] for line in sums.read_text().splitlines()] == ["model.pt", "model.ts"]
    (folder / "models" / "model.ts").write_bytes(b"other")
    assert subprocess.run(["sha256sum", "--check", sums.name], cwd=sums.parent, check=False).returncode == 1


def test_large_files_are_those_that_git_does_not_take(folder: Path) -> None:
    assert write_large_files(folder, "https://example.org/weights/") == ["models/model.pt"]
    content = (folder / "models" / "model.pt").read_bytes()
    assert yaml.safe_load((folder / "large_files.yml").read_text()) == {
        "large_files": [
            {
                "path": "models/model.pt",
                "url": "https://example.org/weights/model.pt",
                "hash_val": hashlib.sha256(content).hexdigest(),
                "hash_type": "sha256",
            }
        ]
    }
    with pytest.raises(UserError, match="give the http"):
        write_large_files(folder, "weights")


def test_the_card_of_hugging_face_finds_its_pictures(folder: Path) -> None:
    write_hugging_face_card(folder, {"name": "tiny"})
    _, header, card = (folder / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(header)["library_name"] == "monai"
    assert yaml.safe_load(header)["model_name"] == "tiny"
    assert card == "\n# Model Overview\n\n![Best](docs/montage.png) [MONAI](https://monai.io)\n"
    assert "*.pt filter=lfs" in (folder / ".gitattributes").read_text()


def test_the_zoos_unit_tests_pass_in_a_clone_of_it(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / bundle.name).symlink_to(bundle)
    tests = write_unit_tests(tmp_path / "ci" / "unit_tests", bundle.name)
    assert [file.name for file in tests] == [f"test_{bundle.name}.py", f"test_{bundle.name}_dist.py"]
    environment = {**os.environ, "PYTHONPATH": str(bundle), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(tests[0])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Ran 2 tests" in done.stderr
