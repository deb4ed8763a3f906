from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conemos_bundle.errors import UserError
from conemos_bundle.paper.collect import collect, curve, find_runs

DICE = {"uterus": [0.9, 0.8], "left eye": [0.7, np.nan]}


def test_one_row_a_run_scan_and_region(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    write_run(tmp_path / "ours", DICE, scans=["007", "NA"], seed=3)
    write_run(tmp_path / "deep" / "er", DICE, method="DoDNet", scans=["007", "NA"], fraction=0.5)
    rows = collect(tmp_path)
    assert rows["run"].tolist() == ["deep/er"] * 4 + ["ours"] * 4
    assert rows["scan"].tolist() == ["007", "007", "NA", "NA"] * 2  # neither the number 7 nor a missing value
    assert rows["region"].tolist() == ["uterus", "left eye"] * 4
    np.testing.assert_allclose(rows["dice"], [0.9, 0.7, 0.8, np.nan] * 2)
    np.testing.assert_allclose(rows["sd95_voxels"], [1, 3, 2, np.nan] * 2)
    np.testing.assert_allclose(rows["sd95_mm"], [2, 6, 4, np.nan] * 2)
    one_a_run = rows.drop_duplicates("run").set_index("run")
    assert one_a_run["method"].to_dict() == {"deep/er": "DoDNet", "ours": "CoNeMOS"}
    assert one_a_run["seed"].tolist() == [0, 3] and one_a_run["fraction"].tolist() == [0.5, 1.0]
    assert one_a_run["steps"].tolist() == [40, 40] and set(one_a_run["dataset"]) == {"toy"}
    # levels of 2 + 2 convolutions, one of 2 to decode, the final one: 7
    assert pd.isna(one_a_run.loc["deep/er", "n_conditioned"]) and one_a_run.loc["ours", "n_conditioned"] == 7


def test_which_runs_compare_methods(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    write_run(tmp_path / "all", DICE)
    write_run(tmp_path / "all_by_number", DICE, n_conditioned=7, seed=1)
    write_run(tmp_path / "one", DICE, n_conditioned=1)
    for n in (1, 3, 7):  # of one level to decode: 3
        write_run(tmp_path / f"every_{n}", DICE, n_conditioned=n, regions_per_scan="all")
    write_run(tmp_path / "half", DICE, fraction=0.5)
    write_run(tmp_path / "unet", DICE, method="PSL loss")
    assert {run.run: run.is_standard for run in find_runs(tmp_path)} == {
        "all": True, "all_by_number": True, "every_1": False, "every_3": True, "every_7": False, "half": False,
        "one": False, "unet": True,
    }  # fmt: skip


def test_the_root_may_be_the_run(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    write_run(tmp_path / "mine", DICE)
    assert [run.run for run in find_runs(tmp_path / "mine")] == ["mine"]


def test_what_is_not_finished_or_evaluated_is_listed_and_skipped(
    tmp_path: Path, write_run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "good", DICE)
    write_run(tmp_path / "short", DICE, method="DoDNet", done=3)
    write_run(tmp_path / "no_value", {"uterus": [np.nan]}, method="DoDNet")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "run.json").write_text("not even JSON yet")
    assert [run.run for run in find_runs(tmp_path)] == ["good"]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"{tmp_path}/new: skipped, not evaluated")
    assert lines[1].startswith(f"{tmp_path}/no_value: skipped, not evaluated")
    assert lines[2] == f"{tmp_path}/short: skipped, not finished (epoch 3 of 4)"


def test_a_run_without_a_curve_is_taken_as_finished(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    write_run(tmp_path / "old", DICE, done=0)
    (run,) = find_runs(tmp_path)
    assert curve(run).empty and np.isnan(curve(run)["seconds"].max())


def test_steps_choose(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    write_run(tmp_path / "a", DICE)
    write_run(tmp_path / "b", DICE, epochs=5)
    with pytest.raises(UserError, match=r"/a and .*/b: 40 steps of batch 2, and 50 .*; choose with --steps"):
        find_runs(tmp_path)
    assert [run.run for run in find_runs(tmp_path, steps=50)] == ["b"]
    with pytest.raises(UserError, match=r"no finished and evaluated run of 60 steps \(there are runs of 40, 50\)"):
        find_runs(tmp_path, steps=60)


def test_other_data_sets_may_have_other_steps(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    write_run(tmp_path / "a", DICE)
    write_run(tmp_path / "b", {"liver": [0.9]}, epochs=5, dataset="other")
    assert len(find_runs(tmp_path)) == 2


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"batch_size": 4, "method": "DoDNet"}, "must not be compared; move those of one budget away"),
        ({}, "both are CoNeMOS on 'toy' with seed 0, fraction 1 and 40 steps of batch 2; move one of them away"),
        ({"n_conditioned": 7}, "both are CoNeMOS"),
        ({"method": "DoDNet", "scans": ["000", "other"]}, "evaluated on different scans or regions of 'toy'"),
    ],
)
def test_runs_that_must_not_be_compared(
    tmp_path: Path, write_run: Callable[..., Path], second: dict[str, Any], words: str
) -> None:
    write_run(tmp_path / "a", DICE)
    write_run(tmp_path / "b", DICE, **second)
    with pytest.raises(UserError) as error:
        collect(tmp_path)
    assert words in str(error.value)
    assert f"{tmp_path}/a and {tmp_path}/b: " in str(error.value)


