"""The app folder, and its bundle run as the tasks run it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from conemos_bundle.cli.label_app import label_app
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.label.answers import answer
from conemos_bundle.hosts.label.app_folder import served_config, write_app
from conemos_bundle.hosts.label.requests import requested_regions
from conemos_bundle.hosts.label.served_model import ServedModel
from conemos_bundle.utils.paths import bundle_folder
from conemos_bundle.utils.processes import host
from scipy.spatial.transform import Rotation

REGIONS = ["hippocampus", "anterior", "posterior"]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("app")
    write_app(bundle_folder(), folder, region_bundles=True)
    return folder


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bright ball in noise, on an oblique, permuted grid of 0.8 x 1.1 x 1 mm."""
    rng = np.random.default_rng(0)
    distance = np.linalg.norm(np.moveaxis(np.indices((30, 26, 22)), 0, -1) - [14, 12, 10], axis=-1)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [20, -30, 50], degrees=True).as_matrix()[:, [1, 0, 2]] * [0.8, 1.1, 1]
    path = tmp_path_factory.mktemp("scan") / "oblique.nii.gz"
    image = ((distance < 6) + rng.normal(0, 0.2, distance.shape)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(image, affine), path)
    return path


def segment(model: Path, scan: Path, **request: Any) -> dict[str, Any]:
    """What `RegionInferTask` does with a bundle."""
    config = json.loads((model / "configs" / "inference.json").read_text())
    served = ServedModel((model / "models").resolve().parent)
    asked = config.get("regions") or requested_regions(request, config["region_names"])
    found = served(str(scan), asked, "cpu")
    return {"asked_regions": asked, **answer(found, config.get("regions") or config["region_names"])}


def test_a_label_map_of_the_regions_asked_for(app: Path, scan: Path) -> None:
    found = segment(app / "model" / "conemos_hippocampus", scan, regions="posterior, hippocampus")
    masks, labels = found["masks"].array, found["pred"].array
    assert masks.shape == (2, 30, 26, 22)
    assert masks[1].any() and list(found["result"]["regions"]) == ["posterior", "hippocampus"]
    np.testing.assert_array_equal(labels, np.where(masks[0], 3, np.where(masks[1], 1, 0)))
    assert labels.dtype == np.uint8
    np.testing.assert_allclose(found["masks"].affine.numpy(), nibabel.load(scan).affine, atol=1e-5)
    told = found["result"]["regions"]["hippocampus"]
    assert told["voxels"] == masks[1].sum() and told["value"] == 1 and 0 < told["confidence"] < 1
    assert told["volume_ml"] == pytest.approx(masks[1].sum() * 0.8 * 1.1 / 1000, rel=1e-4)
    json.dumps(found["result"])


def test_a_bundle_packed_with_monais_spacing() -> None:
    written = (bundle_folder() / "configs" / "inference.json").read_text()
    earlier = written.replace('"conemos_bundle.transforms.ResampleToSpacingd"', '"Spacingd"')
    assert earlier != written
    assert served_config(json.loads(earlier), REGIONS) == served_config(json.loads(written), REGIONS)


def test_check_boxes(app: Path, scan: Path) -> None:
    found = segment(app / "model" / "conemos_hippocampus", scan, region_hippocampus=False, region_anterior=False)
    assert found["asked_regions"] == ["posterior"]
    assert set(np.unique(found["pred"].array)) <= {0, 3}


def test_a_thin_bundle_segments_its_region_with_the_shared_weights(app: Path, scan: Path) -> None:
    thin = app / "model" / "conemos_hippocampus_posterior"
    found = segment(thin, scan, regions="hippocampus")
    whole = segment(app / "model" / "conemos_hippocampus", scan, regions="posterior")
    np.testing.assert_array_equal(found["pred"].array == 1, whole["pred"].array == 3)
    assert found["result"]["regions"]["posterior"]["value"] == 1
    assert (thin / "models").resolve() == (app / "model" / "conemos_hippocampus" / "models").resolve()
    output = json.loads((thin / "configs" / "metadata.json").read_text())["network_data_format"]["outputs"]["pred"]
    assert (output["channel_def"], output["num_channels"]) == ({"0": "background", "1": "posterior"}, 1)


def test_no_text_of_a_request_reaches_the_parser(app: Path, scan: Path, tmp_path: Path) -> None:
    hacked = tmp_path / "hacked"
    text = f"$__import__('pathlib').Path({str(hacked)!r}).touch()"
    for request in ({"regions": text}, {"region_anterior": text}):
        with pytest.raises(Exception, match="is unknown|use true or false"):
            segment(app / "model" / "conemos_hippocampus", scan, **request)
    segment(app / "model" / "conemos_hippocampus", scan, regions="anterior", device=text, output_format=text)
    assert not hacked.exists()


def test_a_model_that_was_trained_there_stays(app: Path, tmp_path: Path) -> None:
    label_app(str(tmp_path), name="mine")
    weights = tmp_path / "model" / "mine" / "models" / "model.pt"
    assert weights.read_bytes() == (bundle_folder() / "models" / "model.pt").read_bytes() and not weights.is_symlink()
    weights.write_bytes(b"trained")
    label_app(str(tmp_path), name="mine", region_bundles=True)
    assert weights.read_bytes() == b"trained"
    assert len(list((tmp_path / "model").iterdir())) == 4


def test_a_model_of_other_regions_does_not_get_the_configuration_of_another(bundle: Path, tmp_path: Path) -> None:
    other, app = tmp_path / "other", tmp_path / "app"
    shutil.copytree(bundle, other)
    (model,) = write_app(bundle, app, "tiny")
    before = {file: file.read_bytes() for file in model.rglob("*.json")}
    record = json.loads((other / "models" / "run.json").read_text())
    record["regions"].reverse()
    (other / "models" / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"tiny: holds a model of other regions \(outer, inner core\).*another --name"):
        write_app(other, app, "tiny")
    assert before == {file: file.read_bytes() for file in model.rglob("*.json")}
    write_app(bundle, app, "tiny")


def test_monai_label_needs_these_and_nothing_that_it_brings_itself(app: Path) -> None:
    config = json.loads((app / "model" / "conemos_hippocampus" / "configs" / "inference.json").read_text())
    assert {"network_def", "preprocessing", "postprocessing", "inferer", "displayable_configs"} <= set(config)
    text = json.dumps(config)
    assert not any(word in text for word in ("_meta_", "@displayable_configs", "dataset", "SaveImage", "evaluator"))
    assert config["region_names"] == REGIONS


@pytest.mark.parametrize("name", ["my_detection", "a b", "x/y"])
def test_names_that_mean_something_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="pass another --name"):
        write_app(bundle_folder(), tmp_path / "app", name)


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a bundle"):
        write_app(tmp_path, tmp_path / "app")


def test_an_inference_config_of_another_version() -> None:
    config = json.loads((bundle_folder() / "configs" / "inference.json").read_text())
    config["postprocessing"]["transforms"].pop(1)
    with pytest.raises(UserError, match="not of this version"):
        served_config(config, REGIONS)


def test_nothing_imports_monailabel(app: Path) -> None:
    assert "monailabel" not in sys.modules


def test_what_a_killed_start_left_is_removed(bundle: Path, tmp_path: Path) -> None:
    (target,) = write_app(bundle, tmp_path / "app", "tiny")
    left = target / "models" / f".part-{host()}-4194305-0"  # of a process that there cannot be
    left.mkdir()
    write_app(bundle, tmp_path / "app", "tiny")
    assert not left.exists()
