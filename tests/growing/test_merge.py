"""Region files and a model become one model; regions are removed and renamed; what does not fit is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conemos_bundle.errors import UserError
from conemos_bundle.growing import merge_regions
from conemos_bundle.growing.model import read_growing
from conemos_bundle.growing.region_file import RegionFile, read_region, write_region
from conemos_bundle.networks import FiLMUNet
from conemos_bundle.predictor import Predictor
from conemos_bundle.runs.run import read_record
from conemos_bundle.runs.weights import load_weights


@pytest.fixture
def stone(grown: Path, tmp_path: Path) -> Path:
    """Another region for the same model: as the one that was taught, with other γ and β."""
    file = read_region(grown / "kernel.region.pt")
    own = {name: tensor + 0.1 for name, tensor in file.own.items()}
    write_region(RegionFile("stone", file.base, own), tmp_path / "stone.region.pt")
    return tmp_path / "stone.region.pt"


def masks(model: Path, scan: Path, *regions: str) -> np.ndarray:
    found = Predictor.load(model, device="cpu")(scan, regions=list(regions), probabilities=True)
    assert found.probabilities is not None
    return found.probabilities


def test_the_order_of_regions_does_not_matter(
    grown: Path, run: Path, stone: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    scan, kernel = tiny_dataset / "images" / "test_0.nii.gz", grown / "kernel.region.pt"
    one = merge_regions(run, [kernel, stone], tmp_path / "one")
    other = merge_regions(run, [stone, kernel], tmp_path / "other")
    later = merge_regions(grown, [stone], tmp_path / "later")
    assert read_record(one / "model.pt").regions == ["outer", "inner core", "kernel", "stone"]
    assert read_record(other / "model.pt").regions == ["outer", "inner core", "stone", "kernel"]
    expected = np.concatenate([masks(run, scan, "outer", "inner core"), masks(grown, scan, "kernel")])
    for model in (one, other, later):
        assert np.array_equal(masks(model, scan, "outer", "inner core", "kernel"), expected)
        assert np.array_equal(masks(model, scan, "stone"), masks(one, scan, "stone"))
    weights, again = load_weights(one / "model.pt"), load_weights(later / "model.pt")
    assert weights.keys() == again.keys() and all(torch.equal(weights[name], again[name]) for name in weights)


def test_regions_are_removed_and_renamed(grown: Path, run: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    scan = tiny_dataset / "images" / "test_0.nii.gz"
    fewer = merge_regions(grown, [], tmp_path / "fewer", remove=["outer"], rename={"kernel": "nucleus"})
    assert read_record(fewer / "model.pt").regions == ["inner core", "nucleus"]
    assert np.array_equal(masks(fewer, scan, "inner core"), masks(run, scan, "inner core"))
    assert np.array_equal(masks(fewer, scan, "nucleus"), masks(grown, scan, "kernel"))
    back = merge_regions(grown, [], tmp_path / "back", remove=["kernel"])
    before, after = load_weights(run / "model.pt"), load_weights(back / "model.pt")
    assert isinstance(read_growing(back).network, FiLMUNet)
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_a_file_fits_also_where_an_old_region_was_removed(grown: Path, run: Path, tmp_path: Path) -> None:
    fewer = merge_regions(run, [], tmp_path / "fewer", remove=["outer"])
    merged = merge_regions(fewer, [grown / "kernel.region.pt"], tmp_path / "merged")
    assert read_record(merged / "model.pt").regions == ["inner core", "kernel"]


def test_a_file_of_another_model_is_refused_in_one_line(grown: Path, run: Path, tmp_path: Path) -> None:
    model = read_growing(run)
    weights = load_weights(run / "model.pt")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run.json").write_bytes((run / "run.json").read_bytes())
    name = "backbone.final.weight"
    torch.save({**weights, name: weights[name] + 1}, tmp_path / "other" / "model.pt")
    with pytest.raises(UserError, match=f"kernel was taught to another model .network {model.hash[:8]}…") as error:
        merge_regions(tmp_path / "other", [grown / "kernel.region.pt"], tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_what_is_no_region_file(run: Path, tmp_path: Path) -> None:
    hash_of = read_growing(run).hash
    (tmp_path / "text.region.pt").write_text("not a file of torch")
    for name, content in {
        "list": [1],
        "version": {"version": 2, "region": "a", "base": hash_of, "own": {}},
        "name": {"version": 1, "region": "../a", "base": hash_of, "own": {}},
        "nan": {"version": 1, "region": "a", "base": hash_of, "own": {"x": torch.tensor([torch.nan])}},
        "lacks": {"version": 1, "region": "a", "base": hash_of},
    }.items():
        torch.save(content, tmp_path / f"{name}.region.pt")
    for file in sorted(tmp_path.glob("*.region.pt")):
        with pytest.raises(UserError, match="is no .region.pt file"):
            merge_regions(run, [file], tmp_path / "out")
    shapes = {"version": 1, "region": "a", "base": hash_of, "own": {"final.weight": torch.zeros(7)}}
    torch.save(shapes, tmp_path / "shapes.region.pt")
    with pytest.raises(UserError, match="its weights do not fit the network"):
        merge_regions(run, [tmp_path / "shapes.region.pt"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_merged(grown: Path, run: Path, tmp_path: Path) -> None:
    kernel = grown / "kernel.region.pt"
    out = tmp_path / "out"
    with pytest.raises(UserError, match="the model knows kernel already"):
        merge_regions(grown, [kernel], out)
    with pytest.raises(UserError, match="'liver': no region of the model; it has outer, inner core, kernel"):
        merge_regions(run, [kernel], out, remove=["liver"])
    with pytest.raises(UserError, match="one has to stay"):
        merge_regions(grown, [], out, remove=["outer", "inner core"])
    with pytest.raises(UserError, match="--rename: the regions names the region 'outer' twice"):
        merge_regions(grown, [], out, rename={"kernel": "outer"})
    with pytest.raises(UserError, match="--rename: region name '../a'"):
        merge_regions(grown, [], out, rename={"kernel": "../a"})
    assert not out.exists()
    with pytest.raises(UserError, match="exists; pass another --output"):
        merge_regions(run, [kernel], grown)
