from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

import numpy as np
import pytest
from conemos_bundle.cli import demo
from conemos_bundle.cli.app import COMMANDS
from conemos_bundle.cli.commands import read_words
from conemos_bundle.data import read_datalist, scan_items
from conemos_bundle.errors import OutputError, UserError
from conemos_bundle.metrics.dice import dice
from conemos_bundle.utils import paths
from conemos_bundle.utils.config_files import check_settings, overlay_files
from conemos_bundle.utils.paths import examples_folder
from conemos_bundle.volumes import read_volume
from matplotlib.image import imread

DEMO = import_module("conemos_bundle.cli.demo")  # the package's attribute of that name is the function
SCANS = ("hippocampus_165", "hippocampus_320")
VALUES = {"hippocampus": [1, 2], "anterior": [1], "posterior": [2]}


def commands(shown: str) -> list[str]:
    """The words after ``$ conemos``."""
    return re.findall(r"^\$ conemos (.+)$", shown, re.MULTILINE)


def pictures(shown: str) -> list[Path]:
    """What the ``file://`` addresses lead to."""
    return [Path(url2pathname(urlparse(each).path)) for each in re.findall(r"file://\S+", shown)]


def test_scans_are_segmented_on_demand_drawn_and_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "my demo"
    demo(str(root), training=False)
    shown = capsys.readouterr().out
    first, second = commands(shown)
    assert "--regions anterior --output" in first and "--regions hippocampus anterior posterior" in second
    took = re.search(r"^anterior of two scans: \d+\.\d s(?:.|\n)+^all 3 regions of two scans: \d+\.\d s", shown, re.M)
    assert took is not None
    for name in SCANS:
        labels = read_volume(examples_folder() / "labels" / f"{name}.nii.gz", labels=True).voxels[0]
        for region, values in VALUES.items():
            found = read_volume(root / "masks" / name / f"{region}.nii.gz", labels=True).voxels[0]
            overlap = dice(found > 0, np.isin(labels, values))
            assert overlap > 0.8  # the model has not seen these two
    report = (root / "masks" / "report.html").resolve()
    assert pictures(shown) == [*((root / "pictures" / f"{name}.png").resolve() for name in SCANS), report]
    assert all(np.ptp(imread(picture)[..., :3]) > 0.9 for picture in pictures(shown)[:-1])
    assert re.findall(r"^  conemos (\w+)", shown, re.MULTILINE) == ["datalist", "train", "predict"]

    (root / "notes.txt").touch()
    (root / "masks" / "old").mkdir()
    demo(str(root), training=False)
    assert (root / "notes.txt").is_file() and not (root / "masks" / "old").exists()


def test_a_small_network_is_trained_evaluated_and_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DEMO, "_examples", lambda root, started: None)
    monkeypatch.setattr(DEMO, "_SCANS", {"training": 3, "validation": 1, "test": 1})
    root = tmp_path / "demo"
    demo(str(root), epochs=2, steps_per_epoch=1)
    shown = capsys.readouterr().out
    assert [each.split()[0] for each in commands(shown)] == ["phantom", "train", "evaluate", "predict"]
    assert len(re.findall(r"^ +[12] 0\.\d\d #*$", shown, re.MULTILINE)) == 2
    assert (root / "run" / "model.pt").is_file()
    assert {file.name for file in root.glob("predictions/*/*.nii.gz")} == {"body.nii.gz", "uterus.nii.gz"}
    assert len(pictures(shown)) == 5 and all(picture.is_file() for picture in pictures(shown)[:-1])


@pytest.mark.parametrize("phantom", [False, True])
def test_each_command_is_one_that_conemos_takes(
    phantom: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []

    def only_read(words: list[str]) -> None:
        name, *rest = words
        read = read_words(COMMANDS[name][0], rest, name)
        check_settings(list(read.settings), overlay_files([]))
        ran.append(name)
        if name == "phantom":
            folder = Path(rest[0])
            folder.mkdir()
            content = {"regions": ["brain"], "test": [{"image": "test_0.nii.gz", "subject": "a", "masks": {}}]}
            (folder / "datalist.json").write_text(json.dumps(content), encoding="utf-8")
        if name == "train":
            settings = {"max_epochs": 3, "steps_per_epoch": 100 if phantom else 40}
            assert settings.items() <= read.settings.items()
            Path(str(read.settings["output_dir"])).mkdir()
            (tmp_path / "new" / "run" / "curve.csv").write_text("epoch,validation_dice\n1,\n2,0.5\n", encoding="utf-8")

    monkeypatch.setattr("conemos_bundle.cli.app.run", only_read)
    monkeypatch.setattr(DEMO, "_examples", lambda root, started: None)
    demo(str(tmp_path / "new"), phantom=phantom, epochs=3)
    expected = ["phantom", "check", "train", "evaluate", "predict"]
    assert ran == (expected if phantom else [name for name in expected if name != "check"])
    shown = capsys.readouterr().out
    assert f"{tmp_path / 'new' / 'phantom' / 'test_0.nii.gz'} --regions" in commands(shown)[-1]
    assert ("  2 0.50 " + "#" * 20 in shown) is not phantom and "\n    1" not in shown


def test_what_is_no_demonstration_stays(tmp_path: Path) -> None:
    taken, file, nowhere = tmp_path / "taken", tmp_path / "file", tmp_path / "link"
    (taken / "masks").mkdir(parents=True)
    file.touch()
    nowhere.symlink_to(tmp_path / "gone")
    for place in (taken, file, nowhere):
        with pytest.raises(UserError, match="exists and is no demonstration; pass another --output"):
            demo(str(place), training=False)
    assert (taken / "masks").is_dir() and sorted(tmp_path.rglob("*")) == [file, nowhere, taken, taken / "masks"]


def test_a_link_in_place_of_a_folder_is_not_followed(tmp_path: Path) -> None:
    root, mine = tmp_path / "demo", tmp_path / "mine"
    root.mkdir()
    mine.mkdir()
    (mine / "scan.nii.gz").touch()
    (root / DEMO.MARK).touch()
    (root / "masks").symlink_to(mine)
    with pytest.raises(OutputError, match="cannot be replaced"):
        demo(str(root), training=False)
    assert (mine / "scan.nii.gz").is_file()


def test_a_package_without_examples_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "bundle_folder", lambda: tmp_path)
    with pytest.raises(UserError, match="examples: the example scans are not there"):
        demo(str(tmp_path / "demo"), training=False)
    assert list(tmp_path.iterdir()) == []


def test_examples_are_test_scans_that_the_model_has_not_seen() -> None:
    datalist = read_datalist(examples_folder() / "datalist.json")
    items = scan_items(datalist, "test", examples_folder())
    assert [item["name"] for item in items] == list(SCANS) and not datalist.training + datalist.validation
    assert {region: source["values"] for region, source in items[0]["masks"].items()} == VALUES
    tables = list(
        (Path(__file__).parents[2] / "docs" / "results").glob("pilot/runs*/hippocampus/*/seed0/**/per_scan.csv")
    )
    assert tables and all(set(SCANS) <= set(re.findall(r"hippocampus_\d+", table.read_text())) for table in tables)
