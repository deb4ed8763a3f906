from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conemos_bundle.cli.phantom import phantom
from conemos_bundle.data.datalist import SPLITS, Datalist, read_datalist, scan_items
from conemos_bundle.errors import UserError
from conemos_bundle.phantom import REGIONS, draw_scan, draw_scan_at_full_fidelity, make, make_phantom


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Datalist]:
    folder = tmp_path_factory.mktemp("made") / "phantom"
    return folder, make_phantom(folder, training=7, validation=3, test=3, size=24, seed=5)


def arrays(folder: Path) -> dict[str, np.ndarray]:
    return {str(file.relative_to(folder)): np.asarray(nib.load(file).dataobj) for file in folder.rglob("*.nii.gz")}


def test_datalist_says_what_it_is(made: tuple[Path, Datalist]) -> None:
    folder, datalist = made
    assert read_datalist(folder / "datalist.json") == datalist
    assert datalist.modality == "synthetic MR" and datalist.license == "CC0-1.0"
    assert "synthetic" in datalist.description.lower() and "not real data" in datalist.description.lower()
    assert datalist.regions == ["uterus", "body", "brain", "eyes", "placenta"]
    assert [len(datalist.scans(split)) for split in SPLITS] == [7, 3, 3]


def test_files_are_those_of_the_datalist(made: tuple[Path, Datalist]) -> None:
    folder, datalist = made
    listed = {"datalist.json"}
    for split in SPLITS:
        for scan in datalist.scans(split):
            listed |= {scan.image, *(scan.source(region).file for region in scan.masks)}
            name = Path(scan.image).name
            assert {r: scan.source(r).file for r in scan.masks} == {r: f"masks/{r}/{name}" for r in scan.masks}
    assert {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()} == listed
    assert not list(folder.parent.glob(".*"))


def test_images_and_masks_fraction_a_grid_in_ras(made: tuple[Path, Datalist]) -> None:
    folder, datalist = made
    for split in SPLITS:
        for item in scan_items(datalist, split, folder):
            image = nib.load(item["image"])
            assert image.get_data_dtype() == np.float32 and image.shape == (24, 24, 24)
            assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
            assert image.header.get_zooms() == (8.0, 8.0, 8.0) and image.header.get_xyzt_units()[0] == "mm"
            np.testing.assert_allclose(image.affine @ [11.5, 11.5, 11.5, 1], [0, 0, 0, 1], atol=1e-4)
            assert image.get_fdata().min() >= 0 and image.get_fdata().max() <= 1
            for source in item["masks"].values():
                mask = nib.load(source["file"])
                assert mask.get_data_dtype() == np.uint8
                assert set(np.unique(np.asarray(mask.dataobj))) == {0, 1}  # annotated means there is something
                np.testing.assert_array_equal(mask.affine, image.affine)


def test_files_hold_the_scans_drawn(made: tuple[Path, Datalist]) -> None:
    folder, _ = made
    image, masks = draw_scan(24, 8.0, 5, "test", 0, 0)
    np.testing.assert_array_equal(nib.load(folder / "images/test_000.nii.gz").dataobj, image)
    for region in REGIONS:
        np.testing.assert_array_equal(nib.load(folder / f"masks/{region}/test_000.nii.gz").dataobj, masks[region])


def test_the_same_seed_gives_the_same_arrays_whatever_the_number_of_scans(
    made: tuple[Path, Datalist], tmp_path: Path
) -> None:
    folder, datalist = made
    assert make_phantom(tmp_path / "again", 7, 3, 3, 24, 5) == datalist
    make_phantom(tmp_path / "fewer", 2, 0, 2, 24, 5)
    make_phantom(tmp_path / "other", 2, 0, 2, 24, 6)
    first, again, fewer, other = (
        arrays(path) for path in (folder, *(tmp_path / n for n in ("again", "fewer", "other")))
    )
    assert first.keys() == again.keys()
    for name, array in again.items():
        np.testing.assert_array_equal(array, first[name])
    shared = [name for name in fewer if name.startswith("images/") or "test" in name]
    assert len(shared) == 4 + 2 * len(REGIONS)
    for name in shared:
        np.testing.assert_array_equal(fewer[name], first[name])
        assert (other[name] != first[name]).any()


