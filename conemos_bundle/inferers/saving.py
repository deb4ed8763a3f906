"""Output files of region-on-demand inference."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from conemos_bundle.data.datalist import scan_name
from conemos_bundle.data.results import absolute, earlier_result, made_of, output_files, volumes_file, with_earlier
from conemos_bundle.errors import OutputError, UserError
from conemos_bundle.files import one_at_a_time, part_folder, publish, shown, write_in_one_step
from conemos_bundle.utils.extras import require_extra
from conemos_bundle.volumes import is_sheared, save_mask
from conemos_bundle.volumes.seg_nrrd import write_seg_nrrd
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ImageMetaKey, ensure_tuple

_OF_ONE_SCAN = {errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EILSEQ}
FORMATS = ("files", "multichannel", "labelmap", "seg.nrrd", "dicom_seg")
Mask = tuple[str, npt.NDArray[np.uint8]]  # a region and its mask (D, H, W)


class SaveImageRegionsd(MapTransform):
    """Write the predicted regions of a scan, and how large they are.

    The prediction is a binary `MetaTensor` ``(R, D, H, W)`` on the scan's own grid; ``.affine`` is in RAS. NIfTI files
    take both forms, codes, unit and intent of ``meta["nifti_header"]``, where the scan has one (`save_mask`). The
    scan's name is ``data["name"]``, else the file name in the prediction's meta data. Files, below ``output_dir``:

    - ``files``: ``<name>/<region>.nii.gz``, one binary mask per region;
    - ``multichannel``: ``<name>_regions.nii.gz``, ``(D, H, W, R)``, and ``<name>_regions.json`` with the R names;
    - ``labelmap``: ``<name>_labelmap.nii.gz``; region k of ``region_names`` has the value k = 1..K whichever are asked
      for; regions are painted in ``paint_order``, later ones over earlier ones (lossless for nested regions only);
    - ``seg.nrrd``: ``<name>.seg.nrrd`` for 3D Slicer, with overlaps;
    - ``dicom_seg``: ``<name>.seg.dcm``, of a scan that is a DICOM folder: a segment per region, with overlaps;
    - ``probabilities``: ``<name>/<region>_probability.nii.gz`` beside each of these, float32 in [0, 1];
    - always ``<name>_volumes.json``: ``image``, ``output_format``, ``outputs``, ``contents`` (which regions each output
      holds), and voxels and volume (ml) of each region before any painting; ``not_found`` is the region within which it
      should lie, if that was not found and the whole scan was searched. What an earlier run left of the same scan
      and is still there stays listed (`with_earlier`). ``data["result"]`` gets what this run wrote alone.

    MONAI Label and the Deploy App SDK drop transforms whose class name contains ``SaveImage``; they save by themselves.

    Args:
        keys: the prediction.
        region_names: all K regions of the network.
        regions: the R regions asked for, in the order of the prediction's channels.
        output_dir: made where it does not exist.
        output_format: one of ``FORMATS``.
        paint_order: for label maps: regions, outer first; the order of ``region_names`` if None.
        overwrite: whether files of an earlier run may be replaced.
        made_by: of `model_and_settings`.
        model: name and version that a DICOM SEG tells.
        probabilities: whether `save_each` gets them.

    Raises:
        UserError: an unknown region or output format, or one whose package is not installed.
    """

    def __init__(
        self,
        keys: KeysCollection = "pred",
        *,
        region_names: Sequence[str],
        regions: Sequence[str],
        output_dir: str | os.PathLike[str],
        output_format: str = "files",
        paint_order: Sequence[str] | None = None,
        overwrite: bool = True,
        made_by: Mapping[str, Any] | None = None,
        model: Sequence[str] = ("CoNeMOS", "unknown"),
        probabilities: bool = False,
    ) -> None:
        super().__init__(keys)
        self.region_names = list(region_names)
        self.regions = list(ensure_tuple(regions))
        self.paint_order = self.region_names if paint_order is None else list(ensure_tuple(paint_order))
        self.output_dir = absolute(output_dir)
        self.output_format = output_format
        self.overwrite = overwrite
        self.made_by = made_by
        self.model = model
        self.probabilities = probabilities
        self._written: dict[Path, str] = {}
        if output_format not in FORMATS:
            raise UserError(f"output format {output_format!r}: use one of {', '.join(FORMATS)}")
        if output_format == "dicom_seg":
            require_extra("highdicom", "dicom")
        known = ", ".join(self.region_names)
        for option, names in (("regions", self.regions), ("paint_order", self.paint_order)):
            unknown = [name for name in names if name not in self.region_names]
            if unknown or not names or len(set(names)) < len(names):
                wrong = f"{unknown[0]!r} is no region" if unknown else f"{names} is empty or names a region twice"
                raise UserError(f"{option}: {wrong}; choose from {known}")
        if probabilities:
            _reject_same_file(self.region_names)
        unpainted = [name for name in self.regions if name not in self.paint_order]
        if output_format == "labelmap" and unpainted:
            raise UserError(f"paint_order: leaves out {unpainted[0]!r}, which is asked for; add it")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """
        Raises:
            UserError: another scan has written the same file, now or in an earlier run, a file exists and ``overwrite``
                is False, the format cannot hold the scan's axes, or the folder cannot be written to.
        """
        saved = dict(data)
        for key in self.key_iterator(saved):
            saved["result"] = self._save(saved[key], saved.get("name"))
        return saved

    def _save(self, prediction: MetaTensor, name: str | None) -> dict[str, Any]:
        shape = tuple(prediction.shape)
        if len(shape) != 4 or shape[0] != len(self.regions):
            raise ValueError(f"{name!r}: prediction {shape} for {len(self.regions)} regions, expected (R, D, H, W)")
        masks = ((channel > 0.5).astype(np.uint8) for channel in prediction.detach().cpu().numpy())
        affine = prediction.affine.detach().cpu().numpy().astype(np.float64)
        return self.save_each(zip(self.regions, masks, strict=True), affine, prediction.meta, name)

    def save_each(
        self,
        masks: Iterable[Mask],
        affine: npt.NDArray[np.float64],
        meta: Mapping[str, Any],
        name: str | None = None,
        notes: Mapping[str, Mapping[str, str | float]] | None = None,
        probabilities: dict[str, npt.NDArray[np.float32]] | None = None,
    ) -> dict[str, Any]:
        """Write masks as they come, in any order; as ``files`` or ``labelmap``, one is in memory at once.

        Args:
            masks: each of the R regions, and its mask ``(D, H, W)`` of 0 and 1.
            affine: 4x4, voxels to mm in RAS.
            meta: of the scan, as a prediction has it.
            name: of the scan; None: its file's.
            notes: what else to say of a region, beside its size; read when its mask comes.
            probabilities: of a region ``(D, H, W)``, taken out when its mask comes.

        Returns:
            what ``data["result"]`` gets.

        Raises:
            UserError: as a call.
        """
        image = str(meta.get(ImageMetaKey.FILENAME_OR_OBJ, ""))
        name = name or scan_name(image)
        if not name:
            raise ValueError("a scan without a name or a file")
        if self.output_format == "seg.nrrd" and is_sheared(affine):
            raise UserError(
                f"{image or name}: its axes are not at right angles, as seg.nrrd needs; use --output_format files"
            )
        contents = output_files(self.output_dir, name, self.regions, self.output_format, self.probabilities)
        outputs = [Path(file) for file in contents]
        # of when it was read: the file may be another one by now
        made = made_of(str(meta.get("contents", "")).split("\n"), self.made_by)
        result: dict[str, Any] = {
            "image": image,
            "output_format": self.output_format,
            "outputs": list(contents),
            "contents": contents,
            "made": dict.fromkeys(contents, made),
            "regions": {region: {} for region in self.regions},
        }
        if self.output_format == "labelmap":
            result["paint_order"] = [region for region in self.paint_order if region in self.regions]

        def measured(part: Path) -> Iterator[Mask]:
            for region, mask in masks:
                if self.probabilities:
                    sure = (probabilities or {}).pop(region)
                    save_mask(part / f"{region}_probability.nii.gz", sure, affine, meta.get("nifti_header"))
                    del sure
                result["regions"][region] = region_size(mask, affine)
                if self.output_format == "labelmap":
                    result["regions"][region]["value"] = self.region_names.index(region) + 1
                result["regions"][region].update((notes or {}).get(region, {}))
                yield region, mask

        try:
            with part_folder(self.output_dir) as part:
                parts = [part / path.name for path in outputs]
                self._write(parts, measured(part), affine, meta.get("nifti_header"), image)
                with one_at_a_time(self.output_dir):  # masks and what is said of them are of one process
                    self._publish(name, part, result)
        except OSError as error:
            file = shown(error.filename2 or error.filename or self.output_dir)
            if error.errno in _OF_ONE_SCAN and self.output_dir.is_dir():
                raise UserError(f"{file}: cannot be written ({error.strerror}); rename {image or name}") from error
            if error.errno == errno.EACCES and os.access(self.output_dir, os.W_OK | os.X_OK):  # not below it
                raise UserError(f"{file}: cannot be written (no permission, or read-only); remove it") from error
            raise OutputError(
                f"{self.output_dir}: cannot write the regions of {name} ({error.strerror}); pass another --output_dir"
            ) from error
        return result

    def _publish(self, name: str, part: Path, result: dict[str, Any]) -> None:
        targets = [*map(Path, result["contents"]), volumes_file(self.output_dir, name)]
        self._claim(targets, result["image"])
        _write_json(part / targets[-1].name, with_earlier(result, self.output_dir, name))
        self._outdate(name, result["contents"])
        for target in targets:
            publish(part / target.name, target)

    def _outdate(self, name: str, contents: Iterable[str]) -> None:
        """Say of files that are about to be replaced that nothing is known of how they were made: whoever is killed
        between two of them leaves masks of two models."""
        earlier = earlier_result(self.output_dir, name)
        if set(earlier.get("made", {})).intersection(contents):
            earlier["made"] = {file: made for file, made in earlier["made"].items() if file not in contents}
            write_in_one_step(volumes_file(self.output_dir, name), partial(_write_json, content=earlier))

    def _claim(self, paths: Sequence[Path], image: str) -> None:
        for path in paths:
            other = self._written.get(path, image)
            if other != image:
                raise UserError(f"{path}: both {other} and {image} would write this file; rename one of the scans")
            if path.is_dir():
                raise UserError(f"{path}: is a folder, where a file shall be written; remove it, or rename {image}")
            if not self.overwrite and path.exists():
                raise UserError(f"{path}: exists already; pass another --output_dir, or --overwrite true")
        self._written.update(dict.fromkeys(paths, image))

    def _write(
        self, paths: Sequence[Path], masks: Iterable[Mask], affine: npt.NDArray[np.float64], header: Any, image: str
    ) -> None:
        if self.output_format == "files":
            for region, mask in masks:
                save_mask(paths[self.regions.index(region)], mask, affine, header)
        elif self.output_format == "labelmap":
            labels = paint_labels(masks, self.region_names, self.paint_order)
            save_mask(paths[0], labels, affine, header)
        elif self.output_format == "multichannel":
            save_mask(paths[0], np.moveaxis(self._stacked(masks), 0, -1), affine, header)
            _write_json(paths[1], {"regions": self.regions})
        elif self.output_format == "dicom_seg":
            # and pydicom's tables of codes, half a second that the other formats need not wait for
            from conemos_bundle.volumes.dicom_seg import seg_images, write_seg
            from conemos_bundle.volumes.region_codes import read_table, region_code

            codes = [region_code(region, self.region_names, read_table()) for region in self.regions]
            write_seg(paths[0], self._stacked(masks), seg_images(image), self.regions, codes, *self.model)
        else:
            write_seg_nrrd(paths[0], self._stacked(masks), affine, self.regions)

    def _stacked(self, masks: Iterable[Mask]) -> npt.NDArray[np.uint8]:
        stacked: npt.NDArray[np.uint8] | None = None
        for region, mask in masks:
            if stacked is None:
                stacked = np.empty((len(self.regions), *mask.shape), np.uint8)
            stacked[self.regions.index(region)] = mask
        assert stacked is not None, "no region"
        return stacked


def paint_labels(
    masks: Iterable[Mask], region_names: Sequence[str], paint_order: Sequence[str]
) -> npt.NDArray[np.uint8 | np.uint16]:
    """Paint masks ``(D, H, W)`` into a label map ``(D, H, W)``, later ones of ``paint_order`` over earlier ones.

    Args:
        masks: regions and their masks, 0 and 1, in any order; those that are not painted are passed over.
        region_names: all K regions; the k-th has the value k = 1..K.
        paint_order: regions, outer first.
    """
    kind = np.uint8 if len(region_names) < 256 else np.uint16
    values = np.array([0, *(list(region_names).index(region) + 1 for region in paint_order)], kind)
    turns: npt.NDArray[np.uint8 | np.uint16] | None = None  # of each voxel, when it was painted last
    for region, mask in masks:
        if turns is None:
            turns = np.zeros(mask.shape, kind)
        if region in paint_order:
            turn = kind(list(paint_order).index(region) + 1)
            np.maximum(turns, turn, out=turns, where=mask > 0)
    assert turns is not None, "no region"
    return np.take(values, turns)


def _reject_same_file(region_names: Sequence[str]) -> None:
    """Where a region is called as the probability of another one would be."""
    names = {name.casefold(): name for name in region_names}
    for name in region_names:
        other = names.get(f"{name}_probability".casefold())
        if other is not None:
            raise UserError(f"probabilities: that of {name!r} would be the file of region {other!r}; ask without them")


def region_size(mask: npt.NDArray[np.uint8], affine: npt.NDArray[np.float64]) -> dict[str, float]:
    """Voxels, and volume in ml (1 ml = 1000 mm³)."""
    voxels = int(np.count_nonzero(mask))
    return {"voxels": voxels, "volume_ml": voxels * abs(float(np.linalg.det(affine[:3, :3]))) / 1000}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")
