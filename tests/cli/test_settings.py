from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from conemos_bundle.cli.settings import described_settings, settings_help, settings_of_evaluation, unread_by_evaluation
from conemos_bundle.utils.config_files import overlay_names
from monai.bundle import ConfigParser

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
    assert {"paper", "psl_loss", "fine_tune"} <= set(overlay_names())
    assert not {"train", "add_region", "label_unknown"} & set(overlay_names())


def read_by(config: dict[str, Any], value: Any, found: set[str]) -> set[str]:
    """The names at the top of a configuration that a value refers to, by whatever way."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            read_by(config, inner, found)
    elif isinstance(value, str):
        for name in re.findall(r"@([\w:]*\w)", value):
            if name not in found:
                found.add(name)
                inner = config
                for part in name.split("::"):
                    inner = inner.get(part) if isinstance(inner, dict) else None
                read_by(config, inner, found)
    return found


def test_the_help_of_an_evaluation_has_what_an_evaluation_reads() -> None:
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / "train.json"), str(CONFIGS / "evaluate.json")])
    parser.parse()
    config = parser.config
    read = read_by(config, [config["initialize"], config["evaluating"]], set())
    settings = settings_of_evaluation()
    assert set(settings) <= read
    assert not {"max_epochs", "learning_rate", "batch_size", "flip_probability", "pretrained"} & read
    # of the command or the record itself, or of no consequence there
    assert (read & {*described_settings()}) - {*settings} == {"bundle_root", "datalist", "fraction", "seed"}
    assert unread_by_evaluation() == {*described_settings()} - read
    assert settings["bfloat16"][0] == "false"  # as evaluate.json has it


def test_the_help_of_an_evaluation_is_of_it_alone() -> None:
    lines = settings_help(evaluation=True).splitlines()
    starts = [line.split()[0] for line in lines if line.startswith("  --")]
    assert starts == [f"--{name}" for name in settings_of_evaluation()]
    assert max(map(len, lines)) <= 100
    assert not any(word in "\n".join(lines) for word in ("Overlays", "max_epochs", "train::"))
