"""The operators of the application: those of the MONAI Deploy App SDK, each with what it lacks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from conemos_bundle.inferers import SaveImageRegionsd
from conemos_bundle.predictor import Predictor
from conemos_bundle.volumes.dicom import read_slices
from conemos_bundle.volumes.dicom_seg import write_seg
from conemos_bundle.volumes.region_codes import RegionCode
from monai.data import MetaTensor
from monai.data.utils import orientation_ras_lps
from monai.deploy.core import Image, Operator, OperatorSpec
from monai.deploy.core.domain.dicom_series import DICOMSeries
from monai.deploy.core.domain.dicom_study import DICOMStudy
from monai.deploy.operators.dicom_data_loader_operator import DICOMDataLoaderOperator
from monai.deploy.operators.dicom_series_to_volume_operator import DICOMSeriesToVolumeOperator
from pydicom import Dataset

MASKS = "masks"


class SeriesLoaderOperator(DICOMDataLoaderOperator):
    """Hands on a series that was read, checked and filled before; the SDK's loader drops what it cannot parse."""

    def __init__(self, fragment: Any, *args: Any, datasets: Sequence[Dataset], **kwargs: Any) -> None:
        self.datasets = datasets
        folder = Path(datasets[0].filename).parent
        super().__init__(fragment, *args, input_folder=folder, **kwargs)

    def load_data_to_studies(self, input_path: Path) -> list[DICOMStudy]:
        """One study with one series, its slices in the order of ``datasets``."""
        first = self.datasets[0]
        study, series = DICOMStudy(first.StudyInstanceUID), DICOMSeries(first.SeriesInstanceUID)
        self.populate_study_attributes(study, first)
        self.populate_series_attributes(series, first)
        for dataset in self.datasets:
            series.add_sop_instance(dataset)
        study.add_series(series)
        return [study]


class SeriesVolumeOperator(DICOMSeriesToVolumeOperator):
    """The series as an image, ``(D, H, W)`` float32, with its affine, as `conemos predict` reads it.

    The SDK's own reading is not used. It gives the two pixel spacings to the wrong directions (seen where pixels are
    not square), takes the first slice's number type for all (fractions are lost where that slice is empty), and inverts
    MONOCHROME1 after the rescaling.
    """

    def prepare_series(self, series: DICOMSeries) -> None:
        """Read the files, which are sorted already, and set the affines."""
        headers = [instance.get_native_sop_instance() for instance in series.get_sop_instances()]
        self.voxels, ras = read_slices(headers)
        series.nifti_affine_transform = ras
        series.dicom_affine_transform = orientation_ras_lps(ras)
        series.depth_pixel_spacing = float(np.linalg.norm(ras[:3, 2]))

    def generate_voxel_data(self, series: DICOMSeries) -> npt.NDArray[np.float32]:
        """``(D, H, W)``."""
        return self.voxels.T


class RegionsInferenceOperator(Operator):
    """Has the predictor segment the regions asked for, which may overlap.

    The SDK's own operator for bundles is not used: it loads the network once more, and makes a label map of the masks,
    or squeezes their channels away.

    Args:
        predictor: the model.
        regions: the R regions asked for.
        source: what errors call the scan.
    """

    def __init__(
        self, fragment: Any, *args: Any, predictor: Predictor, regions: Sequence[str], source: str, **kwargs: Any
    ) -> None:
        self.predictor, self.regions, self.source = predictor, list(regions), source
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """The volume in, the masks out."""
        spec.input("image")
        spec.output("pred")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Segment; ``pred`` is ``(D, H, W, R)`` uint8, 0 and 1, in the axes of the volume."""
        image = op_input.receive("image")
        affine = torch.as_tensor(image.metadata()["nifti_affine_transform"])
        # (1, W, H, D), as MONAI's reader gives it
        voxels = torch.from_numpy(np.ascontiguousarray(image.asnumpy().T)[None])
        scan = MetaTensor(voxels, affine=affine, meta={"filename_or_obj": self.source})
        found = self.predictor(scan, self.regions, keep=False)
        op_output.emit(Image(found.masks.transpose(3, 2, 1, 0), {"affine": found.affine}), "pred")


class SegFileOperator(Operator):
    """Writes one DICOM SEG, as `conemos predict --output_format dicom_seg` does.

    The SDK's own writer is not used: its descriptions of segments know no modifiers and no colors.

    Args:
        datasets: the D images of the series, in the order of the volume.
        predictor: the model.
        regions: the R regions asked for.
        codes: of these regions.
        file: where it goes.
    """

    def __init__(
        self,
        fragment: Any,
        *args: Any,
        datasets: Sequence[Dataset],
        predictor: Predictor,
        regions: Sequence[str],
        codes: Sequence[RegionCode],
        file: Path,
        **kwargs: Any,
    ) -> None:
        self.datasets, self.predictor, self.regions, self.codes = datasets, predictor, list(regions), list(codes)
        self.file = file
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """One input: the masks ``(D, H, W, R)``."""
        spec.input("pred")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Write the file."""
        masks = op_input.receive("pred").asnumpy().transpose(3, 2, 1, 0)
        named = (self.predictor.name, self.predictor.version)
        write_seg(self.file, masks, self.datasets, self.regions, self.codes, *named)


class MaskFilesOperator(Operator):
    """Writes a NIfTI per region with the bundle's own saver, and keeps the sizes that it measured."""

    def __init__(
        self,
        fragment: Any,
        *args: Any,
        predictor: Predictor,
        regions: Sequence[str],
        output_folder: Path,
        sizes: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        self.predictor, self.regions, self.output_folder, self.sizes = predictor, list(regions), output_folder, sizes
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """One input: the masks ``(D, H, W, R)``."""
        spec.input("pred")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Write ``masks/<region>.nii.gz``."""
        image = op_input.receive("pred")
        save = SaveImageRegionsd(
            region_names=self.predictor.regions, regions=self.regions, output_dir=self.output_folder
        )
        masks = MetaTensor(np.ascontiguousarray(image.asnumpy().transpose(3, 2, 1, 0)), image.metadata()["affine"])
        self.sizes.update(save({"pred": masks, "name": MASKS})["result"]["regions"])
