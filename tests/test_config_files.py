"""The configuration files as they are written: format, overlays, and what two of them must hold alike."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conemos_bundle.runs.run import network_of
from conemos_bundle.training.settings import began_with, of_teacher
from conemos_bundle.transforms import LoadRegionMasksd, preparation
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
        for part in [first, *inner[:-1]]:  # all but the last part exist: a misspelled one would be added in silence
            place = place[int(part)] if isinstance(place, list) else place[part]
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / "train.json"), str(CONFIGS / f"{name}.json")])
    parser.parse()
    assert parser["regions"] == overlay.get("regions", base["regions"])


def test_methods_are_short() -> None:
    assert all(len(FILES[name].read_text().splitlines()) < 30 for name in FILES if name.startswith("methods/"))


def settings_at_the_top() -> set[str]:
    names = list(config("train"))
    return set(names[: names.index("settings")]) - {"_desc_"}  # which says what they mean


def test_every_setting_is_recorded_or_told_by_what_is() -> None:
    """A new setting has a line in ``settings``, which the record, the checkpoint and a teacher's training read."""
    of_the_process = {"bundle_root", "rank", "resume", "resolved_config", "imports"}
    files = {"datalist", "dataset_dir", "output_dir"}
    told_otherwise = {"n_conditioned", "inside", "extra_modules"}  # by the network, the record, the method
    train = config("train")
    kept = [*train["settings"], *train["other_settings"]]
    assert len(set(kept)) == len(kept)
    assert set(kept) == settings_at_the_top() - of_the_process - files - told_otherwise
    references = {**train["settings"], **train["other_settings"]}
    rule, per_scan = references.pop("sampling_rule"), references.pop("regions_per_scan")
    assert rule == "@train::sampler::rule"  # individual networks have their own
    assert per_scan == "@train::dataset::regions_per_scan"  # methods that learn all have theirs
    assert references == {name: f"@{name}" for name in references}


def test_a_teacher_gets_every_setting_that_a_user_may_change() -> None:
    train = config("train")
    overlay = config("methods/pseudo_label")["train::dataset::data"]
    assert (overlay["settings"], overlay["others"]) == ("@settings", "@other_settings")
    passed = set(of_teacher(train["settings"], train["other_settings"]))
    given_itself = {"datalist", "dataset_dir", "output_dir", "fraction", "seed", "pretrained"}
    of_the_method = {
        "method", "sampling_rule", "regions_per_scan", "n_conditioned", "film_weight_decay", "extra_modules", "inside",
    }  # fmt: skip
    of_the_process = {"bundle_root", "rank", "resume", "resolved_config", "imports"}
    assert passed == settings_at_the_top() - given_itself - of_the_method - of_the_process


def test_methods_that_learn_all_annotated_regions_say_so() -> None:
    """What they record, and what an older checkpoint of theirs is taken for."""
    overlays = {name: config(name) for name in FILES if name.startswith("methods/")}
    every = {name: overlay for name, overlay in overlays.items() if "train::dataset::target" in overlay}
    assert len(every) == 4
    for overlay in overlays.values():
        learns_all = overlay in every.values()
        assert ("train::dataset::regions_per_scan" in overlay) is learns_all
        assert (began_with({"method": overlay["method"]})["regions_per_scan"] == "all") is learns_all


def test_few_expressions_are_left() -> None:
    """What needs Python is a function with a test of its own."""
    counts = {name: FILES[name].read_text(encoding="utf-8").count("$") for name in FILES}
    assert counts.pop("train") <= 11
    assert counts.pop("inference") <= 9  # it stands alone, and hosts expect what it says
    assert all(count <= 4 for count in counts.values())


def test_inference_is_as_the_record_beside_its_weights_says() -> None:
    """Weights are checked against their record when they are read, the window is not."""
    inference = config("inference")
    record = json.loads((CONFIGS.parent / "models" / "run.json").read_text(encoding="utf-8"))
    plan, network = record["plan"], inference["network_def"]
    assert (inference["window"], inference["spacing"]) == (plan["patch_size"], plan["spacing"])
    assert (network, network["in_channels"]) == (record["network"], plan["in_channels"])
    assert inference["inside"] == record.get("inside", {})


def test_inference_prepares_scans_as_training_does() -> None:
    """`inference.json` stands alone, since hosts read it from any folder: so what it fractions is held equal here."""
    train, inference, evaluate = config("train"), config("inference"), config("evaluate")
    plan = {"in_channels": inference["network_def"]["in_channels"], "spacing": [3.0, 1.0, 2.0]}
    parser = ConfigParser({"preprocessing": inference["preprocessing"], "network_def": inference["network_def"]})
    parser["spacing"] = plan["spacing"]

    def values(compose: Any) -> list[tuple[str, dict[str, Any]]]:
        """Each transform's class and attributes, those of other transforms in it as well."""
        plain = (str, int, float, bool, tuple, list, type(None))
        return [
            (type(t).__name__, {name: value for name, value in vars(t).items() if isinstance(value, plain)})
            for t in compose.transforms
            if not isinstance(t, LoadRegionMasksd)
        ]

    of_training = values(preparation(plan, ["a", "b"], resample_masks=False))
    assert [name for name, _ in of_training] == [
        "LoadImageScand", "CheckScand", "OrientToRASd", "ResampleToSpacingd", "ScalePercentilesd",
    ]  # fmt: skip
    assert values(parser.get_parsed_content("preprocessing")) == of_training

    regions = inference["network_def"]["num_regions"]
    trained = {
        **train["network_def"],
        "in_channels": 1,
        "num_regions": regions,
        "channels": train["channels"],
        "n_conditioned": inference["network_def"]["n_conditioned"],  # of the weights
        "spacings": None,
    }
    networks = [network_of(network) for network in (trained, inference["network_def"])]
    assert networks[0].arguments == networks[1].arguments
    assert inference["mode"] == train["validate"]["inferer"]["mode"]

    def steps(config: dict[str, Any], key: str) -> list[dict[str, Any]]:
        transforms = config[key] if isinstance(config[key], list) else config[key]["transforms"]
        chosen = [t for t in transforms if t["keys"] == "pred" and not t["_target_"].endswith("SaveImageRegionsd")]
        return [{k: v for k, v in t.items() if k != "transform"} for t in chosen]

    assert steps(inference, "postprocessing") == steps(evaluate, "validate::postprocessing::transforms")
