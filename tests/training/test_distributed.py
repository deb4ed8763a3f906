"""torchrun with two processes on this machine's CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conemos_bundle.cli import evaluate
from conemos_bundle.data.sampling import RegionSampler
from conemos_bundle.errors import UserError
from conemos_bundle.training import distributed
from conemos_bundle.utils.paths import bundle_folder

from tests.workflows import left_as_it_was

CONFIGS = bundle_folder() / "configs"
BUNDLE_RUN = ["-m", "monai.bundle", "run"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


@pytest.fixture(scope="module")
def datalist(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three validation scans: two processes cannot share them evenly."""
    content = json.loads((tiny_dataset / "datalist.json").read_text())
    content["validation"].append(content["test"].pop())
    file = tmp_path_factory.mktemp("uneven") / "datalist.json"
    file.write_text(json.dumps(content))
    return file


def bundle_run(processes: list[str], workflow: str, overlays: list[str], fails: bool = False, **settings: Any) -> str:
    """What it printed as errors."""
    files = [str(CONFIGS / f"{name}.json") for name in ["train", *overlays]]
    options = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
    command = [*processes, *BUNDLE_RUN, workflow, "--config_file", repr(files), "--bundle_root", str(CONFIGS.parent)]
    # Ignite and OpenMP each start a thread a core: two processes on two cores would wait for each other
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([*command, *options], capture_output=True, text=True, env=environment, timeout=300)
    assert (done.returncode != 0) == fails, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stderr


@pytest.fixture(scope="module")
def run(datalist: Path, tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two_processes")
    settings = {"max_epochs": 1, "steps_per_epoch": 3, "patch_size": "[16,16,16]", "channels": "[2,4]"}
    places = {"datalist": datalist, "dataset_dir": tiny_dataset, "output_dir": folder}
    bundle_run(TORCHRUN, "training", ["multi_gpu_train"], **places, **settings)
    return folder


def test_two_processes_train_and_one_of_them_writes(run: Path) -> None:
    weights = torch.load(run / "model.pt", weights_only=True)
    assert not any(name.startswith("module.") for name in weights)
    curve = pd.read_csv(run / "curve.csv")
    assert curve["step"].tolist() == [3]
    assert curve["validation_dice"].between(0, 1).all()
    assert {file.name for file in run.iterdir()} == {
        ".lock",
        "model.pt",
        "checkpoint.pt",
        "curve.csv",
        "run.json",
        "subjects.json",
        "tensorboard",
    }


def test_two_processes_learn_all_regions_of_their_scans(run: Path, datalist: Path) -> None:
    content = json.loads(datalist.read_text())
    names = [[content["regions"].index(region) for region in scan["masks"]] for scan in content["training"]]
    draws = [draw for rank in (0, 1) for draw in RegionSampler(names, 2, 6, rank=rank)]
    (masks,) = pd.read_csv(run / "curve.csv")["masks"]
    assert masks == sum(len(names[draw.scan]) for draw in draws) > len(draws) == 12


def test_two_processes_evaluate_as_one_does(run: Path, datalist: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    shared = {"datalist": datalist, "dataset_dir": tiny_dataset, "ckpt_path": run / "model.pt", "split": "validation"}
    with left_as_it_was():
        place = {"dataset_dir": str(tiny_dataset), "evaluation_dir": str(tmp_path / "one"), "device": "cpu"}
        evaluate(str(datalist), run=str(run), split="validation", **place)
    overlays = ["evaluate", "multi_gpu_evaluate"]
    bundle_run(TORCHRUN, "evaluating", overlays, **shared, evaluation_dir=tmp_path / "two")
    one, two = (pd.read_csv(tmp_path / name / "per_scan.csv") for name in ("one", "two"))
    assert one["scan"].nunique() == 3
    pd.testing.assert_frame_equal(one, two)
    scan = tiny_dataset / "images" / "validation_1.nii.gz"
    content = scan.read_bytes()
    try:
        scan.write_bytes(content[:300])
        told = bundle_run(TORCHRUN, "evaluating", overlays, fails=True, **shared, evaluation_dir=tmp_path / "bad")
    finally:
        scan.write_bytes(content)
    assert told.count(f"error: {scan}: ") == 1
    assert told.count("error: 1 of 3 scans were not evaluated: validation_1") == 1
    rows = pd.read_csv(tmp_path / "bad" / "per_scan.csv")
    pd.testing.assert_frame_equal(rows, one[one["scan"] != "validation_1"].reset_index(drop=True))


def test_needs_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(variable, raising=False)
    for function in (distributed.rank, distributed.device):
        with pytest.raises(UserError, match="torchrun"):
            function()


def test_each_process_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert distributed.device() == torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="2 processes or more, 1 GPUs"):
        distributed.device()


def test_processes_fraction_the_scans_and_each_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    fractions = []
    for rank in (0, 1):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        fractions.append(list(distributed.sampler(range(3))))
    assert fractions == [[0, 2], [1]] and list(distributed.sampler([])) == []
    with pytest.raises(UserError, match="2 processes for 1 scans to evaluate: give torchrun --nproc_per_node 1"):
        distributed.sampler(range(1))


def test_the_overlays_of_training_and_evaluation_start_processes_alike() -> None:
    training, evaluation = (
        json.loads((CONFIGS / f"multi_gpu_{name}.json").read_text()) for name in ("train", "evaluate")
    )
    assert evaluation == {**{k: v for k, v in training.items() if k != "network"}, "_desc_": evaluation["_desc_"]}
