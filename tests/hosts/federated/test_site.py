"""What a site reads and refuses, counts and tells."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.federated.places import VARIABLE, place_of
from conemos_bundle.hosts.federated.site import count_masks, describe, read_site, take_weights
from conemos_bundle.networks import UNet

REGIONS = ["outer", "inner core"]


def test_a_site_tells_counts_and_spacings(site_datalists: dict[str, Path]) -> None:
    told = describe(site_datalists["site-1"], REGIONS)
    assert {name: value.tolist() for name, value in told.items()} == {
        "channels": 1, "spacing": [2.0, 2.0, 2.0], "extent": [40.0, 36.0, 32.0], "scans": [2, 1],
        "annotated": [[2, 0], [1, 0]],
    }  # fmt: skip


def test_regions_in_another_order_or_of_another_name(site_datalists: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"site-1.json: its regions are outer, inner core.*\(the order differs\)"):
        read_site(site_datalists["site-1"], REGIONS[::-1])
    with pytest.raises(UserError, match=r"\('femur' is in one of them alone\); write the same list into each"):
        read_site(site_datalists["site-1"], [*REGIONS, "femur"])


def test_a_site_without_masks_or_with_a_missing_file(site_datalists: dict[str, Path]) -> None:
    file = site_datalists["site-2"]
    content = json.loads(file.read_text())
    content["training"][0]["image"] = "nowhere.nii.gz"
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"nowhere.nii.gz: "):
        read_site(file, REGIONS)
    content["training"][0]["masks"] = {}
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match="no training scan has an annotated region; leave this site out"):
        read_site(file, REGIONS)


def test_masks_are_counted_by_region() -> None:
    masks = torch.zeros(3, dtype=torch.long)
    nothing, some = torch.full((4, 4, 4), torch.nan), torch.zeros(4, 4, 4)
    label = torch.stack([torch.stack([some, some]), torch.stack([some, nothing])])
    regions = torch.tensor([[2, 0], [2, -1]])
    engine: Any = SimpleNamespace(state=SimpleNamespace(output={"label": label}, batch={"regions": regions}))
    count_masks(engine, masks)
    count_masks(engine, masks)
    assert masks.tolist() == [2, 0, 4]
    engine.state.batch, engine.state.output = {}, {"label": torch.stack([torch.stack([nothing, some, some])])}
    count_masks(engine, masks)
    assert masks.tolist() == [2, 1, 5]


def test_weights_of_another_network_or_not_finite_are_refused() -> None:
    network = UNet(num_regions=2, channels=(2, 4))
    weights = {name: weight.numpy() for name, weight in network.state_dict().items()}
    first = next(iter(weights))
    for wrong in (
        {**weights, first: np.full_like(weights[first], np.nan)},
        {**weights, first: np.array(["a"])},
        {n: weights[n] for n in weights if n != first},
    ):
        with pytest.raises(UserError, match="do not fit this site's network"):
            take_weights(network, wrong)
    changed = {**weights, first: weights[first] + 1}
    take_weights(network, changed)
    assert np.array_equal(network.state_dict()[first].numpy(), changed[first])


def test_where_things_lie_is_the_sites_own_knowledge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(UserError, match="CONEMOS_FEDERATED is not set"):
        place_of("a")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "places.json"))
    entry = {"datalist": "d.json", "output": str(tmp_path / "new" / "a")}
    places = {"a": entry, "server": {"output": str(tmp_path / "run")}, "b": {"output": "x"}, "c": {"datalists": "x"}}
    (tmp_path / "places.json").write_text(json.dumps(places))
    assert place_of("a").datalist == "d.json" and (tmp_path / "new" / "a").is_dir()
    assert place_of("server").datalist is None
    for site, line in (("b", "b: 'datalist' is missing"), ("c", "c: give 'output' and"), ("d", "has no entry 'd'")):
        with pytest.raises(UserError, match=line):
            place_of(site)
    assert not (Path.cwd() / "x").exists()
