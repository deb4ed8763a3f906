"""FLARE's job as a folder, and its simulator: all sites of a federation on this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from conemos_bundle.errors import UserError
from conemos_bundle.files import one_writer
from conemos_bundle.hosts.federated.job import Job
from conemos_bundle.hosts.federated.places import VARIABLE
from conemos_bundle.utils.processes import commands_end_with_us

_PACKAGE = "conemos_bundle.hosts.federated"
ALLOWED = [f"{_PACKAGE}.flare.Coordinator", f"{_PACKAGE}.flare.SiteExecutor"]
RESTRICTED = {"class_allow_list": ALLOWED, "class_list_enforcement_mode": "enforce", "allow_log_streaming": False}
_SAID = re.compile(r"^conemos: (error: )?(.+)")  # see `flare`


def write_flare_job(job: Job, folder: Path) -> None:
    """Write a job as FLARE's ``submit_job`` takes it: configuration alone, no code, no path.

    Args:
        job: without a plan.
        folder: a new one, named as the job shall be.
    """
    config = folder / "app" / "config"
    config.mkdir(parents=True)
    server = {"format_version": 2, "workflows": [{"id": "coordinator", "path": ALLOWED[0], "args": {}}]}
    client = {"format_version": 2, "executors": [{"tasks": ["*"], "executor": {"path": ALLOWED[1], "args": {}}}]}
    meta = {
        "name": folder.name, "deploy_map": {"app": ["@ALL"]}, "min_clients": len(job.sites),
        "mandatory_clients": list(job.sites), "resource_spec": {},
    }  # fmt: skip
    _write(folder / "meta.json", meta)
    _write(config / "config_fed_server.json", server)
    _write(config / "config_fed_client.json", client)
    _write(config / "federation.json", job.model_dump(exclude={"plan"}))


def _write(file: Path, content: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")


def simulate(job: Job, datalists: Sequence[str | Path], output: Path, at_once: int | None = None) -> None:
    """Train a job in FLARE's simulator, one process a site.

    Args:
        job: without a plan; its sites in the order of the datalists.
        datalists: of the sites.
        output: folder of the run, of the sites' logs (``sites/``) and, until it is done, of FLARE's (``simulation/``).
        at_once: sites that train at once; default: all.

    Raises:
        UserError: another process writes there, what the server or a site says, or FLARE ended too early.
    """
    output = output.expanduser().absolute()
    with one_writer(output):
        work = output / "simulation"
        shutil.rmtree(work, ignore_errors=True)
        write_flare_job(job, work / "federated")
        places = {"server": {"output": str(output)}}
        for site, datalist in zip(job.sites, datalists, strict=True):
            own = {"datalist": str(Path(datalist).expanduser().absolute()), "output": str(output / "sites" / site)}
            places[site] = own
        _write(work / "places.json", places)
        _write(work / "flare" / "local" / "resources.json", {"format_version": 2, **RESTRICTED})
        before = _written(output / "model.pt")
        command = [sys.executable, "-m", "nvflare.private.fed.app.simulator.simulator", str(work / "federated")]
        command += ["-w", str(work / "flare"), "-c", ",".join(job.sites), "-t", str(at_once or len(job.sites))]
        environment = {**os.environ, VARIABLE: str(work / "places.json"), **commands_end_with_us()}
        error = _follow([*command, "-l", "full"], environment, work)
        if error or _written(output / "model.pt") == before:  # whatever the exit code: the simulator's may be 0
            raise UserError(error or f"FLARE's simulator ended without a model; {work / 'log.txt'} says more")
        shutil.rmtree(work, ignore_errors=True)


def _written(file: Path) -> int:
    return file.stat().st_mtime_ns if file.is_file() else 0


def _follow(command: list[str], environment: Mapping[str, str], work: Path) -> str:
    """Run the simulator, its output into a file, what our parts say onto the screen; returns their first error."""
    error = ""
    process = subprocess.Popen(  # noqa: S603 (a list, never a shell)
        command, env=dict(environment), cwd=work, text=True, errors="replace", stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        with (work / "log.txt").open("w", encoding="utf-8") as log:
            for line in process.stdout:
                log.write(line)
                said = _SAID.match(line)
                if said and not said[1]:
                    print(said[2], flush=True)
                elif said and not error:
                    error = said[2]
        process.wait()
    finally:
        if process.poll() is None:
            process.kill()
    return error
