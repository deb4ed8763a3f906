from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.deploy.deploy_model import load_model
from conemos_bundle.utils.paths import bundle_folder

REGIONS = ["hippocampus", "anterior", "posterior"]


def logits(path: Path) -> torch.Tensor:
    model = load_model(path, ["posterior", "hippocampus"], "cpu")
    assert model.regions == ["posterior", "hippocampus"] and model.region_names == REGIONS
    torch.manual_seed(0)
    with torch.no_grad():
        return model.parser.get_parsed_content("inferer")(inputs=torch.rand(1, 1, 16, 24, 16), network=model.network)


def test_torchscript_renamed_torchscript_and_a_bundle_s_folder_are_one_model(torchscript: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "package" / "another name.ts"
    renamed.parent.mkdir()
    shutil.copy(torchscript, renamed)
    expected = logits(bundle_folder())
    assert expected.shape == (1, 2, 16, 24, 16)
    for path in (torchscript, renamed, renamed.parent):
        torch.testing.assert_close(logits(path), expected, rtol=0, atol=1e-5)


def test_name_version_modality_and_all_regions_by_default(torchscript: Path) -> None:
    model = load_model(torchscript)
    metadata = json.loads((bundle_folder() / "configs" / "metadata.json").read_text())
    assert (model.name, model.version, model.modality) == (metadata["name"], metadata["version"], "MR")
    assert model.regions == REGIONS
    assert not model.network.training


def test_a_modality_that_dicom_does_not_know_does_not_choose_series(torchscript: Path) -> None:
    model = load_model(torchscript)
    model.parser["_meta_"]["network_data_format"]["inputs"]["image"]["modality"] = "T2w"
    assert model.modality is None


def test_a_region_s_name_is_never_evaluated(torchscript: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="is unknown; this model knows: hippocampus, anterior, posterior"):
        load_model(torchscript, ["$__import__('os').system('touch hacked')"])
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
        tmp_path / "bundle": "this bundle has no weights",
    }.items():
        with pytest.raises(UserError) as error:
            load_model(path)
        assert words in str(error.value) and "\n" not in str(error.value)


def test_a_device_that_is_not_there(torchscript: Path) -> None:
    with pytest.raises(UserError, match="--device cuda:99: not available here"):
        load_model(torchscript, None, "cuda:99")
