"""From Python: any form of a scan, the same masks as `conemos predict` writes, encoded once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from conemos_bundle import Predictor
from conemos_bundle.cli import predict
from conemos_bundle.errors import UserError
from conemos_bundle.volumes import read_volume
from monai.data import MetaTensor

REGIONS = ["outer", "inner core"]


@pytest.fixture
def predictor(run: Path) -> Predictor:
    return Predictor.load(run, device="cpu")


@pytest.fixture
def scan(tiny_dataset: Path, tmp_path: Path) -> Path:
    """A scan whose axes are turned and oblique."""
    image = nibabel.load(tiny_dataset / "images" / "test_0.nii.gz")
    turn = np.diag([-2.0, 2.0, 2.0, 1.0])[:, [1, 0, 2, 3]]
    turn[:3, 3] = 5, -3, 7
    nibabel.save(nibabel.Nifti1Image(image.get_fdata(dtype=np.float32), turn), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def encodings(predictor: Predictor) -> list[int]:
    """Counts what is encoded from now on."""
    count, encode = [0], predictor._network.encode

    def counted(image: torch.Tensor) -> Any:
        count[0] += 1
        return encode(image)

    predictor._network.encode = counted  # type: ignore[assignment]
    return count


def test_the_masks_of_the_command_line(predictor: Predictor, run: Path, scan: Path, tmp_path: Path) -> None:
    predict(str(scan), model=str(run), output=str(tmp_path / "out"), device="cpu")
    told = json.loads((tmp_path / "out" / "scan_volumes.json").read_text())["regions"]
    found = predictor(scan)
    assert found.regions == REGIONS == predictor.regions
    for region in REGIONS:
        written = nibabel.load(tmp_path / "out" / "scan" / f"{region}.nii.gz")
        np.testing.assert_array_equal(found[region], written.get_fdata())
        np.testing.assert_allclose(found.affine, written.affine)
        np.testing.assert_allclose(found.image(region).affine, written.affine)
        assert found.volumes_ml[region] == told[region]["volume_ml"] > 0


def test_any_form_of_a_scan(predictor: Predictor, scan: Path) -> None:
    expected = predictor(scan)
    image, volume = nibabel.load(scan), read_volume(scan)
    forms: list[tuple[Any, Any]] = [
        (str(scan), None), ([scan], None), (image, None), (image.get_fdata(), image.affine),
        (volume.voxels, volume.affine.tolist()), (torch.from_numpy(volume.voxels), torch.from_numpy(volume.affine)),
        (MetaTensor(torch.from_numpy(volume.voxels), affine=torch.from_numpy(volume.affine)), None),
    ]  # fmt: skip
    for form, affine in forms:
        found = predictor(form, affine=affine)
        np.testing.assert_array_equal(found.masks, expected.masks)
        np.testing.assert_allclose(found.affine, expected.affine)
    np.testing.assert_array_equal(image.get_fdata(), nibabel.load(scan).get_fdata())  # nothing is changed in place


@pytest.mark.parametrize("mode", ["window", "whole"])
def test_regions_are_asked_of_a_scan_that_was_encoded_once(mode: str, run: Path, scan: Path, tmp_path: Path) -> None:
    predictor = Predictor.load(run, device="cpu", mode=mode)
    count = encodings(predictor)
    everything = predictor(scan, probabilities=True)
    once = count[0]
    assert once >= 1
    for asked in ("inner core", ["inner core", "outer"], ("outer",), None):
        some = predictor(scan, asked, probabilities=True)
        places = [REGIONS.index(region) for region in some.regions]
        np.testing.assert_array_equal(some.masks, everything.masks[places])
        np.testing.assert_allclose(some.probabilities, everything.probabilities[places], atol=1e-5)
    assert count[0] == once
    other = tmp_path / "other.nii.gz"
    image = nibabel.load(scan)
    nibabel.save(nibabel.Nifti1Image(image.get_fdata()[::-1], image.affine), other)
    fresh = Predictor.load(run, device="cpu", mode=mode)(other)
    np.testing.assert_array_equal(predictor(other).masks, fresh.masks)
    assert count[0] == 2 * once
    shutil.copy(other, scan)  # the same name, another scan
    np.testing.assert_array_equal(predictor(scan).masks, fresh.masks)


@pytest.mark.parametrize("keep", [True, False])
def test_threads_do_not_mix_features(keep: bool, run: Path, tiny_dataset: Path) -> None:
    scans = [
        tiny_dataset / "images" / f"{name}.nii.gz" for name in ("test_0", "training_1", "training_2", "training_3")
    ]
    alone = [Predictor.load(run, device="cpu")(scan) for scan in scans]
    assert len({found.masks.tobytes() for found in alone}) == len(scans)
    shared = Predictor.load(run, device="cpu")

    def ask(k: int) -> bool:
        region = REGIONS[k % 2]
        found = shared(scans[k % len(scans)], region, keep=keep or k % 3 == 0)
        return np.array_equal(found[region], alone[k % len(scans)][region])

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(32)))


def test_a_scan_that_is_not_kept_leaves_the_last_one_in_memory(
    predictor: Predictor, scan: Path, tiny_dataset: Path
) -> None:
    count = encodings(predictor)
    expected = predictor(scan)
    once, other = count[0], tiny_dataset / "images" / "training_1.nii.gz"
    np.testing.assert_array_equal(predictor(other, keep=False).masks, predictor(other, keep=False).masks)
    assert count[0] > once
    before = count[0]
    np.testing.assert_array_equal(predictor(scan, "outer").masks, expected.masks[:1])
    assert count[0] == before


def test_each_region_by_itself(predictor: Predictor, scan: Path) -> None:
    expected = predictor(scan)
    predictor._parents = {0: 1}  # the first region lies inside of the second
    together = predictor(scan, probabilities=True, confidences=True)
    assert together.regions == REGIONS and list(together.confidences or {}) == REGIONS
    np.testing.assert_array_equal(together.masks, [expected.masks.min(0), expected.masks[1]])
    count = encodings(predictor)
    order = []
    for one in predictor.each(scan):
        (region,) = one.regions
        order.append(region)
        np.testing.assert_array_equal(one[region], together[region])
        np.testing.assert_array_equal(one.affine, together.affine)
        np.testing.assert_array_equal(predictor(scan, region)[region], one[region])  # it may be asked amid
    assert order == REGIONS[::-1]  # the outer one first
    assert count[0] == 1  # window of `each`; those of the calls were kept


def test_each_region_s_errors_are_a_call_s(predictor: Predictor) -> None:
    with pytest.raises(UserError, match="all voxels are equal"):
        next(predictor.each(np.zeros((20, 18, 16)), affine=np.eye(4)))


def test_confidences_are_of_the_network_s_grid(predictor: Predictor, scan: Path) -> None:
    found = predictor(scan, confidences=True)
    assert found.confidences is not None and list(found.confidences) == REGIONS
    assert all(0 < confidence < 1 for confidence in found.confidences.values())
    one = predictor(scan, "inner core", confidences=True)
    assert one.confidences == pytest.approx({"inner core": found.confidences["inner core"]}, rel=1e-5)
    assert predictor(scan).confidences is None


def test_what_does_not_fit_into_memory_is_encoded_again(run: Path, scan: Path) -> None:
    predictor = Predictor.load(run, device="cpu")
    expected = predictor(scan)
    assert predictor._encode_once is not None
    predictor._encode_once.most_bytes = 0
    predictor._encode_once.forget()
    count = encodings(predictor)
    np.testing.assert_array_equal(predictor(scan).masks, expected.masks)
    np.testing.assert_array_equal(predictor(scan).masks, expected.masks)
    assert count[0] >= 2


def test_probabilities_are_those_of_the_masks(predictor: Predictor, scan: Path) -> None:
    found = predictor(scan, probabilities=True)
    assert found.probabilities is not None and found.probabilities.shape == found.masks.shape
    assert found.probabilities.min() >= 0 and found.probabilities.max() <= 1
    np.testing.assert_array_equal(found.masks, found.probabilities >= 0.5)
    assert predictor(scan).probabilities is None


@pytest.mark.parametrize(
    ("scan", "options", "told"),
    [
        ("nowhere.nii.gz", {}, "nowhere.nii.gz: "),
        (np.zeros((20, 18, 16)), {}, "give its affine"),
        (np.zeros((20, 18, 16)), {"affine": np.eye(4)}, "all voxels are equal"),
        (np.full((20, 18, 16), np.nan), {"affine": np.eye(4)}, "NaN or infinite"),
        (np.random.default_rng(0).random((20, 18)), {"affine": np.eye(4)}, "not a 3D image"),
        (np.random.default_rng(0).random((2, 20, 18, 16)), {"affine": np.eye(4)}, "has 2 channels"),
        (np.zeros((20, 18, 16)), {"affine": np.zeros((4, 4))}, "no invertible 4x4 matrix"),
        (np.zeros((20, 18, 16)), {"affine": np.eye(3)}, "no invertible 4x4 matrix"),
        (5, {}, "not a int"),
        ("nowhere.nii.gz", {"regions": "iner core"}, "region 'iner core' is unknown"),
    ],
)
def test_what_cannot_be_segmented(scan: Any, options: dict[str, Any], told: str, predictor: Predictor) -> None:
    with pytest.raises(UserError) as error:
        predictor(scan, **options)
    assert told in str(error.value) and "\n" not in str(error.value)


def test_models_that_cannot_be_loaded(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither a bundle"):
        Predictor.load(tmp_path)
    with pytest.raises(UserError, match="not available here"):
        Predictor.load(run, device="quantum")
    shutil.copytree(run, tmp_path / "run")
    weights = torch.load(run / "model.pt", weights_only=True)
    torch.save({name: tensor[:1] for name, tensor in weights.items()}, tmp_path / "run" / "model.pt")
    with pytest.raises(UserError, match=r"model\.pt: these weights are not of this network"):
        Predictor.load(tmp_path / "run")


def test_the_model_of_this_package_is_the_default(tiny_dataset: Path) -> None:
    predictor = Predictor.load(device="cpu")
    assert predictor.regions == ["hippocampus", "anterior", "posterior"]
    assert predictor(tiny_dataset / "images" / "test_0.nii.gz", "anterior").masks.shape == (1, 20, 18, 16)


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, conemos_bundle; print(sorted({'torch', 'monai', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(("unit", "mm"), [("micron", 1e-3), ("meter", 1000.0)])
def test_an_image_in_memory_has_the_unit_of_its_header(
    unit: str, mm: float, predictor: Predictor, scan: Path, tmp_path: Path
) -> None:
    image = nibabel.load(scan)
    turned = nibabel.Nifti1Image(image.get_fdata(dtype=np.float32), np.diag([1 / mm] * 3 + [1]) @ image.affine)
    turned.header.set_xyzt_units(unit)
    nibabel.save(turned, tmp_path / "unit.nii.gz")
    by_path, in_memory = predictor(tmp_path / "unit.nii.gz"), predictor(nibabel.load(tmp_path / "unit.nii.gz"))
    np.testing.assert_allclose(in_memory.affine, by_path.affine, rtol=1e-5)
    assert in_memory.volumes_ml == pytest.approx(by_path.volumes_ml, rel=1e-4)
    assert np.array_equal(in_memory.masks, by_path.masks)


def test_a_tensor_that_is_not_in_ras_is_refused(predictor: Predictor) -> None:
    with pytest.raises(UserError, match="a MetaTensor whose space is LPS"):
        predictor(MetaTensor(torch.rand(1, 8, 8, 8), affine=torch.eye(4), meta={"space": "LPS"}))
