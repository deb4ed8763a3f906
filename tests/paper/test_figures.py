from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conemos_bundle.paper.collect import collect
from conemos_bundle.paper.figures import DPI, box_plots, dice_lines, save, validation_curves
from conemos_bundle.paper.statistics import average_seeds, compare
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from PIL import Image

REGIONS = ["body", "eyes"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory, write_run: Callable[..., Path]) -> tuple[Figure, pd.DataFrame]:
    """Figure 2 of CoNeMOS and two others, of which DoDNet differs in the body and no one elsewhere."""
    folder = tmp_path_factory.mktemp("drawn")
    random = np.random.default_rng(0)
    ours = {region: random.uniform(0.8, 0.95, 12) for region in REGIONS}
    ours["eyes"][3] = np.nan
    write_run(folder / "a", ours)
    write_run(folder / "b", {"body": ours["body"] - 0.1, "eyes": ours["eyes"]}, method="DoDNet")
    write_run(folder / "c", ours, method="Mean teacher")
    scans = average_seeds(collect(folder))
    return box_plots(scans, compare(scans, REGIONS), REGIONS, "title"), scans


def test_boxes_are_quartiles_of_each_method_and_region(drawn: tuple[Figure, pd.DataFrame]) -> None:
    figure, scans = drawn
    for ax, metric, scale in zip(figure.axes, ("dice", "sd95_voxels"), (100, 1), strict=True):
        boxes = [patch for patch in ax.patches if isinstance(patch, PathPatch)]
        assert len(boxes) == 3 * len(REGIONS)
        keys = [(method, region) for method in ("DoDNet", "Mean teacher", "CoNeMOS") for region in REGIONS]
        centers: dict[str, list[float]] = {region: [] for region in REGIONS}
        for box, (method, region) in zip(boxes, keys, strict=True):
            own = scans[(scans["method"] == method) & (scans["region"] == region)][metric].dropna() * scale
            corners = box.get_path().vertices
            assert (corners[:, 1].min(), corners[:, 1].max()) == pytest.approx(tuple(own.quantile([0.25, 0.75])))
            centers[region].append((corners[:, 0].min() + corners[:, 0].max()) / 2)
            assert (to_hex(box.get_facecolor()) == "#d55e00") == (method == "CoNeMOS")
        for tick, region in enumerate(REGIONS):
            assert centers[region] == sorted(centers[region])
            assert np.mean(centers[region]) == pytest.approx(tick) and np.ptp(centers[region]) < 0.8


def test_stars_stand_over_what_differs(drawn: tuple[Figure, pd.DataFrame]) -> None:
    figure, _ = drawn
    for ax in figure.axes:
        (star,) = ax.texts
        first_box = next(patch for patch in ax.patches if isinstance(patch, PathPatch))  # DoDNet, body
        corners = first_box.get_path().vertices[:, 0]
        assert star.get_text() == "*" and corners.min() < star.get_position()[0] < corners.max()
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["DoDNet", "Mean teacher", "CoNeMOS", "differs from CoNeMOS"]
    assert [text.get_text() for text in figure.axes[1].get_xticklabels()] == REGIONS


def test_lines_of_dice_in_percent() -> None:
    table = pd.DataFrame(
        {"method": ["CoNeMOS"] * 2 + ["DoDNet"] * 2, "fraction": [1, 0.25, 0.25, 1], "dice": [0.9, 0.8, 0.5, 0.6]}
    )
    (ax,) = dice_lines(table, "fraction", "fraction", "title", scale=100).axes
    lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines}
    assert list(lines) == ["DoDNet", "CoNeMOS"]
    assert lines["CoNeMOS"] == ([25, 100], [80, 90])
    assert list(ax.get_xticks()) == [25, 100]


def test_a_curve_a_run_and_an_entry_a_method() -> None:
    one = pd.DataFrame({"step": [10, 20, 30], "validation_dice": [np.nan, 0.5, 0.75]})
    curves = pd.concat([one.assign(method="CoNeMOS", run="a"), one.assign(method="CoNeMOS", run="b")])
    figure = validation_curves(curves, "title")
    assert [line.get_xydata().tolist() for line in figure.axes[0].lines] == [[[20, 50], [30, 75]]] * 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["CoNeMOS"]


def test_saving_is_deterministic(drawn: tuple[Figure, pd.DataFrame], tmp_path: Path) -> None:
    figure, _ = drawn
    for name in ("one", "two.part"):
        save(figure, tmp_path / name)
    content = (tmp_path / "one").read_bytes()
    assert content == (tmp_path / "two.part").read_bytes() and len(content) < 300_000
    with Image.open(tmp_path / "one") as image:
        assert image.format == "PNG"
        assert image.size == pytest.approx(tuple(figure.get_size_inches() * DPI), abs=1)


def test_colors_survive_the_palette(tmp_path: Path) -> None:
    figure = Figure(figsize=(2, 2))
    for i, color in enumerate(("#D55E00", "#56B4E9")):
        figure.add_artist(Line2D([0, 1], [0.3 + 0.4 * i] * 2, color=color, linewidth=20))
    save(figure, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    height = len(pixels)
    for i, color in enumerate(((0xD5, 0x5E, 0x00), (0x56, 0xB4, 0xE9))):
        np.testing.assert_allclose(pixels[int(height * (0.7 - 0.4 * i)), height // 2], color, atol=4)
