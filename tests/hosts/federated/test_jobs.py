"""Jobs as folders, startup kits, and the simulator's process, with a stand-in for it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from conemos_bundle.errors import UsageError, UserError
from conemos_bundle.hosts.federated import simulate as module
from conemos_bundle.hosts.federated.job import make_job, read_job
from conemos_bundle.hosts.federated.kits import restrict_kit
from conemos_bundle.hosts.federated.simulate import ALLOWED, simulate, write_flare_job

from tests.machine_paths import machine_paths


def test_a_job_is_configuration_without_code_or_paths(tmp_path: Path) -> None:
    job = make_job(["liver", "spleen"], ["a", "b"], 3, 10, "psl_loss", {"spacing": [1, 1, 2]})
    write_flare_job(job, tmp_path / "liver")
    files = {file.relative_to(tmp_path / "liver").as_posix(): file for file in (tmp_path / "liver").rglob("*.*")}
    assert {file.suffix for file in files.values()} == {".json"}
    meta = json.loads(files["meta.json"].read_text())
    assert (meta["name"], meta["min_clients"], meta["mandatory_clients"]) == ("liver", 2, ["a", "b"])
    assert read_job(files["app/config/federation.json"].read_text()) == job
    loaded = [json.loads(files[f"app/config/config_fed_{part}.json"].read_text()) for part in ("server", "client")]
    assert [loaded[0]["workflows"][0]["path"], loaded[1]["executors"][0]["executor"]["path"]] == ALLOWED
    assert not any(machine_paths(file) for file in files.values())


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"sites": ["a", "a"]}, "'sites' names a site twice"),
        ({"sites": ["server"]}, "site 'server': use letters"),
        ({"sites": ["../a"]}, "site '../a': use letters"),
        ({"regions": ["Liver", "liver"]}, "differ by case alone"),
        ({"rounds": 0}, "rounds: "),
        ({"method": "psl_los"}, "--method 'psl_los': use one of psl_loss,.*did you mean psl_loss"),
        ({"settings": {"learning_rat": 1}}, "--learning_rat: no such option .*did you mean --learning_rate"),
        ({"settings": {"cache_dir": "x"}}, "--cache_dir: no such option"),
        ({"settings": {"spacing": [1, 2]}}, r"spacing: give three numbers above 0, such as \[1,1,2\]"),
        ({"settings": {"patch_size": 24}}, "patch_size: give three numbers"),
        ({"settings": {"channels": 8}}, "channels: give the features of each level"),
        ({"settings": {"learning_rate": "$1"}}, "settings.learning_rate"),
    ],
)
def test_what_no_job_may_say(change: dict[str, Any], line: str) -> None:
    good: dict[str, Any] = {"regions": ["liver"], "sites": ["a"], "rounds": 1, "local_steps": 1}
    make_job(**good)
    with pytest.raises(UsageError, match=line):
        make_job(**{**good, **change})


def test_a_kit_loads_this_job_alone_and_sends_no_logs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no startup kit"):
        restrict_kit(tmp_path)
    default: dict[str, Any] = {
        "format_version": 2, "class_allow_list": ["*"], "allow_log_streaming": True,
        "components": [{"id": "a", "path": "b.Launcher"}, {"id": "c", "path": "nvflare.x.SiteLogStreamer"}],
    }  # fmt: skip
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "resources.json.default").write_text(json.dumps(default))
    written = json.loads(restrict_kit(tmp_path).read_text())
    assert written["class_allow_list"] == ALLOWED and written["allow_log_streaming"] is False
    assert written["components"] == default["components"][:1] and written["format_version"] == 2


def simulator(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """A stand-in for FLARE's simulator: a process that runs this code in the folder of its work."""
    follow = module._follow
    monkeypatch.setattr(module, "_follow", lambda _, env, work: follow([sys.executable, "-c", code], env, work))


SAYS = "print('2026 - noise'); print('conemos: round 1/1: Dice 0.5');"


def test_a_simulation_says_what_our_parts_say_and_cleans_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    job = make_job(["liver"], ["site-1", "site-2"], 1, 1)
    look = "import json, os; p = json.load(open(os.environ['CONEMOS_FEDERATED'])); print('conemos:', sorted(p));"
    simulator(monkeypatch, SAYS + look + "open('../model.pt', 'w')")
    simulate(job, ["a.json", "b.json"], tmp_path / "run")
    assert capfd.readouterr().out == "round 1/1: Dice 0.5\n['server', 'site-1', 'site-2']\n"
    assert {file.name for file in (tmp_path / "run").iterdir()} == {"model.pt", ".lock"}  # no paths of the sites


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (SAYS, "ended without a model; .*log.txt says more"),  # with exit code 0, as FLARE's
        (SAYS + "open('../model.pt', 'w'); print('conemos: error: site-2: no such file')", "^site-2: no such file$"),
    ],
)
def test_a_simulation_that_fails_is_told(code: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulator(monkeypatch, code)
    with pytest.raises(UserError, match=line):
        simulate(make_job(["liver"], ["site-1"], 1, 1), ["a.json"], tmp_path / "run")
    assert "noise" in (tmp_path / "run" / "simulation" / "log.txt").read_text()
