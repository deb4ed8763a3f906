from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conemos_bundle.errors import UserError
from conemos_bundle.paper.collect import find_runs
from conemos_bundle.paper.report import write_report
from conemos_bundle.paper.timing import Timing

OURS = np.linspace(0.8, 0.95, 9)


def _runs(folder: Path, write_run: Callable[..., Path]) -> None:
    write_run(folder / "ours", {"body": OURS, "eyes": OURS / 2}, slices=True)
    write_run(folder / "theirs", {"body": OURS - 0.1, "eyes": OURS / 3}, method="DoDNet", seed=5, slices=True)


def _links(text: str) -> set[str]:
    return set(re.findall(r"\]\(([^)]+)\)", text))


def test_everything_that_is_written_is_linked_and_the_other_way_round(
    tmp_path: Path, write_run: Callable[..., Path]
) -> None:
    runs, folder = tmp_path / "runs", tmp_path / "report"
    _runs(runs, write_run)
    write_run(runs / "fraction", {"body": OURS - 0.2, "eyes": OURS / 4}, fraction=0.25, seed=9)
    write_run(runs / "layers", {"body": OURS - 0.3, "eyes": OURS / 5}, n_conditioned=1)
    folder.mkdir()
    text = write_report(find_runs(runs), folder).read_text()
    assert _links(text) | {"report.md", "report.html"} == {file.name for file in folder.iterdir()}
    assert {"methods.png", "samples.png", "fraction.png", "layers.png", "validation.png"} < _links(text)
    assert all(file.stat().st_size < 300_000 for file in folder.iterdir())

    for words in ("9, with a reference of: body 9, eyes 9", "40 steps of batch 2 = 80 samples", "a machine, 2 cores"):
        assert words in text
    assert "seed 5 of DoDNet; seed 0 of CoNeMOS" in text and "torch 2.9.9" in text
    assert f"**{100 * OURS.mean():.1f} ± {100 * OURS.std(ddof=1):.1f}**" in text  # fraction and layers are not mixed in
    claims = pd.read_csv(folder / "claims.csv").set_index("claim")["measured"]
    loss = np.mean([20, 100 * OURS.mean() * (1 / 2 - 1 / 4)])
    assert f"{loss:.2f}" in claims[next(claim for claim in claims.index if "25%" in claim)]
    layers = pd.read_csv(folder / "layers.csv")
    assert layers["n_conditioned"].tolist() == [1, 7]
    np.testing.assert_allclose(layers["dice_body"], [OURS.mean() - 0.3, OURS.mean()], rtol=1e-5)
    assert len(pd.read_csv(folder / "per_scan.csv")) == 4 * 2 * 9
    samples = pd.read_csv(folder / "samples.csv", dtype={"scan": str}).set_index(["region", "method"])
    assert set(samples["scan"]) == {"004"}  # the one in the middle, 0.875
    assert samples.loc[("body", "DoDNet"), "dice"] == pytest.approx(0.775)


def test_no_section_without_runs_for_it(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    write_run(tmp_path / "ours", {"body": OURS}, done=0)  # no curve, no slices, nothing to compare with
    (tmp_path / "report").mkdir()
    text = write_report(find_runs(tmp_path), tmp_path / "report").read_text()
    assert not {"samples.png", "fraction.png", "layers.png", "validation.png"} & _links(text)
    assert "Inference: not measured" in text
    assert _links(text) | {"report.md", "report.html"} == {file.name for file in (tmp_path / "report").iterdir()}


def test_the_same_bytes_again(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    _runs(tmp_path / "runs", write_run)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_report(find_runs(tmp_path / "runs"), tmp_path / name)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name


def test_times_are_read_where_they_were_measured(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    _runs(tmp_path / "runs", write_run)
    folder = tmp_path / "report"
    folder.mkdir()
    measured = [("DoDNet", 15.04, 0.752, 3, "16 x 16 x 8", "one core", "2.9.9"), ("CoNeMOS", 20, 1, 3, "", "", "")]
    pd.DataFrame(measured, columns=list(Timing.model_fields)).to_csv(folder / "inference.csv", index=False)
    before = (folder / "inference.csv").read_bytes()
    text = write_report(find_runs(tmp_path / "runs"), folder).read_text()
    assert "| 15.0 | 0.75 |" in text and "median of 3 rounds" in text and "one core" in text
    assert "inference.csv" in _links(text) and (folder / "inference.csv").read_bytes() == before
    (folder / "inference.csv").write_text("method\nDoDNet\n")
    with pytest.raises(UserError, match=r"inference.csv: lacks the column 'milliseconds'; measure again"):
        write_report(find_runs(tmp_path / "runs"), folder)


def test_masks_and_minutes_stand_beside_each_run(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    write_run(tmp_path / "runs" / "ours", {"a": [0.5, 0.6]}, masks=3)
    write_run(tmp_path / "runs" / "theirs", {"a": [0.5, 0.6]}, method="PSL loss")
    folder = tmp_path / "report"
    folder.mkdir()
    text = write_report(find_runs(tmp_path / "runs"), folder).read_text().split("## Runs")[1]
    cells = [line.split(" | ") for line in text.splitlines() if line.startswith(("| ours", "| theirs"))]
    assert [line[1] for line in cells] == ["PSL loss", "CoNeMOS"]
    assert [line[5:7] for line in cells] == [["n/a", "240.0"], ["120", "240.0"]]
    assert pd.read_csv(folder / "runs.csv")["masks"].sum() == 120