def test_scans_differ_from_each_other(made: tuple[Path, Datalist]) -> None:
    images = [array for name, array in arrays(made[0]).items() if name.startswith("images/")]
    assert len(images) == 13
    for index, image in enumerate(images):
        assert all(np.abs(image - other).mean() > 0.005 for other in images[index + 1 :])


def test_a_mother_has_1_to_3_scans_and_stands_in_one_split() -> None:
    numbers = []
    for seed in range(3):
        places = make._small_places({"training": 200, "validation": 0, "test": 0}, None, seed)["training"]
        assert len(places) == 200
        mothers = Counter(mother for mother, _ in places)
        numbers += list(mothers.values())
    assert set(numbers) == {1, 2, 3}


def test_no_mother_in_two_splits(made: tuple[Path, Datalist]) -> None:
    subjects = [{scan.subject for scan in made[1].scans(split)} for split in SPLITS]
    assert not subjects[0] & subjects[1] and not subjects[0] & subjects[2] and not subjects[1] & subjects[2]
    uteri = [draw_scan(24, 8.0, 5, split, 0, 0)[1]["uterus"] for split in SPLITS]  # nor under another name
    assert all((a != b).any() for a, b in [(uteri[0], uteri[1]), (uteri[0], uteri[2]), (uteri[1], uteri[2])])


def test_a_mother_keeps_uterus_and_placenta_and_the_fetus_moves() -> None:
    (_, first), (_, second) = (draw_scan(24, 8.0, 0, "training", 4, scan) for scan in (0, 1))
    for region in ("uterus", "placenta"):
        np.testing.assert_array_equal(first[region], second[region])
    for region in ("body", "brain", "eyes"):
        assert (first[region] != second[region]).any()


@pytest.mark.parametrize(
    "arguments", [{"training": -1}, {"test": 2.5}, {"size": 23}, {"size": "large"}, {"seed": -1}, {"validation": True}]
)
def test_numbers_that_make_no_sense(tmp_path: Path, arguments: dict) -> None:
    (name,) = arguments
    with pytest.raises(UserError, match=f"^{name} .*whole number"):
        make_phantom(tmp_path / "phantom", **arguments)
    assert not list(tmp_path.iterdir())


def test_output_that_is_taken_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "scan.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("taken", "file"):
        with pytest.raises(UserError, match="not an empty folder"):
            make_phantom(tmp_path / name, 1, 0, 0, 24)
    with pytest.raises(UserError, match="phantom: cannot be written"):
        make_phantom(tmp_path / "file" / "phantom", 1, 0, 0, 24)
    assert {p.name for p in tmp_path.rglob("*")} == {"taken", "scan.txt", "file"}
    assert (tmp_path / "taken" / "scan.txt").read_text() == (tmp_path / "file").read_text() == "mine"


def test_an_empty_folder_and_a_relative_path_are_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    make_phantom("empty", 1, 0, 0, 24)
    assert (tmp_path / "empty" / "datalist.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_nothing_is_left_of_an_interrupted_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(make, "write_datalist", full)
    with pytest.raises(UserError, match="No space left on device"):
        make_phantom(tmp_path / "phantom", 1, 0, 0, 24)
    monkeypatch.setattr(make, "write_datalist", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_phantom(tmp_path / "phantom", 1, 0, 0, 24)
    assert not list(tmp_path.iterdir())


def test_command_prints_where_and_the_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = str(tmp_path / "phantom")
    phantom(output, training=4, validation=2, test=1, size=24)
    where, header, *rows = capsys.readouterr().out.splitlines()
    assert output in where
    assert header.split() == ["annotated", "scans", "scans", *REGIONS, "mothers"]
    assert [row.split() for row in rows] == [
        ["training", "4", "1", "1", "2", "2", "2", "2"],
        ["validation", "2", "2", "2", "2", "2", "2", "1"],
        ["test", "1", "1", "1", "1", "1", "1", "1"],
        ["next:", "conemos", "check", f"{output}/datalist.json"],
    ]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Datalist]:
    folder = tmp_path_factory.mktemp("full") / "phantom"
    arguments = {"training": 2, "validation": 0, "test": 1, "size": 64, "seed": 5}
    return folder, make_phantom(folder, **arguments, fidelity="full", mothers=2, complete_test=True)


def test_full_fidelity_writes_what_it_draws(full: tuple[Path, Datalist]) -> None:
    folder, datalist = full
    assert [len(datalist.scans(split)) for split in SPLITS] == [2, 0, 1]
    assert len({scan.subject for split in SPLITS for scan in datalist.scans(split)}) == 2
    assert "not real data" in datalist.description.lower()
    for scan in datalist.training[1:] + datalist.test:
        image = nib.load(folder / scan.image)
        mother, number = map(int, Path(scan.image).name.removesuffix(".nii.gz").split("_")[1:])
        split = scan.image.split("/")[1].split("_")[0]
        assert scan.subject == f"{split}_mother_{mother:03d}"
        drawn, masks = draw_scan_at_full_fidelity(64, 5, split, mother, number)
        np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), drawn)
        assert image.header.get_zooms() == (6.0, 6.0, 6.0) and nib.aff2axcodes(image.affine) == ("R", "A", "S")
        np.testing.assert_allclose(image.affine @ [31.5, 31.5, 31.5, 1], [0, 0, 0, 1], atol=1e-4)
        for region in scan.masks:
            np.testing.assert_array_equal(nib.load(folder / scan.source(region).file).dataobj, masks[region])
    assert all(list(scan.masks) == list(REGIONS) for scan in datalist.test)  # complete_test
    assert any(list(scan.masks) != list(REGIONS) for scan in datalist.training)


