from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from conemos_bundle.cli import predict
from conemos_bundle.data.channel_files import group_channels
from conemos_bundle.data.datalist import Datalist, Scan
from conemos_bundle.data.scans import find_scans
from conemos_bundle.errors import UserError, find_user_error
from conemos_bundle.networks import FiLMUNet
from conemos_bundle.runs.run import RunRecord


def write(path: Path, channels: int = 1, seed: int = 0, shift: float = 0.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (12, 11, 10) if channels == 1 else (12, 11, 10, channels)
    affine = np.eye(4)
    affine[0, 3] = shift
    voxels = np.random.default_rng(seed).random(shape).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
    return path


def grouped(*names: str, channels: int = 2, listed: bool = True, whole: tuple[str, ...] = ()) -> list[tuple]:
    scans = group_channels([Path(name) for name in names], channels, lambda path: path.name not in whole, listed)
    return [(scan.name, [file.name for file in scan.files], bool(scan.problem)) for scan in scans]


def test_which_files_are_one_scan() -> None:
    a, b = "a.nii.gz", "b.nii.gz"
    assert grouped(a, b, channels=1) == [("a", [a], False), ("b", [b], False)]
    assert grouped(b, a) == [("b", [b, a], False)]  # in the order given
    assert grouped(b, a, whole=(a, b)) == [("b", [b], False), ("a", [a], False)]
    assert grouped(a, b, listed=False) == [("a", [a], True), ("b", [b], True)]  # of a folder, nothing says the order
    assert [problem for *_, problem in grouped(a, b, "c.nii", "d.nii")] == [True] * 4


def test_names_say_the_channel_whatever_the_order() -> None:
    files = ["x_0001.nii", "y_0000.nii", "x_0000.nii", "y_0001.nii", "z.nii"]
    assert grouped(*files, listed=False, whole=("z.nii",)) == [
        ("z", ["z.nii"], False),
        ("x", ["x_0000.nii", "x_0001.nii"], False),
        ("y", ["y_0000.nii", "y_0001.nii"], False),
    ]
    assert grouped("x_0000.nii", "x_0002.nii") == [("x", ["x_0000.nii", "x_0002.nii"], True)]
    assert grouped("x_0000.nii", "x_0001.nii", "x_0002.nii")[0][2]
    assert grouped("p/x_0000.nii", "q/x_0001.nii") == [("x", ["x_0000.nii"], True), ("x", ["x_0001.nii"], True)]


def test_a_folder_of_nnunets_names(tmp_path: Path) -> None:
    for case in ("one", "two"):
        for channel in range(2):
            write(tmp_path / f"{case}_{channel:04d}.nii.gz")
    items = find_scans(tmp_path, channels=2)
    assert [item["name"] for item in items] == ["one", "two"]
    assert items[1]["image"] == [str(tmp_path / "two_0000.nii.gz"), str(tmp_path / "two_0001.nii.gz")]
    (tmp_path / "two_0001.nii.gz").unlink()
    items = find_scans(tmp_path, channels=2)
    assert "problem" not in items[0] and "two_0001 is missing" in items[1]["problem"]
    with pytest.raises(UserError, match="one_0001 is missing"):
        find_scans(tmp_path / "one_0000.nii.gz", channels=2)


@pytest.fixture
def two_channels(tmp_path: Path) -> Path:
    """A run of a network of two channels whose answer depends on which is which."""
    torch.manual_seed(0)
    network = FiLMUNet(in_channels=2, num_regions=1, channels=(2, 4), norm="instance")
    folder = tmp_path / "run"
    plan = {"in_channels": 2, "spacing": [1.0, 1.0, 1.0], "patch_size": [16, 16, 16]}
    data = Datalist(regions=["r"], training=[Scan(image=["a", "b"], subject="a", masks={"r": "m"})])
    RunRecord(str(folder), data, plan, network).write(None)  # type: ignore[arg-type]
    torch.save(network.state_dict(), folder / "model.pt")
    return folder


def test_files_give_what_their_4d_file_gives(two_channels: Path, tmp_path: Path) -> None:
    first, second = write(tmp_path / "s_a.nii.gz", seed=1), write(tmp_path / "s_b.nii.gz", seed=2)
    both = np.stack([nibabel.load(file).get_fdata(dtype=np.float32) for file in (first, second)], -1)
    nibabel.save(nibabel.Nifti1Image(both, np.eye(4)), tmp_path / "whole.nii.gz")
    options = {"model": str(two_channels)}
    predict(str(first), str(second), output=str(tmp_path / "files"), **options)
    predict(str(second), str(first), output=str(tmp_path / "turned"), **options)
    predict(str(tmp_path / "whole.nii.gz"), output=str(tmp_path / "whole"), **options)
    masks = [
        nibabel.load(tmp_path / folder / name / "r.nii.gz").get_fdata()
        for folder, name in (("files", "s_a"), ("turned", "s_b"), ("whole", "whole"))
    ]
    np.testing.assert_array_equal(masks[0], masks[2])
    assert (masks[0] != masks[1]).any()


def refusal(*scans: Path, model: Path, output: Path) -> str:
    with pytest.raises(Exception, match=".") as error:
        predict(*map(str, scans), model=str(model), output=str(output))
    assert not output.exists()
    return str(find_user_error(error.value))


def test_channels_on_two_grids_and_one_channel_of_two_are_refused(two_channels: Path, tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.nii.gz"), write(tmp_path / "b.nii.gz", shift=5)
    message = refusal(first, second, model=two_channels, output=tmp_path / "out")
    assert "affine" in message or "grid" in message
    message = refusal(first, model=two_channels, output=tmp_path / "out")
    assert "has 1 channel, the network takes 2; name the 2 files of one scan in the order of training" in message
