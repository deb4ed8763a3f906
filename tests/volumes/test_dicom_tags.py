from __future__ import annotations

from pathlib import Path

import pytest
from conemos_bundle.errors import UserError
from conemos_bundle.volumes.dicom import check_series
from conemos_bundle.volumes.dicom_tags import NEEDED, tag_value


@pytest.mark.parametrize("tag", NEEDED)
def test_an_image_without_a_tag_of_type_1_is_refused(tag: str, series: Path, change) -> None:
    change(series, range(8) if tag == "SeriesInstanceUID" else [3], **{tag: None})
    with pytest.raises(UserError, match=rf"\.dcm: has no readable {tag}") as error:
        check_series(series)
    assert "\n" not in str(error.value)


def test_tag_value_of_what_is_absent_empty_or_unreadable_is_none(series: Path) -> None:
    dataset = check_series(series)[0]
    assert tag_value(dataset, "PatientComments") is None
    assert tag_value(dataset, "AccessionNumber") is None
    assert tag_value(dataset, "Rows") == 10
    dataset.StudyDate = "20240199"
    assert tag_value(dataset, "StudyDate") is None
