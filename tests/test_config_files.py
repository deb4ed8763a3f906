"""The configuration files as they are written: format, overlays, and what two of them must hold alike."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from conemos_bundle.runs.run import recorded_network
from conemos_bundle.utils.paths import bundle_folder
from monai.bundle import ConfigParser

CONFIGS = bundle_folder() / "configs"
FILES = {str(file.relative_to(CONFIGS).with_suffix("")): file for file in sorted(CONFIGS.rglob("*.json"))}
OVERLAYS = [
    name for name, file in FILES.items() if "overlay on train" in json.loads(file.read_text()).get("_desc_", "")
]


def config(name: str) -> dict[str, Any]:
    return json.loads((CONFIGS / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", FILES)
def test_files_are_formatted_alike(name: str) -> None:
    text = FILES[name].read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), indent=4, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_replaces_what_is_there_and_adds_only_what_it_uses(name: str) -> None:
    overlay, base = config(name), config("train")
    text = json.dumps(overlay)
    for key in set(overlay) - {"_desc_", "evaluating", "finalize"}:
        first, *inner = key.removeprefix("+").split("::")
        place = base
        if first not in base:
            assert f"@{first}" in text, key
            continue
        for part in [first, *inner[:-1]]:  # all but the last part exist: a misspelt one would be added in silence
            place = place[part]
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / "train.json"), str(CONFIGS / f"{name}.json")])
    parser.parse()
    assert parser["regions"] == overlay.get("regions", base["regions"])


def test_methods_are_short() -> None:
    assert all(len(FILES[name].read_text().splitlines()) < 30 for name in FILES if name.startswith("methods/"))


def test_a_teacher_gets_every_setting_that_a_user_may_change() -> None:
    passed = set(re.findall(r"(\w+)=@\1", config("methods/pseudo_label")["teacher_settings"]))
    given_itself = {"datalist", "dataset_dir", "output_dir", "share", "seed"}
    of_the_method = {"method", "sampling_rule", "n_conditioned", "film_weight_decay", "also_checkpointed", "inside"}
    of_the_process = {"bundle_root", "rank", "resume", "resolved_config", "imports"}
    settings = list(config("train"))
    settings = settings[: settings.index("data")]
    assert passed == set(settings) - given_itself - of_the_method - of_the_process


def test_inference_prepares_scans_as_training_does() -> None:
    """`inference.json` stands alone, since hosts read it from any folder: so what it shares is held equal here."""
    train, inference, evaluate = config("train"), config("inference"), config("evaluate")
    of_training = {
        "@spatial_keys": "image",  # no label to bring along
        "$['bilinear', 'nearest'][:len(@spatial_keys)]": "bilinear",
        "$@plan['spacing']": "@spacing",
        "$@plan['in_channels']": "@network_def::in_channels",
    }
    expected = [
        {key: of_training.get(value, value) if isinstance(value, str) else value for key, value in transform.items()}
        for transform in train["preparation"]["transforms"]
        if not transform["_target_"].endswith("LoadRegionMasksd")
    ]
    assert inference["preprocessing"]["transforms"] == expected

    regions = inference["network_def"]["num_regions"]
    trained = {
        **train["network_def"],
        "in_channels": 1,
        "num_regions": regions,
        "channels": train["channels"],
        "n_conditioned": train["n_conditioned"],
    }
    networks = [recorded_network({"network": network}) for network in (trained, inference["network_def"])]
    assert networks[0].arguments == networks[1].arguments
    assert inference["mode"] == train["validate"]["inferer"]["mode"]

    def steps(config: dict[str, Any], key: str) -> list[dict[str, Any]]:
        transforms = config[key] if isinstance(config[key], list) else config[key]["transforms"]
        chosen = [t for t in transforms if t["keys"] == "pred" and not t["_target_"].endswith("SaveImageRegionsd")]
        return [{k: v for k, v in t.items() if k != "transform"} for t in chosen]

    assert steps(inference, "postprocessing") == steps(evaluate, "validate::postprocessing::transforms")
