"""The tables of scripts/growing.py."""

from __future__ import annotations

import importlib
from pathlib import Path

import pandas as pd
import pytest


def test_each_region_left_out_is_one_row_beside_the_studys_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    left_out = importlib.import_module("growing_tables").left_out
    columns = ["variant", "scans", "draw", "dice"]
    own = pd.DataFrame(
        [
            ("low_rank", 4, 0, 0.8),
            ("low_rank", 4, 1, 0.1),
            ("low_rank", 8, 0, 0.2),
            ("scratch", 4, 0, 0.7),
            ("fine_tuned", 4, 0, 0.9),
        ],
        columns=columns,
    )
    assert left_out(tmp_path, {"atlas": own}) == []  # nobody has left out another one
    (tmp_path / "atlas_csf").mkdir()
    csf = pd.DataFrame([("low_rank", 4, 0, 0.6), ("scratch", 4, 0, 0.4)], columns=columns)
    csf.to_csv(tmp_path / "atlas_csf" / "growing_test.csv", index=False)
    lines = left_out(tmp_path, {"atlas": own, "chaos": own})
    assert lines[1] == "## Atlas: each region left out once, 4 scans, one draw"
    assert lines[-3:] == [
        "| cerebellum | 80.0 | 70.0 |  | 90.0 |",
        "| csf | 60.0 | 40.0 |  |  |",
        "| **mean** | 70.0 | 55.0 |  |  |",
    ]


def test_what_the_old_regions_lose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    tables = importlib.import_module("growing_tables")
    runs = [("low_rank", 0.8), ("low_rank", 0.8), ("rehearsed", 0.7), ("rehearsed", 0.6)]
    table = pd.DataFrame(runs, columns=["variant", "dice_deep_gray_matter"])
    assert tables.old_regions({"atlas": table})[-1] == "| cerebellum | deep gray matter | 80.0 | 65.0 |"
    assert tables.learned("joint", 8) - tables.learned("fine_tuned", 8) == 7 * 64  # the embedding reads which of them
