"""Make a DICOM series of a NIfTI, to try the application on.

``python -m conemos_bundle.hosts.deploy.make_series SCAN.nii.gz FOLDER``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import fire
import nibabel
import numpy as np
import numpy.typing as npt
from monai.data.utils import orientation_ras_lps
from nibabel.spatialimages import SpatialImage
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid


def make_series(scan: str, folder: str) -> None:
    """Write the slices along a NIfTI's third axis.

    Args:
        scan: a 3D NIfTI file with axes at right angles.
        folder: made where it does not exist.
    """
    image = cast(SpatialImage, nibabel.load(scan))
    write_series(Path(folder), np.asarray(image.dataobj, np.float32), np.asarray(image.affine, float))


def write_series(folder: Path, voxels: npt.NDArray[Any], affine: npt.NDArray[np.float64], **tags: Any) -> list[Dataset]:
    """Write a classic MR series, a file per slice.

    Args:
        folder: made where it does not exist; files are called ``0.dcm`` and so on along the last axis.
        voxels: ``(W, H, D)``, scaled to the whole range of 16 bits by a rescale slope and intercept.
        affine: 4x4, voxel to mm in RAS+, axes at right angles.
        tags: values of further or other tags.

    Returns:
        the D images.
    """
    lps = np.asarray(orientation_ras_lps(np.asarray(affine, float)))
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    lowest, highest = float(voxels.min()), float(voxels.max())
    slope = float(f"{(highest - lowest) / 65535 or 1.0:.10g}")
    stored = np.clip(np.rint((voxels - lowest) / slope), 0, 65535).astype(np.uint16)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for index in range(voxels.shape[2]):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, generate_uid()
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, frame
        image.PatientName, image.PatientID, image.PatientBirthDate, image.PatientSex = "Test^Case", "T1", "", "O"
        image.StudyID, image.StudyDate, image.StudyTime = "1", "20240102", "030405"
        image.AccessionNumber, image.ReferringPhysicianName = "", ""
        image.Modality, image.SeriesNumber, image.InstanceNumber = "MR", 1, index + 1
        image.SeriesDescription = "made of a NIfTI"
        image.ImageOrientationPatient = [f"{x:.12g}" for x in (lps[:3, :2] / spacing[:2]).T.ravel()]
        image.ImagePositionPatient = [f"{x:.12g}" for x in lps[:3, 3] + index * lps[:3, 2]]
        image.PixelSpacing = [f"{x:.12g}" for x in spacing[[1, 0]]]  # rows first: the second axis
        image.SliceThickness = f"{spacing[2]:.12g}"
        image.Rows, image.Columns = voxels.shape[1], voxels.shape[0]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
        image.RescaleSlope, image.RescaleIntercept, image.RescaleType = f"{slope:.10g}", f"{lowest:.10g}", "US"
        image.PixelData = np.ascontiguousarray(stored[:, :, index].T).tobytes()
        for name, value in tags.items():
            setattr(image, name, value)
        image.save_as(folder / f"{index}.dcm", enforce_file_format=True)
        images.append(image)
    return images


if __name__ == "__main__":
    fire.Fire(make_series)
