"""Trainings, batches and scorings: MONAI Label runs each in a process of its own; here one of a kind at a time.

What a training changes of its process (MONAI's ``set_track_meta``, random seeds, logging, ``sys.path``) is so never the
server's, or another training's. The process ends with the server, however that ends (`end_with_command`).
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from conemos_bundle.errors import UserError
from conemos_bundle.hosts.label.options import known_options
from conemos_bundle.hosts.label.requests import refuse
from conemos_bundle.utils.processes import NO_MODULES_OF_WORKING_DIRECTORY, commands_end_with_us

SERVER = "CONEMOS_LABEL_SERVER"  # the process that serves, in the environment of those that it starts
_LONGEST = 100_000  # bytes of a request: it goes on a command line
_LINES = 20  # of a job's output that clients are shown
_GOING_ON = ("SUBMITTED", "RUNNING")

logger = logging.getLogger(__name__)


class Jobs:
    """Stands in the place of two functions of ``monailabel.utils.async_tasks``.

    Args:
        run: ``AsyncTask.run``, which starts a job.
        store: ``monailabel.utils.async_tasks.utils``, which knows them all.
        app: gives the app: its models and scoring methods.
        pause: seconds from the end of a training to the next.
    """

    def __init__(self, run: Callable[..., Any], store: Any, app: Callable[[], Any], pause: float) -> None:
        self.run_theirs, self.store, self.app, self.pause = run, store, app, pause
        self.lock, self.ended = threading.Lock(), float("-inf")

    def start(
        self,
        method: str,
        request: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        force_sync: bool = False,
        enqueue: bool = False,
    ) -> Any:
        """Start a job, in the place of ``AsyncTask.run``.

        Raises:
            fastapi.HTTPException: 400 for options that cannot be, 404 for a model that there is not, 409 where a job
                of this kind goes on, and 429 where the last training has only just ended.
        """
        try:
            asked = known_options(method, {**(request or {}), **(params or {})})
        except UserError as error:
            refuse(error)
        if force_sync:
            refuse(
                UserError("run_sync: jobs run in a process of their own here; GET the same address says how one goes")
            )
        if len(json.dumps(asked)) > _LONGEST:
            refuse(UserError(f"this request is too long: more than {_LONGEST:,} letters"), 413)
        self._reject_unknown(method, asked)
        with self.lock:
            last = (self.store.tasks(method) or [{}])[-1]
            if last.get("status") in _GOING_ON:
                line = f"{method}: one goes on since {last.get('start_ts')}; wait for it, or stop it with DELETE"
                refuse(UserError(line), 409)
            left = self.ended + self.pause - time.monotonic()
            if method == "train" and left > 0:
                refuse(UserError(f"train: the last one has only just ended; try again in {left:.0f} seconds"), 429)
            return self.run_theirs(method, asked, None, False, True)

    def _reject_unknown(self, method: str, asked: Mapping[str, Any]) -> None:
        app, option = self.app(), "method" if method == "scoring" else "model"
        there = {"train": app._trainers, "scoring": app._scoring_methods}.get(method, app._infers)
        if asked.get(option) not in there:
            refuse(UserError(f"{option}: {asked.get(option)!r} is unknown; there is: {', '.join(there)}"), 404)

    def work(self, task: dict[str, Any], method: str, callback: Callable[[Any], Any] | None = None) -> None:
        """Run a job in a process of its own and wait for it, in the place of ``_task_func``.

        MONAI Label's misses the last lines of the output, where the error is, calls a job that could not be started
        *submitted* for ever, and lets a request add a folder to where Python looks for code.
        """
        task["details"] = deque(maxlen=_LINES)
        try:
            self._work(task, method)
        except Exception as error:
            logger.exception(f"{method} could not be run")
            task["details"].append(f"error: {error}")
        if task["status"] in _GOING_ON:
            task["status"] = "ERROR"
        task["end_ts"] = datetime.today().strftime("%Y-%m-%d %H:%M:%S")
        if method == "train":
            self.ended = time.monotonic()
        if callback:
            callback(task)

    def _work(self, task: dict[str, Any], method: str) -> None:
        request = dict(task["request"])
        variables = {
            **os.environ,
            **commands_end_with_us(),
            **NO_MODULES_OF_WORKING_DIRECTORY,
            SERVER: str(os.getpid()),
            "PYTHONUNBUFFERED": "1",
        }
        if request.get("gpus", "all") != "all":
            variables["CUDA_VISIBLE_DEVICES"] = request["gpus"]
        request["gpus"] = "all"
        if method == "train":
            variables["MONAI_LABEL_DATASTORE_AUTO_RELOAD"] = "false"
        command = [sys.executable, "-m", "monailabel.interfaces.utils.app", "-m", method, "-r", json.dumps(request)]
        with subprocess.Popen(  # noqa: S603 (a list, never a shell)
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=variables
        ) as process:
            self.store.background_processes[method][task["id"]] = process
            task["status"] = "RUNNING"
            log = logging.getLogger(f"task_{method}")
            assert process.stdout is not None
            for line in process.stdout:
                if line.strip():
                    log.info(line.rstrip())
                    task["details"].append(line.rstrip())
        self.store.background_processes[method].pop(task["id"], None)
        if task["status"] == "RUNNING" and process.returncode == 0:
            task["status"] = "DONE"

    def stop_all(self) -> None:
        """Stop what goes on, since Python would wait for it before it ends."""
        for processes in self.store.background_processes.values():
            for process in list(processes.values()):
                process.kill()


def in_server() -> bool:
    """Whether this process serves; False in those that it starts, and where there is no server."""
    return os.environ.get(SERVER) == str(os.getpid())


def in_job() -> bool:
    """Whether this is a process that the server has started."""
    return SERVER in os.environ and not in_server()
