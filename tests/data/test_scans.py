"""Scans for inference: what is found, how it is read, and the lines for what cannot be."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import itk
import nibabel
import numpy as np
import pytest
from conemos_bundle.data.scans import find_scans
from conemos_bundle.errors import UserError
from monai.transforms import LoadImaged
from scipy.spatial.transform import Rotation

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
VOXELS = np.arange(6 * 5 * 4, dtype=np.uint16).reshape(6, 5, 4)


def oblique_affine() -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [20, -15, 35], degrees=True).as_matrix() * [1.1, 0.9, 2.5]
    affine[:3, 3] = [10, -20, 30]
    return affine


def itk_image(voxels: np.ndarray, affine: np.ndarray):
    """The ITK image of ``voxels`` (x, y, z) and an affine in RAS."""
    lps = LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = itk.image_from_array(np.ascontiguousarray(voxels.T))
    image.SetSpacing(spacing)
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(lps[:3, :3] / spacing)))
    image.SetOrigin(lps[:3, 3])
    return image


def write_series(folder: Path, uid: str = "1.2.3.4", slices: int = 4, prefix: str = "") -> Path:
    """A DICOM series of single slices; file names are in the reverse order of the slices."""
    folder.mkdir(exist_ok=True)
    affine = oblique_affine()
    for index in range(slices):
        place = affine.copy()
        place[:3, 3] += index * affine[:3, 2]
        image = itk_image(VOXELS[:, :, index : index + 1], place)
        tags = {"0020|000d": "1.2.3", "0020|000e": uid, "0020|0013": str(index), "0018|0050": "2.5", "0008|0060": "MR"}
        for tag, value in tags.items():
            image[tag] = value
        image_io = itk.GDCMImageIO.New()
        image_io.KeepOriginalUIDOn()
        file = str(folder / f"{prefix}{9 - index}.dcm")
        itk.ImageFileWriter[type(image)].New(Input=image, FileName=file, ImageIO=image_io).Update()
    return folder


def write_scan(path: Path, voxels: np.ndarray = VOXELS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, oblique_affine()), path)
    return path


def load(source: Path):
    (item,) = find_scans(str(source))
    return LoadImaged(keys="image", ensure_channel_first=True, image_only=True)(item)["image"]


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.nrrd", "scan.nhdr", "scan.mha", "scan.mhd", "dicom"])
def test_every_format_gives_the_same_array_and_affine(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "dicom":
        write_series(path)
    elif ".nii" in name:
        write_scan(path)
    else:
        itk.imwrite(itk_image(VOXELS, oblique_affine()), path)
    image = load(path)
    np.testing.assert_array_equal(image.numpy(), VOXELS[None])
    np.testing.assert_allclose(image.affine.numpy(), oblique_affine(), atol=1e-6)


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nrrd", "scan.mha"])
def test_channels_last_become_channels_first(tmp_path: Path, name: str) -> None:
    voxels = np.stack([VOXELS, VOXELS + 1000], axis=-1).astype(np.float32)
    path = tmp_path / name
    if name == "scan.nii.gz":
        write_scan(path, voxels)
    else:
        itk.imwrite(itk.image_from_array(np.ascontiguousarray(voxels.T)), path)
    np.testing.assert_array_equal(load(path).numpy(), np.moveaxis(voxels, -1, 0))


def test_folder_of_scans_and_dicom_folders_is_sorted_by_name(tmp_path: Path) -> None:
    write_scan(tmp_path / "c.nii.gz")
    write_scan(tmp_path / "a.nii")
    write_scan(tmp_path / "._a.nii")  # macOS leaves such files behind
    write_series(tmp_path / "b")
    (tmp_path / "notes.txt").write_text("no scan")
    (tmp_path / "empty").mkdir()
    for name in ("Segmentation.seg.nrrd", "a.SEG.NRRD"):  # 3D Slicer saves them beside
        itk.imwrite(itk_image(VOXELS, oblique_affine()), tmp_path / "x.nrrd")
        (tmp_path / "x.nrrd").rename(tmp_path / name)
    reject_scan(str(tmp_path / "Segmentation.seg.nrrd"), "a segmentation by its name", "give the scan")
    assert find_scans(str(tmp_path)) == [
        {"image": str(tmp_path / "a.nii"), "name": "a"},
        {"image": str(tmp_path / "b"), "name": "b"},
        {"image": str(tmp_path / "c.nii.gz"), "name": "c"},
    ]


def test_results_beside_scans_are_no_scans_wherever_their_folder_was(tmp_path: Path) -> None:
    old = tmp_path / "old"
    for name in ("a.nii", "outer.nii.gz", "a_labelmap.nii.gz", "a_regions.nii.gz", "a/outer.nii.gz"):
        write_scan(old / name)
    written = ["a_labelmap.nii.gz", "a_regions.nii.gz", "a/outer.nii.gz"]
    result = {"image": str(old / "a.nii"), "regions": {}, "contents": {str(old / name): ["outer"] for name in written}}
    (old / "a_volumes.json").write_text(json.dumps(result))
    old.rename(tmp_path / "new")
    (tmp_path / "link").symlink_to(tmp_path / "new")
    for folder in ("new", "link"):
        assert [Path(item["image"]).name for item in find_scans(tmp_path / folder)] == ["a.nii", "outer.nii.gz"]


def test_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scan(tmp_path / "a.nii")
    monkeypatch.chdir(tmp_path)
    assert find_scans("a.nii") == find_scans(".") == [{"image": str(tmp_path / "a.nii"), "name": "a"}]


def test_equal_names_get_their_folders_in_front(tmp_path: Path) -> None:
    files = ["s1/x/scan.nii", "s2/x/scan.nii", "s1/y/scan.nii", "other.nii"]
    paths = [str(write_scan(tmp_path / file)) for file in files]
    items = find_scans([*paths, paths[0]])  # named twice, found once
    assert [item["name"] for item in items] == ["other", "s1_x_scan", "s2_x_scan", "y_scan"]
    assert items[1]["image"] == paths[0]


def reject_scan(source: object, *words: str) -> None:
    with pytest.raises(UserError) as caught:
        find_scans(source)  # type: ignore[arg-type]
    line = str(caught.value)
    assert "\n" not in line
    for word in words:
        assert word in line


@pytest.mark.parametrize("source", ["", [], [""]])
def test_no_source(source: object) -> None:
    reject_scan(source, "no scan given")


def test_missing_path_and_empty_folder(tmp_path: Path) -> None:
    reject_scan(str(tmp_path / "nowhere.nii"), str(tmp_path / "nowhere.nii"), "no such file")
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    reject_scan(str(tmp_path), str(tmp_path), "no scan in this folder", ".nii.gz")


def test_unknown_extension(tmp_path: Path) -> None:
    (tmp_path / "scan.png").write_bytes(b"x")
    reject_scan(str(tmp_path / "scan.png"), "scan.png", "use one of .nii")
    folder = write_series(tmp_path / "series")
    reject_scan(str(folder / "9.dcm"), "9.dcm", "give the folder")


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.nrrd", "scan.nhdr", "scan.mha", "scan.mhd"])
@pytest.mark.parametrize("content", [b"", b"not an image", gzip.compress(bytes(400), mtime=0)[:15]])
def test_unreadable_header(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    reject_scan(str(tmp_path), str(tmp_path / name), "cannot be read as an image")


def test_truncated_header(tmp_path: Path) -> None:
    path = write_scan(tmp_path / "scan.nii")
    path.write_bytes(path.read_bytes()[:100])
    reject_scan(str(path), str(path), "cannot be read as an image")


def test_folder_named_like_an_image(tmp_path: Path) -> None:
    write_scan(tmp_path / "scan.nii" / "scan.nii")
    reject_scan(str(tmp_path), str(tmp_path / "scan.nii"), "named like an image")
    reject_scan(str(tmp_path / "scan.nii"), str(tmp_path / "scan.nii"), "named like an image")


@pytest.mark.parametrize(
    ("shape", "word"), [((6, 5), "2D"), ((6, 5, 1), "2D"), ((6, 1, 5, 2), "2D"), ((6, 5, 4, 1, 2), "4D")]
)
def test_images_that_are_not_3d(tmp_path: Path, shape: tuple[int, ...], word: str) -> None:
    path = write_scan(tmp_path / "scan.nii", np.zeros(shape, np.uint8))
    reject_scan(str(path), str(path), word, " x ".join(map(str, shape)))


def test_colors(tmp_path: Path) -> None:
    itk.imwrite(itk.image_from_array(np.zeros((4, 5, 6, 3), np.uint8), is_vector=True), tmp_path / "scan.mha")
    reject_scan(str(tmp_path), "scan.mha", "colors")
    rgb = np.zeros((4, 5, 6), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    reject_scan(str(write_scan(tmp_path / "rgb.nii", rgb)), "rgb.nii", "colors")


def test_several_series_in_one_folder(tmp_path: Path) -> None:
    write_series(tmp_path / "study", uid="1.2.3.4", slices=4)
    write_series(tmp_path / "study", uid="1.2.3.5", slices=2, prefix="second")
    reject_scan(
        str(tmp_path), "study: holds 2 DICOM series", "1.2.3.4 (4 files)", "1.2.3.5 (2 files)", "folder of its own"
    )


def test_one_slice_is_no_series(tmp_path: Path) -> None:
    reject_scan(str(write_series(tmp_path / "series", slices=1)), "series", "2D", "6 x 5 x 1")


def test_damaged_dicom(tmp_path: Path) -> None:
    (tmp_path / "slice").write_bytes(bytes(128) + b"DICM" + bytes(40))
    reject_scan(str(tmp_path), str(tmp_path), "cannot be read")


def test_dicom_beside_scan_files(tmp_path: Path) -> None:
    write_scan(write_series(tmp_path / "series") / "mask.nii.gz")
    reject_scan(str(tmp_path / "series"), "mask.nii.gz", "its own folder")


def test_two_scans_of_one_name_and_paths_that_lead_nowhere_do_not_end_the_others(tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    for name in ("scan.nii", "scan.nii.gz", "other.nii"):
        write_scan(tmp_path / "two" / name)
    nowhere, text = str(tmp_path / "nowhere.nii"), tmp_path / "text.txt"
    text.write_text("")
    items = {item["name"]: item.get("problem", "") for item in find_scans([str(tmp_path / "two"), nowhere, str(text)])}
    twin = "another scan is called scan too; rename one of them"
    assert items["other"] == "" and items["scan.nii"] == f"{tmp_path / 'two' / 'scan.nii'}: {twin}"
    assert items["scan.nii.gz"] == f"{tmp_path / 'two' / 'scan.nii.gz'}: {twin}" and len(items) == 5
    assert items["nowhere"].startswith(f"{nowhere}: no such file") and "not a scan file" in items["text.txt"]
