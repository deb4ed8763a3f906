from __future__ import annotations

import numpy as np
from conemos_bundle.phantom.field_of_view import (
    FIELD,
    IN_PLANE,
    MARGIN,
    box_within,
    draw_field_of_view,
    points_in,
    uterus_extent,
    voxel_axes,
)
from conemos_bundle.phantom.pregnancy import draw_pregnancy


def test_voxel_axes_are_centered() -> None:
    axes = voxel_axes(128)
    assert all(axis[0] == -190.5 and axis[-1] == 190.5 and axis[1] - axis[0] == 3.0 for axis in axes)


def test_box_within_holds_exactly_the_centers_between() -> None:
    axes = voxel_axes(128)
    box = box_within(axes, (-10.0, -190.5, 100.0), (10.0, 190.4, 500.0))
    x, y, z = points_in(axes, box)
    assert (x.min(), x.max(), y.min(), y.max(), z.min(), z.max()) == (-7.5, 7.5, -190.5, 187.5, 100.5, 190.5)
    assert x.shape == tuple(part.stop - part.start for part in box) == (6, 127, 31)
    empty = box_within(axes, (300.0, 0.0, 0.0), (310.0, 10.0, 10.0))
    assert points_in(axes, empty).size == 0


def test_the_acquired_field_holds_the_uterus_and_less_than_the_cube() -> None:
    directions = set()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        pregnancy = draw_pregnancy(rng)
        field = draw_field_of_view(rng, pregnancy)
        extent = uterus_extent(pregnancy)
        assert (field.low < -extent).all() and (field.high > extent).all()
        assert (field.low > -FIELD / 2).all() and (field.high < FIELD / 2).all()
        across = field.high - field.low
        margins = across[field.slice_axis] - 2 * extent[field.slice_axis]
        assert 2 * MARGIN[0] <= margins <= 2 * MARGIN[1]
        in_plane = np.delete(across, field.slice_axis)
        assert (in_plane > IN_PLANE[0] - 8).all() and (in_plane < IN_PLANE[1] + 8).all()
        directions.add(field.slice_axis)
    assert directions == {0, 1}  # sagittal and coronal
