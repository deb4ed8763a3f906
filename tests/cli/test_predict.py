from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from conemos_bundle.cli import predict
from conemos_bundle.errors import UserError
from conemos_bundle.inferers.inference import MODES
from conemos_bundle.predictor.engines import ENGINES
from conemos_bundle.utils.paths import bundle_folder
from nibabel.orientations import axcodes2ornt


@pytest.fixture
def scan(tiny_dataset: Path) -> Path:
    return tiny_dataset / "images" / "test_0.nii.gz"


def test_the_options_known_before_anything_is_imported_are_those_of_the_predictor() -> None:
    command = importlib.import_module("conemos_bundle.cli.predict")
    assert (command.MODES, command.ENGINES) == (MODES, ENGINES)


def test_writes_only_the_regions_asked_for_and_their_volumes(scan: Path, run: Path, tmp_path: Path) -> None:
    predict(str(scan), regions="inner core", model=str(run), output=str(tmp_path))
    assert [file.name for file in (tmp_path / "test_0").iterdir()] == ["inner core.nii.gz"]
    mask = nibabel.load(tmp_path / "test_0" / "inner core.nii.gz")
    assert mask.shape == nibabel.load(scan).shape
    voxels = int(np.asarray(mask.dataobj).sum())
    sizes = json.loads((tmp_path / "test_0_volumes.json").read_text())["regions"]
    assert 0 < voxels < np.prod(mask.shape)
    assert 0 < sizes["inner core"].pop("confidence") < 1
    assert sizes == {"inner core": {"voxels": voxels, "volume_ml": pytest.approx(voxels * 8 / 1000)}}


def test_no_line_is_printed_that_is_not_ours(scan: Path, run: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "conemos_bundle", "predict", str(scan), "--model", str(run), "--output", "out"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(bundle_folder()), *sys.path])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert [line.split(":")[0].strip() for line in done.stdout.splitlines()][:3] == [str(scan), "outer", "inner core"]
    assert done.stdout.splitlines()[-1] == "next: view the masks in out over their scan in 3D Slicer or ITK-SNAP"


def test_a_region_does_not_depend_on_what_else_is_asked_for(scan: Path, run: Path, tmp_path: Path) -> None:
    predict(str(scan), regions="inner core", model=str(run), output=str(tmp_path / "one"))
    predict(str(scan), model=str(run), output=str(tmp_path / "all"))
    one, both = (nibabel.load(tmp_path / f / "test_0" / "inner core.nii.gz").get_fdata() for f in ("one", "all"))
    outer = nibabel.load(tmp_path / "all" / "test_0" / "outer.nii.gz").get_fdata()
    np.testing.assert_array_equal(one, both)
    assert (one != outer).any()


@pytest.mark.parametrize("axes", ["LPS", "SAR", "PIL"])
def test_permuted_and_flipped_grids_give_the_same_voxels_in_the_world(
    axes: str, scan: Path, run: Path, tmp_path: Path
) -> None:
    image = nibabel.load(scan)
    turned = image.as_reoriented(axcodes2ornt(axes))
    # oblique as well: the same rotation for both, so that only the order of voxels differs
    angle = np.deg2rad(10)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    for name, volume in (("straight", image), ("turned", turned)):
        nibabel.save(
            nibabel.Nifti1Image(volume.get_fdata(dtype=np.float32), turn @ volume.affine), tmp_path / f"{name}.nii.gz"
        )
    sources = [str(tmp_path / "straight.nii.gz"), str(tmp_path / "turned.nii.gz")]
    predict(*sources, regions="outer", model=str(run), output=str(tmp_path / "out"))
    straight, other = (nibabel.load(tmp_path / "out" / name / "outer.nii.gz") for name in ("straight", "turned"))
    np.testing.assert_allclose(other.affine, turn @ turned.affine, atol=1e-4)
    np.testing.assert_array_equal(straight.as_reoriented(axcodes2ornt(axes)).get_fdata(), other.get_fdata())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"regions": "femur"}, "'femur' is unknown; this model knows: outer, inner core"),
        ({"regions": "$__import__('os').system('touch hacked')"}, "is unknown"),
        ({"regions": "outer,outer"}, "twice"),
        ({"output_format": "png"}, "--output_format 'png'"),
        ({"mode": "half"}, "--mode 'half'"),
        ({"device": "abacus"}, "--device abacus"),
        ({"model": "gone"}, "gone: no such folder"),
        ({"model": "."}, ".: neither a bundle"),
    ],
)
def test_bad_options_are_one_line(
    options: dict, words: str, scan: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        predict(str(scan), **{"model": str(run), "output": str(tmp_path / "out"), **options})
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_file_name_is_never_evaluated(scan: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = "$open('hacked', 'w').close().nii.gz"
    Path(name).write_bytes(scan.read_bytes())
    predict(name, regions="outer", model=str(run), output="@out#1")
    assert not Path("hacked").exists()
    assert list(Path("@out#1").glob("*/outer.nii.gz"))
