"""DICOM series in, DICOM SEG out: an application on the MONAI Deploy App SDK."""
