"""Where a report's numbers come from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from conemos_bundle.paper.collect import find_runs, per_scan_rows
from conemos_bundle.paper.provenance import provenance


def test_settings_in_which_runs_differ_are_told(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    def head() -> dict[str, str]:
        runs = find_runs(tmp_path)
        return provenance(runs, per_scan_rows(runs), ["uterus"])

    write_run(tmp_path / "ours", {"uterus": [0.9]}, learning_rate=0.001, cross_entropy=1.0)
    other = write_run(tmp_path / "unet", {"uterus": [0.8]}, method="PSL loss", learning_rate=0.001)
    assert "Settings that differ" not in head()  # what one of them does not tell is no difference
    record = json.loads((other / "run.json").read_text())
    record["settings"]["learning_rate"] = 0.1
    record["plan"]["patch_size"] = [8, 8, 8]
    (other / "run.json").write_text(json.dumps(record))
    assert head()["Settings that differ"] == (
        "patch (voxels): 16 x 16 x 8 (CoNeMOS), 8 x 8 x 8 (PSL loss); learning rate: 0.001 (CoNeMOS), 0.1 (PSL loss)"
    )
