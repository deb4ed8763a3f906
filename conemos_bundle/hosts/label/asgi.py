"""What uvicorn serves: MONAI Label's web application behind our `Guard`. It needs monailabel.

monailabel start_server --uvicorn_app conemos_bundle.hosts.label.asgi:app …
"""

from __future__ import annotations

import atexit
import os
import tempfile

import monailabel.app
import monailabel.datastore.local
import requests
from conemos_bundle.errors import UserError, exit_with
from conemos_bundle.files import part_folder
from conemos_bundle.hosts.label.authentication import accept_tokens
from conemos_bundle.hosts.label.checks import checked_endpoint
from conemos_bundle.hosts.label.guard import Guard, Limits
from conemos_bundle.hosts.label.jobs import SERVER, Jobs
from conemos_bundle.hosts.label.studies import reject_strange_list
from monailabel.config import settings
from monailabel.endpoints import activelearning, batch_infer, datastore, infer, model, scoring, session, train
from monailabel.endpoints.user import auth
from monailabel.interfaces.exception import MONAILabelException
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.async_tasks import utils
from monailabel.utils.async_tasks.task import AsyncTask

CHECKED = {
    activelearning: ["sample"],
    batch_infer: ["run"],
    datastore: [
        "add_image", "remove_image", "save_label", "remove_label", "download_image", "download_label",
        "get_image_info", "update_image_info", "get_label_info", "update_label_info", "download_dataset",
    ],
    infer: ["run_inference"],
    model: ["model_info", "download_model"],
    scoring: ["run", "run_method"],
    session: ["get_session", "create_session", "remove_session"],
    train: ["run", "run_model"],
}  # fmt: skip

try:
    reject_strange_list(settings.MONAI_LABEL_STUDIES)
except UserError as error:
    exit_with(error)
limits = Limits.of_environment(os.environ)
os.environ[SERVER] = str(os.getpid())
# uploads and results on their way: in a folder of this process, which the next server removes after a kill
_temporary = part_folder(settings.MONAI_LABEL_APP_DIR or tempfile.gettempdir())
tempfile.tempdir = os.environ["TMPDIR"] = str(_temporary.__enter__())
atexit.register(_temporary.__exit__, None, None, None)

for _module, _names in CHECKED.items():
    for _name in _names:
        setattr(_module, _name, checked_endpoint(getattr(_module, _name), MONAILabelException))
jobs = Jobs(AsyncTask.run, utils, app_instance, limits.pause)
AsyncTask.run = staticmethod(jobs.start)
utils._task_func = jobs.work
if settings.MONAI_LABEL_AUTH_ENABLE:
    accept_tokens(auth, requests.RequestException)

app = Guard(
    monailabel.app.app,
    limits,
    frozenset(origin.rstrip("/") for origin in os.environ.get("CONEMOS_LABEL_ORIGINS", "").split()),
    local=os.environ.get("CONEMOS_LABEL_LOCAL") == "true",
    at_end=jobs.stop_all,
)
