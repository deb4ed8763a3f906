from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conemos_bundle.cli.check import check
from conemos_bundle.data.check import check_data_set
from conemos_bundle.data.datalist import Datalist
from conemos_bundle.utils.paths import bundle_folder


def run(good: dict[str, Any], tmp_path: Path) -> str:
    (tmp_path / "datalist.json").write_text(json.dumps(good))
    return str(tmp_path / "datalist.json")


def test_the_command_prints_problems_counts_and_relations(
    good: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del good["validation"][0]["masks"]["back"]
    path = run(good, tmp_path)
    check(path)  # a warning alone: no SystemExit
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "warning: region 'back': no validation scan annotates it",
        "",
        "annotated scans",
        "scans whole front back",
        "training 2 2 2 2",
        "validation 1 1 1 0",
        "test 1 1 1 1",
        "",
        "regions (number of scans that tell)",
        "whole contains front (4), back (3)",
        "front excludes back (3)",
        "",
        "scales (train --scales own)",
        "region extent (mm) spacing (mm) speck looked for",
        "whole 4 x 6 x 6 1 x 2 x 3 0.5 in the whole scan",
        "front 2 x 6 x 6 1 x 2 x 3 0.5 in the whole scan",
        "back 2 x 6 x 6 1 x 2 x 3 0.5 in the whole scan",
        "",
        "method: PSL loss (train --overlay psl_loss): 3.0 masks per scan, about as good as CoNeMOS, and all regions at "
        "the cost of one; to add regions later, CoNeMOS",
        f"next: conemos train {path} --overlay psl_loss --output_dir runs/mine",
    ]


def test_regions_with_a_side_are_told(good: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run(json.loads(json.dumps(good).replace('"front"', '"left half"')), tmp_path)
    check(path)
    assert "\nsides: 'left half' name a side: train without flips along the first axis" in capsys.readouterr().out


def test_volumes_are_in_ml(good: dict[str, Any], tmp_path: Path) -> None:
    volumes = check_data_set(Datalist.model_validate(good), tmp_path).volumes
    assert volumes == {
        "whole": pytest.approx([24 * 6 / 1000] * 4),
        **{r: pytest.approx([0.072] * 4) for r in ("front", "back")},
    }


def test_the_command_ends_with_1_after_an_error(
    good: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run(good, tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    check(path)
    assert capsys.readouterr().out.startswith("no problems\n")
    with pytest.raises(SystemExit) as ended:
        check(path, dataset_dir=str(other))
    assert ended.value.code == 1
    out = capsys.readouterr().out
    assert f"error: {other / 'i0.nii.gz'}: no such file" in out
    assert "whole and front, back: unknown: never annotated together" in out


def test_a_check_is_quiet(good: dict[str, Any], tmp_path: Path) -> None:
    """MONAI's readers warn of decoders that are not installed, each time that one is made; the package makes none."""
    command = [sys.executable, "-m", "conemos_bundle", "check", run(good, tmp_path)]
    done = subprocess.run(command, cwd=bundle_folder(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("no problems\n")
