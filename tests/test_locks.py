from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from conemos_bundle.hosts.bundle.zoo_versions import own_versions
from packaging.requirements import Requirement

from tests.locks import LOCKS, ROOT, locked, needed

ALL = sorted(file.stem for file in LOCKS.glob("*.txt"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("lock", ALL)
def test_each_package_of_a_lock_has_one_version_and_hashes(lock: str) -> None:
    text = re.sub(r"\\\n\s*", "", (LOCKS / f"{lock}.txt").read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert lines
    for line in lines:
        assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*==[^\s;]+( ; [^#]*?)?( ?--hash=sha256:[0-9a-f]{64})+\s*", line), line


@pytest.mark.parametrize(
    "extra", [None, "test", "dicom", "export", "experiments", "federated", "keras", "openvino", "tensorboard"]
)
def test_each_direct_dependency_is_locked_within_its_range(extra: str | None) -> None:
    versions = locked("build", "torch", "development")
    asked = needed(extra)
    assert len(asked) >= (1 if extra else 15)
    for name, requirement in asked.items():
        assert requirement.specifier.contains(versions[name]), f"{requirement}: {versions[name]} is locked; make lock"


def test_what_others_install_is_what_the_tests_run_with() -> None:
    ours = locked("build", "torch", "cuda", "development")
    runtime = locked("runtime")
    assert needed().keys() - {"torch"} <= runtime.keys() and not {"pytest", "ruff", "snakemake"} & runtime.keys()
    others = {"h5py", "openvino", "tensorboard", "itk", "itk-filtering"}  # extras, and 1 GB that nothing calls
    assert not others & runtime.keys()
    assert runtime.items() <= ours.items()
    assert needed().keys() - {"torch"} <= locked("deploy").keys()
    assert {version.split("+")[0] for version in locked("torch_cpu").values()} == {locked("torch")["torch"]}


def test_the_versions_that_pack_falls_back_on_are_those_of_the_locks() -> None:
    ours = locked("torch", "development")
    named = own_versions()
    assert {"monai", "torch", "numpy", "scipy", "itk-io", "tensorboard"} <= named.keys()
    assert named == {package: ours[package] for package in named}


@pytest.mark.parametrize("lock", ["build", "label", "monailabel", "deploy", "release", "docs"])
def test_locks_of_lists_hold_what_the_lists_ask_for(lock: str) -> None:
    versions = locked(lock, "torch", "cuda") if lock == "deploy" else locked(lock)
    lines = (LOCKS / f"{lock}.in").read_text(encoding="utf-8").splitlines()
    for line in filter(None, (line.split("#")[0].strip() for line in lines)):
        asked = Requirement(line)
        assert asked.specifier.contains(versions[asked.name.lower().replace("_", "-")]), line


def test_nothing_is_installed_without_hashes() -> None:
    """Wherever pip installs, it is by a lock; what is left is this package itself."""
    files = [ROOT / "Makefile", ROOT / "scripts" / "setup_deploy.sh", ROOT / "scripts" / "start_label_server.py"]
    files += [ROOT / "Dockerfile", LOCKS / "install.sh", *(ROOT / ".github" / "workflows").glob("*.yml")]
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            if "pip install" in line and "locked()" not in line:
                assert "--require-hashes" in line or "--no-deps" in line, f"{file.name}: {line.strip()}"


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_workflows_read_only_and_take_actions_by_commit(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    writing = [name for name, job in workflow["jobs"].items() if "write" in str(job.get("permissions"))]
    assert writing == (["publish"] if file.stem == "release" else [])
    for line in re.findall(r"uses: .*", text):
        assert re.fullmatch(r"uses: [\w/-]+@[0-9a-f]{40} # v[0-9.]+", line), line
    assert all(job["timeout-minutes"] for job in workflow["jobs"].values())
