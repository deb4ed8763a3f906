"""Segmentation from Python: a scan in, masks of the regions asked for out, on the scan's own grid."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import torch
from conemos_bundle.errors import UserError
from conemos_bundle.inferers import SaveImageRegionsd, asked_regions, region_indices
from conemos_bundle.inferers.encode_once import EncodeOnce
from conemos_bundle.inferers.saving import region_size
from conemos_bundle.runs.model_files import model_settings, torch_device
from conemos_bundle.runs.weights import fit_weights, load_weights
from conemos_bundle.volumes.fingerprints import file_contents
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import AsDiscreted, Compose

Scan = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | nibabel.spatialimages.SpatialImage | MetaTensor


@dataclass(frozen=True)
class Segmentation:
    """The regions of a scan that were asked for.

    ``masks`` is ``(R, D, H, W)``, 0 and 1, on the scan's own grid; regions may overlap. ``affine`` takes voxels to mm
    in RAS. ``probabilities``, where they were asked for, are ``(R, D, H, W)`` in [0, 1]. ``found["anterior"]`` is the
    mask ``(D, H, W)`` of a region.
    """

    regions: list[str]
    masks: npt.NDArray[np.uint8]
    affine: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float32] | None = None

    def __getitem__(self, region: str) -> npt.NDArray[np.uint8]:
        return self.masks[self.regions.index(region)]

    @property
    def volumes_ml(self) -> dict[str, float]:
        """The volume of each region."""
        sizes = zip(self.regions, self.masks, strict=True)
        return {region: region_size(mask, self.affine)["volume_ml"] for region, mask in sizes}

    def image(self, region: str) -> nibabel.Nifti1Image:
        """A region's mask as a NIfTI image."""
        return nibabel.Nifti1Image(self[region], self.affine)


class Predictor:
    """A model that segments the regions asked for; make it with `Predictor.load`.

    Attributes:
        regions: names of the K regions that it knows.

    Example::

        >>> from conemos_bundle import Predictor
        >>> predictor = Predictor.load()
        >>> found = predictor("scan.nii.gz", regions=["anterior", "posterior"])  # doctest: +SKIP
        >>> found.volumes_ml  # doctest: +SKIP
        {'anterior': 1.76, 'posterior': 1.62}
    """

    def __init__(self, parser: ConfigParser, network: torch.nn.Module, regions: Sequence[str]) -> None:
        """Args: the parser of a bundle's inference.json, its network with weights, and the K regions."""
        self.regions = list(regions)
        self.device: torch.device = parser.get_parsed_content("device")
        self._network = EncodeOnce(network.to(self.device).eval())
        self._inferer = parser.get_parsed_content("inferer")
        self._preparation: Compose = parser.get_parsed_content("preprocessing")
        steps: Sequence[Any] = parser.get_parsed_content("postprocessing").transforms
        threshold = next(i for i, step in enumerate(steps) if isinstance(step, AsDiscreted))
        self._to_probabilities = Compose(steps[:threshold])
        self._to_masks = Compose([step for step in steps[threshold:] if not isinstance(step, SaveImageRegionsd)])
        self._last: tuple[str, dict[str, Any]] = "", {}

    @classmethod
    def load(
        cls, model: str | os.PathLike[str] | None = None, device: str | None = None, mode: str = "window"
    ) -> Predictor:
        """Load a model. A bundle's configuration is code and is run: take bundles only from those you trust.

        Args:
            model: the folder of a bundle or of a finished run; None: the hippocampus model of this package.
            device: such as ``cpu`` or ``cuda:0``; None: a GPU where there is one.
            mode: ``window``: sliding, as large as the patches of training; ``whole``: the scan at once, less exact.

        Raises:
            UserError: the folder is neither, its weights cannot be read or do not fit, or there is no such device.
        """
        settings = {**model_settings(model), "mode": mode}
        if device is not None:
            settings["device"] = torch_device(device)
        configs = Path(settings["bundle_root"]) / "configs"
        parser = ConfigParser()
        parser.read_meta(str(configs / "metadata.json"))
        parser.read_config(str(configs / "inference.json"))
        for name, value in settings.items():
            parser[name] = value
        network = parser.get_parsed_content("network_def")
        weights = parser.get_parsed_content("ckpt_path")
        fit_weights(network, load_weights(weights), weights)
        return cls(parser, network, settings["region_names"])

    @torch.no_grad()
    def __call__(
        self,
        scan: Scan | npt.NDArray[Any],
        regions: str | Sequence[str] | None = None,
        affine: npt.ArrayLike | None = None,
        probabilities: bool = False,
    ) -> Segmentation:
        """Segment regions of a scan; asked again of the same scan, other regions cost their decoding alone.

        Args:
            scan: a file, a DICOM folder, a list of files, one per channel; a nibabel image; a `MetaTensor`
                ``(C, D, H, W)``; or an array ``(D, H, W)`` or ``(C, D, H, W)`` with its ``affine``.
            regions: one name or several; None: all.
            affine: of an array, 4x4, voxels to mm in RAS.
            probabilities: give them too.

        Raises:
            UserError: the scan cannot be read or segmented, or the model does not know a region.
        """
        asked = asked_regions(regions, self.regions)
        image, key = _with_key(scan, affine)
        if not key or key != self._last[0]:  # without a key: there is no such file
            self._last = "", {}  # the memory first
            self._last = key, self._prepare(image)
            self._network.forget()
        item = self._last[1]
        self._network.begin()
        indices = region_indices(asked, self.regions).to(self.device)
        logits = self._inferer(item["image"][None].to(self.device), self._network, regions=indices)
        data = self._to_probabilities({**item, "pred": MetaTensor(logits[0].cpu(), meta=item["image"].meta)})
        found = np.asarray(data["pred"].detach().cpu(), np.float32) if probabilities else None
        masks = self._to_masks(data)["pred"]
        return Segmentation(
            asked, (masks.numpy() > 0.5).astype(np.uint8), masks.affine.numpy().astype(np.float64), found
        )

    def _prepare(self, image: Any) -> dict[str, Any]:
        """The scan as the network takes it; what is in memory is not loaded."""
        steps = self._preparation.transforms[1:] if isinstance(image, MetaTensor) else self._preparation.transforms
        prepared: dict[str, Any] = Compose(steps)({"image": image})
        return prepared


