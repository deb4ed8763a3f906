from __future__ import annotations

import json
from pathlib import Path

from conemos_bundle.cli.settings import described_settings, settings_help
from conemos_bundle.utils.config_files import overlay_names

CONFIGS = Path(__file__).parents[2] / "configs"
# set by overlays and workflows, not by users
NOT_A_USERS = {"_desc_", "imports", "method", "rank", "resolved_config", "extra_modules"}


def test_each_setting_is_described_and_each_description_is_of_a_setting() -> None:
    config = json.loads((CONFIGS / "train.json").read_text(encoding="utf-8"))
    settings = list(config)[: list(config).index("settings")]  # from there on: wiring
    assert set(described_settings()) == {*settings} - NOT_A_USERS
    assert all(meaning.strip() for _, meaning in described_settings().values())


def test_defaults_that_are_computed_are_not_shown_as_values() -> None:
    described = described_settings()
    assert described["max_epochs"][0] == "20"
    assert described["channels"][0] == "[16, 32, 64, 128]"
    assert described["device"][0] == described["spacing"][0] == ""


def test_the_help_names_each_setting_and_overlay_and_fits_a_terminal() -> None:
    lines = settings_help().splitlines()
    starts = [line.split()[0] for line in lines if line.startswith("  --")]
    assert starts == [f"--{name}" for name in described_settings()]
    assert max(map(len, lines)) <= 100
    assert {"paper", "psl_loss", "fine_tune"} <= set(overlay_names()) and "train" not in overlay_names()
