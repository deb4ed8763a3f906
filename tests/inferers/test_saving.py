"""Files of the predicted regions, read back with nibabel."""

from __future__ import annotations

import json
import weakref
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from conemos_bundle.errors import UserError
from conemos_bundle.inferers.saving import FORMATS, SaveImageRegionsd
from conemos_bundle.volumes.seg_nrrd import read_seg_nrrd
from monai.data import MetaTensor
from scipy.spatial.transform import Rotation

REGIONS = ["uterus", "body", "brain"]
OF_ANY_SCAN = [each for each in FORMATS if each != "dicom_seg"]  # which tests/cli/test_predict_dicom_seg.py has


def oblique_affine() -> np.ndarray:
    """Oblique, permuted, left-handed; a voxel has 0.8 * 1.2 * 3 = 2.88 mm³."""
    rotation = Rotation.from_euler("xyz", [25, -40, 70], degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = rotation[:, [1, 0, 2]] * [0.8, 1.2, 3.0]
    affine[:3, 3] = [37.5, -81.25, 12.0]
    return affine


def masks_of(regions: list[str]) -> np.ndarray:
    """Nested boxes of 9 * 7 * 5, 4 * 5 * 3 and 2 * 2 * 2 voxels."""
    masks = {region: np.zeros((9, 7, 5), np.uint8) for region in REGIONS}
    masks["uterus"][:] = 1
    masks["body"][2:6, 1:6, 1:4] = 1
    masks["brain"][2:4, 2:4, 1:3] = 1
    return np.stack([masks[region] for region in regions])


def prediction(regions: list[str], affine: np.ndarray | None = None, image: str = "/scans/case.nii.gz") -> MetaTensor:
    affine = oblique_affine() if affine is None else affine
    masks = torch.from_numpy(masks_of(regions)).float()
    return MetaTensor(masks, affine=torch.from_numpy(affine), meta={"filename_or_obj": image})


def save(output_dir: Path, regions: list[str], **options: Any) -> dict[str, Any]:
    saver = SaveImageRegionsd(region_names=REGIONS, regions=regions, output_dir=output_dir, **options)
    return saver({"pred": prediction(regions)})["result"]


def test_name_lets_the_hosts_drop_it() -> None:
    assert "SaveImage" in SaveImageRegionsd.__name__


def test_files(tmp_path: Path) -> None:
    result = save(tmp_path / "new" / "out", ["brain", "uterus"], output_format="files")
    assert result["outputs"] == [str(tmp_path / "new/out/case" / f"{region}.nii.gz") for region in ("brain", "uterus")]
    for region, path in zip(["brain", "uterus"], result["outputs"], strict=True):
        image = nibabel.load(path)
        assert image.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(np.asarray(image.dataobj), masks_of([region])[0])
        np.testing.assert_allclose(image.affine, oblique_affine(), atol=1e-5)


def test_multichannel(tmp_path: Path) -> None:
    save(tmp_path, ["brain", "uterus"], output_format="multichannel")
    image = nibabel.load(tmp_path / "case_regions.nii.gz")
    assert (image.shape, image.get_data_dtype()) == ((9, 7, 5, 2), np.uint8)
    np.testing.assert_array_equal(np.moveaxis(np.asarray(image.dataobj), -1, 0), masks_of(["brain", "uterus"]))
    assert json.loads((tmp_path / "case_regions.json").read_text()) == {"regions": ["brain", "uterus"]}


@pytest.mark.parametrize("output_format", OF_ANY_SCAN)
def test_masks_are_written_as_they_come(output_format: str, tmp_path: Path) -> None:
    asked = ["brain", "uterus", "body"]
    expected = save(tmp_path / "one", asked, output_format=output_format)
    saver = SaveImageRegionsd(
        region_names=REGIONS, regions=asked, output_dir=tmp_path / "two", output_format=output_format
    )
    alive: list[Any] = []

    def masks() -> Any:
        for region in ("body", "brain", "uterus"):
            mask = masks_of([region])[0]
            if output_format in ("files", "labelmap"):
                assert all(earlier() is None for earlier in alive[:-1])  # but for the last one
            alive.append(weakref.ref(mask))
            yield region, mask
            del mask

    result = saver.save_each(masks(), oblique_affine(), {"filename_or_obj": "/scans/case.nii.gz"})
    assert result["regions"] == expected["regions"] and list(result["regions"]) == asked
    for one, two in zip(expected["outputs"], result["outputs"], strict=True):
        assert Path(one).read_bytes() == Path(two).read_bytes()


@pytest.mark.parametrize(
    ("regions", "paint_order", "brain", "body", "elsewhere"),
    [
        (["uterus", "body", "brain"], None, 3, 2, 1),
        (["brain", "uterus", "body"], None, 3, 2, 1),  # the order in which regions are asked for does not matter
        (["brain"], None, 3, 0, 0),  # values stay those of all K regions
        (["brain", "body"], ["brain", "body"], 2, 2, 0),
        (["brain", "uterus"], ["uterus", "body", "brain"], 3, 1, 1),
    ],
)
def test_labelmap(
    tmp_path: Path, regions: list[str], paint_order: list[str] | None, brain: int, body: int, elsewhere: int
) -> None:
    result = save(tmp_path, regions, output_format="labelmap", paint_order=paint_order)
    image = nibabel.load(tmp_path / "case_labelmap.nii.gz")
    labels = np.asarray(image.dataobj)
    assert image.get_data_dtype() == np.uint8
    assert labels[2, 2, 1] == brain
    assert labels[5, 5, 3] == body
    assert labels[0, 0, 0] == elsewhere
    assert {region: size["value"] for region, size in result["regions"].items()} == {
        region: REGIONS.index(region) + 1 for region in regions
    }
    assert result["paint_order"] == [region for region in paint_order or REGIONS if region in regions]
    assert result["regions"]["brain"]["voxels"] == 8  # counted before any painting


def test_labelmap_of_more_regions_than_a_byte_holds(tmp_path: Path) -> None:
    names = [f"region {index}" for index in range(1, 301)]
    saver = SaveImageRegionsd(region_names=names, regions=["region 300"], output_dir=tmp_path, output_format="labelmap")
    saver({"pred": prediction(["brain"])})
    image = nibabel.load(tmp_path / "case_labelmap.nii.gz")
    assert image.get_data_dtype() == np.uint16
    assert np.asarray(image.dataobj).max() == 300


def test_seg_nrrd(tmp_path: Path) -> None:
    save(tmp_path, ["brain", "uterus"], output_format="seg.nrrd")
    masks, affine, names = read_seg_nrrd(tmp_path / "case.seg.nrrd")
    np.testing.assert_array_equal(masks, masks_of(["brain", "uterus"]))
    np.testing.assert_allclose(affine, oblique_affine(), atol=1e-9)
    assert names == ["brain", "uterus"]


@pytest.mark.parametrize("output_format", OF_ANY_SCAN)
def test_volumes_and_outputs(tmp_path: Path, output_format: str) -> None:
    result = save(tmp_path, ["body", "brain"], output_format=output_format)
    told = json.loads((tmp_path / "case_volumes.json").read_text())
    assert told.pop("sizes_of") == dict.fromkeys(["body", "brain"], next(iter(result["made"].values())))
    assert told == result
    assert result["image"] == "/scans/case.nii.gz"
    sizes = {region: (size["voxels"], size["volume_ml"]) for region, size in result["regions"].items()}
    assert sizes == {"body": (60, pytest.approx(0.1728)), "brain": (8, pytest.approx(0.02304))}
    assert ("paint_order" in result) == (output_format == "labelmap")
    files = {str(path) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {*result["outputs"], str(tmp_path / "case_volumes.json")}  # and nothing half-written


def test_empty_region(tmp_path: Path) -> None:
    pred = prediction(["brain"]) * 0
    result = SaveImageRegionsd(region_names=REGIONS, regions=["brain"], output_dir=tmp_path)({"pred": pred})["result"]
    assert result["regions"]["brain"] == {"voxels": 0, "volume_ml": 0}


def test_forms_and_units_of_the_nifti_header(tmp_path: Path) -> None:
    header = nibabel.load(save(tmp_path, ["brain"])["outputs"][0]).header
    assert header.get_xyzt_units()[0] == "mm"
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    np.testing.assert_allclose(header.get_sform(), oblique_affine(), atol=1e-5)
    np.testing.assert_allclose(header.get_qform(), oblique_affine(), atol=1e-4)


def sheared_affine() -> np.ndarray:
    affine = oblique_affine()
    affine[:3, 1] += 0.2 * affine[:3, 0]
    return affine


def test_sheared_affine_has_no_qform(tmp_path: Path) -> None:
    saver = SaveImageRegionsd(region_names=REGIONS, regions=["brain"], output_dir=tmp_path)
    saver({"pred": prediction(["brain"], sheared_affine())})
    image = nibabel.load(tmp_path / "case" / "brain.nii.gz")
    assert int(image.header["qform_code"]) == 0
    np.testing.assert_allclose(image.affine, sheared_affine(), atol=1e-5)


def test_sheared_affine_and_seg_nrrd(tmp_path: Path) -> None:
    saver = SaveImageRegionsd(
        region_names=REGIONS, regions=["brain"], output_dir=tmp_path / "out", output_format="seg.nrrd"
    )
    with pytest.raises(UserError, match="^/scans/case.nii.gz: .*right angles"):
        saver({"pred": prediction(["brain"], sheared_affine())})
    assert not (tmp_path / "out").exists()


def test_name_of_the_scan_comes_first(tmp_path: Path) -> None:
    saver = SaveImageRegionsd(keys="mask", region_names=REGIONS, regions="brain", output_dir=tmp_path)
    data = saver({"mask": prediction(["brain"]), "name": "site_a_case"})
    assert data["result"]["outputs"] == [str(tmp_path / "site_a_case" / "brain.nii.gz")]
    assert (tmp_path / "site_a_case_volumes.json").exists()
    assert data["name"] == "site_a_case"


@pytest.mark.parametrize("output_format", OF_ANY_SCAN)
def test_two_scans_of_one_name(tmp_path: Path, output_format: str) -> None:
    saver = SaveImageRegionsd(region_names=REGIONS, regions=["brain"], output_dir=tmp_path, output_format=output_format)
    for _ in range(2):  # the same scan again is no clash
        saver({"pred": prediction(["brain"], image="/a/case.nii")})
    with pytest.raises(UserError, match="both /a/case.nii and /b/case.nii would write"):
        saver({"pred": prediction(["brain"], image="/b/case.nii")})
    assert json.loads((tmp_path / "case_volumes.json").read_text())["image"] == "/a/case.nii"


def test_overwrite(tmp_path: Path) -> None:
    (tmp_path / "case_volumes.json").write_text("old")
    with pytest.raises(UserError, match="case_volumes.json: exists already"):
        save(tmp_path, ["brain"], overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["case_volumes.json"]
    save(tmp_path, ["brain"])
    assert "voxels" in (tmp_path / "case_volumes.json").read_text()


def test_a_run_that_breaks_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(image: Any, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nibabel, "save", full_disk)
    with pytest.raises(UserError, match="No space left on device"):
        save(tmp_path, ["brain"])
    assert not list(tmp_path.iterdir())


def test_output_dir_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(UserError, match="out: cannot write the regions of case"):
        save(tmp_path / "out", ["brain"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"output_format": "dicom"}, "'dicom': use one of files, multichannel, labelmap, seg.nrrd"),
        ({"regions": ["brian"]}, "regions: 'brian' is no region; choose from uterus, body, brain"),
        ({"regions": []}, "regions: .*empty"),
        ({"regions": ["brain", "brain"]}, "regions: .*twice"),
        ({"paint_order": ["uterus", "heart"]}, "paint_order: 'heart' is no region"),
        ({"output_format": "labelmap", "paint_order": ["uterus", "body"]}, "paint_order: leaves out 'brain'"),
    ],
)
def test_options_that_cannot_be(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        SaveImageRegionsd(**{"region_names": REGIONS, "regions": ["brain"], "output_dir": tmp_path, **options})


def test_channels_and_regions_must_agree(tmp_path: Path) -> None:
    saver = SaveImageRegionsd(region_names=REGIONS, regions=["body", "brain"], output_dir=tmp_path)
    with pytest.raises(ValueError, match="for 2 regions"):
        saver({"pred": prediction(["brain"])})
