"""Trainings, batches and scorings: which are started, and how they run and end."""

from __future__ import annotations

import json
import os
import sys
import textwrap
import threading
import time
import types
from pathlib import Path
from typing import Any

import pytest
from conemos_bundle.hosts.label import jobs as jobs_module
from conemos_bundle.hosts.label.jobs import SERVER, Jobs, in_job, in_server


class Store:
    """``monailabel.utils.async_tasks.utils``."""

    def __init__(self) -> None:
        self.all = dict[str, list[dict[str, Any]]]()
        self.background_processes: dict[str, dict[str, Any]] = {"train": {}}

    def tasks(self, method: str) -> list[dict[str, Any]]:
        found = list(self.all.get(method, []))
        time.sleep(0.02)  # others ask meanwhile
        return found


@pytest.fixture
def jobs(label: types.SimpleNamespace) -> Any:
    started = list[Any]()

    def run(method: str, request: Any, params: Any, force_sync: bool, enqueue: bool) -> tuple[str, None]:
        started.append((method, request, force_sync))
        store.all.setdefault(method, []).append({"status": "SUBMITTED", "start_ts": "now"})
        return "task", None

    store = Store()
    app = types.SimpleNamespace(_trainers={"tiny": 0}, _infers={"tiny": 0}, _scoring_methods={"region_confidence": 0})
    made = Jobs(run, store, lambda: app, 0.2)
    made.started = started  # type: ignore[attr-defined]
    return made


def refused(label: Any, start: Any) -> tuple[int, str]:
    with pytest.raises(label.HTTPException) as error:
        start()
    assert "\n" not in error.value.detail
    return error.value.status_code, error.value.detail


def test_a_job_gets_the_options_that_are_known(jobs: Any) -> None:
    params = {"max_epochs": 3, "bundle_path": "/tmp", "client_id": "x"}
    assert jobs.start("train", {"model": "tiny"}, params, enqueue=True) == ("task", None)
    assert jobs.started == [("train", {"model": "tiny", "max_epochs": 3}, False)]


def test_one_of_a_kind_at_a_time(jobs: Any, label: Any) -> None:
    statuses = []

    def start() -> None:
        try:
            statuses.append(jobs.start("train", {"model": "tiny"})[0])
        except label.HTTPException as error:
            statuses.append(error.status_code)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, statuses)) == [*["409"] * 7, "task"] and len(jobs.started) == 1
    jobs.start("batch_infer", {"model": "tiny"})
    jobs.store.all["train"][-1]["status"] = "STOPPED"
    jobs.start("train", {"model": "tiny"})


def test_what_is_refused(jobs: Any, label: Any) -> None:
    for wrong, status in (
        ({"method": "train", "request": {"model": "none"}}, 404),
        ({"method": "scoring", "request": {"method": "dice"}}, 404),
        ({"method": "train", "request": {"model": "tiny"}, "params": {"gpus": {}}}, 400),
        ({"method": "train", "request": {"model": "tiny"}, "force_sync": True}, 400),
        ({"method": "batch_infer", "request": {"model": "tiny"}, "params": {"regions": "x" * 10**6}}, 413),
    ):
        assert refused(label, lambda wrong=wrong: jobs.start(**wrong))[0] == status
    assert jobs.started == []


class Monailabel:
    """A folder with a ``monailabel`` whose job does what the test says."""

    def __init__(self, folder: Path, code: str) -> None:
        package = folder / "monailabel" / "interfaces" / "utils"
        package.mkdir(parents=True)
        (package / "app.py").write_text(textwrap.dedent(code))
        self.path = os.pathsep.join((str(folder), *sys.path))


def task(**request: Any) -> dict[str, Any]:
    return {"id": "1", "status": "SUBMITTED", "request": {"model": "tiny", **request}}


def test_a_job_shows_all_its_lines_and_how_it_ended(jobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
        import os, sys
        server, gpus = os.environ["CONEMOS_LABEL_SERVER"], os.environ["CUDA_VISIBLE_DEVICES"]
        assert server == str(os.getppid()) and gpus == "3"
        assert f" {server} " in os.environ["CONEMOS_ENDS_WITH"]  # it ends with the server, see `processes`
        for k in range(30):
            print(k)
        print("error: nothing is annotated", file=sys.stderr)
        sys.exit("failing" in sys.argv[4])
    """
    monkeypatch.setenv("PYTHONPATH", Monailabel(tmp_path, code).path)
    for model, status in (("failing", "ERROR"), ("good", "DONE")):
        told = task(gpus="3", model=model)
        jobs.work(told, "train")
        assert told["status"] == status and len(told["details"]) == 20 and "end_ts" in told
        assert list(told["details"])[-2:] == ["29", "error: nothing is annotated"]
        assert told["request"]["gpus"] == "3"
    assert jobs.store.background_processes == {"train": {}}


def test_a_job_that_cannot_be_run_has_ended(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module.sys, "executable", "/no/python")
    told = task()
    jobs.work(told, "train")
    assert told["status"] == "ERROR" and "error: " in told["details"][-1]


def test_between_trainings_there_is_a_pause(jobs: Any, label: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module.sys, "executable", "/no/python")
    jobs.work(task(), "train")
    assert refused(label, lambda: jobs.start("train", {"model": "tiny"}))[0] == 429
    jobs.start("batch_infer", {"model": "tiny"})
    time.sleep(0.2)
    jobs.start("train", {"model": "tiny"})


def test_jobs_end_when_the_server_stops(jobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", Monailabel(tmp_path, "import time; time.sleep(100)").path)
    told = task()
    thread = threading.Thread(target=jobs.work, args=(told, "train"))
    thread.start()
    while not jobs.store.background_processes["train"]:
        time.sleep(0.01)
    jobs.stop_all()
    thread.join(10)
    assert told["status"] == "ERROR" and not thread.is_alive()


def test_which_process_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SERVER, raising=False)
    assert not in_server() and not in_job()
    monkeypatch.setenv(SERVER, str(os.getpid()))
    assert in_server() and not in_job()
    monkeypatch.setenv(SERVER, "1")
    assert in_job() and not in_server()


def test_requests_are_json_on_the_command_line(jobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", Monailabel(tmp_path, "import sys; print(sys.argv[4])").path)
    told = task(regions="Ünal; $(touch x)")
    jobs.work(told, "train")
    assert json.loads(told["details"][-1]) == {"model": "tiny", "regions": "Ünal; $(touch x)", "gpus": "all"}
