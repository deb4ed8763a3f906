from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conemos_bundle.errors import UserError
from conemos_bundle.evaluation.slices import read_slice, write_slices
from conemos_bundle.paper.collect import EvaluatedRun, find_runs, per_scan_rows
from conemos_bundle.paper.samples import FALSE_NEGATIVE, FALSE_POSITIVE, Sample, choose_samples, draw_samples
from matplotlib.colors import to_hex

SCANS = ["a", "b", "c", "d", "e"]
OURS = {"body": [0.5, 0.7, 0.9, 0.6, 0.8], "eyes": [np.nan, 0.9, 0.8, np.nan, 0.7]}  # medians: b, c
THEIRS = {"body": [0.9, 0.31, 0.5, 0.2, 0.1], "eyes": [np.nan, 0.1, 0.32, np.nan, 0.2]}


def _samples(folder: Path) -> list[Sample]:
    runs: list[EvaluatedRun] = find_runs(folder)
    return choose_samples(runs, per_scan_rows(runs), ["body", "eyes"])


def test_the_median_scan_of_conemos_with_the_lowest_seed(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    write_run(tmp_path / "0", OURS, scans=SCANS, seed=1, slices=True)
    turned = {region: values[::-1] for region, values in THEIRS.items()}
    write_run(tmp_path / "1", turned, scans=SCANS, seed=2, slices=True)
    write_run(tmp_path / "2", THEIRS, method="DoDNet", scans=SCANS, slices=True)
    write_run(tmp_path / "3", THEIRS, method="PSL loss", scans=SCANS)  # evaluated before there were slices
    body, eyes = _samples(tmp_path)
    assert (body.region, body.scan, body.dice) == ("body", "b", {"DoDNet": 0.31, "CoNeMOS": 0.7})
    assert (eyes.region, eyes.scan, eyes.dice) == ("eyes", "c", {"DoDNet": 0.32, "CoNeMOS": 0.8})
    expected = read_slice(tmp_path / "0" / "evaluation_test" / "slices.npz", "c", "eyes")
    assert expected is not None
    np.testing.assert_array_equal(eyes.slices["CoNeMOS"]["prediction"], expected["prediction"])


def test_nothing_without_slices_of_conemos(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    write_run(tmp_path / "a", OURS)
    write_run(tmp_path / "b", THEIRS, method="DoDNet", slices=True)
    assert _samples(tmp_path) == []


def test_other_references_are_refused(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    write_run(tmp_path / "a", OURS, scans=SCANS, slices=True)
    write_run(tmp_path / "b", THEIRS, method="DoDNet", scans=SCANS, slices=True)
    file = tmp_path / "b" / "evaluation_test" / "slices.npz"
    one = read_slice(file, "b", "body")
    assert one is not None
    write_slices(file, {("b", "body"): {**one, "reference": ~one["reference"]}})
    with pytest.raises(UserError, match=r"b/evaluation_test/slices.npz: another reference of body in b"):
        _samples(tmp_path)


def test_errors_have_their_colors(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    write_run(tmp_path / "a", OURS, scans=SCANS, slices=True)
    write_run(tmp_path / "b", THEIRS, method="DoDNet", scans=SCANS, slices=True)
    samples = _samples(tmp_path)
    figure = draw_samples(samples, "title")
    axes = np.reshape(figure.axes, (2, 4))
    assert [ax.get_title() for ax in axes[0]] == ["image", "reference", "DoDNet", "CoNeMOS"]
    assert [ax.get_ylabel() for ax in axes[:, 0]] == ["body", "eyes"]
    assert [ax.get_xlabel() for ax in axes[1]] == ["", "", "Dice 32.0", "Dice 80.0"]
    one = samples[0].slices["DoDNet"]
    image, positive, negative = axes[0, 2].images
    assert (image.get_array() == one["image"]).all()
    for layer, color, expected in (
        (positive, FALSE_POSITIVE, one["prediction"] & ~one["reference"]),
        (negative, FALSE_NEGATIVE, one["reference"] & ~one["prediction"]),
    ):
        painted = layer.get_array()
        assert expected.any() and ((painted[..., 3] > 0) == expected).all()
        assert {to_hex(pixel[:3]) for pixel in painted[expected]} == {color.lower()}


def test_the_view_is_a_square_in_mm_around_the_reference() -> None:
    reference = np.zeros((40, 100), dtype=bool)
    reference[10:20, 40:52] = True
    image = np.zeros(reference.shape, np.uint8)
    parts = {"image": image, "reference": reference, "prediction": ~reference, "spacing": np.array([4.0, 2.0])}
    ax = draw_samples([Sample("body", "a", {"CoNeMOS": parts}, {"CoNeMOS": 0.0})], "title").axes[2]
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    assert ((left + right) / 2, (bottom + top) / 2) == pytest.approx((45.5, 14.5))  # pixel centers 40 to 51, 10 to 19
    assert 2 * (right - left) == pytest.approx(4 * (top - bottom)) == pytest.approx(40 / 0.6)
    assert ax.get_aspect() == 2
