"""Whole programs, against the real hosts. Not part of `make test`: each takes minutes and needs what it says.

    python -m pytest -m zoo                 # or cohort, resume, commands, label, deploy, ohif, federated, merge, gpu
    CONEMOS_SCANS=DIR python -m pytest -m label

CONEMOS_SCANS is a folder of images/*.nii.gz and labels/*.nii.gz of the Medical Decathlon's hippocampus task. What each
prints is shown with `-s`. CONEMOS_LABEL_ENVIRONMENT is where MONAI Label is, or is installed; default: .venv-label.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MINUTES = 60
LABEL = Path(os.environ.get("CONEMOS_LABEL_ENVIRONMENT", ".venv-label")).absolute()
pytestmark = [pytest.mark.integration, pytest.mark.timeout(60 * MINUTES)]


def verify(name: str, *words: object) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    program = [sys.executable, str(HERE / f"verify_{name}.py"), *map(str, words)]
    subprocess.run(program, check=True, env=environment, cwd=ROOT, timeout=60 * MINUTES)


@pytest.fixture
def scans() -> Path:
    if not os.environ.get("CONEMOS_SCANS"):
        pytest.skip("needs CONEMOS_SCANS, a folder of the Medical Decathlon's hippocampus scans (images/, labels/)")
    return Path(os.environ["CONEMOS_SCANS"])


def first_scan(scans: Path) -> Path:
    return sorted((scans / "images").glob("*.nii.gz"))[0]


@pytest.mark.cohort
def test_a_cohort_with_bad_scans(tmp_path: Path) -> None:
    verify("cohort", tmp_path / "cohort")


@pytest.mark.commands
def test_refusals_come_fast_and_leave_nothing() -> None:
    verify("command_line")


@pytest.mark.resume
def test_a_killed_training_ends_with_the_same_weights() -> None:
    verify("resume", "--epochs", 48)


@pytest.mark.zoo
def test_what_the_model_zoo_asks() -> None:
    schema = os.environ.get("CONEMOS_SCHEMA")  # without it, MONAI fetches it
    verify("zoo", *(["--schema", schema] if schema else []))


@pytest.mark.label
def test_monai_label(scans: Path) -> None:
    verify("label", scans, "--environment", LABEL)


@pytest.mark.deploy
def test_monai_deploy(scans: Path) -> None:
    python = Path(os.environ.get("CONEMOS_DEPLOY_PYTHON", ".venv-deploy/bin/python"))
    if not python.exists():
        pytest.skip("needs the application's environment: bash scripts/setup_deploy.sh .venv-deploy")
    verify("deploy", first_scan(scans), "--python", python)


@pytest.mark.ohif
def test_ohif(scans: Path) -> None:
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("needs Orthanc, Chromium and playwright: see verify_ohif.py")
    scan = first_scan(scans)
    verify("ohif", scan, scans / "labels" / scan.name, "--environment", LABEL)


@pytest.mark.federated
def test_three_sites_in_the_simulator(scans: Path) -> None:
    if importlib.util.find_spec("nvflare") is None:
        pytest.skip("needs NVIDIA FLARE: pip install '.[federated]'")
    verify("federated", scans)


@pytest.mark.merge
def test_regions_that_two_people_taught(scans: Path) -> None:
    verify("merge", scans)


@pytest.mark.gpu
def test_resume_on_a_gpu(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    verify("gpu_resume", "--output", tmp_path)
