"""The app that MONAI Label serves; it needs monailabel."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conemos_bundle.errors import UserError, find_user_error
from conemos_bundle.hosts.label.answers import answer
from conemos_bundle.hosts.label.checks import checked_image, checked_name
from conemos_bundle.hosts.label.dicomweb import use_our_reader
from conemos_bundle.hosts.label.jobs import SERVER, in_job
from conemos_bundle.hosts.label.options import known_options
from conemos_bundle.hosts.label.requests import (
    FORMATS,
    checked_format,
    refuse,
    region_options,
    reject_bad_values,
    requested_regions,
)
from conemos_bundle.hosts.label.served_model import ServedModel
from conemos_bundle.hosts.label.studies import see_moved_files, write_whole_files
from conemos_bundle.hosts.label.tasks import (
    CONFIDENCE,
    LeastConfidentRegion,
    NewRegionTask,
    RegionScoring,
    RegionTrainTask,
)
from conemos_bundle.utils.processes import end_with_command
from conemos_bundle.utils.version import __version__
from conemos_bundle.volumes.seg_nrrd import write_seg_nrrd
from monailabel.datastore import dicom as dicomweb_datastore
from monailabel.datastore import local as folder_datastore
from monailabel.interfaces.app import MONAILabelApp
from monailabel.tasks.activelearning.first import First
from monailabel.tasks.activelearning.random import Random
from monailabel.tasks.infer.bundle import BundleInferTask

logger = logging.getLogger(__name__)
_one_at_a_time = threading.RLock()  # scans in memory, whichever model they are for


class RegionInferTask(BundleInferTask):
    """MONAI Label's inference, by a `ServedModel`; masks that overlap may be had as ``.seg.nrrd``.

    Nothing of a request gets into the bundle's configuration, as it does with MONAI Label's own transforms and inferer.

    Args:
        path: the bundle; one of fixed regions links to the weights of the bundle of all regions.
        conf: MONAI Label's options.
        served: the bundle of all regions.
    """

    _config: dict[str, Any]

    def __init__(self, path: str, conf: dict[str, str], served: ServedModel) -> None:
        super().__init__(path, conf)
        self.served = served
        self.fixed: list[str] | None = self.bundle_config.get("regions")
        self._config.update({"output_format": list(FORMATS), "model_filename": ["model.pt"]})

    def __call__(self, request: dict[str, Any], callbacks: Any = None) -> tuple[Any, dict[str, Any]]:
        """Segment a scan; others wait for it.

        Raises:
            UserError: the request or the scan cannot be used.
        """
        self._offer()
        reject_bad_values(request, self._config["device"], self._config["model_filename"])
        checked_format(request.get("output_format", FORMATS[0]))
        asked = self.fixed or requested_regions(request, self.served.region_names)
        request = {**request, "image": self.served.checked(request.get("image")), "asked_regions": asked}
        with _one_at_a_time:
            result: tuple[Any, dict[str, Any]] = super().__call__(request, callbacks)
        return result

    def info(self) -> dict[str, Any]:
        """What clients are told: regions that the model was taught meanwhile, too."""
        self._offer()
        told: dict[str, Any] = super().info()
        return told

    def _offer(self) -> None:
        """Labels and check boxes of the regions that the model knows now."""
        if not self.fixed:
            regions = self.served.region_names
            self.labels = {region.lower(): k + 1 for k, region in enumerate(regions)}
            config = dict(self._config)  # others may be reading the old one
            config.update(region_options(regions))
            self._config = config

    def pre_transforms(self, data: Any = None) -> list[Any]:
        """None: the predictor has its own."""
        return []

    def run_inferer(self, data: dict[str, Any], convert_to_batch: bool = True, device: str = "cuda") -> dict[str, Any]:
        """Add what `answer` gives."""
        found = self.served(data["image"], data["asked_regions"], device)
        return {**data, **answer(found, self.fixed or self.served.region_names)}

    def post_transforms(self, data: Any = None) -> list[Any]:
        """None: the predictor has its own."""
        return []

    def writer(self, data: dict[str, Any], extension: Any = None, dtype: Any = None) -> tuple[Any, dict[str, Any]]:
        """Write what the request asks for: the label map as MONAI Label does, or the masks as segments."""
        if checked_format(data.get("output_format", FORMATS[0])) == "labelmap":
            written: tuple[Any, dict[str, Any]] = super().writer(data, extension, dtype)
            return written
        masks, names = data["masks"], data["asked_regions"]
        # MONAI Label's own writer swaps rows and columns of the direction: oblique scans come out displaced
        with tempfile.NamedTemporaryFile(suffix=".seg.nrrd", delete=False) as file:
            write_seg_nrrd(file.name, masks.array, masks.affine.numpy(), names)
        return file.name, data["result"]


class RegionApp(MONAILabelApp):
    """Serves each bundle in the app's folder ``model``."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        if in_job():
            end_with_command()
        use_our_reader(dicomweb_datastore)
        write_whole_files(folder_datastore)
        self.model_folders = sorted(path.parents[1] for path in Path(app_dir).glob("model/*/configs/inference.json"))
        super().__init__(
            app_dir,
            studies,
            conf,
            name="CoNeMOS Bundle",
            description="Segments any region on demand",
            version=__version__,
        )

    def init_datastore(self) -> Any:
        """The folder of the scans, or what stands for the DICOMweb store."""
        datastore = super().init_datastore()
        see_moved_files(datastore)
        return datastore

    def folders(self) -> list[str | Path]:
        """Where scans may lie: of the studies, or of MONAI Label's copies of a store's; and what was sent with a
        request."""
        sessions = self.sessions()
        given = [getattr(self.datastore(), "_datastore_path", self.studies), sessions.store_path if sessions else None]
        temporary = tempfile.gettempdir() if SERVER in os.environ else None  # it is the server's own then (asgi)
        return [folder for folder in [*given, temporary] if folder]

    def init_infers(self) -> dict[str, Any]:
        """A task per bundle; those of one region share the model, and its features, with the bundle of all regions."""
        whole = {folder: (folder / "models").resolve().parent for folder in self.model_folders}
        served = {folder: ServedModel(folder, self.folders) for folder in set(whole.values())}
        return {each.name: RegionInferTask(str(each), self.conf, served[folder]) for each, folder in whole.items()}

    def _served(self) -> dict[str, ServedModel]:
        """The bundles of all regions."""
        return {name: task.served for name, task in self._infers.items() if not task.fixed}

    def _for_each(self, name: str, task: Callable[[ServedModel], Any]) -> dict[str, Any]:
        """``name``; with several bundles, the bundle's behind it."""
        served = self._served()
        return {name if len(served) == 1 else f"{name}_{model}": task(s) for model, s in served.items()}

    def init_trainers(self) -> dict[str, Any]:
        """Two tasks per bundle of all regions: train its regions, and teach it another."""
        served = self._served().items()
        trainers: dict[str, Any] = {name: RegionTrainTask(model) for name, model in served}
        return trainers | {f"{name}_new_region": NewRegionTask(model) for name, model in served}

    def init_strategies(self) -> dict[str, Any]:
        """Which scan, and which region, comes next."""
        return {"first": First(), "random": Random(), **self._for_each("least_confident_region", LeastConfidentRegion)}

    def init_scoring_methods(self) -> dict[str, Any]:
        """What the strategy goes by."""
        return self._for_each(CONFIDENCE, RegionScoring)

    def infer(self, request: dict[str, Any], datastore: Any = None) -> dict[str, Any]:
        """Segment a scan.

        Raises:
            fastapi.HTTPException: 400, with one line that says what to mend in the request or in the scan.
        """
        try:
            result: dict[str, Any] = super().infer(self._known(request), datastore)
        except Exception as error:
            user_error = find_user_error(error)
            if user_error is None:
                raise
            line = str(user_error).replace(tempfile.gettempdir() + os.sep, "")  # where an upload lies is ours to know
            logger.warning(f"refused: {line}")  # OHIF does not show the answer
            refuse(UserError(line))
        return result

    def batch_infer(self, request: dict[str, Any], datastore: Any = None) -> dict[str, Any]:
        """Segment many scans; MONAI Label's own batch ends at the first that cannot be.

        Again with ``"images": "unlabeled"``, it does those that are missing.

        Raises:
            fastapi.HTTPException: 400 at the end, naming the scans that could not be segmented.
        """
        failed: dict[str, str] = {}

        def infer(one: dict[str, Any], store: Any = None) -> dict[str, Any]:
            try:
                return self.infer(one, store)
            except Exception as error:  # of one scan: the others may do
                failed[str(one.get("image"))] = str(getattr(error, "detail", None) or error)
                return {}

        result: dict[str, Any] = self._batch_infer(request, datastore or self.datastore(), infer)
        for name in result:
            logger.info(f"{name}: {f'FAILED: {failed[name]}' if name in failed else 'segmented'}")
        if failed:
            refuse(UserError(f"{len(failed)} of {len(result)} scans were not segmented: {', '.join(failed)}"))
        return result

    def _known(self, request: dict[str, Any]) -> dict[str, Any]:
        """What of a request is passed on.

        Raises:
            UserError: an option has a value that cannot be, or the scan is none of this server's.
        """
        known = known_options("infer", request)
        image = known.get("image")
        if not isinstance(image, str):
            raise UserError("image: give the name of one scan, as GET /datastore/ lists them")
        if Path(image).is_absolute():  # sent with the request, or of a session; or a client's guess
            return {**known, "image": checked_image(image, self.folders())}
        return {**known, "image": checked_name("image", image)}
