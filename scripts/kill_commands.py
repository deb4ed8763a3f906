"""The commands that `kill_matrix.py` and `fault_matrix.py` try, and the tiny data set and models that they work on."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from conemos_bundle.files import one_writer
from conemos_bundle.hosts.label.fine_tuning import fine_tune
from kill_runs import Command, run

RUNS = ("conemos", "psl")
NEW = "placenta"  # which the model that is taught it does not know


def train_served_model() -> None:
    """What the label server does: train its model further on saved annotations, and put a better one in its place."""
    models, folder = Path("models").absolute(), Path("training", str(time.time_ns())).absolute()
    folder.mkdir()
    for name in ("datalist.json", "holdout.json"):
        shutil.copy(Path("set", name), folder / name)
    with one_writer(models):
        fine_tune(models, folder, [], torch.device("cpu"), max_epochs=1, steps_per_epoch=2, learning_rate=1e-3)


def fixtures(work: Path) -> Path:
    """A data set, two finished and evaluated runs and a bundle, all tiny; made once."""
    place = work / "fixtures"
    if (place / "done").exists():
        return place
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    data, tiny = place / "data", training(place)
    steps = [
        ["phantom", data, "--training", 4, "--validation", 2, "--test", 4, "--size", 24],
        ["train", data / "datalist.json", "--output_dir", place / "runs" / "conemos", *tiny],
        ["train", data / "datalist.json", "--output_dir", place / "runs" / "psl", "--overlay", "psl_loss", *tiny],
        *(["evaluate", data / "datalist.json", "--dataset_dir", data, "--run", place / "runs" / run] for run in RUNS),
        ["pack", place / "runs" / "conemos", "--output", place / "bundle"],
        ["train", place / "old.json", "--output_dir", place / "base", *tiny],
        ["add-region", data / "datalist.json", place / "base", NEW, place / "grown", *without_channels(tiny)],
    ]
    for words in steps:
        if place / "old.json" in words:
            _without_new_region(data / "datalist.json", place / "old.json")
        ended = run(Command(words), place)
        if ended.code:
            raise SystemExit(f"{words}:\n{ended.told}")
    content = json.loads((data / "datalist.json").read_text())
    (place / "set").mkdir()
    for name in ("datalist.json", "holdout.json"):
        for scan in content["training"] + content["validation"]:
            scan["image"] = str(data / scan["image"])
            scan["masks"] = {region: str(data / file) for region, file in scan["masks"].items()}
        (place / "set" / name).write_text(json.dumps({**content, "test": []}))
    (place / "training").mkdir()
    (place / "done").touch()
    return place


def _without_new_region(file: Path, target: Path) -> None:
    content = json.loads(file.read_text())
    content["regions"].remove(NEW)
    for scan in [*content["training"], *content["validation"], *content["test"]]:
        scan["masks"].pop(NEW, None)
    target.write_text(json.dumps(content))


def without_channels(options: list[Any]) -> list[Any]:
    """Options of a training whose network is there already."""
    place = options.index("--channels")
    return [*options[:place], *options[place + 2 :]]


def training(place: Path) -> list[Any]:
    """Options of a tiny training."""
    options = {"dataset_dir": place / "data", "max_epochs": 4, "steps_per_epoch": 2, "batch_size": 1}
    options |= {"channels": "[4,8]", "num_workers": 0}
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def all_commands(place: Path) -> dict[str, Command]:
    """Every command, by name."""
    data, run, tiny = place / "data", place / "runs" / "conemos", training(place)
    scans = sorted((data / "images").iterdir())
    predict = ["predict", *scans[:2], "--model", run, "--output", "out", "--output_format"]
    train = ["train", data / "datalist.json", "--output_dir", "run", *tiny]
    phantom = ["phantom", "phantom", "--training", 3, "--validation", 0, "--test", 1, "--size", 24, "--workers"]
    weights = {f"run/{name}": run / name for name in ("model.pt", "run.json")}
    tuning = [*train, "--overlay", "fine_tune", "--pretrained_path", run / "model.pt"]
    grow = ["add-region", data / "datalist.json", place / "base", NEW, "run", *without_channels(tiny)]
    of_training: dict[str, Any] = {"grows": True, "differs": ("config.json", "run.json")}
    served = {f"models/{name}": run / name for name in ("model.pt", "run.json")}
    served |= {"training": place / "training", "set": place / "set"}
    return {
        "predict files": Command([*predict, "files"]),
        "predict multichannel": Command([*predict, "multichannel"]),
        "predict labelmap": Command([*predict, "labelmap"]),
        "predict seg.nrrd": Command([*predict, "seg.nrrd"]),
        "predict folder": Command(["predict", data / "images", "--model", run, "--output", "out"], fraction=0.4),
        "evaluate": Command(
            ["evaluate", data / "datalist.json", "--dataset_dir", data, "--run", "run"], weights, fraction=0.4
        ),
        "pack": Command(["pack", run, "--output", "bundle", "--archive"], differs=("bundle.zip.sha256",)),
        "phantom": Command([*phantom, 0]),
        "phantom workers": Command([*phantom, 2], fraction=0.2),
        "datalist": Command(["datalist", data, "--output", "datalist.json"]),
        "train": Command(train, **of_training),
        "train workers": Command([*train, "--num_workers", 2], fraction=0.2, **of_training),
        "fine-tune": Command(tuning, fraction=0.4, **of_training),
        "add-region": Command(grow, fraction=0.4, **of_training),
        "merge": Command(["merge", place / "base", place / "grown" / f"{NEW}.region.pt", "--output", "merged"]),
        "experiments": Command(
            ["experiments", data / "datalist.json", "--output", "out", "--methods", "conemos", *tiny],
            grows=True,
            differs=("config.json", "run.json", "report.md", "report.html", "cost.csv", "runs.csv"),
            fraction=0.125,
        ),
        "export": Command(["export", "bundle", "--formats", "ts,pt2"], {"bundle": place / "bundle"}, fraction=0.2),
        "report": Command(["report", place / "runs", "--output", "report"], fraction=0.4),
        "label-app": Command(["label-app", "app", "--bundle", place / "bundle"]),
        "label server training": Command(
            [], served, True, ("model.pt", "history.json"), "training", 0.15, train_served_model
        ),
    }
