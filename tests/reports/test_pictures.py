from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from conemos_bundle.reports.pictures import data_uri, embed, figure_picture
from matplotlib.figure import Figure
from PIL import Image


def opened(uri: str) -> np.ndarray:
    head, letters = uri.split(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(letters))).convert("RGB")).astype(int)


def test_few_pixels_of_a_color_keep_it_among_many_grays() -> None:
    pixels = np.repeat(np.random.default_rng(0).integers(0, 256, (200, 200, 1)), 3, axis=2).astype(np.uint8)
    lines = {3: (255, 159, 28), 90: (31, 182, 255), 140: (45, 212, 167)}
    for row, color in lines.items():
        pixels[row, 50:80] = color
    shown = opened(data_uri(Image.fromarray(pixels)))
    for row, color in lines.items():
        assert np.abs(shown[row, 50:80] - color).max() <= 8
    grays = np.delete(np.arange(200), list(lines))
    assert np.abs(shown[grays] - pixels[grays]).max() <= 5


def noise(folder: Path, names: str) -> dict[str, Path]:
    for i, name in enumerate(names):
        pixels = np.random.default_rng(i).integers(0, 256, (30, 900, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return {name: folder / f"{name}.png" for name in names}


def test_pictures_become_smaller_until_they_fit(tmp_path: Path) -> None:
    files = noise(tmp_path, "abc")
    whole = embed(files)
    assert list(whole) == ["a", "b", "c"] and opened(whole["c"]).shape == (30, 900, 3)
    most = sum(map(len, whole.values())) * 2 // 3
    small = embed(files, most)
    assert list(small) == ["a", "b", "c"] and sum(map(len, small.values())) <= most
    assert opened(small["c"]).shape in [(25, 740, 3), (20, 600, 3)]


def test_the_last_ones_are_left_out_where_nothing_else_helps(tmp_path: Path) -> None:
    files = noise(tmp_path, "ab")
    one = len(embed({"a": files["a"]}, 1_000_000)["a"])
    assert list(embed(files, one // 3)) == ["a"]
    assert embed({}) == {}


def test_a_figure_is_as_large_as_it_says() -> None:
    figure = Figure(figsize=(2, 1), dpi=50, facecolor="black")
    assert figure_picture(figure).size == (100, 50)
    assert figure_picture(figure).getpixel((7, 9)) == (0, 0, 0)
