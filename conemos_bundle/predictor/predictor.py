"""The predictor: a model that stays loaded, and the scan that it was asked about last."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from conemos_bundle.errors import find_user_error
from conemos_bundle.inferers import SaveImageRegionsd, asked_regions
from conemos_bundle.inferers.confidence import soft_dice_confidence
from conemos_bundle.inferers.each_region import infer_each
from conemos_bundle.inferers.encode_once import EncodeOnce
from conemos_bundle.predictor.loading import Model, load_model
from conemos_bundle.predictor.scans import Image, ScanInput, scan_image, scan_key
from conemos_bundle.predictor.segmentation import Segmentation, collect
from conemos_bundle.scales import Scales
from monai.data import MetaTensor
from monai.transforms import AsDiscreted, Compose


class Predictor:
    """A model that segments the regions asked for; make it with `Predictor.load`.

    Threads may share one: they wait for each other.

    Attributes:
        regions: names of the K regions that it knows.
        device: where it runs.
        name: of the bundle, or of the run's data set.
        version: of the bundle.
        modality: DICOM's word for the scans that it was trained on; None where that is not known.
        channels: number of channels that a scan has.
        temperature: what logits are divided by for probabilities and confidences (`Calibration`); 1 where the model
            was not calibrated. Masks are of the logits themselves.

    Example::

        >>> from conemos_bundle import Predictor
        >>> predictor = Predictor.load()
        >>> found = predictor("scan.nii.gz", regions=["anterior", "posterior"])  # doctest: +SKIP
        >>> found.volumes_ml  # doctest: +SKIP
        {'anterior': 1.76, 'posterior': 1.62}
    """

    def __init__(self, model: Model, network: torch.nn.Module) -> None:
        """Args: what `load_model` gives."""
        parser = model.parser
        self.regions, self.name, self.version, self.modality = model.regions, model.name, model.version, model.modality
        self.device: torch.device = parser.get_parsed_content("device")
        self.channels = int(parser.get_parsed_content("network_def::in_channels"))
        self.temperature = model.temperature
        self._network = network
        self._encode_once = EncodeOnce(network)
        self._made_by: dict[str, Any] | None = parser.get_parsed_content("made_by") if "made_by" in parser else None
        self._inferer: partial[torch.Tensor] = parser.get_parsed_content("inferer")
        self._parents: dict[int, int] = self._inferer.keywords.get("parents") or {}
        self._scales: Scales | None = self._inferer.keywords.get("scales")
        self._preparation: Compose = parser.get_parsed_content("preprocessing")
        steps: Sequence[Any] = parser.get_parsed_content("postprocessing").transforms
        threshold = next(i for i, step in enumerate(steps) if isinstance(step, AsDiscreted))
        self._to_probabilities = Compose(steps[:threshold])
        self._to_masks = Compose([step for step in steps[threshold:] if not isinstance(step, SaveImageRegionsd)])
        self._last: tuple[str, dict[str, Any]] = "", {}
        self._one_at_a_time = threading.Lock()

    @classmethod
    def load(
        cls,
        model: str | os.PathLike[str] | None = None,
        device: str | None = None,
        mode: str | None = "window",
        regions: str | Sequence[str] | None = None,
        engine: str = "torch",
    ) -> Predictor:
        """Load a model. A bundle's configuration is code and is run: take bundles only from those you trust.

        Args:
            model: the folder of a bundle or of a finished run; a TorchScript file (``.ts``) of
                ``monai.bundle ckpt_export``, or a folder of one, as a MONAI Application Package has it; None: the
                hippocampus model of this package.
            device: such as ``cpu`` or ``cuda:0``; None: a GPU where there is one.
            mode: ``window``: sliding, as large as the patches of training; ``whole``: the scan at once, less exact;
                None: what the bundle says.
            regions: those that will be asked for: a wrong name is told before any weights are read. All stay known.
            engine: what computes the network: ``torch`` or, faster on a CPU once it has begun, ``openvino`` (no
                TorchScript, and no GPU).

        Raises:
            UserError: the model is none of these, its weights cannot be read or do not fit, there is no such device,
                mode or engine, the engine does not fit device or model, or the model does not know a region.
        """
        return cls(*load_model(model, device, mode, regions, engine))

    def made_by(self, paint_order: Sequence[str] | None = None) -> dict[str, Any] | None:
        """What its masks depend on beside the scan (`model_and_settings`), painted in an order."""
        if self._made_by is None:
            return None
        calibrated = {} if self.temperature == 1 else {"temperature": self.temperature}  # `bundle run` knows none
        return {**self._made_by, **calibrated, "paint_order": None if paint_order is None else list(paint_order)}

    @torch.no_grad()
    def __call__(
        self,
        scan: ScanInput | npt.NDArray[Any],
        regions: str | Sequence[str] | None = None,
        affine: npt.ArrayLike | None = None,
        probabilities: bool = False,
        confidences: bool = False,
        keep: bool = True,
    ) -> Segmentation:
        """Segment regions of a scan; asked again of the same scan, other regions cost their decoding alone.

        Args:
            scan: a file, a DICOM folder, a list of files, one per channel; a nibabel image; a `MetaTensor`
                ``(C, D, H, W)``; or an array ``(D, H, W)`` or ``(C, D, H, W)`` with its ``affine``.
            regions: one name or several; None: all.
            affine: of an array, 4x4, voxels to mm in RAS.
            probabilities: give them too.
            confidences: give them too.
            keep: hold the scan and its features in memory, for other regions of it.

        Raises:
            UserError: the scan cannot be read or segmented, or the model does not know a region.
        """
        asked = asked_regions(regions, self.regions)
        image = scan_image(scan, affine)
        with self._one_at_a_time, _errors_of_users():
            item = self._kept(image) if keep else self._prepare(image)
            network = self._encode_once if keep else EncodeOnce(self._network, most_bytes=0)
            return collect(self._each(item, network, asked, probabilities, confidences), asked)

    @torch.no_grad()
    def each(
        self,
        scan: ScanInput | npt.NDArray[Any],
        regions: str | Sequence[str] | None = None,
        affine: npt.ArrayLike | None = None,
        probabilities: bool = False,
        confidences: bool = False,
    ) -> Iterator[Segmentation]:
        """Segment regions of a scan one after the other, outer ones first: of large scans, any number fits in memory.

        Args: as for a call; nothing of the scan is kept.

        Yields:
            a `Segmentation` of one region.

        Raises:
            UserError: as a call.
        """
        asked = asked_regions(regions, self.regions)
        image = scan_image(scan, affine)
        with self._one_at_a_time, _errors_of_users():
            network = EncodeOnce(self._network, most_bytes=0)
            found = self._each(self._prepare(image), network, asked, probabilities, confidences)
        del image
        while True:
            with self._one_at_a_time, _errors_of_users():  # not while a caller does something else with the last one
                one = next(found, None)
            if one is None:
                return
            yield one

    def _each(
        self,
        item: dict[str, Any],
        network: EncodeOnce,
        asked: list[str],
        probabilities: bool = False,
        confidences: bool = False,
    ) -> Iterator[Segmentation]:
        names = {self.regions.index(region): region for region in asked}
        image = item["image"][None].to(self.device)
        missed: dict[int, int] = {}
        each = infer_each(self._inferer, image, network, names, self._parents, scales=self._scales, missed=missed)
        for region, logits in each:
            found = self._finish(item, names[region], logits.cpu(), probabilities, confidences)
            del logits  # before the next region's
            told = {self.regions[inner]: self.regions[outer] for inner, outer in missed.items()}
            yield replace(found, missed=told)
            missed.clear()

    def _kept(self, image: Image) -> dict[str, Any]:
        """The scan as the network takes it: that of the last call, where it is the same."""
        key = scan_key(image)
        if not key or key != self._last[0]:  # without a key: there is no such file
            self._last = "", {}  # the memory first
            self._encode_once.forget()
            self._last = key, self._prepare(image)
        return self._last[1]

    def _prepare(self, image: Image) -> dict[str, Any]:
        """The scan as the network takes it; what is in memory is not loaded."""
        steps = self._preparation.transforms[1:] if isinstance(image, MetaTensor) else self._preparation.transforms
        prepared: dict[str, Any] = Compose(steps)({"image": image})
        return prepared

    def _finish(
        self, item: dict[str, Any], region: str, logits: torch.Tensor, probabilities: bool, confidences: bool
    ) -> Segmentation:
        """From logits ``(D, H, W)`` on the network's grid to a region's mask on the scan's."""
        calibrated = logits if self.temperature == 1 else logits / self.temperature
        sure = {region: soft_dice_confidence(calibrated.sigmoid())} if confidences else None
        data = self._to_probabilities({**item, "pred": MetaTensor(logits[None], meta=item["image"].meta)})
        found = None
        if probabilities:
            told = data
            if calibrated is not logits:  # masks are of the others, resampled as such
                told = self._to_probabilities({**item, "pred": MetaTensor(calibrated[None], meta=item["image"].meta)})
            found = np.clip(np.asarray(told["pred"].detach().cpu(), np.float32), 0, 1)  # 1e-7 beyond, by resampling
            del told
        del calibrated
        prediction: MetaTensor = self._to_masks(data)["pred"]
        return Segmentation(
            [region],
            (prediction.numpy() > 0.5).astype(np.uint8),
            prediction.affine.numpy().astype(np.float64),
            found,
            sure,
            dict(prediction.meta),
        )


@contextmanager
def _errors_of_users() -> Iterator[None]:
    """Raise the UserError that a RuntimeError of MONAI, around a transform's own, was made of."""
    try:
        yield
    except RuntimeError as error:
        told = find_user_error(error)
        if told is None:
            raise
        raise type(told)(str(told)) from error
