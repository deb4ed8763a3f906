"""`conemos federate` before FLARE: what is refused, and what it writes for real sites."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conemos_bundle.cli.app import run
from conemos_bundle.errors import UsageError, UserError

FILE = str(Path(__file__).parents[2] / "examples" / "datalist.json")


def test_a_job_for_real_sites(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"federate --job {tmp_path / 'job'} --regions liver,spleen --sites a b --rounds 2 --channels [4,8]"
    words += " --no_region_wise"
    run(words.split())
    job = json.loads((tmp_path / "job" / "app" / "config" / "federation.json").read_text())
    assert (job["regions"], job["sites"], job["rounds"]) == (["liver", "spleen"], ["a", "b"], 2)
    assert job["settings"] == {"channels": [4, 8]} and job["region_wise"] is False
    assert f"nvflare job submit -j {tmp_path / 'job'} " in capsys.readouterr().out
    with pytest.raises(UsageError, match="exists; name a new folder with --job"):
        run(words.split())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("federate {file}", "give the datalists of two sites or more"),
        ("federate {file} nowhere.json", "nowhere.json: no such file"),
        ("federate {file} {file} --regions liver", "--regions and --sites are of a --job"),
        (
            "federate {file} {file} --learning_rat 1",
            r"--learning_rat: no such option .* \(did you mean --learning_rate\?\)",
        ),
        ("federate {file} {file} --rounds 0", "rounds: "),
        ("federate {file} {file} --at_once 0", "--at_once 0: give a number of at least 1"),
        ("federate {file} --job new --regions a --sites b", "each site names its datalist itself"),
        ("federate --job new --sites b", "regions: "),
        ("federate --kit nowhere", "nowhere: no such folder"),
    ],
)
def test_what_is_wrong_is_refused(words: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=line):
        run(words.format(file=FILE).split())
    assert list(tmp_path.iterdir()) == []


def test_flare_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conemos_bundle.utils.extras.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"NVIDIA FLARE is not installed; pip install 'conemos-bundle\[federated\]'"):
        run(["federate", FILE, FILE, "-o", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_sites_are_looked_at_before_anything_is_written(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conemos_bundle.utils.extras.find_spec", lambda _: object())
    first = tiny_dataset / "datalist.json"
    content = json.loads(first.read_text()) | {"dataset_dir": str(tiny_dataset)}
    content["regions"].reverse()
    (tmp_path / "other.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"other.json: its regions are .*\(the order differs\)"):
        run(["federate", str(first), str(tmp_path / "other.json"), "-o", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()
