from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conemos_bundle.paper.statistics import MEAN, average_seeds, compare, mean_dice_by, paired_p
from scipy.stats import wilcoxon

REGIONS = ["body", "eyes"]
METHODS = ["DoDNet", "PSL loss", "CoNeMOS"]


def _rows(methods: list[str] = METHODS, seeds: int = 2, scans: int = 12) -> pd.DataFrame:
    """Random metrics of some runs; scan s1 has no eyes."""
    random = np.random.default_rng(4)
    rows = []
    for place, method in enumerate(methods):
        for seed in range(seeds):
            for scan in range(scans):
                for region in REGIONS:
                    dice = random.uniform(0.5, 0.7) + 0.1 * place
                    dice = np.nan if (scan, region) == (1, "eyes") else dice
                    values = {"dice": dice, "sd95_mm": 3 - 3 * dice, "sd95_voxels": np.round(10 * (1 - dice))}
                    rows.append({"method": method, "seed": seed, "scan": f"s{scan}", "region": region, **values})
    return pd.DataFrame(rows)


def test_each_scan_is_averaged_over_seeds_first() -> None:
    rows = _rows()
    scans = average_seeds(rows)
    assert len(scans) == len(rows) / 2
    ours = scans[(scans["method"] == "CoNeMOS") & (scans["region"] == "eyes")].set_index("scan")["dice"]
    picked = rows[(rows["method"] == "CoNeMOS") & (rows["region"] == "eyes")]
    for scan in ("s0", "s7"):
        assert ours[scan] == pytest.approx(sum(picked.loc[picked["scan"] == scan, "dice"]) / 2)
    assert np.isnan(ours["s1"])


def test_comparison_by_plain_numpy_and_scipy() -> None:
    rows = _rows()
    table = compare(average_seeds(rows), REGIONS)
    assert len(table) == 3 * (len(REGIONS) + 1) * len(METHODS)
    for metric in ("dice", "sd95_mm", "sd95_voxels"):
        for region in REGIONS:
            values = {}
            for method in METHODS:
                own = rows[(rows["method"] == method) & (rows["region"] == region)]
                both = [own.loc[own["seed"] == seed].sort_values("scan")[metric].to_numpy() for seed in (0, 1)]
                values[method] = (both[0] + both[1]) / 2
            for method in METHODS:
                row = _row(table, metric, region, method)
                kept = values[method][~np.isnan(values[method])]
                assert row["mean"] == pytest.approx(kept.mean())
                assert row["standard_deviation"] == pytest.approx(kept.std(ddof=1))
                assert row["median"] == pytest.approx(np.median(kept))
                assert row["n"] == len(kept) == (11 if region == "eyes" else 12)
                if method == "CoNeMOS":
                    assert pd.isna(row["p"]) and pd.isna(row["pairs"]) and not row["significant"]
                    continue
                differences = np.round(values["CoNeMOS"] - values[method], 9)
                p = wilcoxon(differences[~np.isnan(differences)], alternative="two-sided").pvalue
                assert row["p"] == pytest.approx(p) and row["pairs"] == len(kept)
                assert row["p_corrected"] == pytest.approx(min(1, 4 * p))  # 2 regions x 2 methods
                assert row["significant"] == (4 * p < 0.05)
    assert set(table["significant"]) == {True, False}  # both happen here
    mean = _row(table, "dice", MEAN, "DoDNet")["mean"]
    assert mean == pytest.approx(np.mean([_row(table, "dice", region, "DoDNet")["mean"] for region in REGIONS]))


def _row(table: pd.DataFrame, metric: str, region: str, method: str) -> pd.Series:
    return table.set_index(["metric", "region", "method"]).loc[(metric, region, method)]


def test_regions_and_methods_are_in_order() -> None:
    table = compare(average_seeds(_rows()), REGIONS[::-1])
    assert list(dict.fromkeys(table["region"])) == ["eyes", "body", MEAN]
    assert list(dict.fromkeys(table["method"])) == ["PSL loss", "DoDNet", "CoNeMOS"]


def test_no_difference_at_all_is_p_of_one_though_digits_differ() -> None:
    scans = list("abcdefgh")
    assert 0.1 + 0.2 > 0.3
    assert paired_p(pd.Series(0.1 + 0.2, index=scans), pd.Series(0.3, index=scans)) == (1.0, 8)


def test_scans_without_a_value_are_left_out_of_the_pairs() -> None:
    ours = pd.Series(np.linspace(0.5, 0.9, 9), index=list("abcdefghi"))
    theirs = ours - np.linspace(0.01, 0.1, 9)
    p, pairs = paired_p(ours, theirs.where(theirs.index != "c").drop("d"))
    assert pairs == 7 and p == pytest.approx(2 / 2**7)  # all of one sign: the smallest p there is
    p, pairs = paired_p(ours, theirs * np.nan)
    assert np.isnan(p) and pairs == 0


def test_order_and_direction_do_not_matter() -> None:
    random = np.random.default_rng(0)
    a, b = (pd.Series(random.normal(size=15), index=[f"s{i}" for i in range(15)]) for _ in range(2))
    assert paired_p(a, b) == paired_p(b, a) == paired_p(a.sample(frac=1, random_state=1), b)


def test_a_comparison_without_pairs_is_not_corrected_for() -> None:
    rows = _rows()
    rows.loc[(rows["method"] == "PSL loss") & (rows["region"] == "eyes"), ["dice", "sd95_mm", "sd95_voxels"]] = np.nan
    table = compare(average_seeds(rows), REGIONS)
    row = _row(table, "dice", "body", "DoDNet")
    assert row["p_corrected"] == pytest.approx(3 * row["p"])
    assert _row(table, "dice", "eyes", "PSL loss")["pairs"] == 0


def test_mean_dice_against_what_varies() -> None:
    rows = _rows(["DoDNet", "CoNeMOS"])
    rows["fraction"] = 1.0
    less = rows[(rows["method"] == "CoNeMOS") & (rows["seed"] == 0)].assign(fraction=0.25)
    less["dice"] /= 2
    table = mean_dice_by(pd.concat([rows, less]), "fraction", REGIONS)
    assert table[["method", "fraction", "seeds"]].to_numpy().tolist() == [["CoNeMOS", 0.25, 1], ["CoNeMOS", 1.0, 2]]
    for line, own in zip(table.itertuples(), (less, rows[rows["method"] == "CoNeMOS"]), strict=True):
        means = [np.nanmean(own.loc[own["region"] == region, "dice"]) for region in REGIONS]
        assert [line.dice_body, line.dice_eyes] == pytest.approx(means)
        assert line.dice == pytest.approx(np.mean(means))


def test_nothing_varies() -> None:
    assert mean_dice_by(_rows().assign(fraction=1.0), "fraction", REGIONS).empty
