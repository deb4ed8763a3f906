"""A model that the server keeps loaded, for inference, scores and trainings alike."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from conemos_bundle.hosts.label.checks import checked_image
from conemos_bundle.hosts.label.together import of_one_model
from conemos_bundle.predictor import Predictor, Segmentation, torch_device
from conemos_bundle.runs.metadata import read_metadata
from conemos_bundle.utils.records import read_json
from conemos_bundle.volumes.fingerprints import file_stamps


class ServedModel:
    """A bundle of the app's folder: loaded for the first scan, and kept with the features of the last one.

    Another region of that scan costs its decoding alone. A training, in a process of its own, may put better weights
    in the place of ``model.pt``, or teach it a region: files are looked at before each scan, and read again where they
    are others. Threads may share a model: they wait for each other.

    Args:
        folder: the bundle, of all regions.
        folders: gives the folders that scans may lie in; None: any.

    Attributes:
        inside: declared: region to the one that it lies inside of.
        models: the folder of ``model.pt``.
    """

    def __init__(self, folder: Path, folders: Callable[[], Sequence[str | Path]] | None = None) -> None:
        self.folder, self.models, self.folders = folder, folder / "models", folders
        self._regions: tuple[list[Any], list[str]] = [], []  # what the metadata's file was, its regions
        with of_one_model(folder):
            self.inside: dict[str, str] = read_json(folder / "configs" / "inference.json").get("inside", {})
        self._held: dict[str, tuple[list[Any], Predictor]] = {}  # by device: what the weights' file was, its predictor
        self._loading = threading.Lock()

    @property
    def region_names(self) -> list[str]:
        """The K regions, which become more where the model is taught one.

        Raises:
            UserError: the metadata cannot be read.
        """
        file = self.folder / "configs" / "metadata.json"
        with of_one_model(self.folder):
            stamps = file_stamps(str(file.absolute()))
            if not stamps or self._regions[0] != stamps:
                self._regions = stamps, read_metadata(file)[1]
            return self._regions[1]

    def checked(self, image: Any) -> str:
        """The scan's path.

        Raises:
            UserError: it does not lie in one of the folders.
        """
        return str(image) if self.folders is None else checked_image(image, self.folders())

    def predictor(self, device: str | None = None) -> Predictor:
        """The predictor of the weights that are there now.

        Args:
            device: such as ``cpu`` or ``cuda:0``; None: a GPU where there is one.

        Raises:
            UserError: they cannot be read, or there is no such device.
        """
        name = str(torch_device(device))
        with self._loading, of_one_model(self.folder):
            stamps = file_stamps(str((self.models / "model.pt").absolute()))
            if name not in self._held or self._held[name][0] != stamps:
                self._held.pop(name, None)  # the memory first
                self._held[name] = stamps, Predictor.load(self.folder, name, mode=None)
            return self._held[name][1]

    def __call__(self, image: Any, regions: Sequence[str] | None = None, device: str | None = None) -> Segmentation:
        """The regions of a scan, with the model's confidence in each.

        Raises:
            UserError: the scan cannot be segmented, or is none of this server's.
        """
        scan = self.checked(image)
        return self.predictor(device)(scan, regions, confidences=True)
