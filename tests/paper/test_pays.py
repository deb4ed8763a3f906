"""The studies, tables and claims of scripts/does_it_pay.py."""

from __future__ import annotations

import csv
import importlib
import json
import time
from pathlib import Path
from types import ModuleType

import nibabel
import numpy as np
import pandas as pd
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
REGIONS = ["a", "b"]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch):
    def load(name: str) -> ModuleType:
        monkeypatch.syspath_prepend(str(SCRIPTS))
        return importlib.import_module(name)

    return load


def table(scans: int, seed: int, by: np.ndarray | float = 0.0, noise: float = 0.0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(by + noise * random.standard_normal((scans, 2)), range(scans), REGIONS)


def compared(script, *differences: list[pd.DataFrame], folds: bool = False) -> list[dict]:
    rows = [{"differences": one, "runs": str(i), "study": str(i), "folds": folds} for i, one in enumerate(differences)]
    script("pays_tables").compare(rows)
    return rows


def test_what_can_be_said_of_a_difference(script) -> None:
    alike = [table(20, seed, 0.0, 0.001) for seed in (0, 1)]  # trainings hardly differ on this data set
    ahead, behind, level, one, _ = compared(
        script,
        [table(20, seed, 0.05, 0.01) for seed in (0, 1)],
        [table(20, seed, -0.05, 0.01) for seed in (0, 1)],
        alike,
        [table(20, 0, 0.05, 0.01)],
        alike,
    )
    assert [row["verdict"] for row in (ahead, behind, level, one)] == ["ahead", "behind", "level", "one seed"]
    assert ahead["difference"] == pytest.approx(5, abs=0.5) and ahead["low"] < ahead["difference"] < ahead["high"]
    # scans alone would leave no doubt of it: its seeds contradict each other
    (contrary,) = compared(script, [table(20, 0, 0.05, 0.001), table(20, 1, -0.02, 0.001)])
    assert contrary["verdict"] == "undecided" and contrary["low"] < 0 < contrary["high"]
    (alone,) = compared(script, [table(20, 0, 0.05, 0.01)])
    assert alone["verdict"] == "one seed" and alone["from PSL loss"] == "+4.9"


def test_intervals_of_two_seeds_hold_the_truth_about_as_often_as_they_say(
    script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script("pays_tables"), "DRAWN", 100)
    # two studies of four methods on a data set of 40 test scans, all compared with the same trainings of PSL loss;
    # trainings differ by 1 point, scans by 2; no true difference
    random, held = np.random.default_rng(0), []
    for _ in range(80):
        rows = []
        for study in "ab":
            others = random.normal(0, 0.01, 2)
            rows += [
                {
                    "differences": [
                        table(40, int(random.integers(10**9)), random.normal(0, 0.01) - o, 0.02) for o in others
                    ],
                    "runs": f"{study}{method}",
                    "study": study,
                    "folds": False,
                }
                for method in range(4)
            ]
        script("pays_tables").compare(rows)
        held += [row["low"] <= 0 <= row["high"] for row in rows]
    assert 0.92 < np.mean(held) < 0.985  # intervals of seeds and scans drawn anew: .68


def test_comparisons_with_the_same_runs_are_worth_fewer_degrees_of_freedom(script) -> None:
    freedom = script("pays_tables")._degrees_of_freedom
    assert freedom([("a", 3)]) == 3 and freedom([("a", 1), ("b", 1)]) == 2 and freedom([]) == 0
    assert freedom([("a", 1)] * 4) == pytest.approx(16 / 7)


def test_the_variance_that_four_scans_bring_is_not_too_small(script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script("pays_tables"), "DRAWN", 300)
    random = np.random.default_rng(1)
    found = [script("pays_tables")._of_scans([pd.DataFrame(random.normal(0, 0.03, (4, 1)))] * 2) for _ in range(400)]
    assert np.mean(found) == pytest.approx(0.03**2 / 4, rel=0.1)


def test_runs_that_two_budgets_share_count_once(script) -> None:
    differences = [[table(9, 0, by, 0.01) for by in (0.02, 0.03)], [table(9, 1, by, 0.01) for by in (0.0, 0.06)]]
    twice = [
        {"differences": one, "runs": r, "study": r, "folds": False} for one, r in zip(differences, "ab", strict=True)
    ]
    twice.append({**twice[1]})
    script("pays_tables").compare(twice)
    once = compared(script, *differences)
    assert [row["low"] for row in twice[:2]] == [row["low"] for row in once] and twice[2]["low"] == twice[1]["low"]


def test_intervals_of_folds_hold_the_truth_too(script) -> None:
    random, held = np.random.default_rng(0), []
    for _ in range(400):  # four folds of five scans, which differ by 4 points
        folds = [table(5, int(random.integers(10**9)), random.normal(0, 0.015), 0.04) for _ in range(4)]
        (row,) = compared(script, folds, folds=True)
        held.append(row["low"] <= 0 <= row["high"])
    assert 0.92 < np.mean(held) < 0.98


def run(
    folder: Path, dice: dict[str, list[float]], steps: int = 6, seconds: float = 60.0, network: str = "one"
) -> None:
    folder.mkdir(parents=True)
    head = "epoch,step,masks,seconds,loss,learning_rate,validation_dice\n"
    (folder / "curve.csv").write_text(f"{head}6,{steps},{2 * steps},{seconds},0.5,0.001,0.9\n")
    (folder / "run.json").write_text(json.dumps({"network": network}))
    rows = [(scan, region, one) for region, values in dice.items() for scan, one in enumerate(values)]
    pd.DataFrame(rows, columns=["scan", "region", "dice"]).to_csv(folder / "per_scan.csv", index=False)


def _mean_of(rows: pd.DataFrame, method: str) -> float:
    return float(np.mean([one.mean().mean() for one in rows.loc[method, "differences"]]))


def test_a_budget_takes_what_is_the_same_from_the_runs_of_equal_steps(tmp_path: Path, script) -> None:
    rows_of = script("pays_tables").rows_of
    for seed in ("seed0", "seed1"):
        run(tmp_path / "steps" / "psl_loss" / seed, {"a": [0.5, 0.6], "b": [0.7, 0.8]})
        run(tmp_path / "steps" / "conemos" / seed, {"a": [0.6, 0.7], "b": [0.7, 0.8]})
        run(tmp_path / "masks" / "conemos_paper" / seed, {"a": [0.4, 0.5], "b": [0.7, 0.8]}, steps=12)
    (steps, masks) = (pd.DataFrame(rows_of(tmp_path, budget)).set_index("method") for budget in ("steps", "masks"))
    assert list(steps.index) == ["psl_loss", "conemos"]
    assert _mean_of(steps, "conemos") == pytest.approx(0.05)
    assert list(masks.index) == ["psl_loss", "conemos", "conemos_paper"]
    assert (_mean_of(masks, "conemos_paper"), masks.loc["conemos_paper", "step"]) == (pytest.approx(-0.05), 12)
    assert rows_of(tmp_path, "time") == []  # nobody has trained by time


def test_a_method_that_fails_now_and_then_does_not_widen_the_intervals_of_others(tmp_path: Path, script) -> None:
    tables, differences = script("pays_tables"), []
    for seed, by in (("seed0", 0.0), ("seed1", 0.01)):
        run(tmp_path / "chaos" / "steps" / "psl_loss" / seed, {"a": [0.5, 0.6], "b": [0.7, 0.8]})
        run(tmp_path / "chaos" / "steps" / "conemos" / seed, {"a": [0.6, 0.7], "b": [0.7 + by, 0.8]})
    for relu in ([], [0.1, 0.9]):
        for seed, dice in enumerate(relu):
            run(tmp_path / "chaos" / "steps" / "psl_loss_relu" / f"seed{seed}", {"a": [dice, dice], "b": [dice, dice]})
        tables.tables(str(tmp_path))
        table = pd.read_csv(tmp_path / "differences.csv")
        differences.append(table[table["budget"] == "steps"].set_index("method"))
    without, with_it = (one.loc["conemos", ["difference", "low", "high"]].tolist() for one in differences)
    assert without == pytest.approx(with_it) and without[0] == pytest.approx(5.13, abs=0.01)
    assert differences[1].loc["psl_loss_relu", "high"] > 100
    page = (tmp_path / "tables.md").read_text()
    assert "| CHAOS | PSL loss | 6 | 12 | 60 | 65.0, 65.0 | 65.0 |  |  |" in page
    assert "|  | PSL loss, with a ReLU before its last layer | 6 | 12 | 60 | 10.0, 90.0 | 50.0 | -15.0 (" in page
    assert page.index("## Equal time") < page.index("## Equal steps") < page.index("## Equal masks")


def test_what_is_not_comparable_is_refused_and_what_compares_nothing_left_out(tmp_path: Path, script) -> None:
    rows_of = script("pays_tables").rows_of
    dice = {"a": [0.5, 0.6]}
    run(tmp_path / "alone" / "steps" / "psl_loss" / "seed0", dice)
    assert [rows_of(tmp_path / "alone", budget) for budget in ("steps", "time", "masks")] == [[], [], []]
    run(tmp_path / "late" / "steps" / "psl_loss" / "seed0", dice)
    run(tmp_path / "late" / "time" / "conemos" / "seed0", dice, seconds=63.0)
    assert len(rows_of(tmp_path / "late", "time")) == 2
    run(tmp_path / "late" / "steps" / "psl_loss" / "seed1", dice)
    run(tmp_path / "late" / "time" / "conemos" / "seed1", dice, seconds=64.0)
    with pytest.raises(ValueError, match="64 and 60 s are no equal time"):
        rows_of(tmp_path / "late", "time")
    run(tmp_path / "other" / "steps" / "psl_loss" / "seed0", dice)
    run(tmp_path / "other" / "steps" / "psl_loss" / "seed1", dice, network="another")
    with pytest.raises(ValueError, match="psl_loss: its seeds have other networks"):
        rows_of(tmp_path / "other", "steps")


def test_runs_of_other_scans_are_not_compared_and_seeds_in_pairs_alone(tmp_path: Path, script) -> None:
    rows_of = script("pays_tables").rows_of
    run(tmp_path / "steps" / "psl_loss" / "seed0", {"a": [0.5, 0.6]})
    run(tmp_path / "steps" / "conemos" / "seed0", {"a": [0.6, 0.7]})
    run(tmp_path / "steps" / "conemos" / "seed1", {"a": [0.1, 0.1]})
    row = pd.DataFrame(rows_of(tmp_path, "steps")).set_index("method").loc["conemos"]
    assert [one.mean().mean() for one in row["differences"]] == pytest.approx([0.1]) and row["seeds"] == 2
    run(tmp_path / "steps" / "psl_loss" / "seed1", {"a": [0.5]})
    with pytest.raises(ValueError, match="other scans or regions"):
        rows_of(tmp_path, "steps")


def test_figures_are_of_equal_time_and_of_studies_that_both_methods_have_run(
    tmp_path: Path, script, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures, drawn = script("pays_figures"), {}
    monkeypatch.setattr(figures.plt, "close", lambda figure: drawn.__setitem__(len(drawn), figure.axes[0]))
    annotated = "scan,split,a,b\ns0,train,0,1\ns1,train,1,1\ns2,test,1,1\n"
    for study in ("hippocampus", "quarter", "tenth", "rare", "many"):
        run(tmp_path / study / "steps" / "psl_loss" / "seed0", {"a": [0.5], "b": [0.7]})
        (tmp_path / study / "annotated.csv").write_text(annotated)
    run(tmp_path / "rare" / "steps" / "conemos" / "seed0", {"a": [0.1], "b": [0.1]})  # equal steps
    figures.main(str(tmp_path))
    assert not drawn
    for study in ("hippocampus", "quarter", "tenth", "rare"):
        for seed in ("seed0", "seed1"):
            run(tmp_path / study / "time" / "conemos" / seed, {"a": [0.3], "b": [0.8]})
    figures.main(str(tmp_path))
    assert sorted(file.name for file in tmp_path.glob("*.png")) == ["few_scans.png", "rare.png"]
    few, rare = drawn.values()
    means = {line.get_label(): list(line.get_ydata()) for line in few.lines if not line.get_label().startswith("_")}
    assert means["PSL loss"] == pytest.approx([60] * 3) and means["CoNeMOS"] == pytest.approx([55] * 3)
    assert [tick.get_text() for tick in rare.get_yticklabels()] == ["b (masks: 2)", "a (masks: 1)"]
    means = {line.get_label(): list(line.get_xdata()) for line in rare.lines if not line.get_label().startswith("_")}
    assert means["PSL loss"] == pytest.approx([70, 50]) and means["CoNeMOS"] == pytest.approx([80, 30])


def test_other_settings_and_unknown_words_are_refused(tmp_path: Path, script) -> None:
    pays = script("does_it_pay")
    pays._same_as_before(tmp_path / "run" / "asked.json", {"spacing": (1, 1), "seed": 0})
    pays._same_as_before(tmp_path / "run" / "asked.json", {"spacing": [1, 1], "seed": 0})
    with pytest.raises(SystemExit, match="run: trained with other seed, steps; use another --output"):
        pays._same_as_before(tmp_path / "run" / "asked.json", {"spacing": [1, 1], "seed": 1, "steps": 3})
    with pytest.raises(SystemExit, match="'stpes': use one of steps, time, masks"):
        pays.main("chaos", "data", budgets="stpes", output=str(tmp_path / "pays"))
    assert not (tmp_path / "pays").exists()


def test_a_time_that_is_near_enough_stays(tmp_path: Path, script) -> None:
    before = script("does_it_pay")._minutes_before
    assert before(tmp_path / "asked.json", 4.0) == 4.0
    (tmp_path / "asked.json").write_text(json.dumps({"minutes": 3.81}))
    assert before(tmp_path / "asked.json", 4.0) == 3.81 and before(tmp_path / "asked.json", 4.1) == 4.1


def test_an_evaluation_of_some_scans_is_none(tmp_path: Path, script) -> None:
    is_evaluated = script("equal_time").is_evaluated
    assert not is_evaluated(tmp_path)
    (tmp_path / "summary.json").write_text(json.dumps({"failed": {"scan": "why"}}))
    assert not is_evaluated(tmp_path)
    (tmp_path / "summary.json").write_text("{}")
    assert is_evaluated(tmp_path)


def published(splits: list[str], **regions: list[int]) -> pd.DataFrame:
    return pd.DataFrame({"scan": [f"s{i}" for i in range(len(splits))], "split": splits, **regions})


def test_rare_swaps_two_regions_and_leaves_the_test_complete(script) -> None:
    flags = script("pays_studies").rare(
        published(["train", "train", "test"], hippocampus=[1, 0, 1], anterior=[0, 1, 1], posterior=[0, 1, 1])
    )
    assert flags["s0"] == {"posterior"} and flags["s1"] == {"anterior", "hippocampus"} and len(flags["s2"]) == 3


def test_sparse_has_few_masks_and_each_region_twice(script) -> None:
    ones = [1] * 11
    full = published(["train"] * 10 + ["test"], a=ones, b=ones, c=ones)
    flags = script("pays_studies").sparse(full)
    training = [flags[f"s{i}"] for i in range(10)]
    assert sum(map(len, training)) == 16 and min(map(len, training)) >= 1
    assert all(sum(region in one for one in training) >= 2 for region in "abc") and len(flags["s10"]) == 3


def test_folds_test_each_scan_once_and_keep_how_many_masks_there_are(script, tmp_path: Path) -> None:
    splits = ["train"] * 4 + ["validation"] * 2 + ["test"] * 2
    table = published(splits, a=[1, 0, 0, 1, 1, 0, 1, 1], b=[0, 1, 1, 0, 0, 1, 1, 1])
    folds = [script("pays_studies").folded(table, fold) for fold in range(4)]
    tested = [scan for fold in folds for scan in fold.loc[fold["split"] == "test", "scan"]]
    assert sorted(tested) == sorted(table["scan"]) and folds[0].equals(table)
    for fold in folds:
        assert fold[["split", "a", "b"]].equals(table[["split", "a", "b"]]) and set(fold["scan"]) == set(table["scan"])


def test_each_seed_of_a_study_of_folds_has_its_own_datalist(script, tmp_path: Path) -> None:
    studies, data = script("pays_studies"), tmp_path / "data"
    names = [f"s{place:02}" for place in range(8)]
    for kind in ("images", "labels"):
        (data / kind).mkdir(parents=True)
        for name in names:
            voxels = np.arange(216, dtype=np.uint8).reshape(6, 6, 6) % 5
            nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), data / kind / f"{name}.nii.gz")
    regions = list(studies.REGIONS["chaos_t2spir"])
    splits = ["train"] * 4 + ["validation"] * 2 + ["test"] * 2
    known = pd.DataFrame(1, range(8), regions).assign(liver=[1, 0, 1, 1, 1, 1, 1, 1])
    published_table = pd.concat([pd.DataFrame({"scan": names, "split": splits}), known], axis=1)
    published_table.to_csv(data / "partial_annotations.csv", index=False)
    files = [studies.write_study("chaos_folds", data, tmp_path / "pays" / "chaos_folds", seed) for seed in (1, 4)]
    assert [file.parent.name for file in files] == ["fold1", "fold0"]
    lists = [json.loads(file.read_text()) for file in files]
    assert [[one["subject"] for one in each["test"]] for each in lists] == [["s00", "s01"], ["s06", "s07"]]
    unknown = [
        row["scan"]
        for file in files
        for row in csv.DictReader((file.parent / "annotated.csv").open())
        if row["liver"] == "0"
    ]
    assert unknown == ["s03", "s01"]
    assert studies.write_study("chaos", data, tmp_path / "pays" / "chaos").parent.name == "chaos"


def test_two_raters_never_share_a_training_scan(script) -> None:
    ones = [1] * 5
    table = published(["train"] * 4 + ["test"], hippocampus=[1, 0, 0, 0, 1], anterior=ones, posterior=ones)
    flags = script("pays_studies").two_raters(table)
    assert flags["s0"] == {"anterior_a", "posterior_a", "hippocampus"} and flags["s1"] == {"anterior_b", "posterior_b"}
    assert len(flags["s4"]) == 5


def test_few_of_many_has_three_of_twelve_each_as_often(script) -> None:
    flags = script("pays_studies").few_of_many(pd.DataFrame({"scan": range(9), "split": ["train"] * 8 + ["test"]}))
    counts = pd.Series([region for scan in range(8) for region in flags[scan]]).value_counts()
    assert (counts == 2).all() and len(counts) == 12 and all(len(flags[i]) == 3 for i in range(8))
    assert len(flags[8]) == 12


def test_the_processors_clock_stands_still_while_others_work(script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", time.perf_counter)  # what the script changes is undone
    script("cpu_clock")
    began = time.perf_counter()
    time.sleep(0.5)
    assert time.perf_counter() - began < 0.4
