"""One dictionary of settings, read for three purposes."""

from __future__ import annotations

from typing import Any

from conemos_bundle.training.settings import began_with, of_teacher, recorded, unchangeable

SETTINGS: dict[str, Any] = {
    "method": "M", "fraction": 0.5, "seed": 3, "max_epochs": 2, "sampling_rule": "uniform", "film_weight_decay": 0.1,
    "regions_per_scan": 1, "val_interval": 4, "rotation_degrees": 15,
    "flip_probability": [0, 0, 0], "pretrained": None, "new": 7,
}  # fmt: skip


def test_a_new_setting_reaches_record_checkpoint_and_teacher() -> None:
    assert recorded(SETTINGS) == {
        "method": "M", "fraction": 0.5, "seed": 3, "max_epochs": 2, "sampling_rule": "uniform", "regions_per_scan": 1,
        "new": 7,
    }  # fmt: skip
    assert unchangeable(SETTINGS) == {name: value for name, value in SETTINGS.items() if name != "fraction"}
    assert of_teacher(SETTINGS, {"cache": "disk"}) == {
        "max_epochs": 2, "val_interval": 4, "rotation_degrees": 15, "flip_probability": [0, 0, 0], "new": 7,
        "cache": "disk",
    }  # fmt: skip


def test_a_training_of_before_is_told_by_what_every_training_was_then() -> None:
    before = {"regions_per_scan": 1, "minutes": None}
    assert began_with({"method": "CoNeMOS", "seed": 1}) == {"method": "CoNeMOS", "seed": 1, **before}
    for method in ("PSL loss", "Multi-layer", "Multi-decoder", "Pseudo-labelling"):
        assert began_with({"method": method})["regions_per_scan"] == "all"
    since = {"regions_per_scan": "all", "minutes": 5}
    assert began_with(since) == since


def test_the_time_is_recorded_where_it_is_what_ends_the_training() -> None:
    assert "minutes" not in recorded({**SETTINGS, "minutes": None})
    assert recorded({**SETTINGS, "minutes": 5})["minutes"] == 5
