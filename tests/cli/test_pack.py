from __future__ import annotations

import ast
import hashlib
import json
import shutil
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import torch
from conemos_bundle.cli import pack, predict
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.bundle import packing
from conemos_bundle.networks import NETWORKS, OF_GROWING
from conemos_bundle.runs.record import NetworkConfig
from conemos_bundle.runs.run import read_record
from conemos_bundle.utils.paths import bundle_folder
from monai.bundle import ConfigWorkflow


def test_has_what_the_model_zoo_asks_for(bundle: Path, run: Path) -> None:
    for file in ("LICENSE", "configs/metadata.json", "configs/inference.json", "configs/train.json", "models/model.pt"):
        assert (bundle / file).is_file(), file
    weights = torch.load(bundle / "models" / "model.pt", weights_only=True)
    assert all(isinstance(tensor, torch.Tensor) for tensor in weights.values())
    assert weights.keys() == torch.load(run / "model.pt", weights_only=True).keys()
    assert (bundle / "conemos_bundle" / "networks" / "film_unet.py").is_file()
    assert not list(bundle.rglob("__pycache__"))
    assert (bundle / "docs" / "README.md").read_text().startswith("# Model Overview")


def test_it_carries_the_core_and_nothing_that_lies_in_an_installed_package(
    bundle: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among that are two scans of patients."""
    installed = shutil.copytree(
        bundle_folder() / "conemos_bundle", tmp_path / "conemos_bundle", ignore=lambda *_: {"__pycache__"}
    )
    inside = ("examples/images/scan.nii.gz", "configs/train.json", "models/model.pt", "later/found.csv")
    for file in inside:
        (installed / file).parent.mkdir(parents=True)
        (installed / file).touch()
    monkeypatch.setattr(packing, "PACKAGE", installed)
    pack(str(run), str(tmp_path / "packed"))
    kinds = {".py", ".typed", ".csv"}
    of_both = [
        sorted(str(file.relative_to(folder)) for file in (folder / "conemos_bundle").rglob("*") if file.is_file())
        for folder in (bundle, tmp_path / "packed")
    ]
    assert of_both[0] == of_both[1] and {Path(file).suffix for file in of_both[0]} == kinds
    above = {"cli", "hosts", "importers", "paper", "phantom", "reports", "__main__.py", "__pycache__"}
    carried = {file.name for file in (bundle / "conemos_bundle").iterdir()}
    assert carried == {file.name for file in (bundle_folder() / "conemos_bundle").iterdir()} - above


def test_metadata_describe_the_model(bundle: Path) -> None:
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    prediction = metadata["network_data_format"]["outputs"]["pred"]
    assert metadata["name"] == "tiny_regions"
    assert metadata["changelog"] == {"0.2.0": "tried"}
    assert prediction["num_channels"] == 2
    assert prediction["channel_def"] == {"0": "background", "1": "outer", "2": "inner core"}
    assert metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] == ["2*n"] * 3


def test_a_network_is_called_what_it_is(run: Path) -> None:
    record = read_record(run / "model.pt")
    told = {}
    for network in (*NETWORKS, *OF_GROWING):
        target = {"_target_": f"conemos_bundle.networks.{network}", "num_regions": 2, "channels": [2, 4]}
        if network != "AddedRegion":  # which is packed with the model that it was added to
            one = record.model_copy(update={"network": NetworkConfig.model_validate(target)})
            told[network] = packing.metadata(one, "tiny", "0.1.0", {})["description"].partition(" trained on")[0]
    assert told == packing.KINDS


def test_inference_has_every_property_and_the_models_values(bundle: Path) -> None:
    workflow = ConfigWorkflow(
        workflow_type="inference",
        config_file=str(bundle / "configs" / "inference.json"),
        meta_file=str(bundle / "configs" / "metadata.json"),
        logging_file=False,
        bundle_root=str(bundle),
    )
    workflow.initialize()
    assert not workflow.check_properties()
    assert workflow.parser["window"] == [24, 24, 16]
    assert workflow.parser["network_def"]["num_regions"] == 2


def test_the_bundle_predicts_as_the_run(bundle: Path, run: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    scan = str(tiny_dataset / "images" / "test_0.nii.gz")
    for name, model in (("bundle", bundle), ("run", run)):
        predict(scan, model=str(model), output=str(tmp_path / name), output_format="labelmap")
    sizes = [json.loads((tmp_path / n / "test_0_volumes.json").read_text())["regions"] for n in ("bundle", "run")]
    assert sizes[0] == sizes[1]


def test_the_archive_holds_one_folder_and_its_sum_is_right(bundle: Path) -> None:
    archive = bundle.with_suffix(".zip")
    with zipfile.ZipFile(archive) as file:
        assert {name.split("/")[0] for name in file.namelist()} == {"tiny_regions"}
    written = archive.with_suffix(".zip.sha256").read_text().split()[0]
    assert written == hashlib.sha256(archive.read_bytes()).hexdigest()


def test_files_of_hubs_on_request(run: Path, tmp_path: Path) -> None:
    folder, tests = tmp_path / "some where" / "folder", tmp_path / "ci"
    pack(
        str(run),
        str(folder),
        name="tiny",
        archive=True,
        weights_url="https://example.org/tiny",
        hugging_face=True,
        unit_tests=str(tests),
    )
    assert {"README.md", ".gitattributes", "large_files.yml"} <= {file.name for file in folder.iterdir()}
    assert (tests / "test_tiny.py").read_text().count('"models", "tiny"') == 1
    with zipfile.ZipFile(folder.with_name("tiny.zip")) as file:
        assert "tiny/models/SHA256SUMS" in file.namelist()


def test_a_synthetic_models_card_says_so_first(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    record = json.loads((copy / "run.json").read_text())
    record["data"]["modality"] = "synthetic MR"
    (copy / "run.json").write_text(json.dumps(record))
    pack(str(copy), str(tmp_path / "phantom_regions"))
    first = (tmp_path / "phantom_regions" / "docs" / "README.md").read_text().splitlines()[0]
    assert first.startswith("**Synthetic") and "Not for patients" in first


@pytest.mark.parametrize("name", ["tiny_v2", "a-b", "2regions", "../x"])
def test_refuses_names_that_the_model_zoo_does_not_take(run: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="cannot be a bundle's name"):
        pack(str(run), str(tmp_path / "out"), name=name)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("other", "name"), [("brain_mri", "brain"), ("brain", "brain_mri")])
def test_refuses_a_name_within_that_of_another_bundle_of_the_zoo(
    run: Path, tmp_path: Path, other: str, name: str
) -> None:
    tests = tmp_path / "zoo" / "ci" / "unit_tests"
    (tmp_path / "zoo" / "models" / other / "configs").mkdir(parents=True)
    (tmp_path / "zoo" / "models" / other / "configs" / "metadata.json").write_text("{}")
    with pytest.raises(UserError, match=f"beside .*{other}; pass --name"):
        pack(str(run), str(tmp_path / "out"), name=name, unit_tests=str(tests))
    assert not (tmp_path / "out").exists() and not tests.exists()
    pack(str(run), str(tmp_path / name))  # not for the zoo


def test_says_where_numpy_is_too_new_for_the_zoo(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The newest numpy is no reason for another environment: the metadata name the one of the tests."""
    for installed, python, too_new in (("2.2.5", ">=3.10", False), ("2.4.6", ">=3.11", True)):
        information = tmp_path / installed / f"numpy-{installed}.dist-info"
        information.mkdir(parents=True)
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: numpy\nVersion: {installed}\nRequires-Python: {python}\n"
        )
        monkeypatch.syspath_prepend(tmp_path / installed)
        pack(str(run), str(tmp_path / f"numpy_{too_new}"))
        told = capsys.readouterr().out
        assert ("not for Python 3.10" in told) == too_new
        assert ("name the tested numpy 2.2.6: installed are numpy 2.4.6, not" in told) == too_new
        metadata = json.loads((tmp_path / f"numpy_{too_new}" / "configs" / "metadata.json").read_text())
        assert metadata["numpy_version"] == ("2.2.6" if too_new else "2.2.5")


