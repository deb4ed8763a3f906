"""The two parts of the job that FLARE runs: the server's and each site's. The job brings no code; sites install this.

PyTorch and MONAI are imported when the first task comes: FLARE waits for its processes to start.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conemos_bundle.errors import UserError, find_user_error
from conemos_bundle.hosts.federated.job import Job, read_job
from conemos_bundle.hosts.federated.messages import Task, check_message, log_sent
from conemos_bundle.hosts.federated.places import place_of
from conemos_bundle.utils.processes import end_with_command
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.logging.constants import is_log_streaming_allowed
from nvflare.app_common.utils.fl_model_utils import FLModelUtils
from nvflare.app_common.workflows.model_controller import ModelController

JOB_FILE = "federation.json"  # beside FLARE's own configuration of the server
logger = logging.getLogger(
    "conemos_bundle.hosts.federated.rounds"
)  # of `run_rounds`; ours would tell all of FLARE's too


def _begin() -> None:
    """What both parts do: end with the command of a simulation, and say what they say in lines that it finds."""
    end_with_command()
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("conemos: %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)


def _tell(error: Exception, site: str) -> None:
    user_error = find_user_error(error)
    if user_error is not None:
        logger.error(f"error: {site}: {user_error}")


class Coordinator(ModelController):
    """The server: `run_rounds` over FLARE."""

    def __init__(self) -> None:
        super().__init__(persistor_id="", ignore_result_error=False)
        _begin()

    def run(self) -> None:
        """Read the job, run its rounds."""
        from conemos_bundle.hosts.federated.rounds import run_rounds

        workspace = self.fl_ctx.get_engine().get_workspace()
        config = workspace.get_app_config_dir(self.fl_ctx.get_job_id())
        try:
            job = read_job(Path(config, JOB_FILE).read_text(encoding="utf-8"))
            run_rounds(job, self.ask, Path(place_of("server").output).expanduser())
        except Exception as error:
            _tell(error, "server")
            raise

    def ask(self, task: Task, number: int, job: Job, weights: Mapping[str, Any]) -> dict[str, Mapping[str, object]]:
        """Give a task to all sites and wait for their messages."""
        params = dict(weights) or {"nothing": 0}  # FLARE sends no empty model
        model = FLModel(
            params=params, params_type=ParamsType.FULL, current_round=number, meta={"job": job.model_dump_json()}
        )
        results = self.send_model_and_wait(task_name=task, data=model, targets=list(job.sites))
        return {result.meta["client_name"]: result.params for result in results}


class SiteExecutor(Executor):
    """A site: it answers each task with one message of arrays, checked and written down before it is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.training: Any = None
        _begin()

    def execute(self, task_name: Task, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Answer a task of the server."""
        site = fl_ctx.get_prop(FLContextKey.CLIENT_NAME) or fl_ctx.get_identity_name()
        try:
            if is_log_streaming_allowed(fl_ctx):  # an error may name a scan
                raise UserError("FLARE would send this site's error log; see 'conemos federate --kit'")
            model = FLModelUtils.from_shareable(shareable)
            return FLModelUtils.to_shareable(FLModel(params=self.answer(task_name, site, model)))
        except Exception as error:
            _tell(error, site)
            raise

    def answer(self, task: Task, site: str, model: FLModel) -> dict[str, Any]:
        """The message: all that leaves the site."""
        from conemos_bundle.hosts.federated import site as local

        place, job, number = place_of(site), read_job(model.meta["job"]), int(model.current_round or 0)
        assert place.datalist is not None
        if task == "describe":
            message = local.describe(place.datalist, job.regions, place.dataset_dir)
        else:
            if self.training is None:
                self.training = local.prepare(place.datalist, job, site, place.output, place.dataset_dir)
            if task == "train":
                message = local.train(self.training, model.params, number, with_dice=number > 0)
            else:
                message = local.evaluate(self.training, model.params)
        own = {} if self.training is None else self.training.network.state_dict()
        shapes = {name: tuple(weight.shape) for name, weight in own.items()}
        message = check_message(message, task, len(job.regions), shapes)
        log_sent(Path(place.output).expanduser(), number, task, message)
        return message
