"""What a predictor is loaded of, what it says of itself, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conemos_bundle import Predictor
from conemos_bundle.errors import UserError
from conemos_bundle.predictor import loading
from conemos_bundle.utils.paths import bundle_folder

REGIONS = ["hippocampus", "anterior", "posterior"]


def logits(path: Path) -> torch.Tensor:
    predictor = Predictor.load(path, "cpu", regions=["posterior", "hippocampus"])
    assert predictor.regions == REGIONS
    torch.manual_seed(0)
    with torch.no_grad():
        found: torch.Tensor = predictor._inferer(
            torch.rand(1, 1, 16, 24, 16), predictor._network, regions=torch.tensor([2, 0])
        )
    return found


def test_torchscript_renamed_torchscript_and_a_bundle_s_folder_are_one_model(torchscript: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "package" / "another name.ts"
    renamed.parent.mkdir()
    shutil.copy(torchscript, renamed)
    expected = logits(bundle_folder())
    assert expected.shape == (1, 2, 16, 24, 16)
    for path in (torchscript, renamed, renamed.parent):
        torch.testing.assert_close(logits(path), expected, rtol=0, atol=1e-5)


def test_torchscript_gives_the_masks_of_the_bundle(torchscript: Path, tiny_dataset: Path) -> None:
    scan = tiny_dataset / "images" / "test_0.nii.gz"
    script, bundle = Predictor.load(torchscript, "cpu"), Predictor.load(device="cpu")
    assert isinstance(script._network, torch.jit.ScriptModule)
    for asked in (None, "posterior", ["anterior", "hippocampus"]):
        found, expected = script(scan, asked, probabilities=True), bundle(scan, asked, probabilities=True)
        assert found.regions == expected.regions
        torch.testing.assert_close(
            torch.from_numpy(found.probabilities), torch.from_numpy(expected.probabilities), rtol=0, atol=1e-4
        )
        assert (found.masks != expected.masks).mean() < 1e-3


def test_name_version_modality_and_all_regions_by_default(torchscript: Path) -> None:
    metadata = json.loads((bundle_folder() / "configs" / "metadata.json").read_text())
    for model in (torchscript, None):
        predictor = Predictor.load(model)
        assert (predictor.name, predictor.version, predictor.modality) == (metadata["name"], metadata["version"], "MR")
        assert predictor.regions == REGIONS and predictor.channels == 1
        assert not predictor._network.training


def test_a_run_is_called_as_its_data_set(run: Path) -> None:
    predictor = Predictor.load(run, "cpu")
    assert (predictor.name, predictor.modality, predictor.regions) == ("tiny", "MR", ["outer", "inner core"])


def test_a_run_is_asked_in_windows_of_the_patch_that_it_was_trained_on(run: Path, tiny_dataset: Path) -> None:
    predictor, sizes = Predictor.load(run, "cpu"), []
    encode = predictor._network.encode
    predictor._network.encode = lambda image: sizes.append(tuple(image.shape[2:])) or encode(image)  # type: ignore[assignment]
    predictor(tiny_dataset / "images" / "test_0.nii.gz", keep=False)
    assert sizes == [(24, 24, 16)]  # the scan, of 20 × 18 × 16 voxels, is padded


def test_a_modality_that_dicom_does_not_know_does_not_choose_series(tmp_path: Path) -> None:
    for folder in ("configs", "models"):
        shutil.copytree(bundle_folder() / folder, tmp_path / folder)
    metadata = json.loads((tmp_path / "configs" / "metadata.json").read_text())
    metadata["network_data_format"]["inputs"]["image"]["modality"] = "T2w"
    (tmp_path / "configs" / "metadata.json").write_text(json.dumps(metadata))
    assert Predictor.load(tmp_path).modality is None


def test_a_region_s_name_is_never_evaluated(torchscript: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = "$__import__('os').system('touch hacked')"
    for model in (torchscript, None):
        with pytest.raises(UserError, match="is unknown; this model knows: hippocampus, anterior, posterior"):
            Predictor.load(model, regions=[name])
        with pytest.raises(UserError, match="is unknown; this model knows: hippocampus, anterior, posterior"):
            Predictor.load(model)("scan.nii.gz", [name])
    assert not Path("hacked").exists()


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    plain = tmp_path / "plain.ts"
    torch.jit.script(torch.nn.Identity()).save(str(plain))
    (tmp_path / "text.ts").write_text("no model")
    (tmp_path / "empty").mkdir()
    shutil.copytree(bundle_folder() / "configs", tmp_path / "bundle" / "configs")
    for path, words in {
        tmp_path / "none.ts": "no such model",
        plain: "holds no configuration; export it with: python -m monai.bundle ckpt_export",
        tmp_path / "text.ts": "no TorchScript file, or a damaged one",
        tmp_path / "empty": "neither a bundle",
        tmp_path: "neither a bundle",  # two .ts files
        tmp_path / "nowhere": "neither a bundle",
        tmp_path / "bundle": "this bundle has no weights",
    }.items():
        with pytest.raises(UserError) as error:
            Predictor.load(path)
        assert words in str(error.value) and "\n" not in str(error.value)


def test_a_configuration_that_cannot_be_read(tmp_path: Path) -> None:
    for folder in ("configs", "models"):
        shutil.copytree(bundle_folder() / folder, tmp_path / folder)
    (tmp_path / "configs" / "inference.json").write_text("{")
    with pytest.raises(UserError, match=r"inference\.json: not valid JSON .*; download the bundle again"):
        Predictor.load(tmp_path)


def test_a_device_that_is_not_there(torchscript: Path) -> None:
    with pytest.raises(UserError, match="--device cuda:99: not available here"):
        Predictor.load(torchscript, "cuda:99")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"regions": "femur"}, "'femur' is unknown"),
        ({"mode": "half"}, "--mode 'half'"),
        ({"device": "abacus"}, "abacus"),
    ],
)
def test_options_are_checked_before_any_weights_are_read(
    options: dict[str, Any], words: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: Path) -> None:
        raise AssertionError(f"{path} is read")

    monkeypatch.setattr(loading, "load_weights", read)
    for model in (run, None):
        with pytest.raises(UserError, match=words):
            Predictor.load(model, **options)
    with pytest.raises(AssertionError, match=r"model\.pt is read"):
        Predictor.load(run, "cpu")


def test_a_bundle_whose_record_says_other_regions_is_refused(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "bundle")
    record = json.loads((bundle / "models" / "run.json").read_text())
    record["regions"].reverse()
    (tmp_path / "bundle" / "models" / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"model\.pt: its regions is \['inner core', 'outer'\]"):
        Predictor.load(tmp_path / "bundle")


def test_weights_that_change_while_they_are_read_are_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run, tmp_path / "run")
    load = loading.load_weights

    def change(path: Path) -> Any:
        weights = load(path)
        os.utime(path, ns=(0, 0))
        return weights

    monkeypatch.setattr(loading, "load_weights", change)
    with pytest.raises(UserError, match=r"model\.pt: changed while it was read; start again"):
        Predictor.load(tmp_path / "run")
