from __future__ import annotations

import io

import numpy as np
import pytest
from conemos_bundle.evaluation.montage import View, draw_montage, orthogonal_planes, orthogonal_views
from matplotlib.image import imread
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

SPACING = np.array([2.0, 3.0, 5.0])  # RAS
AFFINE = np.diag([*SPACING, 1.0])
SHAPE = (40, 30, 20)


def _volumes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image whose value is the voxel's place, and an off-center box with a small step, which decides each plane."""
    x, y, z = np.indices(SHAPE)
    reference = np.zeros(SHAPE, bool)
    reference[4:12, 10:16, 8:12] = True
    reference[6, 16, 8:12] = reference[5:12, 9, 9] = True
    prediction = np.roll(reference, 1, axis=0)
    return (x + 2 * y + 3 * z).astype(np.uint8), prediction, reference


def test_planes_with_the_largest_area() -> None:
    image, prediction, reference = _volumes()
    views = orthogonal_views(image, prediction, reference, AFFINE)
    for axis, view in enumerate(views):
        others = tuple(other for other in range(3) if other != axis)
        areas = reference.sum(axis=others)
        assert view.reference.sum() == areas.max()
        assert view.prediction.sum() == np.take(prediction, areas.argmax(), axis).sum()
        plane = np.take(image, areas.argmax(), axis).T
        mask = np.take(reference, areas.argmax(), axis).T
        np.testing.assert_array_equal(view.gray[view.reference], plane[mask])  # image and masks stay together


def test_aspect_is_height_over_width() -> None:
    views = orthogonal_views(*_volumes(), AFFINE)
    assert [view.aspect for view in views] == pytest.approx([5 / 3, 5 / 2, 3 / 2])  # z over y, z over x, y over x


def test_views_are_a_cube_around_both_masks() -> None:
    image, prediction, reference = _volumes()
    prediction[30, 12, 10] = True  # far away: the views grow so that it is seen
    near, far = (orthogonal_views(image, p, reference, AFFINE) for p in (reference, prediction))
    longest = {"near": 8 * SPACING[1], "far": 27 * SPACING[0]}  # rows 9 to 16 of y; 4 to 30 of x
    for views, length in ((near, longest["near"]), (far, longest["far"])):
        side = max(length / 0.6, 30)
        side = min(side, max(SHAPE * SPACING))
        for view, (across, up) in zip(views, ((1, 2), (0, 2), (0, 1)), strict=True):
            height, width = view.gray.shape * SPACING[[up, across]]
            assert side <= width <= side + 2 * SPACING[across]
            assert side <= height <= side + 2 * SPACING[up]


@pytest.mark.parametrize("axes", ["LPS", "SRA", "PIL"])
def test_views_do_not_depend_on_the_order_of_axes(axes: str) -> None:
    volumes = _volumes()
    expected = orthogonal_views(*volumes, AFFINE)
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axes))
    affine = AFFINE @ inv_ornt_aff(turn, SHAPE)
    turned = orthogonal_views(*(apply_orientation(v, turn) for v in volumes), affine)
    for view, other in zip(turned, expected, strict=True):
        np.testing.assert_array_equal(view.reference, other.reference)
        np.testing.assert_array_equal(view.gray, other.gray)
        assert view.aspect == pytest.approx(other.aspect)


def test_a_region_as_large_as_the_image() -> None:
    """The views end with the image, and masks without an outline (empty, or all of the view) are drawn."""
    full = np.ones((6, 6, 6), bool)
    views = orthogonal_views(np.zeros((6, 6, 6), np.uint8), ~full, full, np.diag([9.0, 9.0, 9.0, 1.0]))
    assert [view.gray.shape for view in views] == [(6, 6)] * 3
    file = io.BytesIO()
    draw_montage([("", views)], "all").savefig(file, format="png")
    assert file.getvalue().startswith(b"\x89PNG")


def test_picture_shows_titles_legend_and_both_outlines() -> None:
    views = orthogonal_views(*_volumes(), AFFINE)
    figure = draw_montage([("best: a", views), ("worst: b", views)], "brain")
    assert figure.get_suptitle() == "brain"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["reference", "prediction"]
    assert [ax.get_title() for ax in figure.axes[:2]] == ["best: a", "worst: b"]
    assert [ax.get_ylabel() for ax in figure.axes[::2]] == ["sagittal", "coronal", "axial"]
    file = io.BytesIO()
    figure.savefig(file, format="png")
    file.seek(0)
    pixels = imread(file)[..., :3]
    blue, orange = (np.abs(pixels - np.array(c) / 255).sum(-1) < 0.05 for c in ((0x1F, 0xB6, 0xFF), (0xFF, 0x9F, 0x1C)))
    legend = slice(int(0.96 * len(pixels)), None)
    for color in (blue, orange):
        assert color[: legend.start].sum() > 100
        assert color[legend].sum() > 20


def test_tiles_are_square_in_mm() -> None:
    blank = np.zeros((9, 31), np.uint8)
    figure = draw_montage([("", [View(blank, blank > 0, blank > 0, aspect=3.0)] * 3)], "")
    figure.draw_without_rendering()
    for ax in figure.axes:
        box = ax.get_window_extent()
        assert box.width == pytest.approx(box.height)
        assert np.ptp(ax.get_xlim()) == pytest.approx(3.0 * np.ptp(ax.get_ylim()))
        assert np.ptp(ax.get_xlim()) == pytest.approx(27)  # the shorter of 31 * 1 and 9 * 3


def test_planes_lie_where_one_mask_is_largest_and_the_cube_around_another() -> None:
    _, _, largest = _volumes()
    around = largest.copy()
    around[20:30, 18:28, 12:18] = True  # has its largest areas elsewhere
    for axis, ((plane,), _) in enumerate(orthogonal_planes([largest], around, largest, AFFINE)):
        areas = largest.sum(axis=tuple(other for other in range(3) if other != axis))
        assert plane.sum() == areas.max()
        assert areas.argmax() != around.sum(axis=tuple(other for other in range(3) if other != axis)).argmax()