def test_full_fidelity_scans_do_not_depend_on_their_number(full: tuple[Path, Datalist], tmp_path: Path) -> None:
    make_phantom(tmp_path / "fewer", 1, 0, 1, 64, 5, "full")
    first, fewer = arrays(full[0]), arrays(tmp_path / "fewer")
    assert {name for name in fewer if name.startswith("images/")} == {
        "images/training_000_0.nii.gz",
        "images/test_000_0.nii.gz",
    }
    for name in fewer.keys() & first.keys():
        np.testing.assert_array_equal(fewer[name], first[name])


def test_full_fidelity_follows_table_1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def nothing(size: int, *_: object) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return np.zeros((2, 2, 2), np.float32), {region: np.ones((2, 2, 2), bool) for region in REGIONS}

    monkeypatch.setattr("conemos_bundle.phantom.scan.draw_scan_at_full_fidelity", nothing)
    datalist = make_phantom(tmp_path / "phantom", fidelity="full")
    table = [[len(s := datalist.scans(split)), *(sum(r in x.masks for x in s) for r in REGIONS)] for split in SPLITS]
    assert table == [[174, 12, 12, 76, 69, 106], [42, 3, 3, 18, 16, 26], [73, 5, 5, 32, 29, 44]]
    for complete, expected in [(False, [1, 1, 4, 4, 6]), (True, [10] * 5)]:
        tests = make_phantom(tmp_path / f"{complete}", 0, 0, 10, fidelity="full", complete_test=complete).test
        assert [sum(region in scan.masks for scan in tests) for region in REGIONS] == expected
    mothers = [{scan.subject for scan in datalist.scans(split)} for split in SPLITS]
    assert len(set.union(*mothers)) == sum(map(len, mothers)) == 91


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fidelity": "high"}, "fidelity 'high': use one of small, full"),
        ({"fidelity": "full", "size": 63}, "size 63: give a whole number, 64"),
        ({"fidelity": "full", "mothers": 2}, "mothers 2: give a whole number, 3 to 289"),
        ({"fidelity": "full", "mothers": 290}, "mothers 290: give a whole number, 3 to 289"),
        ({"fidelity": "full", "mothers": 4.5}, "mothers 4.5: give a whole number"),
        ({"mothers": 4}, "mothers 4: only with --fidelity full"),
    ],
)
def test_full_fidelity_settings_that_make_no_sense(tmp_path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_phantom(tmp_path / "phantom", **arguments)
    assert not list(tmp_path.iterdir())


def test_workers_draw_the_same_scans(made: tuple[Path, Datalist], tmp_path: Path) -> None:
    folder, datalist = made
    assert make_phantom(tmp_path / "p", training=7, validation=3, test=3, size=24, seed=5, workers=2) == datalist
    ours, theirs = arrays(tmp_path / "p"), arrays(folder)
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array)


def test_processes_that_draw_start_without_torch() -> None:
    code = "import sys, conemos_bundle.phantom.scan; sys.exit('torch' in sys.modules or 'monai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_working_folder_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="you are in this folder, which a new one replaces"):
        make_phantom(".", 1, 0, 0, size=24)
    assert Path.cwd().samefile(tmp_path) and not list(tmp_path.iterdir())