@pytest.mark.parametrize("other", [{"seed": 1}, {"fraction": 0.5}, {"n_conditioned": 3}, {"method": "DoDNet"}])
def test_runs_that_are_no_twins(tmp_path: Path, write_run: Callable[..., Path], other: dict[str, Any]) -> None:
    write_run(tmp_path / "a", DICE)
    write_run(tmp_path / "b", DICE, **other)
    assert len(find_runs(tmp_path)) == 2


def test_no_run_or_none_evaluated(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match="no run"):
            find_runs(root)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match="no finished and evaluated run; evaluate one"):
        find_runs(tmp_path)


def test_files_that_lack_something_are_named(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    folder = write_run(tmp_path / "a", DICE)
    record = json.loads((folder / "run.json").read_text())
    del record["settings"]["method"]
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"a/run.json: lacks 'method'"):
        find_runs(tmp_path)
    (folder / "run.json").write_text("{")
    with pytest.raises(UserError, match=r"a/run.json: not valid JSON"):
        find_runs(tmp_path)
    (folder / "evaluation_test" / "per_scan.csv").write_text("scan,region,dice\na,b,0.5\n")
    with pytest.raises(UserError, match=r"per_scan.csv: lacks the column 'subject'"):
        find_runs(tmp_path)


def test_learning_one_mask_of_a_patch_is_a_method_of_its_own_beside_learning_every_one(
    tmp_path: Path, write_run: Callable[..., Path]
) -> None:
    for i, (method, setting) in enumerate(
        [("CoNeMOS", 1), ("CoNeMOS", "all"), ("DoDNet", 1), ("PSL loss", "all"), ("Multi-layer", 1)]
    ):
        write_run(tmp_path / str(i), {"a": [0.5]}, method=method, regions_per_scan=setting)
    write_run(tmp_path / "5", {"a": [0.5]}, regions_per_scan=1, dataset="other")
    write_run(tmp_path / "6", {"a": [0.5]}, method="DoDNet", regions_per_scan="all", dataset="other")
    found = [run.method for run in find_runs(tmp_path)]
    assert found == ["CoNeMOS, one mask", "CoNeMOS", "DoDNet", "PSL loss", "Multi-layer", "CoNeMOS", "DoDNet"]


def test_runs_of_equal_time_are_compared_whatever_their_steps(
    tmp_path: Path, write_run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, method, epochs in (("a", "CoNeMOS", 4), ("b", "DoDNet", 5)):
        write_run(tmp_path / name, DICE, method=method, epochs=epochs, minutes=240)  # an hour per epoch
    assert [(run.steps, run.budget) for run in find_runs(tmp_path)] == [
        (40, "240 minutes of steps of batch 2"),
        (50, "240 minutes of steps of batch 2"),
    ]
    write_run(tmp_path / "c", DICE, method="PSL loss", epochs=3, minutes=240)
    assert len(find_runs(tmp_path)) == 2
    assert capsys.readouterr().out.splitlines()[-1] == f"{tmp_path}/c: skipped, not finished (180.0 of 240 minutes)"
    write_run(tmp_path / "d", DICE, method="Multi-layer")
    with pytest.raises(
        UserError, match="240 minutes of steps of batch 2, and 40 steps of batch 2, .*; move those of one"
    ):
        find_runs(tmp_path)


def test_runs_that_learned_from_other_masks_are_not_compared(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    def annotated(run: Path, training: int, test: int = 2) -> None:
        record = json.loads((run / "run.json").read_text())
        counts = {"training": training, "test": test}
        record["data"]["annotated"] = {split: {"scans": n, "uterus": n, "left eye": n} for split, n in counts.items()}
        (run / "run.json").write_text(json.dumps(record))

    annotated(write_run(tmp_path / "ours", DICE), 12)
    annotated(write_run(tmp_path / "half", DICE, fraction=0.5), 6)  # of the same scans, so many
    annotated(write_run(tmp_path / "unet", DICE, method="PSL loss"), 12)
    assert len(find_runs(tmp_path)) == 3
    annotated(tmp_path / "half", 6, test=3)
    with pytest.raises(UserError, match="half and .*ours: other numbers of test scans or masks of 'toy'"):
        find_runs(tmp_path)
    annotated(tmp_path / "half", 6)
    annotated(tmp_path / "unet", 11)
    with pytest.raises(UserError, match="ours and .*unet: other numbers of training scans or masks"):
        find_runs(tmp_path)
