"""Region files and a model become one model; regions are removed and renamed; what does not fit is refused."""

from __future__ import annotations

import json
import shutil
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
from conemos_bundle.runs.record import Taught
from conemos_bundle.runs.run import read_record
from conemos_bundle.runs.weights import load_tensors, load_weights


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
    assert json.loads((one / "subjects.json").read_text())["complete"] is False  # a region's file does not say
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
    assert read_record(fewer / "model.pt").added == {"nucleus": read_record(grown / "model.pt").added["kernel"]}
    back = merge_regions(grown, [], tmp_path / "back", remove=["kernel"])
    before, after = load_weights(run / "model.pt"), load_weights(back / "model.pt")
    assert isinstance(read_growing(back).network, FiLMUNet) and read_record(back / "model.pt").added == {}
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_a_file_tells_with_what_it_was_taught_and_early_ones_do_not(grown: Path, run: Path, tmp_path: Path) -> None:
    content = load_tensors(grown / "kernel.region.pt")
    assert content.pop("taught")["license"] == "CC BY-NC 4.0"
    torch.save(content, tmp_path / "early.region.pt")
    told = merge_regions(run, [grown / "kernel.region.pt"], tmp_path / "told")
    early = merge_regions(run, [tmp_path / "early.region.pt"], tmp_path / "early")
    assert read_record(told / "model.pt").added == read_record(grown / "model.pt").added
    assert read_record(early / "model.pt").added == {"kernel": Taught()}


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
        "evaluated": {"version": 1, "region": "a", "base": hash_of, "own": {}, "taught": {"license": "$print()"}},
    }.items():
        torch.save(content, tmp_path / f"{name}.region.pt")
    for file in sorted(tmp_path.glob("*.region.pt")):
        with pytest.raises(UserError, match="is no .region.pt file"):
            merge_regions(run, [file], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["shape", "empty", "half", "unknown", "product", "wide", "integers"])
def test_weights_that_fit_no_network_are_refused(kind: str, grown: Path, run: Path, tmp_path: Path) -> None:
    file = read_region(grown / "kernel.region.pt")
    own = dict(file.own)
    up = next(name for name in own if name.endswith(".up"))
    bias = next(name for name in own if name.endswith("bias"))
    changed: dict[str, dict[str, torch.Tensor]] = {
        "shape": {**own, bias: torch.zeros(7)},
        "empty": {},
        "half": {name: tensor for name, tensor in own.items() if name != up.replace(".up", ".down")},
        "unknown": {**own, "encoder.levels.9.weight": torch.zeros(1)},
        "product": {**own, up: own[up] * 0 + 1e30, up.replace(".up", ".down"): own[up.replace(".up", ".down")] + 1e30},
        "wide": {**own, bias: own[bias].double() + 1e300},
        "integers": {**own, up: own[up].long()},
    }
    write_region(RegionFile("kernel", file.base, changed[kind]), tmp_path / "bad.region.pt")
    with pytest.raises(UserError, match="bad.region.pt: its weights do not fit the network") as error:
        merge_regions(run, [tmp_path / "bad.region.pt"], tmp_path / "out")
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_a_region_takes_the_name_of_one_that_is_removed(grown: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    scan = tiny_dataset / "images" / "test_0.nii.gz"
    other = merge_regions(grown, [], tmp_path / "other", remove=["outer"], rename={"kernel": "outer"})
    assert read_record(other / "model.pt").regions == ["inner core", "outer"]
    assert np.array_equal(masks(other, scan, "outer"), masks(grown, scan, "kernel"))
    assert (other / "subjects.json").read_bytes() == (grown / "subjects.json").read_bytes()


def test_what_lies_inside_a_removed_region_lies_inside_the_next(grown: Path, tmp_path: Path) -> None:
    shutil.copytree(grown, tmp_path / "nested")
    told = json.loads((grown / "run.json").read_text())
    told["inside"] = {"kernel": "inner core", "inner core": "outer"}
    (tmp_path / "nested" / "run.json").write_text(json.dumps(told))

    def inside(*removed: str, **rename: str) -> dict[str, str]:
        out = tmp_path / "_".join(["out", *removed])
        merge_regions(tmp_path / "nested", [], out, remove=removed, rename=rename)
        return dict(read_record(out / "model.pt").inside)

    assert inside("inner core") == {"kernel": "outer"}
    assert inside("outer", kernel="outer") == {"outer": "inner core"}
    assert inside("kernel") == {"inner core": "outer"}


def test_more_regions_than_a_model_takes(grown: Path, run: Path, monkeypatch: pytest.MonkeyPatch, stone: Path) -> None:
    monkeypatch.setattr("conemos_bundle.growing.merge.MOST_ADDED", 1)
    with pytest.raises(UserError, match="2 added regions are too many; a model takes 1"):
        merge_regions(grown, [stone], run.parent / "many")


def test_what_cannot_be_merged(grown: Path, run: Path, tmp_path: Path) -> None:
    kernel = grown / "kernel.region.pt"
    out = tmp_path / "out"
    with pytest.raises(UserError, match="the model knows kernel already"):
        merge_regions(grown, [kernel], out)
    with pytest.raises(UserError, match="'liver': no region of the model; it has outer, inner core, kernel"):
        merge_regions(run, [kernel], out, remove=["liver"])
    with pytest.raises(UserError, match="one has to stay"):
        merge_regions(grown, [], out, remove=["outer", "inner core"])
    with pytest.raises(UserError, match="--rename names the region 'outer' twice"):
        merge_regions(grown, [], out, rename={"kernel": "outer"})
    with pytest.raises(UserError, match="--rename: region name '../a'"):
        merge_regions(grown, [], out, rename={"kernel": "../a"})
    assert not out.exists()
    with pytest.raises(UserError, match="exists; pass another --output"):
        merge_regions(run, [kernel], grown)
