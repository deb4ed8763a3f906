"""What the commands answer to bad scans, datalists and arguments: one line each, held by bad_inputs.csv.

Each is refused before anything is written. Where an answer was changed on purpose,
CONEMOS_NEW_SNAPSHOT=1 pytest tests/cli/test_bad_inputs.py writes the table anew; read its difference.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from conemos_bundle.cli.app import run as conemos
from conemos_bundle.errors import find_user_error
from conemos_bundle.networks import FiLMUNet
from conemos_bundle.phantom import make_phantom

SNAPSHOT = Path(__file__).with_name("bad_inputs.csv")


def nifti(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> str:
    """Write a NIfTI."""
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return str(path)


def bad_scans(folder: Path) -> list[str]:
    """Files that are no scan for a one-channel 3D network."""
    rng = np.random.default_rng(0)
    good = rng.random((16, 16, 16)).astype(np.float32)
    holes = good.copy()
    holes[3, 3, 3] = np.nan
    whole = Path(nifti(folder / "whole.nii.gz", good))
    (folder / "truncated.nii.gz").write_bytes(whole.read_bytes()[:9000])
    (folder / "text.nii.gz").write_text("this is no image")
    (folder / "empty.nii.gz").write_bytes(b"")
    (folder / "photo.png").write_bytes(b"\x89PNG")
    (folder / "no_scans").mkdir()
    return [
        str(folder / "missing.nii.gz"),
        nifti(folder / "nan.nii.gz", holes),
        nifti(folder / "constant.nii.gz", np.ones((16, 16, 16), np.float32)),
        nifti(folder / "flat.nii.gz", good[:, :, 0]),
        nifti(folder / "four_channels.nii.gz", rng.random((16, 16, 16, 4)).astype(np.float32)),
        *(str(folder / name) for name in ("truncated.nii.gz", "text.nii.gz", "empty.nii.gz", "photo.png", "no_scans")),
    ]


def bad_datalists(folder: Path, good: dict[str, Any]) -> list[Path]:
    """Copies of a good datalist, each with one mistake, beside it."""

    def first(data: dict[str, Any]) -> dict[str, Any]:
        return next(scan for scan in data["training"] if scan["masks"])

    def region(data: dict[str, Any]) -> str:
        return next(iter(first(data)["masks"]))

    def subject_twice(data: dict[str, Any]) -> None:
        data["validation"][0]["subject"] = data["training"][0]["subject"]

    def no_training(data: dict[str, Any]) -> None:
        data["training"] = []

    def rare(data: dict[str, Any]) -> None:
        for scan in data["training"]:
            scan["masks"].pop("eyes", None)

    changes: dict[str, Any] = {
        "unknown_region": lambda data: first(data)["masks"].update(femur="x.nii.gz"),
        "evaluated_region": lambda data: data["regions"].append("$__import__('os').system('touch hacked')"),
        "evaluated_name": lambda data: data.update(name="$1+1"),
        "region_twice": lambda data: data["regions"].append("body"),
        "no_regions": lambda data: data.update(regions=[]),
        "misspelled_key": lambda data: first(data).update(lable="x.nii.gz"),
        "no_subject": lambda data: first(data).pop("subject"),
        "values_and_channel": lambda data: first(data)["masks"].update(
            {region(data): {"file": "x", "values": [1], "channel": 0}}
        ),
        "missing_image": lambda data: first(data).update(image="images/none.nii.gz"),
        "missing_mask": lambda data: first(data)["masks"].update({region(data): "masks/none.nii.gz"}),
        "mask_is_an_image": lambda data: first(data)["masks"].update({region(data): first(data)["image"]}),
        "mask_of_another_shape": lambda data: first(data)["masks"].update({region(data): "small.nii.gz"}),
        "channel_out_of_range": lambda data: first(data)["masks"].update(
            {region(data): {"file": first(data)["masks"][region(data)], "channel": 3}}
        ),
        "subject_in_two_splits": subject_twice,
        "no_training_scan": no_training,
        "region_without_training_scan": rare,
        "inside_itself": lambda data: data.update(inside={"brain": "body", "body": "brain"}),
        "inside_unknown": lambda data: data.update(inside={"brain": "skull"}),
    }
    files = []
    for name, change in changes.items():
        data = json.loads(json.dumps(good))
        change(data)
        files.append(folder / f"{name}.json")
        files[-1].write_text(json.dumps(data))
    (folder / "not_json.json").write_text("{regions: ")
    return [*files, folder / "not_json.json", folder / "none.json"]


def finished_run(folder: Path) -> Path:
    """A run with random weights, of one region."""
    folder.mkdir()
    network = FiLMUNet(num_regions=1, channels=(2, 4))
    torch.save(network.state_dict(), folder / "model.pt")
    plan = {"in_channels": 1, "spacing": [1.0, 1.0, 1.0], "patch_size": [16, 16, 16]}
    described = {"_target_": "conemos_bundle.networks.FiLMUNet", **network.arguments}
    (folder / "run.json").write_text(
        json.dumps({"regions": ["brain"], "plan": plan, "network": described, "versions": {}})
    )
    return folder


def cases(root: Path) -> list[tuple[str, list[str]]]:
    """What is wrong, and the command."""
    make_phantom(str(root / "phantom"), training=4, validation=2, test=1, size=24)
    phantom = root / "phantom"
    nifti(phantom / "small.nii.gz", np.zeros((8, 8, 8), np.uint8), np.diag([8.0, 8, 8, 1]))
    good = phantom / "datalist.json"
    run = finished_run(root / "run")
    (root / "scans").mkdir()
    out = ["--output", str(root / "result")]
    predict = ["predict"]
    scan = str(phantom / json.loads(good.read_text())["test"][0]["image"])
    train = ["train"]
    run_out = [
        "--output_dir",
        str(root / "result"),
        "--max_epochs",
        "1",
        "--steps_per_epoch",
        "1",
        "--num_workers",
        "0",
    ]
    broken = root / "broken"
    shutil.copytree(run, broken)
    (broken / "model.pt").write_bytes((run / "model.pt").read_bytes()[:500])
    other = root / "other"
    shutil.copytree(run, other)
    torch.save({"weight": torch.zeros(2)}, other / "model.pt")
    listed = [(f"scan {Path(s).name}", [*predict, s, "--model", str(run), *out]) for s in bad_scans(root / "scans")]
    for file in bad_datalists(phantom, json.loads(good.read_text())):
        listed.append((f"datalist {file.stem}", [*train, str(file), *run_out]))
    listed += [
        ("region unknown", [*predict, scan, "--model", str(run), "--regions", "femur", *out]),
        ("region evaluated", [*predict, scan, "--model", str(run), "--regions", "$__import__('os').getcwd()", *out]),
        ("no scan", [*predict, "--model", str(run), *out]),
        ("output format", [*predict, scan, "--model", str(run), "--output_format", "png", *out]),
        ("device", [*predict, scan, "--model", str(run), "--device", "cuda:7", *out]),
        ("model is no model", [*predict, scan, "--model", str(phantom), *out]),
        ("weights truncated", ["pack", str(broken), str(root / "result")]),
        ("weights of another network", ["pack", str(other), str(root / "result")]),
        ("pack onto something", ["pack", str(run), str(phantom)]),
        ("setting misspelled", [*train, str(good), "--max_epoch", "1", *run_out]),
        ("overlay misspelled", [*train, str(good), "--overlay", "papper", *run_out]),
        ("dataset_dir missing", [*train, str(good), "--dataset_dir", str(root / "nowhere"), *run_out]),
        ("evaluate without a run", ["evaluate", str(good), "--run", str(root / "nowhere")]),
        ("evaluate an unknown split", ["evaluate", str(good), "--run", str(run), "--split", "tset"]),
        ("import no checkpoint", ["import-keras", scan, *out]),
        ("import a folder without images", ["datalist", str(run), "--kind", "folders", *out]),
        ("phantom onto something", ["phantom", str(run)]),
        ("fraction of the scans", [*train, str(good), "--fraction", "1.5", *run_out]),
        ("report without runs", ["report", str(phantom), *out]),
        ("experiments with an unknown method", ["experiments", str(good), *out, "--methods", "psl_los"]),
        ("experiments on no datalist", ["experiments", scan, *out]),
    ]
    return listed


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each command printed, without the folder's name."""
    root = tmp_path_factory.mktemp("bad").resolve()
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for name, command in cases(root):
            found[name] = _answer(command, root)
            assert not (root / "result").exists() and not (root / "hacked").exists(), name
    return found


def _answer(command: list[str], root: Path) -> str:
    try:
        conemos(command)
    except Exception as raised:
        error = find_user_error(raised)
        if error is None:
            raise
        return str(error).replace(f"{root}/", "")
    pytest.fail(f"{command} was done")


def test_each_bad_input_is_answered_in_the_words_of_the_snapshot(answers: dict[str, str]) -> None:
    if os.environ.get("CONEMOS_NEW_SNAPSHOT"):
        with SNAPSHOT.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([("bad input", "printed"), *answers.items()])
    with SNAPSHOT.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert answers == dict(rows[1:])


def test_every_answer_is_one_line_that_says_what_to_do(answers: dict[str, str]) -> None:
    for name, answer in answers.items():
        assert answer and "\n" not in answer and len(answer) < 300, name
