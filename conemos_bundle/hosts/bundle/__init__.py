"""What hubs want beside the bundle itself: the Model Zoo's unit tests and large files, Hugging Face's card, sums."""

from conemos_bundle.hosts.bundle.hubs import (
    reject_other_archive,
    reject_other_unit_tests,
    write_archive,
    write_checksums,
    write_hugging_face_card,
    write_large_files,
    write_unit_tests,
)

__all__ = [
    "reject_other_archive", "reject_other_unit_tests",
    "write_archive", "write_checksums", "write_hugging_face_card", "write_large_files", "write_unit_tests",
]  # fmt: skip
