from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from conemos_bundle.cli import experiments
from conemos_bundle.errors import UserError

pytestmark = pytest.mark.skipif(find_spec("snakemake") is None, reason="Snakemake needs Python 3.11")


def test_a_datalist_becomes_a_grid(tiny_dataset: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = {"methods": ["conemos", "individual", "pseudo_label"], "fractions": (1, 0.5), "dry_run": True}
    experiments(str(tiny_dataset / "datalist.json"), str(tmp_path), **arguments, max_epochs=2)  # type: ignore[arg-type]
    out = "".join(capfd.readouterr())
    assert "6 runs in" in out
    counts = {words[0]: words[1] for line in out.splitlines() if len(words := line.split()) == 2}
    assert (counts["train"], counts["evaluate"], counts["report"]) == ("6", "6", "1")
    grid = json.loads((tmp_path / "grid.json").read_text())
    assert grid["settings"] == {"max_epochs": 2}
    assert grid["datasets"]["tiny"]["dataset_dir"] == str(tiny_dataset)
    assert {file.name for file in tmp_path.iterdir()} <= {".lock", "grid.json", ".snakemake"}

    done = tmp_path / "tiny" / "conemos" / "seed0"
    (done / "evaluation_test").mkdir(parents=True)
    (done / "trained").touch()
    (done / "evaluation_test" / "summary.json").touch()
    experiments(str(tmp_path / "grid.json"), str(tmp_path), dry_run=True)
    assert "tiny/conemos/seed0/trained" not in "".join(capfd.readouterr())

    source, before = str(tiny_dataset / "datalist.json"), (tmp_path / "grid.json").read_bytes()
    with pytest.raises(UserError, match=r"tiny/conemos/seed0: was begun with max_epochs 2, now 3; pass another --out"):
        experiments(source, str(tmp_path), **{**arguments, "seeds": (0, 1)}, max_epochs=3)  # type: ignore[arg-type]
    assert (tmp_path / "grid.json").read_bytes() == before
    grown = {"methods": ["conemos"], "seeds": (0, 1), "max_epochs": 2, "num_workers": 1}
    experiments(source, str(tmp_path), **grown, dry_run=True)  # type: ignore[arg-type]
    assert "tiny/conemos/seed1" in "".join(capfd.readouterr())


def test_neither_a_datalist_nor_a_grid(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.json: no such file"):
        experiments(str(tmp_path / "none.json"), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "runs", [{"methods": ["psl_loss"]}, {"fractions": [0.5]}, {"methods": ["conemos"], "conditioned": [1]}]
)
def test_nothing_to_compare_with_is_refused_before_training(
    tiny_dataset: Path, tmp_path: Path, runs: dict[str, Any]
) -> None:
    source, out = str(tiny_dataset / "datalist.json"), tmp_path / "out"
    with pytest.raises(UserError, match="tiny: the report compares with conemos on all training scans"):
        experiments(source, str(out), **runs, dry_run=True)
    assert not out.exists()
    (out / "tiny" / "conemos" / "seed3").mkdir(parents=True)  # of an earlier grid
    (out / "tiny" / "conemos" / "seed3" / "trained").touch()
    experiments(source, str(out), **runs, dry_run=True)