def test_the_zoo_installs_all_that_the_core_imports_and_tensorboard_too(bundle: Path) -> None:
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    named = {"monai", "torch", "numpy", *metadata["required_packages_version"]}
    # torch and MONAI Bundle bring these; a DICOM SEG is written by `conemos predict`, with an extra
    others = {"filelock", "typing_extensions", "yaml", "highdicom"}
    distributions = packages_distributions()
    imported = set()
    for file in (bundle / "conemos_bundle").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {each.name.split(".")[0] for each in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.split(".")[0])
    imported -= {*sys.stdlib_module_names, "conemos_bundle", *others}
    assert {"itk", "nibabel"} <= imported
    assert [name for name in imported if not named & set(distributions[name])] == []
    assert "tensorboard" in metadata["required_packages_version"]  # an extra: it need not be installed where one packs


def test_writes_over_no_file_of_the_user(run: Path, bundle: Path, tmp_path: Path) -> None:
    tests, out = tmp_path / "ci", tmp_path / "tiny"
    tests.mkdir()
    for file in (
        tmp_path / "tiny.zip",
        tmp_path / "tiny.zip.sha256",
        tests / "test_tiny.py",
        tests / "test_tiny_dist.py",
    ):
        file.write_text("mine")
        with pytest.raises(UserError, match=f"{file.name}: exists"):
            pack(str(run), str(out), archive=True, unit_tests=str(tests))
        assert file.read_text() == "mine" and not out.exists()
        file.unlink()
    left, again = shutil.copy(bundle.with_suffix(".zip"), tmp_path), tmp_path / bundle.name  # killed before the folder
    with pytest.raises(UserError, match=f"{Path(left).name}: exists"):
        pack(str(run), str(again), version="0.3.0", changes="tried", archive=True)
    pack(str(run), str(again), version="0.2.0", changes="tried", archive=True)
    assert (again / "models" / "model.pt").is_file()


def test_says_that_a_run_is_not_finished(run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    record = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps({**record, "settings": {"max_epochs": 20}}))
    for epoch in (20, 3):
        torch.save({"epoch": epoch}, copy / "checkpoint.pt")
        pack(str(copy), str(tmp_path / f"packed_{epoch}"))
    told = [entry.getMessage() for entry in caplog.records if entry.levelname == "WARNING"]
    assert told == [f"{copy}: not finished, 3 of 20 epochs are done; the same 'conemos train' goes on"]


def test_refuses_what_is_no_run_and_what_exists(bundle: Path, run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="exists"):
        pack(str(run), str(bundle))
    with pytest.raises(UserError, match=r"model.pt: no such file"):
        pack(str(tmp_path), str(tmp_path / "out"))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "run.json").write_text((run / "run.json").read_text())
    torch.save({"a": torch.zeros(1)}, broken / "model.pt")
    with pytest.raises(UserError, match="not of this network"):
        pack(str(broken), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