def _with_key(scan: Any, affine: npt.ArrayLike | None) -> tuple[Any, str]:
    """A path, or several, or a `MetaTensor` ``(C, D, H, W)``; and what the scan is known by."""
    if isinstance(scan, str | os.PathLike) or (isinstance(scan, list | tuple) and scan):
        paths = [scan] if isinstance(scan, str | os.PathLike) else list(scan)
        files = [str(Path(path).expanduser().absolute()) for path in paths]
        return (files[0] if len(files) == 1 else files), "\n".join(file_contents(files))
    if isinstance(scan, nibabel.spatialimages.SpatialImage):
        voxels, affine = np.asarray(scan.get_fdata(dtype=np.float32)), scan.affine
        voxels = np.moveaxis(voxels, 3, 0) if voxels.ndim == 4 else voxels
    elif isinstance(scan, MetaTensor):
        voxels, affine = scan.detach().cpu().numpy(), scan.affine.cpu().numpy()
    elif isinstance(scan, np.ndarray | torch.Tensor):
        voxels = np.asarray(scan)
        if affine is None:
            raise UserError("an array says nothing of its place: give its affine, 4x4, voxels to mm in RAS")
    else:
        raise UserError(f"a scan is a file, a nibabel image, a MetaTensor or an array, not a {type(scan).__name__}")
    matrix = np.asarray(affine, np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-12:
        raise UserError("the affine of the scan is no invertible 4x4 matrix")
    voxels = np.ascontiguousarray(voxels[None] if voxels.ndim == 3 else voxels, np.float32)
    tensor = MetaTensor(torch.from_numpy(voxels.copy()), affine=torch.from_numpy(matrix), meta={"space": "RAS"})
    tensor.meta["original_affine"] = matrix.copy()
    return tensor, hashlib.sha256(voxels.tobytes() + matrix.tobytes() + str(voxels.shape).encode()).hexdigest()
